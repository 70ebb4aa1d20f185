//! Probes through the tunnel: what is measured, and how fast.

use super::net::*;
use crate::lane::engine::{EngineEvent, PingRefused};
use crate::path::health::Cause;
use crate::stats::{PathState, PeerState};
use crate::tunnel::stand_in::StandIn;
use std::time::Duration;

/// Sealed probe or answer.
const PROBE: usize = crate::path::stamp::HEALTH_PROBE + crate::tunnel::OVERHEAD;

fn is_probe(f: &Flight) -> bool {
    f.kind() == 4 && f.payload.len() == PROBE
}

/// The same throws in every run.
fn coin() -> impl FnMut() -> bool {
    let mut state = 1u64;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 63 == 1
    }
}

#[test]
fn an_idle_path_is_probed_once_a_second_and_a_busy_one_ten_times() {
    let mut net: Net<StandIn> = Net::up(2);
    let sent = |net: &Net<StandIn>| net.peer(0, 1).probes_sent;
    let idle = sent(&net);
    net.run(Duration::from_secs(10));
    assert!((9..=11).contains(&(sent(&net) - idle)));
    let busy = sent(&net);
    for _ in 0..100 {
        net.outbound(0, &packet("10.0.0.5", "10.1.0.9", b"x"));
        net.run(100 * MS);
    }
    assert!((90..=110).contains(&(sent(&net) - busy)), "{}", sent(&net) - busy);
    assert_eq!(net.peer(0, 1).probes_lost, 0);
}

#[test]
fn the_round_trip_is_measured() {
    let mut net: Net = Net::up(2);
    net.run(5000 * MS);
    let stats = net.peer(0, 1);
    assert_eq!(
        (stats.rtt, stats.rtt_min, stats.jitter),
        (Some(10 * MS), Some(10 * MS), Some(Duration::ZERO))
    );
    assert!(stats.rtt_histogram.count() >= 5);
    assert_eq!(
        stats.rtt_histogram.counts[crate::stats::RttHistogram::bucket(10 * MS)],
        stats.rtt_histogram.count()
    );
}

#[test]
fn a_longer_round_trip_shows_within_two_seconds_and_takes_nobody_down() {
    let mut net: Net<StandIn> = Net::up(2);
    net.delay = 250 * MS;
    for _ in 0..20 {
        net.outbound(0, &packet("10.0.0.5", "10.1.0.9", b"x"));
        net.run(100 * MS);
    }
    assert_eq!(net.peer(0, 1).rtt_last, Some(500 * MS));
    assert!(net.peer(0, 1).rtt.unwrap() > 250 * MS);
    net.run(10_000 * MS);
    let down = |e: &EngineEvent| matches!(e, EngineEvent::PeerDown { .. });
    assert!(!net.nodes[0].events.iter().any(down) && !net.nodes[1].events.iter().any(down));
}

#[test]
fn loss_in_one_direction_is_seen_as_such_from_both_ends() {
    let mut net: Net<StandIn> = Net::up(2);
    let mut coin = coin();
    net.lose = Box::new(move |f| is_probe(f) && f.from == address(0) && coin() && coin());
    for _ in 0..120 {
        net.outbound(0, &packet("10.0.0.5", "10.1.0.9", b"x"));
        net.run(100 * MS);
    }
    let (zero, one) = (net.peer(0, 1), net.peer(1, 0));
    assert!(
        (zero.loss_out - 0.25).abs() < 0.12 && zero.loss_in < 0.01,
        "{zero:?}"
    );
    assert!(
        (one.loss_in - 0.25).abs() < 0.12 && one.loss_out < 0.01,
        "{one:?}"
    );
    assert!(zero.probes_lost > 0);
    assert_eq!((zero.state, one.state), (PeerState::Up, PeerState::Up));
}

#[test]
fn a_one_way_block_is_noticed_on_both_sides_with_its_direction() {
    let mut net: Net<StandIn> = Net::up(2);
    net.run(3000 * MS);
    net.lose = Box::new(|f| f.from == address(0));
    net.run(15_000 * MS);
    let reason = |n: usize| {
        net.nodes[n].events.iter().rev().find_map(|e| match e {
            EngineEvent::PeerDown { reason, .. } => Some(*reason),
            _ => None,
        })
    };
    assert_eq!(
        reason(0),
        Some(Cause::NotAnswering),
        "0 hears 1, and is not heard"
    );
    assert!(reason(1).is_some());
    assert!(net.peer(0, 1).loss_out > 0.9 && net.peer(0, 1).loss_in < 0.1);
    assert!(net.peer(1, 0).loss_in > 0.9);
}

