//! Checks of what lies behind gateways: a router that is online but does not forward loses its routes.
//!
//! ```text
//!   owner's record: "check icmp://10.0.0.5"  ──►  three elected members ask the target through the owner's tunnel,
//!                                                 from an address in their own prefixes      (dataplane::check)
//!         ▲                                          │ each acts on what it finds at once
//!         │ flag in its own record                   ▼
//!   owner, when more than half say so  ◄── report ── "it does not answer"
//! ```
//!
//! So those that check leave the gateway first, and all others when its own record says it: nobody else's word moves
//! anybody's traffic. When every gateway of a prefix fails, its check is ignored and an alarm raised
//! ([`crate::desired::choice`]): it is the target that is down, or none of them would be better than another.

pub mod election;
pub mod status;
pub mod votes;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use meshnode_crypto::NodeId;
use meshnode_dataplane::{Check, DataplaneEvent, Verdict, Verdicts};
use meshnode_membership::record::serving::{CheckTarget, Serving};
use meshnode_membership::view::{NodeView, View};

use self::election::elected;
use self::votes::Ballot;
use super::Feature;
use crate::desired::{Desired, Local, RouteState};
pub use status::CheckStatus;

/// What this node checks for others, and what others find behind it.
#[derive(Debug, Default)]
pub struct Checks {
    seed: u64,
    plan: Plan,
    ballot: Ballot,
    /// Own prefixes whose target fails.
    failing_here: BTreeSet<IpNet>,
    next: Option<Instant>,
}

/// What follows from one view.
#[derive(Debug, Default)]
struct Plan {
    /// By owner and target, the prefixes that it is checked for, and where from.
    ours: BTreeMap<(NodeId, CheckTarget), Ours>,
    /// Own prefixes with a target: the target, and who checks it.
    asked: BTreeMap<IpNet, (CheckTarget, Vec<NodeId>)>,
    warnings: Vec<String>,
}

#[derive(Debug)]
struct Ours {
    prefixes: BTreeSet<IpNet>,
    source: IpAddr,
}

impl Checks {
    /// `seed`: secret and random, for what tells one question from all others.
    pub fn new(seed: u64) -> Checks {
        Checks {
            seed,
            ..Checks::default()
        }
    }

    /// A seed of its own for each target behind each gateway: an answer that came through one must not pass for one through
    /// another, which asks the same target.
    fn seed_of(&self, owner: &NodeId, target: &CheckTarget) -> u64 {
        let mut hash = DefaultHasher::new();
        (self.seed, owner.as_bytes(), target).hash(&mut hash);
        hash.finish()
    }

    /// Takes a view: who checks what. `own`: the targets behind this node.
    pub fn prepare(&mut self, view: &View, local: &Local, own: &BTreeMap<IpNet, CheckTarget>, now: Instant) {
        self.plan = Plan::of(view, local, own);
        let mut ballot = std::mem::take(&mut self.ballot);
        for (target, electors) in self.plan.electors() {
            let mut votes = ballot.remove(&target).unwrap_or_default();
            votes.keep(&electors);
            self.ballot.insert(target, votes);
        }
        self.judge(now);
    }

    /// Takes an event of the data plane; true when something has to be composed anew.
    pub fn handle_event(&mut self, event: &DataplaneEvent, now: Instant) -> bool {
        match event {
            DataplaneEvent::CheckChanged { .. } => true,
            DataplaneEvent::CheckReported { peer, target, passes } => NodeId::from_bytes(peer)
                .is_ok_and(|from| self.handle_report(from, from_dataplane(target), *passes, now)),
            _ => false,
        }
    }

    /// When to compose again although nothing happened.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Through whom this node itself finds targets failing.
    pub fn failing(&self, verdicts: &Verdicts) -> BTreeSet<(IpNet, NodeId)> {
        let fails = |(owner, target): &(NodeId, CheckTarget)| {
            verdicts.get(&(*owner.as_bytes(), to_dataplane(target))) == Some(&Verdict::Fails)
        };
        let failing = self.plan.ours.iter().filter(|(key, _)| fails(key));
        failing
            .flat_map(|((owner, _), ours)| ours.prefixes.iter().map(|prefix| (*prefix, *owner)))
            .collect()
    }

    /// What this node says of its serving, with what peers found behind it.
    pub fn mark(&self, mut serving: Serving) -> Serving {
        for prefix in &self.failing_here {
            if let Some(options) = serving.prefixes.get_mut(prefix) {
                options.check_fails = true;
            }
        }
        serving
    }

    /// How every check in the view stands. `failing`, as [`Checks::failing`] gives it.
    pub fn statuses(&self, view: &View, failing: &BTreeSet<(IpNet, NodeId)>) -> Vec<CheckStatus> {
        let own = self
            .plan
            .asked
            .iter()
            .map(|(prefix, (target, _))| (*prefix, *target));
        status::statuses(view, failing, own, &self.failing_here)
    }

    /// What the user should know.
    pub fn warnings(&self, view: &View, now: Instant) -> Vec<String> {
        let name = |id: &NodeId| {
            view.nodes
                .get(id)
                .map_or_else(|| id.short(), |node| node.name.clone())
        };
        let failing = self
            .plan
            .asked
            .iter()
            .filter(|(prefix, _)| self.failing_here.contains(*prefix));
        let told = failing.map(|(prefix, (target, _))| {
            let votes = self.ballot.get(target).into_iter();
            let who: Vec<String> = votes.flat_map(|votes| votes.against(now)).map(name).collect();
            format!(
                "{target} does not answer through this gateway of {prefix}, says {}: does this host forward, and does \
                 the target answer hosts of other prefixes?",
                if who.is_empty() { "who checked it last".to_owned() } else { who.join(", ") }
            )
        });
        self.plan.warnings.iter().cloned().chain(told).collect()
    }

