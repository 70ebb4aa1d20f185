//! What the history keeps, what it says is gone, and what it makes of changes.

use std::time::{Duration, Instant};

use meshnode_crypto::{NodeId, UnixMillis};
use meshnode_dataplane::{Cause, Change, DataplaneEvent, PathState};
use meshnode_membership::api::MembershipEvent;
use proptest::prelude::*;

use super::*;
use crate::desired::choice::Why;
use crate::desired::fixture::{key, node, view};
use crate::desired::{RouteCause, RouteChange, RouteState, RouteStatus, Target};

fn filled(events: u64) -> History {
    let mut history = History::default();
    for i in 1..=events {
        assert_eq!(history.note(UnixMillis(i), Happening::new(Kind::Stall)), i);
    }
    history
}

fn numbers(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.number).collect()
}

#[test]
fn what_fell_out_is_counted_for_whoever_had_not_read_it() {
    let history = filled(CAPACITY as u64 + 312);
    assert_eq!(history.gone_after(0), 312);
    assert_eq!(history.gone_after(300), 12);
    assert_eq!(history.gone_after(312), 0);
    assert_eq!(history.gone_after(u64::MAX), 0);
    assert_eq!(numbers(&history.after(0, 2)), [313, 314]);
    assert_eq!(history.after(0, usize::MAX).len(), CAPACITY);
}

#[test]
fn a_reader_goes_on_where_it_stopped() {
    let history = filled(5);
    assert_eq!(numbers(&history.after(3, 10)), [4, 5]);
    assert_eq!(numbers(&history.after(3, 1)), [4]);
    assert!(history.after(5, 10).is_empty());
    assert!(history.after(99, 10).is_empty(), "a number of an earlier run");
    assert_eq!(numbers(&history.newest(2)), [4, 5]);
    assert!(History::default().newest(2).is_empty());
}

proptest! {
    #[test]
    fn reading_page_by_page_misses_and_repeats_nothing(events in 0_u64..2_500, page in 1_usize..700, start in 0_u64..2_600) {
        let history = filled(events);
        let (mut at, mut read) = (start, 0);
        loop {
            let gone = history.gone_after(at);
            let found = history.after(at, page);
            let Some(last) = found.last() else { break };
            prop_assert_eq!(found[0].number, at + gone + 1);
            read += found.len() as u64 + gone;
            at = last.number;
        }
        prop_assert_eq!(read, events.saturating_sub(start));
    }
}

#[test]
fn an_event_is_flat_json_and_comes_back_as_it_was() {
    let what = Happening {
        prefix: Some("10.99.0.0/16".parse().unwrap()),
        ..Happening::new(Kind::Route)
            .change(Some("hk"), Some("gz"))
            .because("suspect", "hk does not answer")
    };
    let event = Event {
        number: 7,
        time_ms: 1_700_000_000_123,
        what,
    };
    let json = serde_json::to_value(&event).unwrap();
    assert_eq!(
        (&json["kind"], &json["from"], &json["to"]),
        (&"route".into(), &"hk".into(), &"gz".into())
    );
    assert_eq!(
        (&json["prefix"], &json["peer"]),
        (&"10.99.0.0/16".into(), &serde_json::Value::Null)
    );
    assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
}

fn to(seed: u8) -> Option<Target> {
    Some(Target::Node(key(seed)))
}

fn moved(prefix: &str, from: Option<Target>, to: Option<Target>, cause: RouteCause) -> RouteChange {
    RouteChange {
        prefix: prefix.parse().unwrap(),
        from,
        to,
        cause,
    }
}

fn status(prefix: &str, owner: u8, why: Why) -> RouteStatus {
    RouteStatus {
        prefix: prefix.parse().unwrap(),
        owner: key(owner),
        via: format!("n{owner}"),
        state: RouteState::Standby,
        reason: Some(why.into()),
    }
}

fn told(changes: &[RouteChange], statuses: &[RouteStatus]) -> Vec<Happening> {
    let name = |node: &NodeId| {
        (1..9)
            .find(|seed| key(*seed) == *node)
            .map_or("?".into(), |seed| format!("n{seed}"))
    };
    routes::changes(changes, statuses, name, Instant::now())
}

/// From, to, cause, text of the only event.
fn one(change: RouteChange, statuses: &[RouteStatus]) -> (Option<String>, Option<String>, String, String) {
    let found = told(&[change], statuses);
    let [one] = found.as_slice() else {
        panic!("{found:?}")
    };
    let one = one.clone();
    (one.from, one.to, one.cause.unwrap(), one.text)
}