#[test]
fn a_ping_is_one_probe_and_its_answer_an_event() {
    let mut net: Net = Net::up(2);
    let now = net.now;
    let ping = net.nodes[0].engine.ping(id(1), now).unwrap();
    net.run(20 * MS);
    assert!(net.nodes[0].events.contains(&EngineEvent::Pong {
        id: ping,
        rtt: 10 * MS
    }));
    assert_eq!(
        net.nodes[0].engine.ping([99; 32], now),
        Err(PingRefused::UnknownPeer)
    );
}

#[test]
fn a_ping_waits_for_the_session_and_pings_are_bounded() {
    let mut net: Net = Net::without_tables(2);
    net.apply(0, table(0, 2));
    let now = net.now;
    let pings: Vec<_> = (0..20).map(|_| net.nodes[0].engine.ping(id(1), now)).collect();
    assert_eq!(pings.iter().filter(|p| p.is_err()).count(), 4);
    net.run(100 * MS);
    net.apply(1, table(1, 2));
    net.run(1000 * MS);
    let pongs = net.nodes[0]
        .events
        .iter()
        .filter(|e| matches!(e, EngineEvent::Pong { .. }))
        .count();
    assert_eq!(pongs, 16);
}

#[test]
fn our_own_sleep_accuses_nobody() {
    let mut net: Net<StandIn> = Net::up(3);
    let events: usize = net.nodes[0].events.len();
    // Node 0 is stopped for a minute: it sees neither time nor datagrams.
    let asleep = 60_000 * MS;
    let awake = net.now + asleep;
    let mut frozen = Net::<StandIn>::without_tables(3);
    std::mem::swap(&mut frozen.nodes[0], &mut net.nodes[0]);
    net.run(asleep);
    std::mem::swap(&mut frozen.nodes[0], &mut net.nodes[0]);
    assert_eq!(net.now, awake);
    net.run(2000 * MS);
    let seen = &net.nodes[0].events[events..];
    assert!(
        seen.iter()
            .any(|e| matches!(e, EngineEvent::LocalStall { late } if *late > Duration::from_secs(50)))
    );
    assert!(
        !seen.iter().any(|e| matches!(e, EngineEvent::PeerDown { .. })),
        "{seen:?}"
    );
    assert_eq!(net.peer(0, 1).state, PeerState::Up);
}

#[test]
fn half_of_all_packets_lost_takes_nobody_down() {
    let mut net: Net<StandIn> = Net::up(2);
    let mut state = 1u64;
    net.lose = Box::new(move |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 63 == 1
    });
    net.run(Duration::from_secs(300));
    let downs: usize = net.nodes[0]
        .events
        .iter()
        .filter(|e| matches!(e, EngineEvent::PeerDown { .. }))
        .count();
    assert!(downs <= 1, "{downs}");
}

#[test]
fn a_peer_that_stands_still_is_suspect_after_a_third_of_a_second_and_never_says_so_of_others() {
    let mut net: Net<StandIn> = Net::up(2);
    for _ in 0..50 {
        net.outbound(0, &packet("10.0.0.5", "10.1.0.9", b"x"));
        net.run(20 * MS);
    }
    let began = net.now;
    net.lose = Box::new(|_| true);
    let suspect = |net: &Net<StandIn>| net.peer(0, 1).path == PathState::Suspect;
    while !suspect(&net) && net.now < began + 1000 * MS {
        net.outbound(0, &packet("10.0.0.5", "10.1.0.9", b"x"));
        net.run(10 * MS);
    }
    let took = net.now - began;
    assert!((250 * MS..=360 * MS).contains(&took), "{took:?}");
    assert_eq!(net.peer(0, 1).state, PeerState::Up, "the word for people waits");
    let told = net.nodes[0].events.iter().any(|e| {
        matches!(e, EngineEvent::PathChanged { change, .. }
            if (change.from, change.to, change.cause) == (PathState::Up, PathState::Suspect, Cause::Silent))
    });
    assert!(told);
    net.run(2000 * MS);
    assert_eq!(net.peer(0, 1).state, PeerState::Down);
}

#[test]
fn a_node_whose_address_changed_is_answered_at_its_new_one_after_one_way() {
    let mut net: Net<StandIn> = Net::up(2);
    net.run(3000 * MS);
    let moved = std::net::SocketAddr::from(([203, 0, 113, 7], 4242));
    net.nodes[0].address = moved;
    let now = net.now;
    net.nodes[0].engine.handle_local_change(&[], now);
    net.run(6 * MS);
    assert_eq!(net.peer(1, 0).endpoint, Some(moved));
    net.run(3000 * MS);
    assert_eq!(net.peer(0, 1).path, PathState::Up);
    assert_eq!(net.peer(0, 1).probes_lost, 0);
}
