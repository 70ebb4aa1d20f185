//! The answers of `status`, `peers`, `routes` and `clients`, from what is composed and measured.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use meshnode_crypto::{WgPublicKey, mesh_address};
use meshnode_dataplane::stats::LaneStats;
use meshnode_dataplane::{Offload, PathState, PeerHealth, PeerStats, Stats};
use meshnode_membership::view::NodeView;

use super::types::{
    ClientStatus, LaneStatus, NodeStatus, OffloadStatus, PeerState, PeerStatus, Peers, RejectedRecord,
    RouteState, RouteStatus, Status,
};
use crate::daemon::composed::Composed;
use crate::daemon::node::{Node, wall_now};
use crate::desired::{self, Paths};
use crate::state::ClientEntry;

/// Everything.
pub fn status(node: &Node) -> Status {
    let (composed, stats) = (node.now_composed(), node.dataplane.stats());
    let paths = node.dataplane.health();
    Status {
        mesh: node.mesh.to_string(),
        node: own(node, &composed, &stats),
        peers: peer_list(&composed, &stats, &paths),
        routes: routes(&composed, &paths),
        clients: clients(&composed, &stats),
        warnings: composed.warnings.clone(),
    }
}

/// The others, and what was refused.
pub fn peers(node: &Node) -> Peers {
    let (composed, stats) = (node.now_composed(), node.dataplane.stats());
    let now = wall_now();
    let rejected = composed
        .view
        .rejected
        .iter()
        .map(|(source, rejected)| RejectedRecord {
            name: rejected.name.clone(),
            source: source.clone(),
            reason: rejected.reason.to_owned(),
            count: rejected.count,
            last_s: seconds(now.saturating_since(rejected.last)),
        });
    Peers {
        node: own_name(&composed),
        id: node.me.to_string(),
        rejected: rejected.collect(),
        peers: peer_list(&composed, &stats, &node.dataplane.health()),
    }
}

/// Every prefix of the others.
pub fn routes(composed: &Composed, paths: &Paths) -> Vec<RouteStatus> {
    let now = Instant::now();
    let route = |(r, since): (&desired::RouteStatus, &Instant)| RouteStatus {
        prefix: r.prefix,
        via: r.via.clone(),
        state: match r.state {
            desired::RouteState::Active => RouteState::Active,
            desired::RouteState::Standby => RouteState::Standby,
            desired::RouteState::Rejected => RouteState::Rejected,
        },
        reason: r.reason.as_ref().map(|reason| reason.text(now)),
        priority: composed.priority(r),
        health: Some(health_word(paths.get(r.owner.as_bytes()))),
        since_s: Some(seconds(now.saturating_duration_since(*since))),
    };
    composed.routes.iter().zip(&composed.since).map(route).collect()
}

/// The attached devices.
pub fn clients(composed: &Composed, stats: &Stats) -> Vec<ClientStatus> {
    composed
        .clients
        .iter()
        .map(|entry| client(entry, stats))
        .collect()
}

fn client(entry: &ClientEntry, stats: &Stats) -> ClientStatus {
    let key: Option<WgPublicKey> = entry.public_key.parse().ok();
    let measured = key
        .and_then(|key| stats.peers.get(key.as_bytes()))
        .cloned()
        .unwrap_or_default();
    ClientStatus {
        name: entry.name.to_string(),
        address: entry.address_v4.map_or(IpAddr::V6(entry.address_v6), IpAddr::V4),
        address_v6: Some(entry.address_v6),
        endpoint: measured.endpoint,
        last_handshake_s: measured.last_handshake.map(seconds),
        tx_bytes: measured.tx_bytes,
        rx_bytes: measured.rx_bytes,
    }
}