    fn handle_report(&mut self, from: NodeId, target: CheckTarget, passes: bool, now: Instant) -> bool {
        let mut asked = self.plan.asked.values();
        if !asked.any(|(known, electors)| *known == target && electors.contains(&from)) {
            return false;
        }
        let before = self.failing_here.clone();
        self.ballot
            .entry(target)
            .or_default()
            .handle_report(from, passes, now);
        self.judge(now);
        self.failing_here != before
    }

    fn judge(&mut self, now: Instant) {
        let ballot = &mut self.ballot;
        let mut fails = |target: &CheckTarget| ballot.get_mut(target).is_some_and(|votes| votes.judge(now));
        let failing = self.plan.asked.iter().filter(|(_, (target, _))| fails(target));
        self.failing_here = failing.map(|(prefix, _)| *prefix).collect();
        self.next = self
            .ballot
            .values()
            .filter_map(|votes| votes.poll_timeout(now))
            .min();
    }
}

impl Plan {
    fn of(view: &View, local: &Local, own: &BTreeMap<IpNet, CheckTarget>) -> Plan {
        let asked =
            |(prefix, target): (&IpNet, &CheckTarget)| (*prefix, (*target, elected(prefix, target, view)));
        let mut plan = Plan {
            asked: own.iter().map(asked).collect(),
            ..Plan::default()
        };
        for owner in view.nodes.values() {
            for (prefix, target) in targets(owner) {
                if elected(&prefix, &target, view).contains(&view.me) {
                    plan.add(owner, prefix, target, view, local);
                }
            }
        }
        plan
    }

    fn add(&mut self, owner: &NodeView, prefix: IpNet, target: CheckTarget, view: &View, local: &Local) {
        let Some(source) = source(view, local, target.address().is_ipv4()) else {
            self.warnings.push(format!(
                "this node should check {target} behind {}, and has no address in its own prefixes to ask from: others do it \
                 if there are any",
                owner.name
            ));
            return;
        };
        let ours = self.ours.entry((owner.id, target)).or_insert(Ours {
            prefixes: BTreeSet::new(),
            source,
        });
        ours.prefixes.insert(prefix);
    }

    /// Who has a say on each target behind this node.
    fn electors(&self) -> BTreeMap<CheckTarget, Vec<NodeId>> {
        let mut all: BTreeMap<CheckTarget, Vec<NodeId>> = BTreeMap::new();
        for (target, electors) in self.asked.values() {
            all.entry(*target).or_default().extend(electors);
        }
        all
    }
}

/// The targets that a node names behind itself.
fn targets(owner: &NodeView) -> impl Iterator<Item = (IpNet, CheckTarget)> {
    let named = owner.serving.prefixes.iter();
    named.filter_map(|(prefix, options)| Some((*prefix, options.check?)))
}

/// Where to ask from: an address of this host in a prefix of its own; rather in one that nobody else serves, since the answer
/// would go there.
fn source(view: &View, local: &Local, v4: bool) -> Option<IpAddr> {
    let shared = |prefix: &IpNet| {
        let mut nodes = view.nodes.values();
        nodes.any(|node| node.prefixes.iter().any(|announced| announced.prefix == *prefix))
    };
    let own = |address: &IpAddr| {
        local
            .prefixes
            .iter()
            .filter(|prefix| prefix.contains(address))
            .max_by_key(|p| p.prefix_len())
    };
    let candidates = local
        .host
        .addresses
        .iter()
        .filter(|address| address.is_ipv4() == v4);
    let fitting = candidates.filter_map(|address| Some((shared(own(address)?), *address)));
    fitting
        .min_by_key(|(shared, _)| *shared)
        .map(|(_, address)| address)
}

fn to_dataplane(target: &CheckTarget) -> meshnode_dataplane::CheckTarget {
    match *target {
        CheckTarget::Icmp(address) => meshnode_dataplane::CheckTarget::Icmp(address),
        CheckTarget::Tcp(socket) => meshnode_dataplane::CheckTarget::Tcp(socket),
    }
}

fn from_dataplane(target: &meshnode_dataplane::CheckTarget) -> CheckTarget {
    match *target {
        meshnode_dataplane::CheckTarget::Icmp(address) => CheckTarget::Icmp(address),
        meshnode_dataplane::CheckTarget::Tcp(socket) => CheckTarget::Tcp(socket),
    }
}

impl Feature for Checks {
    fn name(&self) -> &'static str {
        "checks"
    }

    /// What is not taken from an owner is not accepted from it either: an answer would be dropped.
    fn desired(&self, desired: &mut Desired) {
        let rejected: BTreeSet<(IpNet, NodeId)> = desired
            .statuses
            .iter()
            .filter(|status| status.state == RouteState::Rejected)
            .map(|status| (status.prefix, status.owner))
            .collect();
        let taken =
            |owner: &NodeId, ours: &Ours| ours.prefixes.iter().any(|p| !rejected.contains(&(*p, *owner)));
        let ours = self
            .plan
            .ours
            .iter()
            .filter(|((owner, _), ours)| taken(owner, ours));
        desired.checks = ours
            .map(|((owner, target), ours)| Check {
                owner: *owner.as_bytes(),
                target: to_dataplane(target),
                source: ours.source,
                seed: self.seed_of(owner, target),
            })
            .collect();
    }
}
