//! What the kernel's main table says of an address, as far as it is known here: ours in it, and the host's own.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Facts, Finding};

/// The route that wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KernelRoute {
    /// An address of this host.
    Own,
    /// A route out of the TUN.
    Mesh(IpNet),
    /// A route of the host's own, and the interface if it is a connected subnet.
    Host(IpNet, Option<String>),
    /// Nothing but the guard.
    Guard(IpNet),
    /// No route.
    None,
}

/// The longest prefix; of equal ones the host's, then ours, and a guard only where nothing else is.
pub(super) fn route(destination: IpAddr, facts: &Facts<'_>) -> KernelRoute {
    let own = IpAddr::V6(meshnode_crypto::mesh_address(&facts.view.mesh, &facts.view.me));
    if facts.host.addresses.contains(&destination) || destination == own {
        return KernelRoute::Own;
    }
    let host = facts
        .host
        .routes
        .iter()
        .chain(facts.host.connected.iter().map(|c| &c.prefix));
    let ours = facts.kernel.routes.iter().map(|route| &route.prefix);
    let (host, ours) = (longest(host, destination), longest(ours, destination));
    let guard = longest(facts.kernel.guards.iter(), destination);
    let length = |prefix: Option<IpNet>| prefix.map(|p| p.prefix_len());
    match (host, ours, guard) {
        (Some(host), ..) if length(Some(host)) >= length(ours) && length(Some(host)) >= length(guard) => {
            let connected = facts.host.connected.iter().find(|c| c.prefix == host);
            KernelRoute::Host(host, connected.map(|c| c.interface.clone()))
        }
        (_, Some(ours), guard) if length(Some(ours)) >= length(guard) => KernelRoute::Mesh(ours),
        (.., Some(guard)) => KernelRoute::Guard(guard),
        _ => KernelRoute::None,
    }
}

fn longest<'a>(prefixes: impl Iterator<Item = &'a IpNet>, destination: IpAddr) -> Option<IpNet> {
    let holding = prefixes.filter(|prefix| prefix.contains(&destination));
    holding.max_by_key(|prefix| prefix.prefix_len()).copied()
}

impl KernelRoute {
    /// As `ip route` would put it.
    pub(super) fn finding(&self, interface: &str) -> Finding {
        match self {
            KernelRoute::Own => Finding::good("local"),
            KernelRoute::Mesh(prefix) => Finding::good(format!("{prefix} dev {interface} proto 77")),
            KernelRoute::Host(prefix, Some(link)) => Finding::good(format!("{prefix} dev {link}, connected")),
            KernelRoute::Host(prefix, None) if prefix.prefix_len() == 0 => {
                Finding::good("the default route of this host")
            }
            KernelRoute::Host(prefix, None) => Finding::good(format!("{prefix}, a route of this host")),
            KernelRoute::Guard(prefix) => Finding::bad(format!("unreachable {prefix} proto 77")),
            KernelRoute::None => Finding::bad("no route"),
        }
    }
}
