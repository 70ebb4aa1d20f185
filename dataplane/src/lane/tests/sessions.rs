//! How tunnels come to be, and what they carry.

use super::net::*;
use crate::drop::DropReason;
use crate::lane::engine::EngineEvent;
use crate::stats::PeerState;
use crate::tunnel::stand_in::StandIn;
use std::net::SocketAddr;
use std::time::Duration;

#[test]
fn packets_of_both_versions_pass_both_ways() {
    let mut net: Net = Net::up(2);
    for (a, b) in [("10.0.0.5", "10.1.0.9"), ("fd00:0::5", "fd00:1::9")] {
        let (there, back) = (packet(a, b, b"ping"), packet(b, a, &[7; 1300]));
        net.outbound(0, &there);
        net.outbound(1, &back);
        net.run(10 * MS);
        assert_eq!(net.delivered(1), [there]);
        assert_eq!(net.delivered(0), [back]);
    }
    assert_eq!((net.peer(0, 1).tx_packets, net.peer(0, 1).rx_packets), (2, 2));
    assert_eq!(net.all_drops(0) + net.all_drops(1), 0);
}

#[test]
fn the_first_packet_waits_for_the_handshake_and_is_not_lost() {
    let mut net: Net = Net::new(2);
    let first = packet("10.0.0.5", "10.1.0.9", b"first");
    net.outbound(0, &first);
    net.run(50 * MS);
    assert_eq!(net.delivered(1), [first]);
    assert_eq!(net.stats(0).pending_bytes, 0);
}

#[test]
fn both_begin_at_once_and_one_handshake_is_enough() {
    let mut net: Net = Net::new(2);
    net.run(100 * MS);
    let collisions: u64 = (0..2)
        .map(|n| net.dropped(n, DropReason::HandshakeCollision))
        .sum();
    assert_eq!(collisions, 1);
    assert_eq!(net.stats(0).handshakes_completed, 1);
    assert_eq!(net.stats(1).handshakes_completed, 1);
    let responses = net.captured().iter().filter(|f| f.kind() == 2).count();
    assert_eq!(responses, 1);
}

#[test]
fn lost_handshake_messages_are_sent_again() {
    for kind in [1, 2] {
        let mut net: Net = Net::new(2);
        let mut left = 3;
        net.lose = Box::new(move |f| {
            let lost = f.kind() == kind && left > 0;
            left -= i32::from(lost);
            lost
        });
        // The tables went out before the rule did.
        net.nodes[0].events.clear();
        net.run(3000 * MS);
        assert_eq!(
            net.peer(0, 1).state,
            PeerState::Up,
            "messages of type {kind} lost"
        );
        assert_eq!(net.peer(1, 0).state, PeerState::Up);
    }
}

#[test]
fn a_lost_confirmation_does_not_strand_the_responder() {
    let mut net: Net = Net::without_tables(2);
    let mut left = 1;
    net.lose = Box::new(move |f| {
        let lost = f.kind() == 4 && left > 0;
        left -= i32::from(lost);
        lost
    });
    for n in 0..2 {
        net.apply(n, table(n, 2));
    }
    net.run(2000 * MS);
    assert_eq!(
        (net.peer(0, 1).state, net.peer(1, 0).state),
        (PeerState::Up, PeerState::Up)
    );
}

#[test]
fn a_peer_that_is_told_later_is_reached_as_soon_as_it_knows_us() {
    let mut net: Net = Net::without_tables(2);
    net.apply(0, table(0, 2));
    net.run(20_000 * MS);
    assert!(net.dropped(1, DropReason::BadMac) > 3, "node 1 has no keys yet");
    assert_eq!(net.peer(0, 1).state, PeerState::Down);
    net.apply(1, table(1, 2));
    net.run(500 * MS);
    assert_eq!(net.peer(0, 1).state, PeerState::Up);
}

#[test]
fn an_absent_peer_is_tried_for_ever_and_found_when_it_comes() {
    let mut net: Net<StandIn> = Net::without_tables(2);
    net.apply(0, table(0, 2));
    net.run(Duration::from_secs(3600));
    let tried = net.captured().len();
    assert!((700..800).contains(&tried), "one in 5 s: {tried}");
    net.apply(1, table(1, 2));
    net.run(200 * MS);
    assert_eq!(net.peer(0, 1).state, PeerState::Up);
}

