//! Why an owner of a prefix is used or not, for people.

use std::time::{Duration, Instant};

use ipnet::IpNet;
use meshnode_dataplane::{Cause, PathState, PeerHealth};
use meshnode_membership::record::serving::CheckTarget;

use super::change::Target;
use super::rank::{Candidate, Standing};

/// Why a prefix of a node is in its state.
#[derive(Debug, Clone, PartialEq)]
pub struct Reason {
    /// What speaks against the owner, or for another.
    pub why: Why,
    /// What follows, where that is not plain.
    pub then: Option<Then>,
}

/// What speaks against an owner, or for another.
#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    /// This node serves the prefix too.
    AlsoHere,
    /// It is not taken here; the text says what would change that.
    NotAccepted(String),
    /// The owner's interface there is down.
    NotServed,
    /// The path to the owner does not work, or not well.
    Path(PeerHealth),
    /// What must answer behind the owner does not.
    CheckFails(Option<CheckTarget>),
    /// The owner wants to be left.
    Draining,
    /// It failed, and has not worked for long enough since.
    HeldBack {
        /// Until when.
        until: Instant,
    },
    /// The route changed a moment ago; what works is not left so soon.
    Rests {
        /// Until when.
        until: Instant,
    },
    /// Another has the higher priority.
    Priority {
        /// Its name.
        chosen: String,
        /// Its priority.
        priority: u16,
    },
    /// Another is as good, and in use.
    InUse {
        /// Its name.
        chosen: String,
    },
    /// Another is as good and has the lower id.
    LowerId {
        /// Its name.
        chosen: String,
    },
    /// Flows are spread over it and others.
    Shares {
        /// Over how many.
        gateways: usize,
    },
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Packets go there all the same.
    NoOtherWay,
    /// The check does not count, since all gateways fail it.
    CheckIgnored,
    /// Packets go where those of this wider prefix go.
    LessSpecific(IpNet),
    /// Packets are dropped.
    Dropped,
}

impl From<Why> for Reason {
    fn from(why: Why) -> Reason {
        Reason { why, then: None }
    }
}

impl Reason {
    /// As a person reads it at `now`, with what is left of its times.
    pub fn text(&self, now: Instant) -> String {
        let why = self.why.text(now);
        match &self.then {
            None => why,
            Some(Then::NoOtherWay) => format!("{why}; there is no other way"),
            Some(Then::CheckIgnored) => format!("{why}; no gateway passes, so that does not count"),
            Some(Then::LessSpecific(by)) => format!("{why}; its packets take the way of {by}"),
            Some(Then::Dropped) => format!("{why}; its packets are dropped, as its owner asks"),
        }
    }
}

impl Why {
    fn text(&self, now: Instant) -> String {
        let left = |until: &Instant| seconds(until.saturating_duration_since(now));
        match self {
            Why::AlsoHere => "also announced here".to_owned(),
            Why::NotAccepted(text) => text.clone(),
            Why::NotServed => "its interface there is down".to_owned(),
            Why::Path(path) => path_text(path, now),
            Why::CheckFails(Some(target)) => format!("{target} does not answer through it"),
            Why::CheckFails(None) => "its check fails".to_owned(),
            Why::Draining => "draining".to_owned(),
            Why::HeldBack { until } => format!("failed lately: held back for {}", left(until)),
            Why::Rests { until } => format!("the route changed lately: taken in {}", left(until)),
            Why::Priority { chosen, priority } => format!("{chosen} has the higher priority {priority}"),
            Why::InUse { chosen } => format!("{chosen} is as good and in use"),
            Why::LowerId { chosen } => format!("{chosen} has the same priority and the lower id"),
            Why::Shares { gateways } => format!("one of {gateways} that share its flows"),
        }
    }
}

/// What lasts no longer has just begun.
const MOMENT: Duration = Duration::from_millis(50);

