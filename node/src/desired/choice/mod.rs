//! Who serves each prefix: from what owners announce, how the paths to them are, and what was chosen before.
//!
//! Of the owners of a prefix that is taken here ([`accept`]) the best carries its packets. What decides, in this
//! order:
//!
//! | | better | worse | when it changes |
//! |---|---|---|---|
//! | standing ([`Standing`]) | works | failed lately, draining, check fails, connecting, suspect, down, interface down | at once away from what does not work; back after it worked for 10 s, twice as long after every further failure, up to 5 min ([`damping`]); 2 s after a planned absence |
//! | priority | higher | lower | at once |
//! | quality | path up | path degraded for 10 s | among equal priorities only: who gives a gateway the higher priority wants it as long as packets get through |
//! | use | in use | not | never: nobody is left for an equal |
//! | identity | lower | higher | never |
//!
//! A target that works is not left for a better one within 10 s of the last change of its prefix (2 s after a
//! planned one), so that no flapping costs more than that. When all owners that work and are not drained want it,
//! flows are spread over those of equal standing, priority and quality.
//!
//! A check that every working owner fails is ignored, and said. When no owner works, packets go where those of the
//! next wider prefix go, if somebody works there; unless an owner says that they are to be dropped. Without such a
//! prefix they still go to the best owner: they wait for its session. An owner whose path is merely suspect is left for
//! a wider prefix too, but never for dropping: that waits until it is down.
//!
//! Pure: the same view, paths, memory and moment give the same choice. Sources play no part: what any owner sends is
//! accepted, whoever is chosen, so that packets may return by another gateway than they went.

mod accept;
mod change;
pub mod damping;
mod memory;
mod rank;
mod reason;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use ipnet::IpNet;
use meshnode_crypto::NodeId;
use meshnode_dataplane::{PeerHealth, PeerId};
use meshnode_membership::record::serving::Fallback;
use meshnode_membership::view::{NodeView, View};

use super::Local;
pub use change::{RouteCause, RouteChange, Target};
pub use memory::Memory;
use rank::Candidate;
pub use rank::{Standing, standing};
pub use reason::{Reason, Then, Why};

/// How the path to each peer is.
pub type Paths = BTreeMap<PeerId, PeerHealth>;

/// What a choice is made from.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The mesh.
    pub view: &'a View,
    /// This host.
    pub local: &'a Local,
    /// The paths; one that is missing has not worked yet.
    pub paths: &'a Paths,
    /// This moment.
    pub now: Instant,
}

/// What became of one prefix of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteState {
    /// Packets go there.
    Active,
    /// Another node is preferred, or none works.
    Standby,
    /// Not taken; the reason says what to do.
    Rejected,
}

impl RouteState {
    /// Every state, for metrics.
    pub const ALL: [RouteState; 3] = [RouteState::Active, RouteState::Standby, RouteState::Rejected];

    /// The word in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            RouteState::Active => "active",
            RouteState::Standby => "standby",
            RouteState::Rejected => "rejected",
        }
    }
}

/// One prefix of one node.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteStatus {
    /// The prefix.
    pub prefix: IpNet,
    /// Who announces it.
    pub owner: NodeId,
    /// The owner's shown name.
    pub via: String,
    /// What became of it.
    pub state: RouteState,
    /// Why, unless that is plain.
    pub reason: Option<Reason>,
}

/// The choice for all prefixes.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Announced prefixes that are taken, and where their packets go.
    pub active: BTreeMap<IpNet, Target>,
    /// Client pools that are routed, to their node.
    pub pools: BTreeMap<IpNet, NodeId>,
    /// Announced prefixes that are not taken.
    pub rejected: BTreeSet<IpNet>,
    /// Sorted by prefix, then by preference.
    pub statuses: Vec<RouteStatus>,
    /// What is not as it was after the last choice.
    pub changes: Vec<RouteChange>,
    /// Prefixes whose check no gateway passes.
    pub checks_ignored: Vec<IpNet>,
}

