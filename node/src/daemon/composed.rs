//! What the node is at a moment: the result of one composition, for the API and metrics to read.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use meshnode_dataplane::{Peer, PeerStats};
use meshnode_membership::record::AnnouncedPrefix;
use meshnode_membership::view::View;

use super::changes::RouteChanges;
use crate::config::Settings;
use crate::desired::{Host, KernelDesired, RouteState, RouteStatus};
use crate::features::checks::CheckStatus;
use crate::history::sources;
use crate::state::ClientEntry;

/// An immutable snapshot, replaced at every change.
#[derive(Debug, Clone)]
pub struct Composed {
    /// The mesh.
    pub view: Arc<View>,
    /// The settings in force.
    pub settings: Arc<Settings>,
    /// What every announced prefix became.
    pub routes: Vec<RouteStatus>,
    /// Since when each of these is in its state.
    pub since: Vec<Instant>,
    /// How what lies behind gateways answers.
    pub checks: Vec<CheckStatus>,
    /// What this node announces.
    pub announced: Vec<AnnouncedPrefix>,
    /// Prefixes with a guard that are announced at present.
    pub guarded: BTreeSet<IpNet>,
    /// Where others may reach us, before membership adds what it observed.
    pub endpoints: Vec<SocketAddr>,
    /// Everybody with a tunnel: the other nodes and the attached devices.
    pub peers: Vec<Peer>,
    /// What the kernel was told.
    pub kernel: KernelDesired,
    /// The host without us.
    pub host: Arc<Host>,
    /// Attached WireGuard devices.
    pub clients: Vec<ClientEntry>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Since the start.
    pub changes: RouteChanges,
    /// Whether the others were asked to send elsewhere.
    pub draining: bool,
    /// Largest inner packet, in bytes.
    pub mtu: u16,
}

impl Composed {
    /// Where others may reach us: published endpoints if there are any yet.
    pub fn reachable_at(&self) -> &[SocketAddr] {
        match &self.view.own {
            Some(own) if !own.endpoints.is_empty() => &own.endpoints,
            _ => &self.endpoints,
        }
    }

    /// Which way packets to a peer take: `direct`, or `relay:<name>`.
    pub fn way(&self, measured: &PeerStats) -> String {
        sources::way(measured.via.map(|via| via.relay).as_ref(), &self.view)
    }

    /// Of an owner of a prefix, as it announces it.
    pub fn priority(&self, route: &RouteStatus) -> Option<u16> {
        let prefixes = &self.view.nodes.get(&route.owner)?.prefixes;
        prefixes
            .iter()
            .find(|a| a.prefix == route.prefix)
            .map(|a| a.priority)
    }

    /// What lies behind this node for an attached device: every prefix that is served, own ones too.
    pub fn behind(&self) -> Vec<IpNet> {
        let others = self.routes.iter().filter(|r| r.state != RouteState::Rejected);
        let own = self.announced.iter().map(|a| a.prefix);
        let mesh = IpNet::V6(meshnode_crypto::mesh_prefix(&self.view.mesh));
        let all = others.map(|r| r.prefix).chain(own).chain([mesh]);
        all.filter(|p| p.prefix_len() > 0).collect()
    }
}

/// Since when each of `after` is in its state, given the same of `before`. Both are sorted by prefix.
pub fn since(before: &[RouteStatus], times: &[Instant], after: &[RouteStatus], now: Instant) -> Vec<Instant> {
    let mut unread = before.iter().zip(times).peekable();
    let mut of_prefix: Vec<(&RouteStatus, &Instant)> = Vec::new();
    let mut times = Vec::with_capacity(after.len());
    for route in after {
        if of_prefix
            .first()
            .is_none_or(|(first, _)| first.prefix != route.prefix)
        {
            of_prefix.clear();
            while let Some(old) = unread.next_if(|(old, _)| old.prefix <= route.prefix) {
                of_prefix.extend((old.0.prefix == route.prefix).then_some(old));
            }
        }
        let same =
            |(old, _): &&(&RouteStatus, &Instant)| old.owner == route.owner && old.state == route.state;
        times.push(of_prefix.iter().find(same).map_or(now, |(_, at)| **at));
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::fixture::key;
    use std::time::Duration;

    fn status(prefix: &str, owner: u8, state: RouteState) -> RouteStatus {
        RouteStatus {
            prefix: prefix.parse().unwrap(),
            owner: key(owner),
            via: String::new(),
            state,
            reason: None,
        }
    }

    #[test]
    fn only_what_is_in_another_state_begins_anew() {
        use RouteState::{Active, Standby};
        let start = Instant::now();
        let now = start + Duration::from_secs(9);
        let before = [
            status("10.1.0.0/16", 1, Active),
            status("10.1.0.0/16", 2, Standby),
            status("10.2.0.0/16", 1, Active),
            status("10.4.0.0/16", 1, Active),
        ];
        let after = [
            status("10.0.0.0/16", 1, Active),
            status("10.1.0.0/16", 2, Active),
            status("10.1.0.0/16", 3, Standby),
            status("10.3.0.0/16", 1, Active),
            status("10.4.0.0/16", 1, Active),
        ];
        assert_eq!(
            since(&before, &[start; 4], &after, now),
            [now, now, now, now, start]
        );
        assert_eq!(since(&before, &[start; 4], &before, now), [start; 4]);
        assert_eq!(since(&[], &[], &after, now), [now; 5]);
    }
}
