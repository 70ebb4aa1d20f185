//! What the facts say of an address, a peer, a prefix.

use std::cmp::Reverse;
use std::net::IpAddr;

use ipnet::IpNet;
use meshnode_crypto::NodeId;
use meshnode_dataplane::flow::Ingress;
use meshnode_dataplane::table::Hop;
use meshnode_dataplane::{PathState, PeerId, PeerKind, Via};
use meshnode_membership::view::NodeView;

use super::story::{Arrival, Candidate, Finding, Relay, Way, millis, seconds};
use super::{Facts, Question};
use crate::desired::{RouteState, RouteStatus};

impl Facts<'_> {
    /// Where a packet with that source comes in.
    pub(super) fn arrives_from(&self, question: &Question) -> Ingress {
        let source = question.source;
        if let Some(index) = question.from.and_then(|peer| self.table.peer_index(&peer)) {
            return Ingress::Peer(index);
        }
        if let Some(client) = self.table.client(source) {
            return Ingress::Peer(client);
        }
        if self.table.is_local(source) || self.host.addresses.contains(&source) {
            return Ingress::Tun;
        }
        if let Some(Hop::Peer(owner)) = self.table.route(source) {
            return Ingress::Peer(owner);
        }
        let peers = self.table.peers().iter().zip(0..);
        let mut may = peers
            .filter(|(peer, _)| peer.may_use(source))
            .map(|(_, index)| index);
        may.next().map_or(Ingress::Tun, Ingress::Peer)
    }

    pub(super) fn arrival(&self, ingress: Ingress) -> Arrival {
        match ingress {
            Ingress::Tun => Arrival::Host,
            Ingress::Peer(index) if self.is_client(index) => Arrival::Client(self.name(index)),
            Ingress::Peer(index) => Arrival::Peer(self.name(index)),
        }
    }

    pub(super) fn is_client(&self, index: u32) -> bool {
        let peer = self.table.peers().get(index as usize);
        peer.is_some_and(|peer| peer.peer.kind == PeerKind::Client)
    }

    fn name(&self, index: u32) -> String {
        let id = self.table.peer_id(index).unwrap_or_default();
        match self.clients.get(&id) {
            Some(client) => client.clone(),
            None => self.node(&id).map_or_else(String::new, |node| node.name.clone()),
        }
    }

    fn node(&self, id: &PeerId) -> Option<&NodeView> {
        self.view.nodes.get(&NodeId::from_bytes(id).ok()?)
    }

    /// Whether what came out of a tunnel may have that source.
    pub(super) fn check_arrived(&self, source: IpAddr, ingress: Ingress) -> Finding {
        let Ingress::Peer(index) = ingress else {
            return Finding::good("it comes from this host");
        };
        let name = self.name(index);
        match self
            .table
            .peers()
            .get(index as usize)
            .is_some_and(|peer| peer.may_use(source))
        {
            true => Finding::good(format!("{name} may send from {source}")),
            false => Finding::bad(format!(
                "{name} may not send from {source}: it is in none of its prefixes"
            )),
        }
    }

    /// Whether the other end accepts that source from us: it goes by our record.
    pub(super) fn check_there(&self, source: IpAddr) -> Finding {
        if let Some(prefix) = self.announced.iter().find(|prefix| prefix.contains(&source)) {
            return Finding::good(format!(
                "{source} is in this node's prefix {prefix}: others accept it from here"
            ));
        }
        let own = self.view.own.as_ref();
        let is_ours = meshnode_crypto::mesh_address(&self.view.mesh, &self.view.me) == source
            || own.is_some_and(|own| {
                own.client_pool
                    .map(IpNet::V4)
                    .is_some_and(|pool| pool.contains(&source))
            })
            || own.is_some_and(|own| IpNet::V6(own.client_prefix_v6).contains(&source));
        match is_ours {
            true => Finding::good(format!("{source} is this node's own: others accept it from here")),
            false => Finding::bad(format!("{source} is in no prefix that this node announces")),
        }
    }

    pub(super) fn own_prefixes(&self) -> String {
        let all: Vec<String> = self.announced.iter().map(IpNet::to_string).collect();
        if all.is_empty() {
            "its mesh address".to_owned()
        } else {
            all.join(", ")
        }
    }

    /// Everybody who announces a prefix that holds the address: the longest prefix first, then as they are ranked.
    pub(super) fn candidates(&self, destination: IpAddr) -> Vec<Candidate> {
        let mut found: Vec<&RouteStatus> = self
            .routes
            .iter()
            .filter(|r| r.prefix.contains(&destination))
            .collect();
        found.sort_by_key(|r| Reverse(r.prefix.prefix_len()));
        found.into_iter().map(|route| self.candidate(route)).collect()
    }

    fn candidate(&self, route: &RouteStatus) -> Candidate {
        let announced = self.view.nodes.get(&route.owner);
        let priority = |node: &NodeView| {
            node.prefixes
                .iter()
                .find(|a| a.prefix == route.prefix)
                .map(|a| a.priority)
        };
        let path = self.paths.get(route.owner.as_bytes());
        Candidate {
            prefix: route.prefix,
            node: route.via.clone(),
            state: route.state.as_str().to_owned(),
            priority: announced.and_then(priority),
            health: path
                .map_or(PathState::Connecting, |path| path.state)
                .as_str()
                .to_owned(),
            rtt_ms: path.and_then(|path| path.rtt).map(millis),
            reason: route.reason.as_ref().map(|reason| reason.text(self.now)),
        }
    }

    /// What would have the address taken, if it is not for a reason of this host's.
    pub(super) fn rejected_fix(&self, destination: IpAddr) -> Option<String> {
        let rejected = self.routes.iter().filter(|r| r.state == RouteState::Rejected);
        let holding = rejected.filter(|r| r.prefix.contains(&destination) && r.prefix.prefix_len() > 0);
        let longest = holding.max_by_key(|r| r.prefix.prefix_len())?;
        let why = longest.reason.as_ref().map(|reason| reason.text(self.now));
        let why = why.unwrap_or_default();
        Some(format!(
            "{} of {} is not taken here: {why}",
            longest.prefix, longest.via
        ))
    }

    fn relay(&self, via: &Via) -> Relay {
        let node = self.node(&via.relay);
        Relay {
            node: node.map_or_else(String::new, |node| node.name.clone()),
            id: node.map_or_else(String::new, |node| node.id.to_string()),
            near_ms: via.near.map(millis),
            far_ms: via.far.map(millis),
        }
    }

    pub(super) fn way(&self, index: u32) -> Option<Way> {
        let id = self.table.peer_id(index)?;
        let (stats, path) = (self.stats.peers.get(&id), self.paths.get(&id));
        let relay = stats.and_then(|stats| stats.via).map(|via| self.relay(&via));
        Some(Way {
            node: self.name(index),
            id: self
                .node(&id)
                .map_or_else(String::new, |node| node.id.to_string()),
            path: relay
                .as_ref()
                .map_or_else(|| "direct".to_owned(), |relay| format!("relay:{}", relay.node)),
            relay,
            endpoint: stats.and_then(|stats| stats.endpoint),
            health: path
                .map_or(PathState::Connecting, |path| path.state)
                .as_str()
                .to_owned(),
            has_session: stats.is_some_and(|stats| stats.last_handshake.is_some()),
            since_s: path.map(|path| seconds(self.now.saturating_duration_since(path.since))),
            proven_s: path
                .and_then(|path| path.proven)
                .map(|at| seconds(self.now.saturating_duration_since(at))),
            rtt_ms: path.and_then(|path| path.rtt).map(millis),
            loss: path.map(|path| path.loss),
            mtu: stats.map(|stats| stats.mtu).filter(|mtu| *mtu > 0),
        })
    }
}