impl Choice {
    /// What packets are sent to.
    pub fn routed(&self) -> impl Iterator<Item = &IpNet> {
        self.active.keys().chain(self.pools.keys())
    }
}

/// Chooses for every prefix of the view. See the module documentation.
pub fn choose(situation: &Situation<'_>, memory: &mut Memory) -> Choice {
    memory.note_paths(situation);
    let (mut choice, mut wider) = (Choice::default(), Wider::default());
    for (prefix, owners) in announced(situation.view) {
        wider.leave(&prefix);
        if let Some((state, why)) = not_chosen_at_all(&prefix, situation.local) {
            if state == RouteState::Rejected {
                choice.rejected.insert(prefix);
            } else {
                wider.enter(prefix, None);
            }
            let reason = Reason::from(why);
            choice.statuses.extend(
                owners
                    .iter()
                    .map(|(_, node)| status(prefix, node, state, Some(reason.clone()))),
            );
            continue;
        }
        choose_one(prefix, &owners, situation, memory, &mut wider, &mut choice);
    }
    let gone = memory.keep(|prefix| choice.active.contains_key(prefix));
    choice.changes.extend(
        gone.into_iter()
            .map(|(prefix, from)| lost(prefix, from, situation.view)),
    );
    for node in situation.view.nodes.values() {
        if let Some(pool) = node.client_pool.map(IpNet::V4) {
            choose_pool(pool, node, situation.local, &mut choice);
        }
    }
    choice
}

type Owners<'a> = Vec<(u16, &'a NodeView)>;

/// Every prefix before those that it covers: they are ordered by address, then by length.
fn announced(view: &View) -> BTreeMap<IpNet, Owners<'_>> {
    let mut all: BTreeMap<IpNet, Owners<'_>> = BTreeMap::new();
    for node in view.nodes.values() {
        for announced in &node.prefixes {
            all.entry(announced.prefix)
                .or_default()
                .push((announced.priority, node));
        }
    }
    all
}

fn not_chosen_at_all(prefix: &IpNet, local: &Local) -> Option<(RouteState, Why)> {
    if local.prefixes.contains(prefix) {
        return Some((RouteState::Standby, Why::AlsoHere));
    }
    accept::rejection(prefix, local).map(|why| (RouteState::Rejected, Why::NotAccepted(why)))
}

fn choose_one(
    prefix: IpNet,
    owners: &[(u16, &NodeView)],
    situation: &Situation<'_>,
    memory: &mut Memory,
    wider: &mut Wider,
    choice: &mut Choice,
) {
    let now = situation.now;
    let (candidates, ignored) = rank::rank(prefix, owners, situation, memory);
    let last = memory.current(&prefix).cloned();
    let mut target = target(&candidates, wider.cover(), last.as_ref());
    let mut rests_until = None;
    if let (Some(last), Some(until)) = (&last, memory.rests_until(&prefix, now))
        && !target.is_as(last)
        && works(last, &candidates, wider.cover())
    {
        memory.wake_at([until], now);
        (target, rests_until) = (last.clone(), Some(until));
    }
    let changed = last.as_ref().is_none_or(|last| !target.is_as(last));
    let cause = changed.then(|| change::cause(last.as_ref(), &target, &candidates));
    memory.chosen(prefix, target.clone(), cause, now);
    choice.changes.extend(cause.map(|cause| RouteChange {
        prefix,
        from: last,
        to: Some(target.clone()),
        cause,
    }));
    choice.statuses.extend(candidates.iter().map(|candidate| {
        let active = target.nodes().contains(&candidate.node.id);
        let state = if active {
            RouteState::Active
        } else {
            RouteState::Standby
        };
        let reason = reason::reason(candidate, &candidates, &target, rests_until);
        status(prefix, candidate.node, state, reason)
    }));
    choice.checks_ignored.extend(ignored.then_some(prefix));
    if !matches!(target, Target::LessSpecific(_)) {
        wider.enter(prefix, worst(&target, &candidates));
    }
    choice.active.insert(prefix, target);
}

