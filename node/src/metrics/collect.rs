//! From figures to metric families. Pure.

use std::collections::{BTreeMap, BTreeSet};

use meshnode_dataplane::stats::{LaneStats, RTT_BOUNDS_US};
use meshnode_dataplane::{DropReason, Offload, PeerState, PeerStats, Stats};
use meshnode_membership::api::MembershipStats;
use prometheus::proto::MetricFamily;

use super::family::Family;
use super::paths;
use super::process::Process;
use crate::daemon::changes::FAILOVER_BOUNDS_MS;
use crate::daemon::composed::Composed;
use crate::desired::RouteState;

/// The figures of one scrape.
#[derive(Debug)]
pub struct Input<'a> {
    /// What is composed.
    pub composed: &'a Composed,
    /// What the data plane measured.
    pub stats: &'a Stats,
    /// What membership counted.
    pub membership: &'a MembershipStats,
    /// Passes of the netlink adapter that repaired something.
    pub repairs: u64,
    /// Steps that the kernel refused.
    pub refusals: u64,
    /// What the kernel says of this process.
    pub process: Process,
}

/// All families of a node.
pub fn families(input: &Input<'_>) -> Vec<MetricFamily> {
    let all = node(input)
        .into_iter()
        .chain(checks(input))
        .chain(lanes(input))
        .chain(peers(input))
        .chain(gossip(input))
        .chain(input.process.families());
    all.filter_map(Family::finish).collect()
}

