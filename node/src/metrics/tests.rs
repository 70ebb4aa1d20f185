//! What a scrape says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshnode_crypto::UnixMillis;
use meshnode_dataplane::stats::LaneStats;
use meshnode_dataplane::{DropReason, Offload, Offloads, PathState, PeerState, PeerStats, Stats};
use meshnode_membership::api::MembershipStats;
use prometheus::{Encoder, TextEncoder};

use super::collect::{Input, families};
use super::process::Process;
use crate::config::settings::Layer;
use crate::config::{Overrides, Settings};
use crate::daemon::changes::RouteChanges;
use crate::daemon::composed::Composed;
use crate::desired::choice::Memory;
use crate::desired::fixture::{node, view};
use crate::desired::{Local, Paths, Situation};
use crate::features::checks::CheckStatus;

fn settings() -> Settings {
    let overrides = Overrides {
        config: "/nonexistent/meshnode.toml".into(),
        config_is_explicit: false,
        layer: Layer::default(),
    };
    Settings::load(overrides).unwrap()
}

fn check((gateway, fails): (&str, bool)) -> CheckStatus {
    CheckStatus {
        prefix: "10.2.0.0/16".parse().unwrap(),
        gateway: gateway.to_owned(),
        target: "icmp://10.2.0.5".parse().unwrap(),
        fails,
        ignored: false,
    }
}

fn scrape(peers: &[u8], stats: &Stats) -> String {
    let nodes = peers
        .iter()
        .map(|seed| node(*seed, &[("10.2.0.0/16", 100)]))
        .collect();
    let view = view(nodes);
    let situation = Situation {
        view: &view,
        local: &Local::default(),
        paths: &Paths::default(),
        now: Instant::now(),
    };
    let desired = crate::desired::compose(&situation, &mut Memory::default());
    let mut changes = RouteChanges::default();
    changes.note(&desired.changes, situation.paths, situation.now);
    let composed = Composed {
        view: Arc::new(view),
        settings: Arc::new(settings()),
        since: vec![Instant::now(); desired.statuses.len()],
        kernel: desired.kernel,
        host: Arc::default(),
        routes: desired.statuses,
        checks: [("n1", true), ("n2", false)].map(check).to_vec(),
        announced: Vec::new(),
        guarded: BTreeSet::new(),
        endpoints: Vec::new(),
        peers: desired.peers,
        clients: Vec::new(),
        warnings: Vec::new(),
        changes,
        draining: false,
        mtu: 1420,
    };
    let membership = MembershipStats {
        grant_not_after: Some(UnixMillis(5_000)),
        digest_bytes: 53,
        ..MembershipStats::default()
    };
    let input = Input {
        composed: &composed,
        stats,
        membership: &membership,
        repairs: 1,
        refusals: 0,
        process: Process {
            started: UnixMillis(7_000),
            ..Process::default()
        },
    };
    let mut text = Vec::new();
    TextEncoder::new().encode(&families(&input), &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn measured() -> Stats {
    let mut stats = Stats::default();
    let mut peer = PeerStats {
        state: PeerState::Up,
        path: PathState::Degraded,
        variation_out: Some(Duration::from_micros(250)),
        jitter: Some(Duration::from_micros(500)),
        probes_sent: 10,
        loss_out: 0.25,
        ..PeerStats::default()
    };
    peer.rtt_histogram.counts[2] = 4;
    peer.rtt_histogram.sum_us = 4_000;
    stats.peers.insert(*node(2, &[]).id.as_bytes(), peer);
    stats.drops[DropReason::ALL[0] as usize] = 9;
    stats.offloads.active = Offloads::ALL.without(Offload::Gso);
    stats.offloads.refused[Offload::Gso as usize] = 3;
    stats.lanes.push(LaneStats {
        lane: 1,
        tx_bytes: 5,
        handed_off: 3,
        ..LaneStats::default()
    });
    stats
}

#[test]
fn every_name_of_the_design_is_there() {
    let text = scrape(&[2], &measured());
    for line in [
        "meshnode_members{state=\"up\"} 1",
        "meshnode_peer_up{peer=\"n2\"} 1",
        "meshnode_peer_rtt_seconds_bucket{peer=\"n2\",le=\"0.001\"} 4",
        "meshnode_peer_rtt_seconds_count{peer=\"n2\"} 4",
        "meshnode_peer_jitter_seconds{peer=\"n2\"} 0.0005",
        "meshnode_peer_loss_ratio{peer=\"n2\",direction=\"out\"} 0.25",
        "meshnode_peer_path_info{peer=\"n2\",path=\"direct\"} 1",
        "meshnode_peer_path_state{peer=\"n2\",state=\"degraded\"} 1",
        "meshnode_peer_path_state{peer=\"n2\",state=\"up\"} 0",
        "meshnode_peer_delay_variation_seconds{peer=\"n2\",direction=\"out\"} 0.00025",
        "meshnode_prefixes_without_gateway 0",
        "meshnode_dropped_packets_total{reason=\"truncated\"} 9",
        "meshnode_offload_active{offload=\"gso\"} 0",
        "meshnode_offload_active{offload=\"merge\"} 1",
        "meshnode_offload_refused_total{offload=\"gso\"} 3",
        "meshnode_lane_transmit_bytes_total{lane=\"1\"} 5",
        "meshnode_lane_handed_off_packets_total{lane=\"1\"} 3",
        "meshnode_routes{state=\"active\"} 1",
        "meshnode_route_changes_total{reason=\"announced\"} 1",
        "meshnode_failovers_total{cause=\"health\"} 0",
        "meshnode_failover_seconds_count 0",
        "meshnode_gossip_digest_bytes 53",
        "meshnode_grant_expiry_seconds 5",
        "process_start_time_seconds 7",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing from\n{text}");
    }
    assert!(text.contains("meshnode_build_info{version="));
}

#[test]
fn peer_that_left_has_no_labels_left() {
    assert!(scrape(&[2, 3], &measured()).contains("peer=\"n3\""));
    assert!(!scrape(&[2], &measured()).contains("peer=\"n3\""));
}

#[test]
fn what_is_not_known_is_not_zero() {
    let text = scrape(&[3], &Stats::default());
    assert!(!text.contains("meshnode_peer_last_handshake_seconds"));
    assert!(!text.contains("meshnode_peer_loss_ratio"));
}

#[test]
fn a_check_is_shown_for_each_gateway_and_once_for_the_prefix() {
    let text = scrape(&[1, 2], &Stats::default());
    for line in [
        "meshnode_check_failing{gateway=\"n1\",prefix=\"10.2.0.0/16\"} 1",
        "meshnode_check_failing{gateway=\"n2\",prefix=\"10.2.0.0/16\"} 0",
        "meshnode_check_ignored{prefix=\"10.2.0.0/16\"} 0",
    ] {
        assert!(text.contains(line), "{line} not in {text}");
    }
}