/// Where packets go if nothing holds them back.
fn target(candidates: &[Candidate<'_>], cover: Option<(IpNet, Standing)>, last: Option<&Target>) -> Target {
    let Some(best) = candidates.first() else {
        return Target::Dropped;
    };
    if candidates.iter().any(|c| c.options.fallback == Fallback::Drop) {
        if best.standing <= Standing::Down {
            return Target::Dropped;
        }
    } else if let Some((by, standing)) = cover {
        let better = best.standing <= Standing::Draining && standing.is_alive() && standing > best.standing;
        let stays = matches!(last, Some(Target::LessSpecific(_)))
            && best.standing == Standing::HeldBack
            && standing >= Standing::HeldBack;
        if better || stays {
            return Target::LessSpecific(by);
        }
    }
    let equals = || candidates.iter().filter(|c| c.equals(best));
    if best.standing != Standing::Works || equals().count() == 1 || !equals().all(|c| c.options.balance) {
        return Target::Node(best.node.id);
    }
    let mut nodes: Vec<NodeId> = equals().map(|c| c.node.id).collect();
    nodes.sort_unstable();
    Target::Balanced(nodes)
}

/// Whether packets get through where they went so far.
fn works(last: &Target, candidates: &[Candidate<'_>], cover: Option<(IpNet, Standing)>) -> bool {
    let fine = |id| {
        let candidate = candidates.iter().find(|c| c.node.id == id);
        candidate.is_some_and(|c| c.standing == Standing::Works)
    };
    match last {
        Target::LessSpecific(_) => cover.is_some_and(|(_, standing)| standing >= Standing::HeldBack),
        Target::Dropped => false,
        Target::Node(_) | Target::Balanced(_) => last.nodes().iter().all(|id| fine(*id)),
    }
}

/// Of the worst of those that packets go to.
fn worst(target: &Target, candidates: &[Candidate<'_>]) -> Option<Standing> {
    let used = candidates.iter().filter(|c| target.nodes().contains(&c.node.id));
    used.map(|c| c.standing).min()
}

/// The prefixes around the one that is looked at, widest first, and how good what they lead to is. One that is served
/// here, or closed, hides those around it.
#[derive(Default)]
struct Wider(Vec<(IpNet, Option<Standing>)>);

impl Wider {
    fn leave(&mut self, next: &IpNet) {
        while self.0.last().is_some_and(|(prefix, _)| !prefix.contains(next)) {
            self.0.pop();
        }
    }

    fn enter(&mut self, prefix: IpNet, standing: Option<Standing>) {
        self.0.push((prefix, standing));
    }

    fn cover(&self) -> Option<(IpNet, Standing)> {
        let (prefix, standing) = self.0.last()?;
        Some((*prefix, (*standing)?))
    }
}

fn lost(prefix: IpNet, from: Target, view: &View) -> RouteChange {
    let announced = |node: &NodeView| node.prefixes.iter().any(|a| a.prefix == prefix);
    let cause = match view.nodes.values().any(announced) {
        true => RouteCause::Settings,
        false => RouteCause::Withdrawn,
    };
    RouteChange {
        prefix,
        from: Some(from),
        to: None,
        cause,
    }
}

fn status(prefix: IpNet, node: &NodeView, state: RouteState, reason: Option<Reason>) -> RouteStatus {
    RouteStatus {
        prefix,
        owner: node.id,
        via: node.name.clone(),
        state,
        reason,
    }
}

/// A pool shows up among the routes only when it is not taken: it is nobody's announcement.
fn choose_pool(pool: IpNet, node: &NodeView, local: &Local, choice: &mut Choice) {
    if choice.active.contains_key(&pool) || local.prefixes.contains(&pool) {
        return;
    }
    match accept::rejection(&pool, local) {
        None => drop(choice.pools.insert(pool, node.id)),
        Some(why) => {
            let reason = Why::NotAccepted(format!("clients of {}: {why}", node.name)).into();
            choice
                .statuses
                .push(status(pool, node, RouteState::Rejected, Some(reason)));
        }
    }
}
