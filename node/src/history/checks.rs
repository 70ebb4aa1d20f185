//! What one composition changed in how what lies behind gateways answers.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{Happening, Kind};
use crate::features::checks::CheckStatus;

/// One event for each gateway whose target begins or ceases to answer, and one for each prefix whose check moves nothing any
/// more, since every gateway fails it.
pub fn changes(before: &[CheckStatus], after: &[CheckStatus]) -> Vec<Happening> {
    let old: BTreeMap<_, bool> = before.iter().map(|check| (key(check), check.fails)).collect();
    let failed = |check: &&CheckStatus| old.get(&key(check)).unwrap_or(&false) != &check.fails;
    let turned = after.iter().filter(failed).map(turned);
    let (unheeded, now_unheeded) = (ignored(before), ignored(after));
    let begins = now_unheeded.difference(&unheeded).map(|prefix| unheeds(*prefix));
    turned.chain(begins).collect()
}

fn key(check: &CheckStatus) -> (IpNet, &str) {
    (check.prefix, &check.gateway)
}

fn ignored(checks: &[CheckStatus]) -> BTreeSet<IpNet> {
    checks
        .iter()
        .filter(|check| check.ignored)
        .map(|check| check.prefix)
        .collect()
}

fn turned(check: &CheckStatus) -> Happening {
    let (from, to, cause, text) = match check.fails {
        true => ("passes", "fails", "no_answer", "does not answer through it"),
        false => ("fails", "passes", "answered", "answers through it again"),
    };
    Happening {
        prefix: Some(check.prefix),
        ..Happening::new(Kind::Check)
            .peer(&check.gateway)
            .change(Some(from), Some(to))
            .because(cause, format!("{} {text}", check.target))
    }
}

fn unheeds(prefix: IpNet) -> Happening {
    Happening {
        prefix: Some(prefix),
        ..Happening::new(Kind::Check)
            .change(None::<&str>, Some("ignored"))
            .because(
                "all_fail",
                "every gateway fails it, so that it moves nothing: is the target down?",
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(gateway: &str, fails: bool, ignored: bool) -> CheckStatus {
        CheckStatus {
            prefix: "10.0.0.0/16".parse().unwrap(),
            gateway: gateway.to_owned(),
            target: "icmp://10.0.0.5".parse().unwrap(),
            fails,
            ignored,
        }
    }

    fn causes(before: &[CheckStatus], after: &[CheckStatus]) -> Vec<(Option<String>, String)> {
        let found = changes(before, after);
        found
            .into_iter()
            .map(|what| (what.peer, what.cause.unwrap()))
            .collect()
    }

    #[test]
    fn each_gateway_that_turns_is_told_and_when_none_is_left() {
        let (fine, one) = (
            [check("a", false, false), check("b", false, false)],
            [check("a", true, false), check("b", false, false)],
        );
        let both = [check("a", true, true), check("b", true, true)];
        let told = |gateway: &str, cause: &str| (Some(gateway.to_owned()), cause.to_owned());
        assert_eq!(causes(&[], &fine), []);
        assert_eq!(causes(&fine, &one), [told("a", "no_answer")]);
        assert_eq!(
            causes(&one, &both),
            [told("b", "no_answer"), (None, "all_fail".to_owned())]
        );
        assert_eq!(causes(&both, &one), [told("b", "answered")]);
        let [failing] = &changes(&fine, &one)[..] else {
            panic!()
        };
        assert_eq!(failing.text, "icmp://10.0.0.5 does not answer through it");
    }
}
