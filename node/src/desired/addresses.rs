//! What the kernel needs for the chosen routes: routes out of the TUN, guards, addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv6Net};
use meshnode_crypto::prefix::overlap;
use meshnode_crypto::{mesh_address, mesh_prefix};
use meshnode_membership::view::View;

use super::choice::Choice;
use super::{KernelDesired, KernelRoute, Local, MESH_METRIC};

/// The kernel's part.
pub fn kernel(view: &View, local: &Local, choice: &Choice) -> KernelDesired {
    let mut routes = BTreeMap::new();
    let hints = [source_hint(local, false), source_hint(local, true)];
    for prefix in choice.routed() {
        for part in parts(prefix, local) {
            let hint = hints[usize::from(matches!(part, IpNet::V6(_)))];
            routes.insert(part, hint);
        }
    }
    for node in view.nodes.values() {
        routes.insert(IpNet::from(IpAddr::V6(node.mesh_address)), None);
        routes.insert(IpNet::V6(node.client_prefix_v6), None);
    }
    KernelDesired {
        routes: routes
            .into_iter()
            .map(|(prefix, hint)| mesh_route(prefix, hint))
            .collect(),
        guards: guards(view, local, choice),
        addresses: BTreeSet::from([IpNet::V6(own_address(view))]),
        own: local.prefixes.clone(),
    }
}

fn mesh_route(prefix: IpNet, source_hint: Option<IpAddr>) -> KernelRoute {
    KernelRoute {
        prefix,
        metric: MESH_METRIC,
        source_hint,
    }
}

fn own_address(view: &View) -> Ipv6Net {
    Ipv6Net::from(mesh_address(&view.mesh, &view.me))
}

/// A prefix that the host routes too would lose or win by metric alone: its halves are longer and win.
fn parts(prefix: &IpNet, local: &Local) -> Vec<IpNet> {
    let halves = || prefix.subnets(prefix.prefix_len() + 1).map(Iterator::collect);
    match local.host.routes.contains(prefix).then(halves) {
        Some(Ok(halves)) => halves,
        _ => vec![*prefix],
    }
}

/// A host address inside the own prefixes: what the gateway itself should send from.
pub fn source_hint(local: &Local, v6: bool) -> Option<IpAddr> {
    let candidates = local.host.addresses.iter().filter(|a| a.is_ipv6() == v6);
    candidates
        .copied()
        .find(|a| local.prefixes.iter().any(|p| p.contains(a)))
}

/// What must not leave in clear: everything that is routed. The whole mesh range stands for the nodes'
/// own addresses; default routes have no guard, or the host could reach nothing without us.
pub fn guarded(view: &View, choice: &Choice) -> BTreeSet<IpNet> {
    let mesh = IpNet::V6(mesh_prefix(&view.mesh));
    choice
        .routed()
        .copied()
        .filter(|p| p.prefix_len() > 0)
        .chain([mesh])
        .collect()
}

/// Those, what lies behind this node itself, and what is remembered unless it would get in the way of the host.
fn guards(view: &View, local: &Local, choice: &Choice) -> BTreeSet<IpNet> {
    let in_the_way =
        |p: &IpNet| local.prefixes.contains(p) || local.host.connected.iter().any(|c| overlap(&c.prefix, p));
    let remembered = local.remembered.iter().copied().filter(|p| !in_the_way(p));
    let own = local.guarded.iter().copied();
    guarded(view, choice)
        .into_iter()
        .chain(own)
        .chain(remembered)
        .collect()
}
