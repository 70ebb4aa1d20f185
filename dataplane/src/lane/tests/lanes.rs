//! Several lanes: tunnels on demand, order, fallback, and what is handed over.

use super::net::*;
use crate::batch::{SendBatch, WriteBatch};
use crate::drop::DropReason;
use crate::lane::counters::PeerCounters;
use crate::lane::engine::EngineEvent;
use crate::lane::handoff;
use crate::lane::liveness::SILENCE;
use crate::lane::peer::PeerState;
use crate::offload::Frame;
use crate::stats::LaneStats;
use crate::tunnel::stand_in::StandIn;
use std::net::SocketAddr;
use std::time::Duration;

/// Lane 1 of hosts 0 and 1, where two hosts have two lanes each.
const LANE_1: [usize; 2] = [2, 3];

fn lane(net: &Net<StandIn>, n: usize) -> LaneStats {
    net.nodes[n].counters.lane(0, 0)
}

/// Sends packet `number` of flow `flow` from host 0 by its lane `n`.
fn send(net: &mut Net<StandIn>, n: usize, flow: u8, number: u8) {
    let source = format!("10.0.0.{flow}");
    net.outbound(n, &packet(&source, "10.1.0.1", &[flow, number]));
}

/// Flow and number of what came out at host 1, by any lane.
fn arrived(net: &mut Net<StandIn>) -> Vec<(u8, u8)> {
    let lanes = net.lanes_of(1);
    let packets: Vec<_> = lanes.into_iter().flat_map(|n| net.delivered(n)).collect();
    packets.iter().map(|p| (p[28], p[29])).collect()
}

/// Two hosts with two lanes each that all have tunnels.
fn warm() -> Net<StandIn> {
    let mut net = Net::with_lanes(&[2, 2]);
    send(&mut net, 0, 1, 0);
    net.run(1500 * MS);
    assert_eq!(arrived(&mut net), [(1, 0)]);
    net
}

fn closed(ports: impl Fn(SocketAddr) -> bool + 'static) -> Box<dyn FnMut(&Flight) -> bool> {
    Box::new(move |flight| ports(flight.to))
}

#[test]
fn an_idle_pair_has_one_tunnel_and_the_first_packet_builds_the_others() {
    let mut net: Net<StandIn> = Net::with_lanes(&[2, 2]);
    net.run(Duration::from_secs(5));
    assert_eq!(LANE_1.map(|n| net.nodes[n].engine.tunnels.len()), [0, 0]);
    assert_eq!(LANE_1.map(|n| net.nodes[n].engine.poll_timeout()), [None, None]);
    send(&mut net, 0, 1, 0);
    net.run(30 * MS);
    assert_eq!(LANE_1.map(|n| net.nodes[n].engine.tunnels.len()), [1, 1]);
    send(&mut net, 2, 2, 0);
    net.run(30 * MS);
    assert_eq!(arrived(&mut net), [(1, 0), (2, 0)]);
    assert_eq!(lane(&net, 2).tx_packets, 1);
    assert_eq!((lane(&net, 3).rx_packets, lane(&net, 2).handed_off), (1, 0));
}

#[test]
fn a_flow_that_was_handed_over_stays_in_order_and_new_ones_take_the_lane() {
    let mut net: Net<StandIn> = Net::with_lanes(&[2, 2]);
    // Lane 0's way is the slower one here: whoever changes lanes overtakes himself.
    net.slow = Some((SocketAddr::from(([192, 0, 2, 2], 51820)), 20 * MS));
    for number in 0..100 {
        send(&mut net, 2, 1, number);
        if number >= 50 {
            send(&mut net, 2, 2, number);
        }
        net.run(MS);
    }
    net.run(100 * MS);
    let arrived = arrived(&mut net);
    for (flow, first) in [(1, 0), (2, 50)] {
        let numbers: Vec<u8> = arrived
            .iter()
            .filter(|(f, _)| *f == flow)
            .map(|(_, n)| *n)
            .collect();
        assert_eq!(numbers, (first..100).collect::<Vec<_>>());
    }
    assert_eq!((lane(&net, 2).handed_off, lane(&net, 2).tx_packets), (100, 50));
    // After a pause nothing is under way any more.
    net.run(Duration::from_secs(2));
    send(&mut net, 2, 1, 100);
    assert_eq!(lane(&net, 2).handed_off, 100);
}