#[test]
fn a_route_that_changed_says_from_whom_to_whom_and_why() {
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        one(moved("10.1.0.0/16", None, to(1), RouteCause::Announced), &[]),
        (None, some("n1"), "announced".into(), "n1 serves it".into())
    );
    assert_eq!(
        one(moved("10.1.0.0/16", to(1), to(2), RouteCause::Withdrawn), &[]),
        (
            some("n1"),
            some("n2"),
            "withdrawn".into(),
            "n1 announces it no more".into()
        )
    );
    let draining = [
        status("10.0.0.0/8", 1, Why::NotServed),
        status("10.1.0.0/16", 1, Why::Draining),
    ];
    assert_eq!(
        one(moved("10.1.0.0/16", to(1), to(2), RouteCause::Drain), &draining),
        (some("n1"), some("n2"), "drain".into(), "n1: draining".into())
    );
    let wider = Some(Target::LessSpecific("10.0.0.0/8".parse().unwrap()));
    assert_eq!(
        one(moved("10.1.0.0/16", to(1), wider, RouteCause::Health), &[]).1,
        some("10.0.0.0/8")
    );
    let both = Some(Target::Balanced(vec![key(1), key(2)]));
    assert_eq!(
        one(
            moved("10.1.0.0/16", both, Some(Target::Dropped), RouteCause::Health),
            &[]
        )
        .0,
        some("n1 + n2")
    );
}

#[test]
fn a_node_with_hundreds_of_prefixes_is_one_event() {
    let gone = |prefix: &str| moved(prefix, to(1), None, RouteCause::Withdrawn);
    let mut many: Vec<RouteChange> = (0..200).map(|i| gone(&format!("10.1.{i}.0/24"))).collect();
    many.push(moved("10.9.0.0/16", None, to(2), RouteCause::Announced));
    let found = told(&many, &[]);
    assert_eq!(found.len(), 2);
    let text = "200 prefixes from 10.1.0.0/24 to 10.1.199.0/24: n1 announces it no more";
    assert!(
        found
            .iter()
            .any(|event| event.text == text && event.prefix.is_none()),
        "{found:?}"
    );
    assert_eq!(told(&many[..5], &[]).len(), 5);
}

#[test]
fn what_the_data_plane_reports_is_said_by_name() {
    let view = view(vec![node(2, &[])]);
    let peer = *key(2).as_bytes();
    let down = DataplaneEvent::PathChanged {
        peer,
        change: Change {
            from: PathState::Suspect,
            to: PathState::Down,
            cause: Cause::Silent,
        },
    };
    let event = sources::of_dataplane(&down, &view).unwrap();
    assert_eq!(event.peer.as_deref(), Some("n2"));
    assert_eq!(
        (event.from.as_deref(), event.to.as_deref()),
        (Some("suspect"), Some("down"))
    );
    assert_eq!(event.cause.as_deref(), Some("silent"));
    let stall = DataplaneEvent::LocalStall {
        late: Duration::from_millis(1300),
    };
    assert!(
        sources::of_dataplane(&stall, &view)
            .unwrap()
            .text
            .contains("1300 ms")
    );
    let runs = DataplaneEvent::Runs {
        peer: [9; 32],
        arrive: false,
    };
    let stranger = sources::of_dataplane(&runs, &view).unwrap();
    assert!(stranger.peer.unwrap().starts_with("client "));
}

#[test]
fn an_expelled_node_is_named_while_it_is_known() {
    let view = view(vec![node(2, &[])]);
    let of = |node| {
        sources::of_membership(&MembershipEvent::Revoked { node }, &view)
            .unwrap()
            .peer
    };
    assert_eq!(of(key(2)).as_deref(), Some("n2"));
    assert_eq!(of(key(3)), Some(key(3).short()));
}

#[test]
fn a_node_that_drains_and_comes_back_is_two_events() {
    let serving = view(vec![node(2, &[]), node(3, &[])]);
    let mut draining = serving.clone();
    draining.nodes.get_mut(&key(2)).unwrap().serving.draining = true;
    let events = [
        sources::drains(&serving, &draining),
        sources::drains(&draining, &serving),
    ]
    .concat();
    let seen: Vec<_> = events
        .iter()
        .map(|e| (e.peer.as_deref(), e.cause.as_deref()))
        .collect();
    assert_eq!(seen, [(Some("n2"), Some("drain")), (Some("n2"), Some("undrain"))]);
    assert!(sources::drains(&serving, &serving).is_empty());
}