fn node(input: &Input<'_>) -> Vec<Family> {
    let mut build = Family::gauge(
        "meshnode_build_info",
        "Always 1; the label says which version runs.",
    );
    build.add(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let mut routes = Family::gauge(
        "meshnode_routes",
        "Prefixes of other nodes by what became of them.",
    );
    for state in RouteState::ALL {
        let count = input.composed.routes.iter().filter(|r| r.state == state).count();
        routes.add(&[("state", state.as_str())], count as f64);
    }
    let mut changes = Family::counter("meshnode_route_changes_total", "Route changes by reason.");
    for (cause, count) in input.composed.changes.by_cause() {
        changes.add(&[("reason", cause.as_str())], count as f64);
    }
    let mut failovers = Family::counter(
        "meshnode_failovers_total",
        "Gateways whose packets another took over, by cause.",
    );
    for (cause, count) in input.composed.changes.failovers() {
        failovers.add(&[("cause", cause.as_str())], count as f64);
    }
    let mut dropped = Family::counter("meshnode_dropped_packets_total", "Packets dropped, by reason.");
    for reason in DropReason::ALL {
        dropped.add(
            &[("reason", reason.as_str())],
            input.stats.dropped(*reason) as f64,
        );
    }
    let mut active = Family::gauge("meshnode_offload_active", "1 while the offload is at work.");
    let mut refused = Family::counter(
        "meshnode_offload_refused_total",
        "Times that an offload was refused or found to corrupt, each followed by a while without.",
    );
    for offload in Offload::ALL {
        let (labels, stats) = ([("offload", offload.as_str())], &input.stats.offloads);
        active.add(&labels, f64::from(u8::from(stats.active.contains(offload))));
        refused.add(&labels, stats.refused[offload as usize] as f64);
    }
    let mut relayed_bytes = Family::counter(
        "meshnode_relayed_bytes_total",
        "Bytes sent on between other members.",
    );
    relayed_bytes.add(&[], input.stats.relayed_bytes as f64);
    let mut relayed_packets = Family::counter(
        "meshnode_relayed_packets_total",
        "Datagrams sent on between other members.",
    );
    relayed_packets.add(&[], input.stats.relayed_packets as f64);
    let mut sessions = Family::gauge(
        "meshnode_relay_sessions",
        "Pairs of other members that may send through this node.",
    );
    sessions.add(&[], input.stats.relay_sessions as f64);
    let mut repairs = Family::counter(
        "meshnode_kernel_repairs_total",
        "Times that changes by other programs were repaired.",
    );
    repairs.add(&[], input.repairs as f64);
    let mut refusals = Family::counter(
        "meshnode_kernel_refusals_total",
        "Changes that the kernel refused.",
    );
    refusals.add(&[], input.refusals as f64);
    vec![
        build,
        members(input),
        routes,
        changes,
        failovers,
        failover_times(input),
        dropped,
        active,
        refused,
        relayed_bytes,
        relayed_packets,
        sessions,
        repairs,
        refusals,
        grant(input),
    ]
}

fn checks(input: &Input<'_>) -> [Family; 2] {
    let mut failing = Family::gauge(
        "meshnode_check_failing",
        "1 while what lies behind the gateway does not answer through it.",
    );
    let mut ignored = Family::gauge(
        "meshnode_check_ignored",
        "1 while every gateway of the prefix fails its check.",
    );
    let mut seen = BTreeSet::new();
    for check in &input.composed.checks {
        let prefix = check.prefix.to_string();
        let labels = [("gateway", check.gateway.as_str()), ("prefix", prefix.as_str())];
        failing.add(&labels, f64::from(u8::from(check.fails)));
        if seen.insert(check.prefix) {
            ignored.add(&labels[1..], f64::from(u8::from(check.ignored)));
        }
    }
    [failing, ignored]
}

fn failover_times(input: &Input<'_>) -> Family {
    let (changes, bounds) = (
        &input.composed.changes,
        FAILOVER_BOUNDS_MS.map(|ms| ms as f64 / 1e3),
    );
    let mut times = Family::histogram(
        "meshnode_failover_seconds",
        "From the last proof that a gateway's path worked to packets going elsewhere.",
    );
    times.add_histogram(&[], &bounds, &changes.seconds, changes.sum.as_secs_f64());
    times
}

/// Name, help, and the figure of one lane.
type LaneFigure = (&'static str, &'static str, fn(&LaneStats) -> u64);

const LANE_FIGURES: [LaneFigure; 5] = [
    (
        "meshnode_lane_transmit_bytes_total",
        "Bytes sent in tunnels of the lane.",
        |lane| lane.tx_bytes,
    ),
    (
        "meshnode_lane_receive_bytes_total",
        "Bytes received in tunnels of the lane.",
        |lane| lane.rx_bytes,
    ),
    (
        "meshnode_lane_transmit_packets_total",
        "Packets sent in tunnels of the lane.",
        |lane| lane.tx_packets,
    ),
    (
        "meshnode_lane_receive_packets_total",
        "Packets received in tunnels of the lane.",
        |lane| lane.rx_packets,
    ),
    (
        "meshnode_lane_handed_off_packets_total",
        "Packets given to lane 0, for want of a tunnel in this lane.",
        |lane| lane.handed_off,
    ),
];

fn lanes(input: &Input<'_>) -> Vec<Family> {
    let family = |(name, help, figure): LaneFigure| {
        let mut family = Family::counter(name, help);
        for lane in &input.stats.lanes {
            family.add(&[("lane", &lane.lane.to_string())], figure(lane) as f64);
        }
        family
    };
    LANE_FIGURES.into_iter().map(family).collect()
}

fn members(input: &Input<'_>) -> Family {
    let mut members = Family::gauge(
        "meshnode_members",
        "Other members by the state of the path to them.",
    );
    let mut count: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, stats) in measured(input) {
        *count.entry(stats.state.as_str()).or_default() += 1;
    }
    for state in [PeerState::Up, PeerState::Connecting, PeerState::Down] {
        let members_in = count.get(state.as_str()).copied().unwrap_or(0);
        members.add(&[("state", state.as_str())], members_in as f64);
    }
    members
}

fn grant(input: &Input<'_>) -> Family {
    let mut expiry = Family::gauge(
        "meshnode_grant_expiry_seconds",
        "Unix time at which this node's grant ends unless renewed.",
    );
    let at = input.membership.grant_not_after;
    expiry.add(&[], at.map(|at| at.0 as f64 / 1000.0));
    expiry
}

fn gossip(input: &Input<'_>) -> Vec<Family> {
    let stats = input.membership;
    let mut rejected = Family::counter(
        "meshnode_gossip_rejected_total",
        "Records and messages that were refused, by reason.",
    );
    for (reason, count) in &stats.gossip_rejected {
        rejected.add(&[("reason", reason)], *count as f64);
    }
    let mut digest = Family::gauge(
        "meshnode_gossip_digest_bytes",
        "Size of the digest in every gossip message.",
    );
    digest.add(&[], stats.digest_bytes as f64);
    let mut sent = Family::counter("meshnode_gossip_transmit_bytes_total", "Gossip sent.");
    sent.add(&[], stats.gossip_bytes_sent as f64);
    let mut received = Family::counter("meshnode_gossip_receive_bytes_total", "Gossip received.");
    received.add(&[], stats.gossip_bytes_received as f64);
    let mut connections = Family::gauge("meshnode_quic_connections", "Open control connections.");
    connections.add(&[], stats.quic_connections as f64);
    vec![rejected, digest, sent, received, connections]
}

