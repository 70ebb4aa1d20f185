//! What a choice must know of those before it: who is in use, and who failed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use meshnode_crypto::NodeId;
use meshnode_membership::view::NodeView;

use super::Situation;
use super::change::{RouteCause, Target};
use super::damping::{Damping, FIRST, PLANNED};

/// See the module documentation. Bounded by the view: what is not announced any more is forgotten.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    paths: BTreeMap<NodeId, Damping>,
    /// What owners say against themselves, per prefix; only where they have.
    marks: BTreeMap<(IpNet, NodeId), Damping>,
    current: BTreeMap<IpNet, Current>,
    wake: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Current {
    target: Target,
    /// A target that works is not left before this.
    rests_until: Option<Instant>,
}

impl Memory {
    /// When to choose again although nothing happened.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wake
    }

    /// Where packets of a prefix go now.
    pub fn current(&self, prefix: &IpNet) -> Option<&Target> {
        self.current.get(prefix).map(|current| &current.target)
    }

    /// Takes note of how the paths are.
    pub(super) fn note_paths(&mut self, situation: &Situation<'_>) {
        self.wake = None;
        let (nodes, now) = (&situation.view.nodes, situation.now);
        self.paths.retain(|id, _| nodes.contains_key(id));
        self.marks.retain(|_, damping| !damping.is_forgotten(now));
        for node in nodes.values() {
            match situation.paths.get(node.id.as_bytes()) {
                Some(path) if path.state.works() && !has_said_so(node) => {
                    self.paths
                        .entry(node.id)
                        .or_default()
                        .handle_works(path.since, now);
                }
                // Who never worked has not failed.
                _ => {
                    if let Some(damping) = self.paths.get_mut(&node.id) {
                        damping.handle_fails(has_said_so(node), now);
                    }
                }
            }
        }
    }

    /// Takes note of what an owner, or its checks, say of one prefix.
    pub(super) fn note_marks(&mut self, prefix: IpNet, owner: NodeId, marked: bool, now: Instant) {
        if marked {
            self.marks
                .entry((prefix, owner))
                .or_default()
                .handle_fails(false, now);
        } else if !self.marks.is_empty()
            && let Some(damping) = self.marks.get_mut(&(prefix, owner))
        {
            damping.handle_works(now, now);
        }
    }

    /// Until when an owner is held back, and whether it failed lately at all.
    pub(super) fn held(&self, prefix: &IpNet, owner: &NodeId, now: Instant) -> (Option<Instant>, bool) {
        let path = self.paths.get(owner);
        let marks = (!self.marks.is_empty())
            .then(|| self.marks.get(&(*prefix, *owner)))
            .flatten();
        let known = || path.into_iter().chain(marks);
        let until = known().filter_map(|damping| damping.held_until(now)).max();
        (until, known().any(|damping| !damping.is_forgotten(now)))
    }

    /// Until when a prefix whose target works stays where it is.
    pub(super) fn rests_until(&self, prefix: &IpNet, now: Instant) -> Option<Instant> {
        self.current.get(prefix)?.rests_until.filter(|until| now < *until)
    }

    /// Packets of `prefix` go to `target`; `None`: because of this, to something else than before.
    pub(super) fn chosen(&mut self, prefix: IpNet, target: Target, cause: Option<RouteCause>, now: Instant) {
        let rests = |rest: Duration| Some(now + rest);
        let rests_until = match cause {
            None => self.current.get(&prefix).and_then(|current| current.rests_until),
            Some(RouteCause::Announced) => None,
            Some(cause) if cause.is_planned() => rests(PLANNED),
            Some(_) => rests(FIRST),
        };
        self.current.insert(prefix, Current { target, rests_until });
    }

    /// Forgets prefixes without a route; returns where they went.
    pub(super) fn keep(&mut self, routed: impl Fn(&IpNet) -> bool) -> Vec<(IpNet, Target)> {
        let gone = self.current.extract_if(.., |prefix, _| !routed(prefix));
        gone.map(|(prefix, current)| (prefix, current.target)).collect()
    }

    /// Something may be different at each of these moments.
    pub(super) fn wake_at(&mut self, moments: impl IntoIterator<Item = Instant>, now: Instant) {
        let future = moments.into_iter().filter(|at| *at > now);
        self.wake = self.wake.into_iter().chain(future).min();
    }
}

/// Whether a node told the others to move their traffic away.
fn has_said_so(node: &NodeView) -> bool {
    node.serving.draining || node.prefixes.is_empty()
}