#[test]
fn idle_tunnels_stay_warm_and_are_renewed_by_one_side() {
    let mut net: Net<StandIn> = Net::up(2);
    let before = net.stats(0).handshakes_completed;
    net.run(Duration::from_secs(3600));
    let renewed = net.stats(0).handshakes_completed - before;
    assert!((31..=34).contains(&renewed), "every 110 s: {renewed}");
    let packet = packet("10.0.0.5", "10.1.0.9", b"at once");
    net.outbound(0, &packet);
    net.run(5 * MS);
    assert_eq!(net.delivered(1), [packet]);
    assert_eq!(net.all_drops(0) + net.all_drops(1), 0);
    let downs = net.nodes[0]
        .events
        .iter()
        .filter(|e| matches!(e, EngineEvent::PeerDown { .. }))
        .count();
    assert_eq!(downs, 0);
}

#[test]
fn all_candidates_are_tried_and_the_one_that_answers_is_kept() {
    let mut net: Net = Net::without_tables(2);
    let mut zero = table(0, 2);
    let wrong = (1..=6u16).map(|port| SocketAddr::from(([198, 51, 100, 1], port)));
    zero.peers[0].endpoints = wrong.chain([address(1)]).collect();
    net.apply(0, zero);
    let mut one = table(1, 2);
    one.peers[0].endpoints.clear();
    net.apply(1, one);
    net.run(1000 * MS);
    assert_eq!(net.peer(0, 1).endpoint, Some(address(1)));
    assert_eq!(
        net.peer(1, 0).endpoint,
        Some(address(0)),
        "found by the handshake"
    );
    let at_once = net
        .captured()
        .iter()
        .filter(|f| f.kind() == 1 && f.from == address(0))
        .count();
    assert_eq!(at_once, 8, "two attempts to four places each");
    net.run(5000 * MS);
    assert!(
        net.captured()
            .iter()
            .all(|f| f.to == address(0) || f.to == address(1))
    );
}

#[test]
fn a_peer_that_moves_is_followed_with_its_first_packet() {
    let mut net: Net = Net::up(2);
    let elsewhere: SocketAddr = "[2001:db8::7]:40000".parse().unwrap();
    net.nodes[1].address = elsewhere;
    net.outbound(1, &packet("10.1.0.9", "10.0.0.5", b"from elsewhere"));
    net.run(5 * MS);
    assert_eq!(net.delivered(0).len(), 1);
    assert_eq!(net.peer(0, 1).endpoint, Some(elsewhere));
    let moved = EngineEvent::EndpointMoved {
        peer: id(1),
        from: Some(address(1)),
        to: elsewhere,
    };
    assert!(net.nodes[0].events.contains(&moved));
    net.outbound(0, &packet("10.0.0.5", "10.1.0.9", b"back"));
    net.run(5 * MS);
    assert_eq!(net.delivered(1).len(), 1);
}

#[test]
fn a_keepalive_is_authenticated_data_and_moves_the_endpoint() {
    let mut net: Net = Net::without_tables(2);
    let mut one = table(1, 2);
    one.peers[0].keepalive = Some(Duration::from_millis(400));
    // Without a mesh address nothing is probed: what comes are keepalives.
    one.mesh_address = None;
    net.apply(0, table(0, 2));
    net.apply(1, one);
    net.run(1000 * MS);
    let elsewhere = SocketAddr::from(([192, 0, 2, 77], 1234));
    net.nodes[1].address = elsewhere;
    net.captured();
    net.run(1000 * MS);
    assert!(
        net.captured()
            .iter()
            .any(|f| f.from == elsewhere && f.payload.len() == 32)
    );
    assert_eq!(net.peer(0, 1).endpoint, Some(elsewhere));
}

#[test]
fn a_dead_path_is_noticed_and_searched_from_both_sides() {
    let mut net: Net = Net::up(2);
    net.lose = Box::new(|_| true);
    net.run(5000 * MS);
    for (n, other) in [(0, 1), (1, 0)] {
        assert_eq!(net.peer(n, other).state, PeerState::Down);
        assert!(
            net.nodes[n]
                .events
                .iter()
                .any(|e| matches!(e, EngineEvent::PeerDown { .. }))
        );
    }
    net.lose = Box::new(|_| false);
    net.run(6000 * MS);
    assert_eq!(
        (net.peer(0, 1).state, net.peer(1, 0).state),
        (PeerState::Up, PeerState::Up)
    );
}

