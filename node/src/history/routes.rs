//! What one composition changed against the one before.

use std::collections::BTreeMap;
use std::time::Instant;

use ipnet::IpNet;
use meshnode_crypto::NodeId;

use super::{Happening, Kind};
use crate::desired::{RouteCause, RouteChange, RouteStatus, Target};

/// From so many prefixes with the same change on they are one event: a node with hundreds of prefixes must not push
/// everything else out.
const MANY: usize = 16;

/// What is said of a prefix; many of which the same is said are one event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Saying {
    from: Option<String>,
    to: Option<String>,
    cause: RouteCause,
    text: String,
}

/// One event for each prefix that goes elsewhere, in the order of the changes; many alike are one.
///
/// `statuses`: what became of the owners, which says why the former one lost. `name`: the shown name of a node, also of
/// one that has just gone.
pub fn changes(
    changes: &[RouteChange],
    statuses: &[RouteStatus],
    name: impl Fn(&NodeId) -> String,
    now: Instant,
) -> Vec<Happening> {
    let mut sayings: BTreeMap<Saying, Vec<IpNet>> = BTreeMap::new();
    for change in changes {
        let target = |target: &Option<Target>| target.as_ref().map(|target| shown(target, &name));
        let (from, to) = (target(&change.from), target(&change.to));
        let text = match why_lost(change, statuses, now) {
            Some((lost, reason)) => format!("{}: {reason}", name(&lost)),
            None => plainly(change.cause, from.as_deref(), to.as_deref()),
        };
        let saying = Saying {
            from,
            to,
            cause: change.cause,
            text,
        };
        sayings.entry(saying).or_default().push(change.prefix);
    }
    sayings
        .into_iter()
        .flat_map(|(saying, prefixes)| events(&saying, &prefixes))
        .collect()
}

/// `hk`, `gz + hk`, `10.0.0.0/8` where a wider prefix helps out, `dropped`.
fn shown(target: &Target, name: impl Fn(&NodeId) -> String) -> String {
    match target {
        Target::Node(node) => name(node),
        Target::Balanced(nodes) => nodes.iter().map(name).collect::<Vec<_>>().join(" + "),
        Target::LessSpecific(wider) => wider.to_string(),
        Target::Dropped => "dropped".to_owned(),
    }
}

/// A node that was left, and what speaks against it now.
fn why_lost(change: &RouteChange, statuses: &[RouteStatus], now: Instant) -> Option<(NodeId, String)> {
    let kept = |node: &NodeId| change.to.as_ref().is_some_and(|to| to.nodes().contains(node));
    let lost = change.from.as_ref()?.nodes().iter().find(|node| !kept(node))?;
    let begins = statuses.partition_point(|status| status.prefix < change.prefix);
    let of_prefix = statuses[begins..]
        .iter()
        .take_while(|status| status.prefix == change.prefix);
    let reason = of_prefix
        .into_iter()
        .find(|status| status.owner == *lost)?
        .reason
        .as_ref()?;
    Some((*lost, reason.text(now)))
}

fn plainly(cause: RouteCause, from: Option<&str>, to: Option<&str>) -> String {
    let (from, to) = (from.unwrap_or("nobody"), to.unwrap_or("nobody"));
    match cause {
        RouteCause::Announced => format!("{to} serves it"),
        RouteCause::Withdrawn => format!("{from} announces it no more"),
        RouteCause::Health => format!("{from} does not answer"),
        RouteCause::Quality => format!("the path to {to} is better"),
        RouteCause::Interface => format!("the interface of {from} is down"),
        RouteCause::Check => format!("what should answer through {from} does not"),
        RouteCause::Drain => format!("{from} is being drained"),
        RouteCause::Priority => format!("{to} has the higher priority"),
        RouteCause::Returned => format!("{to} has worked for long enough again"),
        RouteCause::Settings => "settings changed, here or at its owners".to_owned(),
    }
}

fn events(saying: &Saying, prefixes: &[IpNet]) -> Vec<Happening> {
    let event = |text: String| {
        Happening::new(Kind::Route)
            .change(saying.from.as_ref(), saying.to.as_ref())
            .because(saying.cause.as_str(), text)
    };
    match prefixes {
        [first, .., last] if prefixes.len() >= MANY => {
            let which = format!("{} prefixes from {first} to {last}", prefixes.len());
            vec![event(format!("{which}: {}", saying.text))]
        }
        few => few
            .iter()
            .map(|prefix| Happening {
                prefix: Some(*prefix),
                ..event(saying.text.clone())
            })
            .collect(),
    }
}
