use super::*;
use crate::desired::fixture::{key, node, view};
use crate::desired::{Host, RouteStatus};
use meshnode_membership::record::serving::PrefixOptions;
use std::time::Duration;

const PREFIX: &str = "10.0.0.0/16";
const S: Duration = Duration::from_secs(1);

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn target() -> CheckTarget {
    "icmp://10.0.0.5".parse().unwrap()
}

/// Node `seed`, a gateway of the prefix with a target behind it.
fn gateway(seed: u8) -> NodeView {
    let mut gateway = node(seed, &[(PREFIX, 100)]);
    let options = PrefixOptions {
        check: Some(target()),
        ..PrefixOptions::default()
    };
    gateway.serving.prefixes.insert(net(PREFIX), options);
    gateway
}

/// What node 100 sees, which serves `own` and has these addresses.
fn seen(nodes: Vec<NodeView>, own: &str, addresses: &[&str]) -> (View, Local) {
    let mut view = view(nodes);
    view.own = Some(node(100, &[(own, 100)]));
    let local = Local {
        prefixes: vec![net(own)],
        host: Host {
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            ..Host::default()
        },
        ..Local::default()
    };
    (view, local)
}

fn prepared(view: &View, local: &Local, own: &[(&str, CheckTarget)]) -> Checks {
    let mut checks = Checks::new(7);
    let own = own
        .iter()
        .map(|(prefix, target)| (net(prefix), *target))
        .collect();
    checks.prepare(view, local, &own, Instant::now());
    checks
}

fn made(checks: &Checks, statuses: Vec<RouteStatus>) -> Vec<Check> {
    let mut desired = Desired {
        statuses,
        ..Desired::default()
    };
    checks.desired(&mut desired);
    desired.checks
}

#[test]
fn the_only_other_member_checks_both_gateways_from_its_own_prefix() {
    let (view, local) = seen(
        vec![gateway(1), gateway(2)],
        "10.9.0.0/16",
        &["192.0.2.1", "10.9.0.1", "fd00::1"],
    );
    let checks = prepared(&view, &local, &[]);
    let made = made(&checks, vec![]);
    let owners: BTreeSet<_> = made.iter().map(|check| check.owner).collect();
    assert_eq!(owners, [key(1), key(2)].map(|id| *id.as_bytes()).into());
    assert!(
        made.iter()
            .all(|check| check.source == IpAddr::from([10, 9, 0, 1]))
    );
    assert_eq!(checks.warnings(&view, Instant::now()), Vec::<String>::new());
}

#[test]
fn without_an_address_of_its_own_it_does_not_and_says_so() {
    let (view, local) = seen(vec![gateway(1)], "10.9.0.0/16", &["192.0.2.1"]);
    let checks = prepared(&view, &local, &[]);
    assert_eq!(made(&checks, vec![]), []);
    let [warning] = &checks.warnings(&view, Instant::now())[..] else {
        panic!()
    };
    assert!(warning.contains("icmp://10.0.0.5 behind n1"), "{warning}");
}

#[test]
fn an_address_that_nobody_else_answers_for_is_preferred() {
    let nodes = vec![gateway(1), node(3, &[("10.9.0.0/16", 100)])];
    let (view, mut local) = seen(nodes, "10.9.0.0/16", &["10.9.0.1", "10.8.0.1"]);
    local.prefixes.push(net("10.8.0.0/16"));
    let checks = prepared(&view, &local, &[]);
    let sources: Vec<_> = made(&checks, vec![]).iter().map(|check| check.source).collect();
    assert_eq!(sources, [IpAddr::from([10, 8, 0, 1])]);
}

#[test]
fn what_is_not_taken_here_is_not_checked() {
    let (view, local) = seen(vec![gateway(1)], "10.9.0.0/16", &["10.9.0.1"]);
    let checks = prepared(&view, &local, &[]);
    let rejected = RouteStatus {
        prefix: net(PREFIX),
        owner: key(1),
        via: "n1".into(),
        state: RouteState::Rejected,
        reason: None,
    };
    assert_eq!(made(&checks, vec![rejected]), []);
}

#[test]
fn questions_through_two_gateways_to_one_target_are_told_apart() {
    let (view, local) = seen(vec![gateway(1), gateway(2)], "10.9.0.0/16", &["10.9.0.1"]);
    let checks = made(&prepared(&view, &local, &[]), vec![]);
    assert_eq!(checks.len(), 2);
    assert_eq!(checks[0].target, checks[1].target);
    assert_ne!(checks[0].seed, checks[1].seed);
}