/// Every other member with what is measured of it.
pub fn measured<'a>(input: &'a Input<'_>) -> impl Iterator<Item = (&'a str, PeerStats)> {
    input.composed.view.nodes.values().map(|node| {
        let stats = input
            .stats
            .peers
            .get(node.id.as_bytes())
            .cloned()
            .unwrap_or_default();
        (node.name.as_str(), stats)
    })
}

type Figure = (
    fn(&str, &str) -> Family,
    &'static str,
    &'static str,
    fn(&PeerStats) -> Option<f64>,
);

const FIGURES: [Figure; 11] = [
    (
        Family::gauge,
        "meshnode_peer_up",
        "1 while packets can go to the peer.",
        |s| Some(f64::from(u8::from(s.state == PeerState::Up))),
    ),
    (
        Family::gauge,
        "meshnode_peer_jitter_seconds",
        "Variation of the round trip (RFC 3550).",
        |s| s.jitter.map(|j| j.as_secs_f64()),
    ),
    (
        Family::counter,
        "meshnode_peer_probes_sent_total",
        "Probes sent to the peer.",
        |s| Some(s.probes_sent as f64),
    ),
    (
        Family::counter,
        "meshnode_peer_probes_lost_total",
        "Probes that no answer came to.",
        |s| Some(s.probes_lost as f64),
    ),
    (
        Family::gauge,
        "meshnode_peer_last_handshake_seconds",
        "Seconds since the last handshake.",
        |s| s.last_handshake.map(|h| h.as_secs_f64()),
    ),
    (
        Family::gauge,
        "meshnode_peer_path_mtu_bytes",
        "Largest inner packet that the path takes.",
        |s| (s.mtu > 0).then(|| f64::from(s.mtu)),
    ),
    (
        Family::counter,
        "meshnode_peer_transmit_bytes_total",
        "Bytes sent in the tunnel.",
        |s| Some(s.tx_bytes as f64),
    ),
    (
        Family::counter,
        "meshnode_peer_receive_bytes_total",
        "Bytes received in the tunnel.",
        |s| Some(s.rx_bytes as f64),
    ),
    (
        Family::counter,
        "meshnode_peer_transmit_packets_total",
        "Packets sent in the tunnel.",
        |s| Some(s.tx_packets as f64),
    ),
    (
        Family::counter,
        "meshnode_peer_receive_packets_total",
        "Packets received in the tunnel.",
        |s| Some(s.rx_packets as f64),
    ),
    (
        Family::gauge,
        "meshnode_peer_rtt_min_seconds",
        "Smallest round trip seen.",
        |s| s.rtt_min.map(|r| r.as_secs_f64()),
    ),
];

fn peers(input: &Input<'_>) -> Vec<Family> {
    let mut families = Vec::new();
    for (kind, name, help, figure) in FIGURES {
        let mut family = kind(name, help);
        measured(input).for_each(|(peer, stats)| family.add(&[("peer", peer)], figure(&stats)));
        families.push(family);
    }
    families.extend([rtt(input), loss(input), path(input)]);
    families.extend(paths::families(input));
    families
}

fn rtt(input: &Input<'_>) -> Family {
    let bounds = RTT_BOUNDS_US.map(|us| us as f64 / 1e6);
    let mut rtt = Family::histogram(
        "meshnode_peer_rtt_seconds",
        "Round trips of probes inside the tunnel.",
    );
    for (peer, stats) in measured(input) {
        let histogram = &stats.rtt_histogram;
        rtt.add_histogram(
            &[("peer", peer)],
            &bounds,
            &histogram.counts,
            histogram.sum_us as f64 / 1e6,
        );
    }
    rtt
}

fn loss(input: &Input<'_>) -> Family {
    let mut loss = Family::gauge(
        "meshnode_peer_loss_ratio",
        "Probes lost in the last 10 s, by direction.",
    );
    for (peer, stats) in measured(input).filter(|(_, s)| s.probes_sent > 0) {
        loss.add(&[("peer", peer), ("direction", "out")], stats.loss_out);
        loss.add(&[("peer", peer), ("direction", "in")], stats.loss_in);
    }
    loss
}

fn path(input: &Input<'_>) -> Family {
    let mut path = Family::gauge(
        "meshnode_peer_path_info",
        "Always 1; the label says which way packets take.",
    );
    for (peer, stats) in measured(input) {
        let way = input.composed.way(&stats);
        path.add(&[("peer", peer), ("path", &way)], 1.0);
    }
    path
}
