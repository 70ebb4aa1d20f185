//! What one composition changed against the one before.

use std::collections::BTreeMap;
use std::time::Instant;

use ipnet::IpNet;
use meshnode_crypto::NodeId;

use super::{Happening, Kind};
use crate::desired::{RouteState, RouteStatus};

/// From so many prefixes with the same change on they are one event: a node with hundreds of prefixes must not push
/// everything else out.
const MANY: usize = 16;

/// A prefix that goes elsewhere now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Move {
    from: Option<String>,
    to: Option<String>,
    cause: &'static str,
    text: String,
}

/// One event for each prefix whose serving node changed, sorted; many alike are one.
pub fn changes(before: &[RouteStatus], after: &[RouteStatus], now: Instant) -> Vec<Happening> {
    let (old, new) = (active(before), active(after));
    let mut moves: BTreeMap<Move, Vec<IpNet>> = BTreeMap::new();
    let prefixes = old.keys().chain(new.keys().filter(|p| !old.contains_key(*p)));
    for prefix in prefixes {
        let (from, to) = (old.get(prefix).copied(), new.get(prefix).copied());
        if from.map(|r| r.owner) != to.map(|r| r.owner) {
            let moved = moved(*prefix, from, to, after, now);
            moves.entry(moved).or_default().push(*prefix);
        }
    }
    moves
        .into_iter()
        .flat_map(|(moved, prefixes)| events(&moved, &prefixes))
        .collect()
}

fn active(statuses: &[RouteStatus]) -> BTreeMap<IpNet, &RouteStatus> {
    let active = statuses.iter().filter(|s| s.state == RouteState::Active);
    active.map(|s| (s.prefix, s)).collect()
}

fn moved(
    prefix: IpNet,
    from: Option<&RouteStatus>,
    to: Option<&RouteStatus>,
    after: &[RouteStatus],
    now: Instant,
) -> Move {
    let (cause, text) = match (from, to) {
        (None, Some(to)) => ("announced", format!("{} serves it", to.via)),
        (Some(from), _) => why_lost(from, status_of(prefix, from.owner, after), now),
        (None, None) => ("announced", String::new()),
    };
    let name = |status: Option<&RouteStatus>| status.map(|s| s.via.clone());
    Move {
        from: name(from),
        to: name(to),
        cause,
        text,
    }
}

/// What became of the node that served the prefix, says why it does no longer.
fn why_lost(from: &RouteStatus, status: Option<&RouteStatus>, now: Instant) -> (&'static str, String) {
    match status {
        None => ("withdrawn", format!("{} announces it no more", from.via)),
        Some(status) => {
            let cause = match status.state {
                RouteState::Rejected => "rejected",
                _ => "preferred",
            };
            let reason = status.reason.as_ref().map(|reason| reason.text(now));
            (cause, reason.unwrap_or_default())
        }
    }
}

fn status_of(prefix: IpNet, owner: NodeId, statuses: &[RouteStatus]) -> Option<&RouteStatus> {
    statuses.iter().find(|s| s.prefix == prefix && s.owner == owner)
}

fn events(moved: &Move, prefixes: &[IpNet]) -> Vec<Happening> {
    let event = |text: String| {
        Happening::new(Kind::Route)
            .change(moved.from.as_ref(), moved.to.as_ref())
            .because(moved.cause, text)
    };
    match prefixes {
        [first, .., last] if prefixes.len() >= MANY => {
            let which = format!("{} prefixes from {first} to {last}", prefixes.len());
            vec![event(format!("{which}: {}", moved.text))]
        }
        few => few
            .iter()
            .map(|prefix| Happening {
                prefix: Some(*prefix),
                ..event(moved.text.clone())
            })
            .collect(),
    }
}