#[test]
fn what_this_node_finds_counts_at_once_for_its_own_choice() {
    let (view, local) = seen(vec![gateway(1), gateway(2)], "10.9.0.0/16", &["10.9.0.1"]);
    let checks = prepared(&view, &local, &[]);
    let verdict = |seed, verdict| ((*key(seed).as_bytes(), to_dataplane(&target())), verdict);
    let verdicts = Verdicts::from([verdict(1, Verdict::Fails), verdict(2, Verdict::Passes)]);
    let failing = checks.failing(&verdicts);
    assert_eq!(failing, [(net(PREFIX), key(1))].into());
    let statuses = checks.statuses(&view, &failing);
    let shown: Vec<_> = statuses
        .iter()
        .map(|s| (s.gateway.as_str(), s.fails, s.ignored))
        .collect();
    assert_eq!(shown, [("n1", true, false), ("n2", false, false)]);
    let both = checks.statuses(&view, &[(net(PREFIX), key(1)), (net(PREFIX), key(2))].into());
    assert!(both.iter().all(|status| status.fails && status.ignored));
}

/// Node 100 is itself a gateway with a target; 1 to 3 are the members that check it.
fn checked() -> (View, Local, Checks) {
    let members = (1..=3).map(|seed| node(seed, &[(&format!("10.{seed}.0.0/16"), 100)]));
    let (view, local) = seen(members.collect(), PREFIX, &["10.0.0.1"]);
    let checks = prepared(&view, &local, &[(PREFIX, target())]);
    (view, local, checks)
}

fn report(seed: u8, passes: bool) -> DataplaneEvent {
    DataplaneEvent::CheckReported {
        peer: *key(seed).as_bytes(),
        target: to_dataplane(&target()),
        passes,
    }
}

fn flagged(checks: &Checks) -> bool {
    let serving = Serving {
        draining: false,
        prefixes: gateway(100).serving.prefixes,
    };
    checks.mark(serving).of(&net(PREFIX)).check_fails
}

#[test]
fn an_owner_flags_itself_when_most_of_those_that_check_it_say_so() {
    let (view, local, mut checks) = checked();
    let now = Instant::now();
    assert!(!checks.handle_event(&report(1, true), now));
    assert!(!checks.handle_event(&report(2, true), now));
    assert!(!checks.handle_event(&report(3, false), now), "one of three");
    assert!(!flagged(&checks));
    assert!(checks.handle_event(&report(1, false), now + S));
    assert!(flagged(&checks));
    let warnings = checks.warnings(&view, now + S);
    assert!(
        warnings[0].contains("says n1, n3: does this host forward"),
        "{warnings:?}"
    );
    assert_eq!(checks.statuses(&view, &BTreeSet::new())[0].gateway, "n100");
    checks.prepare(&view, &local, &[(net(PREFIX), target())].into(), now + S);
    assert!(flagged(&checks), "a new view forgets nothing");
    assert!(checks.handle_event(&report(1, true), now + 2 * S));
    assert!(!flagged(&checks));
}

#[test]
fn a_member_that_was_not_elected_has_no_say() {
    let (_, _, mut checks) = checked();
    let now = Instant::now();
    for stranger in [4, 5, 100] {
        assert!(!checks.handle_event(&report(stranger, false), now));
    }
    assert!(!flagged(&checks));
    let of_something_else = DataplaneEvent::CheckReported {
        peer: *key(1).as_bytes(),
        target: meshnode_dataplane::CheckTarget::Icmp([10, 0, 0, 9].into()),
        passes: false,
    };
    assert!(!checks.handle_event(&of_something_else, now));
    assert_eq!(checks.ballot.len(), 1);
}

#[test]
fn silence_ends_what_was_found() {
    let (view, local, mut checks) = checked();
    let now = Instant::now();
    for seed in 1..=3 {
        checks.handle_event(&report(seed, false), now);
    }
    assert!(flagged(&checks));
    assert_eq!(checks.poll_timeout(), Some(now + votes::FRESH));
    let own = [(net(PREFIX), target())].into();
    checks.prepare(&view, &local, &own, now + votes::FRESH);
    assert!(flagged(&checks));
    checks.prepare(&view, &local, &own, now + votes::STANDS);
    assert!(!flagged(&checks));
    assert_eq!(checks.poll_timeout(), None);
}
