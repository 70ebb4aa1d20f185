//! What the node is at a moment: the result of one composition, for the API and metrics to read.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use meshnode_dataplane::{Peer, PeerStats};
use meshnode_membership::record::AnnouncedPrefix;
use meshnode_membership::view::View;

use super::changes::RouteChanges;
use crate::config::Settings;
use crate::desired::{RouteState, RouteStatus};
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
    /// What this node announces.
    pub announced: Vec<AnnouncedPrefix>,
    /// Prefixes with a guard that are announced at present.
    pub guarded: BTreeSet<IpNet>,
    /// Where others may reach us, before membership adds what it observed.
    pub endpoints: Vec<SocketAddr>,
    /// Everybody with a tunnel: the other nodes and the attached devices.
    pub peers: Vec<Peer>,
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

    /// What lies behind this node for an attached device: every prefix that is served, own ones too.
    pub fn behind(&self) -> Vec<IpNet> {
        let others = self.routes.iter().filter(|r| r.state != RouteState::Rejected);
        let own = self.announced.iter().map(|a| a.prefix);
        let mesh = IpNet::V6(meshnode_crypto::mesh_prefix(&self.view.mesh));
        let all = others.map(|r| r.prefix).chain(own).chain([mesh]);
        all.filter(|p| p.prefix_len() > 0).collect()
    }
}