fn path_text(path: &PeerHealth, now: Instant) -> String {
    let cause = match path.cause {
        Cause::New => "no session yet",
        Cause::Answered => "probes are answered",
        Cause::Silent => "nothing comes from it",
        Cause::NotAnswering => "it is heard, but our probes are not answered",
        Cause::NoHandshake => "no handshake completes",
        Cause::LocalLink => "our own link or address is gone",
        Cause::Loss => return format!("degraded: loses {:.0} %", path.loss * 100.0),
        Cause::RoundTrip => "its round trip is much longer than it was",
        Cause::PeerStalled => "it stood still",
    };
    let state = path.state.as_str();
    let since = now.saturating_duration_since(path.since);
    match path.state {
        PathState::Connecting => format!("{state}: {cause}"),
        _ if since < MOMENT => format!("{state}: {cause}"),
        _ => format!("{state} for {}: {cause}", seconds(since)),
    }
}

/// `0.4 s`, `12 s`.
fn seconds(duration: Duration) -> String {
    match duration.as_secs_f64() {
        few if few < 9.95 => format!("{few:.1} s"),
        many => format!("{many:.0} s"),
    }
}

/// Why the packets of a prefix go, or do not go, to one of its `candidates` (best first), when they go to `target`.
pub(super) fn reason(
    candidate: &Candidate<'_>,
    candidates: &[Candidate<'_>],
    target: &Target,
    rests_until: Option<Instant>,
) -> Option<Reason> {
    if target.nodes().contains(&candidate.node.id) {
        return used(candidate, target);
    }
    let why = against(candidate).unwrap_or_else(|| not_chosen(candidate, candidates, target, rests_until));
    let then = match target {
        Target::LessSpecific(by) => Some(Then::LessSpecific(*by)),
        Target::Dropped => Some(Then::Dropped),
        Target::Node(_) | Target::Balanced(_) => None,
    };
    Some(Reason { why, then })
}

fn used(candidate: &Candidate<'_>, target: &Target) -> Option<Reason> {
    let all_the_same = |why| Reason {
        why,
        then: Some(Then::NoOtherWay),
    };
    if let Some(why) = against(candidate) {
        return Some(all_the_same(why));
    }
    if candidate.check_fails {
        return Some(Reason {
            why: Why::CheckFails(candidate.options.check),
            then: Some(Then::CheckIgnored),
        });
    }
    if candidate.path.state == PathState::Degraded {
        return Some(Why::Path(candidate.path).into());
    }
    let gateways = target.nodes().len();
    (gateways > 1).then(|| Why::Shares { gateways }.into())
}

fn against(candidate: &Candidate<'_>) -> Option<Why> {
    Some(match candidate.standing {
        Standing::NotServed => Why::NotServed,
        Standing::Down | Standing::Suspect | Standing::Connecting => Why::Path(candidate.path),
        Standing::CheckFails => Why::CheckFails(candidate.options.check),
        Standing::Draining => Why::Draining,
        Standing::HeldBack => Why::HeldBack {
            until: candidate.held_until?,
        },
        Standing::Works => return None,
    })
}

/// Nothing speaks against it: something speaks for who is chosen.
fn not_chosen(
    candidate: &Candidate<'_>,
    candidates: &[Candidate<'_>],
    target: &Target,
    rests_until: Option<Instant>,
) -> Why {
    let is_chosen = |c: &&Candidate<'_>| target.nodes().contains(&c.node.id);
    let chosen = candidates.iter().find(is_chosen);
    let better = chosen.is_none_or(|chosen| candidate.rank() > chosen.rank());
    if let Some(until) = rests_until.filter(|_| better) {
        return Why::Rests { until };
    }
    let name = chosen.map_or_else(String::new, |c| c.node.name.clone());
    match chosen {
        Some(chosen) if chosen.priority > candidate.priority => Why::Priority {
            chosen: name,
            priority: chosen.priority,
        },
        Some(_) if candidate.degraded => Why::Path(candidate.path),
        Some(chosen) if chosen.in_use => Why::InUse { chosen: name },
        _ => Why::LowerId { chosen: name },
    }
}
