//! Who serves each prefix.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use meshnode_crypto::NodeId;
use meshnode_crypto::prefix::overlap;
use meshnode_membership::view::{NodeView, View};

use super::Local;

/// What became of one prefix of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteState {
    /// Packets go there.
    Active,
    /// Another node serves the same prefix and is preferred.
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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
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
    pub reason: Option<String>,
}

/// The choice for all prefixes.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Announced prefix to the node that serves it.
    pub active: BTreeMap<IpNet, NodeId>,
    /// Client pools that are routed, to their node.
    pub pools: BTreeMap<IpNet, NodeId>,
    /// Announced prefixes that are not taken.
    pub rejected: BTreeSet<IpNet>,
    /// Sorted by prefix, then by preference.
    pub statuses: Vec<RouteStatus>,
}

impl Choice {
    /// What packets are sent to.
    pub fn routed(&self) -> impl Iterator<Item = &IpNet> {
        self.active.keys().chain(self.pools.keys())
    }
}

/// Highest priority, then lowest identity; own prefixes are never routed to another node.
pub fn choose(view: &View, local: &Local) -> Choice {
    let mut choice = Choice::default();
    for (prefix, mut owners) in announced(view) {
        owners.sort_by_key(|(priority, node)| (Reverse(*priority), node.id));
        choose_one(prefix, &owners, local, &mut choice);
    }
    for node in view.nodes.values() {
        if let Some(pool) = node.client_pool.map(IpNet::V4) {
            choose_pool(pool, node, local, &mut choice);
        }
    }
    choice
}

type Owners<'a> = Vec<(u16, &'a NodeView)>;

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

fn choose_one(prefix: IpNet, owners: &[(u16, &NodeView)], local: &Local, choice: &mut Choice) {
    let rejected = rejection(&prefix, local);
    let own = local.prefixes.contains(&prefix);
    for (rank, (priority, node)) in owners.iter().enumerate() {
        let (state, reason) = match (&rejected, own, rank) {
            (_, true, _) => (RouteState::Standby, Some("also announced here".to_owned())),
            (Some(why), _, _) => (RouteState::Rejected, Some(why.clone())),
            (None, _, 0) => (RouteState::Active, None),
            (None, _, _) => (RouteState::Standby, Some(why_standby(*priority, owners[0]))),
        };
        match state {
            RouteState::Active => drop(choice.active.insert(prefix, node.id)),
            RouteState::Rejected => drop(choice.rejected.insert(prefix)),
            RouteState::Standby => {}
        }
        choice.statuses.push(RouteStatus {
            prefix,
            owner: node.id,
            via: node.name.clone(),
            state,
            reason,
        });
    }
}

fn why_standby(priority: u16, (best, chosen): (u16, &NodeView)) -> String {
    match best > priority {
        true => format!("{} has the higher priority {best}", chosen.name),
        false => format!("{} has the same priority and the lower id", chosen.name),
    }
}

/// A pool shows up among the routes only when it is not taken: it is nobody's announcement.
fn choose_pool(pool: IpNet, node: &NodeView, local: &Local, choice: &mut Choice) {
    if choice.active.contains_key(&pool) || local.prefixes.contains(&pool) {
        return;
    }
    match rejection(&pool, local) {
        None => drop(choice.pools.insert(pool, node.id)),
        Some(why) => choice.statuses.push(RouteStatus {
            prefix: pool,
            owner: node.id,
            via: node.name.clone(),
            state: RouteState::Rejected,
            reason: Some(format!("clients of {}: {why}", node.name)),
        }),
    }
}

/// Why a prefix of another node is not taken here.
fn rejection(prefix: &IpNet, local: &Local) -> Option<String> {
    if matches!(prefix, IpNet::V6(_)) && !local.host.ipv6 {
        return Some("IPv6 is disabled on this host".to_owned());
    }
    if is_accepted(prefix, &local.accept) {
        return None;
    }
    if prefix.prefix_len() == 0 {
        return Some(format!("a default route: `--accept {prefix}` takes it"));
    }
    if let Some(subnet) = local.host.connected.iter().find(|c| overlap(&c.prefix, prefix)) {
        return Some(format!(
            "overlaps {} on {}: `--accept {prefix}` takes it",
            subnet.prefix, subnet.interface
        ));
    }
    local
        .host
        .routes
        .contains(prefix)
        .then(|| format!("this host has its own route for it: `--accept {prefix}` takes it"))
}

/// A default route is accepted by name only; anything else also by a wider prefix.
fn is_accepted(prefix: &IpNet, accept: &[IpNet]) -> bool {
    accept
        .iter()
        .any(|a| a == prefix || (a.prefix_len() > 0 && a.contains(prefix)))
}