#[test]
fn a_dead_endpoint_is_left_for_another_candidate() {
    let mut net: Net = Net::without_tables(2);
    let second = SocketAddr::from(([203, 0, 113, 9], 51820));
    let mut zero = table(0, 2);
    zero.peers[0].endpoints.push(second);
    net.apply(0, zero);
    net.apply(1, table(1, 2));
    net.run(1000 * MS);
    assert_eq!(net.peer(0, 1).endpoint, Some(address(1)));
    net.nodes[1].address = second;
    let mut silent_until_found = true;
    net.lose = Box::new(move |f| {
        // Node 1 only answers: its own packets would move the endpoint anyhow.
        silent_until_found &= f.to != second;
        f.from == second && silent_until_found
    });
    net.run(10_000 * MS);
    assert_eq!(net.peer(0, 1).endpoint, Some(second));
    assert_eq!(net.peer(0, 1).state, PeerState::Up);
}

#[test]
fn waiting_packets_are_bounded_and_do_not_wait_for_ever() {
    let mut net: Net = Net::without_tables(2);
    net.apply(0, table(0, 2));
    for i in 0..100u8 {
        net.outbound(0, &packet("10.0.0.5", "10.1.0.9", &[i; 100]));
    }
    assert_eq!(net.dropped(0, DropReason::NoSession), 36);
    assert_eq!(net.stats(0).pending_bytes, 64 * 128);
    net.run(7000 * MS);
    assert_eq!(net.dropped(0, DropReason::NoSession), 100);
    assert_eq!(net.stats(0).pending_bytes, 0);
}

#[test]
fn a_peer_that_is_no_longer_in_the_table_is_gone_at_once() {
    let mut net: Net = Net::up(3);
    let mut without = table(0, 3);
    without.peers.retain(|p| p.id != id(1));
    net.apply(0, without);
    assert_eq!(net.nodes[0].engine.tunnels.len(), 1);
    assert!(!net.stats(0).peers.contains_key(&id(1)));
    net.outbound(0, &packet("10.0.0.5", "10.1.0.9", b"to the revoked"));
    assert_eq!(net.dropped(0, DropReason::NoRoute), 1);
    net.outbound(1, &packet("10.1.0.9", "10.0.0.5", b"from the revoked"));
    net.run(20_000 * MS);
    assert!(net.delivered(0).is_empty());
    assert!(net.dropped(0, DropReason::UnknownIndex) > 0, "its old session");
    assert!(net.dropped(0, DropReason::UnknownPeer) > 0, "its new handshakes");
    assert_eq!(net.peer(0, 2).state, PeerState::Up, "others are not disturbed");
}

#[test]
fn packets_that_waited_for_a_removed_peer_are_counted() {
    let mut net: Net = Net::without_tables(2);
    net.apply(0, table(0, 2));
    net.outbound(0, &packet("10.0.0.5", "10.1.0.9", b"waits"));
    net.apply(0, table(0, 1));
    assert_eq!(net.dropped(0, DropReason::PeerRemoved), 1);
    assert_eq!(net.stats(0).pending_bytes, 0);
}

#[test]
fn a_table_that_changes_nothing_interrupts_nothing() {
    let mut net: Net = Net::up(3);
    let before = net.stats(0).handshakes_completed;
    for epoch in 2..200 {
        let mut same = table(0, 3);
        same.epoch = epoch;
        same.peers.reverse();
        net.apply(0, same);
        net.outbound(0, &packet("10.0.0.5", "10.2.0.9", b"x"));
        net.outbound(2, &packet("10.2.0.9", "10.0.0.5", b"y"));
        net.run(20 * MS);
    }
    assert_eq!((net.delivered(0).len(), net.delivered(2).len()), (198, 198));
    assert_eq!(net.stats(0).handshakes_completed, before);
}

#[test]
fn a_hundred_peers_come_up_without_a_burst() {
    let mut net: Net<StandIn> = Net::new(100);
    net.run(3000 * MS);
    for n in 0..100 {
        assert!(
            net.stats(n).peers.values().all(|p| p.state == PeerState::Up),
            "{n}"
        );
    }
}