#[test]
fn a_lane_whose_port_is_closed_later_falls_back_within_about_a_second() {
    let mut net = warm();
    net.lose = closed(|to| to.port() == 51821);
    let begun = net.now;
    while net.nodes[2].counters.lane(0, 0).handed_off == 0 {
        send(&mut net, 2, 1, 1);
        net.run(10 * MS);
    }
    assert!(net.now - begun < SILENCE + 300 * MS, "{:?}", net.now - begun);
    net.run(20 * MS);
    assert!(arrived(&mut net).contains(&(1, 1)));
    let silent: Vec<_> = net.nodes[2].events.iter().collect();
    let at = SocketAddr::from(([192, 0, 2, 2], 51821));
    assert_eq!(silent, [&EngineEvent::LaneSilent { peer: id(1), at }]);
    // It is tried again with pauses, and comes back by itself.
    for _ in 0..3000 {
        send(&mut net, 0, 2, 0);
        net.run(10 * MS);
    }
    net.lose = closed(|_| false);
    for _ in 0..6000 {
        send(&mut net, 0, 2, 0);
        net.run(10 * MS);
    }
    let before = lane(&net, 2).tx_packets;
    send(&mut net, 2, 3, 0);
    assert_eq!(lane(&net, 2).tx_packets, before + 1);
    assert_eq!(net.nodes[2].events.len(), 1, "told once, not with every attempt");
}

#[test]
fn a_port_that_was_never_open_costs_a_few_initiations_and_no_packet() {
    let mut net: Net<StandIn> = Net::with_lanes(&[2, 2]);
    net.lose = closed(|to| to.port() == 51821);
    net.captured();
    for number in 0..200 {
        send(&mut net, 2, 1, number);
        net.run(100 * MS);
    }
    assert_eq!(arrived(&mut net).len(), 200);
    let tried = net
        .captured()
        .iter()
        .filter(|f| f.to.port() == 51821 && f.kind() == 1)
        .count();
    assert!(
        (4..=24).contains(&tried),
        "{tried} initiations in 20 s, both ways"
    );
}

#[test]
fn one_way_traffic_is_answered_so_that_its_lane_lives() {
    let mut net = warm();
    for number in 0..250 {
        send(&mut net, 2, 1, number);
        net.run(20 * MS);
    }
    assert_eq!((arrived(&mut net).len(), lane(&net, 2).handed_off), (250, 0));
    // Answers are not answered.
    net.run(Duration::from_secs(2));
    net.captured();
    net.run(Duration::from_secs(5));
    assert!(net.captured().iter().all(|f| f.to.port() == 51820));
}

#[test]
fn traffic_in_an_extra_lane_has_lane_0_probe_closely() {
    let mut net = warm();
    net.run(Duration::from_secs(3));
    let before = net.peer(0, 1).probes_sent;
    for number in 0..100 {
        send(&mut net, 2, 1, number);
        net.run(20 * MS);
    }
    let probes = net.peer(0, 1).probes_sent - before;
    assert!((15..=25).contains(&probes), "{probes} probes in 2 s");
}

#[test]
fn a_peer_with_one_lane_is_reached_by_lane_0() {
    let mut net: Net<StandIn> = Net::with_lanes(&[2, 1]);
    for number in 0..10 {
        send(&mut net, 2, 1, number);
        net.run(50 * MS);
    }
    assert_eq!(arrived(&mut net), (0..10).map(|n| (1, n)).collect::<Vec<_>>());
    assert_eq!(
        (lane(&net, 2).handed_off, net.nodes[2].engine.tunnels.len()),
        (10, 0)
    );
    assert_eq!(net.all_drops(0) + net.all_drops(1), 0);
}

#[test]
fn unused_tunnels_are_kept_warm_for_ten_minutes_then_freed_on_both_sides() {
    let mut net = warm();
    net.run(Duration::from_secs(590));
    assert_eq!(LANE_1.map(|n| net.nodes[n].engine.tunnels.len()), [1, 1]);
    net.run(Duration::from_secs(20));
    assert_eq!(LANE_1.map(|n| net.nodes[n].engine.tunnels.len()), [0, 0]);
    assert_eq!(LANE_1.map(|n| net.nodes[n].engine.poll_timeout()), [None, None]);
    let drops = [0, 1, 2, 3].map(|n| net.all_drops(n));
    assert_eq!(drops, [0; 4]);
    assert!(net.nodes[2].events.is_empty(), "{:?}", net.nodes[2].events);
}

