//! How good each owner of a prefix is.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use meshnode_crypto::NodeId;
use meshnode_dataplane::{Cause, PathState, PeerHealth};
use meshnode_membership::record::serving::PrefixOptions;
use meshnode_membership::view::NodeView;

use super::memory::Memory;
use super::{Situation, Target};

/// A path may be degraded for this long before that counts.
const DEGRADED: Duration = Duration::from_secs(10);

/// What speaks against an owner, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It says that it cannot reach the prefix itself.
    NotServed,
    /// Its path is down.
    Down,
    /// Its path misses answers.
    Suspect,
    /// Its path has not worked yet.
    Connecting,
    /// Something that should answer behind it does not.
    CheckFails,
    /// It wants to be left.
    Draining,
    /// It works, and failed lately.
    HeldBack,
    /// Nothing.
    Works,
}

impl Standing {
    /// Whether packets get through, for all that is known.
    pub fn is_alive(self) -> bool {
        self > Standing::Connecting
    }
}

/// One owner of a prefix.
#[derive(Debug, Clone)]
pub(super) struct Candidate<'a> {
    pub(super) node: &'a NodeView,
    pub(super) priority: u16,
    pub(super) options: PrefixOptions,
    pub(super) standing: Standing,
    pub(super) path: PeerHealth,
    /// For long enough to count.
    pub(super) degraded: bool,
    pub(super) held_until: Option<Instant>,
    pub(super) failed_lately: bool,
    /// Packets of the prefix go there now.
    pub(super) in_use: bool,
    pub(super) check_fails: bool,
}

impl Candidate<'_> {
    /// The highest is the best.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        (
            self.standing,
            self.priority,
            !self.degraded,
            self.in_use,
            Reverse(self.node.id),
        )
    }

    /// Whether flows may be spread over both.
    pub(super) fn equals(&self, other: &Candidate<'_>) -> bool {
        let quality = |c: &Candidate<'_>| (c.standing, c.priority, c.degraded);
        quality(self) == quality(other)
    }

    fn standing(&self, draining: bool) -> Standing {
        match self.path.state {
            _ if self.options.not_served => Standing::NotServed,
            PathState::Down => Standing::Down,
            PathState::Suspect => Standing::Suspect,
            PathState::Connecting => Standing::Connecting,
            PathState::Up | PathState::Degraded if draining => Standing::Draining,
            // Who carries the packets and works again has nothing to come back to.
            _ if self.held_until.is_some() && !self.in_use => Standing::HeldBack,
            _ => Standing::Works,
        }
    }
}

/// How good one owner of a prefix is that is not chosen among others, since this node serves the prefix too.
pub fn standing(prefix: IpNet, node: &NodeView, situation: &Situation<'_>, memory: &Memory) -> Standing {
    let now = situation.now;
    let options = node.serving.of(&prefix);
    let candidate = Candidate {
        node,
        priority: 0,
        options,
        standing: Standing::Works,
        path: situation
            .paths
            .get(node.id.as_bytes())
            .copied()
            .unwrap_or(unknown(now)),
        degraded: false,
        held_until: memory.held(&prefix, &node.id, now).0,
        failed_lately: false,
        in_use: false,
        check_fails: options.check_fails,
    };
    let standing = candidate.standing(node.serving.draining);
    match candidate.check_fails {
        true => standing.min(Standing::CheckFails),
        false => standing,
    }
}

/// All owners of a prefix, best first; and whether their checks are ignored, since nobody would be left.
pub(super) fn rank<'a>(
    prefix: IpNet,
    owners: &[(u16, &'a NodeView)],
    situation: &Situation<'_>,
    memory: &mut Memory,
) -> (Vec<Candidate<'a>>, bool) {
    let mut all: Vec<Candidate<'a>> = owners
        .iter()
        .map(|(priority, node)| candidate(prefix, *priority, node, situation, memory))
        .collect();
    let ignored = judge_checks(&mut all);
    // One owner is the usual case.
    if all.len() > 1 {
        all.sort_by_cached_key(|candidate| Reverse(candidate.rank()));
    }
    (all, ignored)
}

fn candidate<'a>(
    prefix: IpNet,
    priority: u16,
    node: &'a NodeView,
    situation: &Situation<'_>,
    memory: &mut Memory,
) -> Candidate<'a> {
    let now = situation.now;
    let options = node.serving.of(&prefix);
    let path = situation
        .paths
        .get(node.id.as_bytes())
        .copied()
        .unwrap_or(unknown(now));
    let check_fails = options.check_fails || situation.local.failing_checks.contains(&(prefix, node.id));
    memory.note_marks(prefix, node.id, options.not_served || check_fails, now);
    let (held_until, failed_lately) = memory.held(&prefix, &node.id, now);
    let degraded_at = (path.state == PathState::Degraded).then_some(path.since + DEGRADED);
    memory.wake_at(degraded_at.into_iter().chain(held_until), now);
    let mut candidate = Candidate {
        node,
        priority,
        options,
        standing: Standing::Works,
        path,
        degraded: degraded_at.is_some_and(|at| now >= at),
        held_until,
        failed_lately,
        in_use: memory
            .current(&prefix)
            .is_some_and(|target| uses(target, &node.id)),
        check_fails,
    };
    candidate.standing = candidate.standing(node.serving.draining);
    candidate
}

fn uses(target: &Target, node: &NodeId) -> bool {
    target.nodes().contains(node)
}

/// Puts those behind whom nothing answers behind the others, if there are any.
fn judge_checks(all: &mut [Candidate<'_>]) -> bool {
    if !all.iter().any(|c| c.check_fails && c.standing.is_alive()) {
        return false;
    }
    let passes = |c: &Candidate<'_>| !c.check_fails && c.standing.is_alive();
    if !all.iter().any(passes) {
        return true;
    }
    for candidate in all.iter_mut().filter(|c| c.check_fails) {
        candidate.standing = candidate.standing.min(Standing::CheckFails);
    }
    false
}

fn unknown(now: Instant) -> PeerHealth {
    PeerHealth {
        state: PathState::Connecting,
        cause: Cause::New,
        since: now,
        proven: None,
        rtt: None,
        loss: 0.0,
    }
}
