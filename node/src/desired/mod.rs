//! From the view of the mesh and the health of its paths to what should be: kernel routes, guards, addresses, and the
//! data plane's peers. Pure: the same inputs give the same desired state.
//!
//! [`compose`] decides for each announced prefix who serves it ([`choice`]), then derives what the
//! kernel needs for that ([`addresses`]) and what the data plane needs ([`tunnels`]). Features add
//! their own peers and routes afterwards. Health changes where the data plane sends; the kernel's routes all lead to
//! the TUN and do not change with it.

pub mod abilities;
mod addresses;
pub mod choice;
pub mod explain;
#[cfg(test)]
pub mod fixture;
mod guards;
mod kernel;
mod reach;
#[cfg(test)]
mod tests;
mod tunnels;

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use meshnode_crypto::NodeId;
use meshnode_crypto::prefix::overlap;
use meshnode_dataplane::table::{self, Peer, PeerId};
use meshnode_dataplane::{Check, RelayPolicy};
use meshnode_membership::view::View;

pub use choice::{Choice, Paths, RouteCause, RouteChange, RouteState, RouteStatus, Situation, Target};
pub use guards::GuardMemory;
pub use kernel::{Connected, Host, KernelDesired, KernelRoute, MESH_METRIC};
pub use reach::Reach;

/// What this node itself brings to the composition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Local {
    /// Prefixes taken although they are default routes, overlap a connected subnet, or equal a route
    /// of the host's.
    pub accept: Vec<IpNet>,
    /// Prefixes that this node serves.
    pub prefixes: Vec<IpNet>,
    /// The host without us.
    pub host: Host,
    /// Checks that this node made itself and that failed: the prefix, and through whom.
    pub failing_checks: BTreeSet<(IpNet, NodeId)>,
    /// Guards to keep for prefixes that nobody announces at the moment.
    pub remembered: BTreeSet<IpNet>,
    /// Guards beneath the host's own ways into the prefixes that it serves.
    pub guarded: BTreeSet<IpNet>,
}

/// What should be.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// For the netlink adapter.
    pub kernel: KernelDesired,
    /// Prefixes that must not leave in clear as long as they are announced.
    pub guarded: BTreeSet<IpNet>,
    /// What the gateway itself sends IPv4 from.
    pub source_hint_v4: Option<IpAddr>,
    /// Largest packet that the host's own links take, in bytes.
    pub link_mtu: u16,
    /// Tunnels.
    pub peers: Vec<Peer>,
    /// Who serves each prefix; the longest prefix decides.
    pub routes: Vec<(IpNet, table::Target)>,
    /// Inner destinations that are this node's.
    pub local: Vec<IpNet>,
    /// Addresses whose QUIC is given its own queue.
    pub member_addresses: Vec<IpAddr>,
    /// What this node relays for others.
    pub relay: RelayPolicy,
    /// Nodes that say that they relay for others.
    pub relays: BTreeSet<PeerId>,
    /// Targets behind other nodes that this one asks for an answer.
    pub checks: Vec<Check>,
    /// Every announced prefix of every other node, sorted, with what became of it.
    pub statuses: Vec<RouteStatus>,
    /// Routes that are not as they were.
    pub changes: Vec<RouteChange>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Decides what should be, without features. `memory` is what is kept from one call to the next.
pub fn compose(situation: &Situation<'_>, memory: &mut choice::Memory) -> Desired {
    let (view, local) = (situation.view, situation.local);
    let choice = choice::choose(situation, memory);
    Desired {
        kernel: addresses::kernel(view, local, &choice),
        guarded: addresses::guarded(view, &choice),
        source_hint_v4: addresses::source_hint(local, false),
        link_mtu: local.host.underlay_mtu(),
        peers: tunnels::peers(view, &choice),
        routes: tunnels::routes(view, &choice),
        local: tunnels::local(view, local),
        member_addresses: tunnels::member_addresses(view),
        relay: RelayPolicy::default(),
        relays: abilities::relays(view),
        checks: Vec::new(),
        warnings: warnings(view, local, &choice),
        statuses: choice.statuses,
        changes: choice.changes,
    }
}

fn warnings(view: &View, local: &Local, choice: &Choice) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(skew) = view.clock_skew {
        let (seconds, side) = (
            skew.unsigned_abs() / 1000,
            if skew > 0 { "behind" } else { "ahead of" },
        );
        warnings.push(format!(
            "this host's clock is {seconds} s {side} the other members': set it right (NTP); until then nobody is \
             admitted and expiry removes nobody"
        ));
    }
    let v4 = |p: &IpNet| matches!(p, IpNet::V4(_));
    if local.prefixes.iter().any(v4)
        && choice.routed().any(v4)
        && addresses::source_hint(local, false).is_none()
    {
        warnings.push(
            "no address of this host lies in its own prefixes: hosts behind it reach the mesh, but connections \
             from this gateway itself will be dropped by the others"
                .to_owned(),
        );
    }
    warnings.extend(choice.checks_ignored.iter().map(|prefix| {
        format!(
            "no gateway of {prefix} passes its check: the check is ignored until one does; is its target down?"
        )
    }));
    warnings.extend(
        local
            .prefixes
            .iter()
            .filter(|p| !leads_somewhere(p, &local.host))
            .map(|prefix| {
                format!(
                    "nothing to forward for {prefix}: this host has no interface in it and no route into it"
                )
            }),
    );
    warnings
}

fn leads_somewhere(prefix: &IpNet, host: &Host) -> bool {
    let routes = host.routes.iter().filter(|r| r.prefix_len() > 0);
    let connected = host.connected.iter().map(|c| &c.prefix);
    connected.chain(routes).any(|net| overlap(net, prefix))
        || host.addresses.iter().any(|address| prefix.contains(address))
}