#[test]
fn an_extra_lane_follows_lane_0_to_where_the_peer_moved() {
    let mut net = warm();
    for n in net.lanes_of(1) {
        let port = net.nodes[n].address.port();
        net.nodes[n].address = SocketAddr::from(([203, 0, 113, 9], port));
    }
    net.run(Duration::from_secs(2));
    net.captured();
    send(&mut net, 0, 1, 1);
    send(&mut net, 2, 2, 1);
    net.run(30 * MS);
    let to: Vec<_> = net
        .captured()
        .iter()
        .filter(|f| f.from == address(0))
        .map(|f| f.to)
        .collect();
    assert!(to.iter().all(|to| to.ip() == net.nodes[1].address.ip()), "{to:?}");
    send(&mut net, 2, 3, 1);
    net.run(30 * MS);
    assert!(arrived(&mut net).contains(&(3, 1)));
    assert_eq!(net.nodes[2].events.len(), 0);
}

#[test]
fn a_restarted_peer_gets_its_lanes_back_with_its_new_keys() {
    let mut net = warm();
    net.restart(1);
    net.apply(1, table_of_lanes(1, &[2, 2]));
    for number in 0..30 {
        send(&mut net, 2, 1, number);
        send(&mut net, 0, 2, number);
        net.run(500 * MS);
    }
    arrived(&mut net);
    let before = lane(&net, 3).rx_packets;
    send(&mut net, 2, 9, 0);
    net.run(30 * MS);
    assert_eq!(lane(&net, 3).rx_packets, before + 1);
}

#[test]
fn a_lane_takes_handshakes_for_its_own_key_only() {
    let mut net: Net<StandIn> = Net::with_lanes(&[2, 2]);
    let mut table = net.nodes[1].table.clone();
    table.keys.client = Some(secret(900));
    net.apply(1, table);
    net.run(Duration::from_secs(200));
    let initiation = net
        .captured()
        .into_iter()
        .find(|f| f.kind() == 1 && f.to == address(1))
        .unwrap();
    net.inject(3, initiation.from, &initiation.payload);
    assert_eq!(net.dropped(3, DropReason::BadMac), 1);
}

#[test]
fn lane_0_keeps_its_tunnel_however_long_nobody_uses_it() {
    let mut net: Net<StandIn> = Net::with_lanes(&[2, 2]);
    send(&mut net, 0, 1, 0);
    net.run(Duration::from_secs(900));
    let before = net.peer(0, 1).probes_sent;
    net.run(Duration::from_secs(10));
    assert!(net.peer(0, 1).probes_sent >= before + 9);
    send(&mut net, 0, 1, 1);
    net.run(6 * MS);
    assert_eq!(arrived(&mut net), [(1, 0), (1, 1)]);
}

#[test]
fn an_idle_peer_costs_an_extra_lane_little_memory() {
    // Its tunnel, of 11 KB, is not there.
    let bytes = size_of::<PeerState>() + size_of::<PeerCounters>();
    assert!(bytes < 4096, "{bytes} bytes");
}

#[test]
fn more_than_lane_0_can_take_in_a_turn_is_dropped_and_counted() {
    let mut net: Net<StandIn> = Net::with_lanes(&[2, 1]);
    let mut big = packet("10.0.0.1", "10.1.0.1", &[0; 1372]);
    let (node, now) = (&mut net.nodes[2], net.now);
    let (mut send, mut write) = (SendBatch::default(), WriteBatch::default());
    let fits = handoff::MAX_BYTES / big.len();
    for _ in 0..fits + 5 {
        let frame = Frame::whole(&mut big);
        node.engine.handle_outbound(frame, now, &mut send, &mut write);
    }
    assert_eq!(net.dropped(2, DropReason::HandoffFull), 5);
    assert_eq!(lane(&net, 2).handed_off, fits as u64);
}