fn own(node: &Node, composed: &Composed, stats: &Stats) -> NodeStatus {
    NodeStatus {
        name: own_name(composed),
        id: node.me.to_string(),
        mesh_ip: mesh_address(&node.mesh, &node.me),
        interface: composed.settings.interface.clone(),
        listen: node.dataplane.listen_addrs(),
        endpoints: composed.reachable_at().to_vec(),
        cidrs: composed.announced.iter().map(|a| a.prefix).collect(),
        draining: composed.draining,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: node.started.elapsed().as_secs(),
        grant_expires_ms: composed.view.own.as_ref().map(|own| own.grant_not_after.0),
        metrics: composed.settings.metrics,
        offloads: offloads(composed, stats),
        lanes: stats.lanes.iter().map(lane).collect(),
    }
}

fn lane(lane: &LaneStats) -> LaneStatus {
    LaneStatus {
        lane: lane.lane,
        port: lane.port,
        tx_bytes: lane.tx_bytes,
        rx_bytes: lane.rx_bytes,
        tx_packets: lane.tx_packets,
        rx_packets: lane.rx_packets,
        handed_off: lane.handed_off,
    }
}

fn offloads(composed: &Composed, stats: &Stats) -> Vec<OffloadStatus> {
    let offload = |offload: Offload| OffloadStatus {
        name: offload.as_str().to_owned(),
        wanted: composed.settings.offload.contains(offload),
        active: stats.offloads.active.contains(offload),
        refused: stats.offloads.refused[offload as usize],
    };
    Offload::ALL.into_iter().map(offload).collect()
}

fn own_name(composed: &Composed) -> String {
    let published = composed.view.own.as_ref().map(|own| own.name.clone());
    published.unwrap_or_else(|| composed.settings.name.to_string())
}

fn peer_list(composed: &Composed, stats: &Stats, paths: &Paths) -> Vec<PeerStatus> {
    let none = PeerStats::default();
    let measured = |node: &NodeView| stats.peers.get(node.id.as_bytes()).unwrap_or(&none);
    let nodes = composed.view.nodes.values();
    let mut peers: Vec<PeerStatus> = nodes
        .map(|node| peer(composed, node, measured(node), paths.get(node.id.as_bytes())))
        .collect();
    peers.sort_by(|a, b| a.name.cmp(&b.name));
    peers
}

fn peer(composed: &Composed, node: &NodeView, measured: &PeerStats, path: Option<&PeerHealth>) -> PeerStatus {
    let known = |loss: f64| (measured.probes_sent > 0).then_some(loss);
    PeerStatus {
        name: node.name.clone(),
        id: node.id.to_string(),
        state: match measured.state {
            meshnode_dataplane::PeerState::Up => PeerState::Up,
            meshnode_dataplane::PeerState::Connecting => PeerState::Connecting,
            meshnode_dataplane::PeerState::Down => PeerState::Down,
        },
        health: health_word(path),
        health_cause: path.map(|path| path.cause.as_str().to_owned()),
        health_s: path.map(|path| seconds(path.since.elapsed())),
        endpoint: measured.endpoint,
        path: composed.way(measured),
        mesh_ip: node.mesh_address,
        cidrs: node.prefixes.iter().map(|a| a.prefix).collect(),
        rtt_ms: measured.rtt.map(millis),
        jitter_ms: measured.jitter.map(millis),
        loss: known(measured.loss_out.max(measured.loss_in)),
        loss_out: known(measured.loss_out),
        loss_in: known(measured.loss_in),
        loss_1m: known(measured.loss_1m.outbound.max(measured.loss_1m.inbound)),
        loss_5m: known(measured.loss_5m.outbound.max(measured.loss_5m.inbound)),
        variation_out_ms: measured.variation_out.map(millis),
        variation_in_ms: measured.variation_in.map(millis),
        mtu: (measured.mtu > 0).then_some(measured.mtu),
        last_handshake_s: measured.last_handshake.map(seconds),
        tx_bytes: measured.tx_bytes,
        rx_bytes: measured.rx_bytes,
        version: node.version.clone(),
    }
}

fn health_word(path: Option<&PeerHealth>) -> String {
    path.map_or(PathState::Connecting, |path| path.state)
        .as_str()
        .to_owned()
}

/// To the microsecond: nobody reads more digits.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// To the millisecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}
