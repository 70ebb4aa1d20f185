//! Strangers, replays, floods (faults M1 to M4).

use super::net::*;
use crate::drop::DropReason;
use crate::stats::PeerState;
use crate::tunnel::Seal;
use crate::tunnel::stand_in::StandIn;
use proptest::prelude::*;
use std::net::SocketAddr;

fn stranger() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 66], 6666))
}

#[test]
fn replayed_packets_are_dropped_and_move_nothing() {
    let mut net: Net = Net::up(2);
    net.captured();
    for i in 0..20u8 {
        net.outbound(1, &packet("10.1.0.9", "10.0.0.5", &[i]));
    }
    net.run(30 * MS);
    assert_eq!(net.delivered(0).len(), 20);
    let data: Vec<_> = net
        .captured()
        .into_iter()
        .filter(|f| f.kind() == 4 && f.to == address(0))
        .collect();
    let heard = net.peer(0, 1).rx_bytes;
    for flight in &data {
        net.inject(0, stranger(), &flight.payload);
    }
    assert_eq!(net.dropped(0, DropReason::Replayed), data.len() as u64);
    assert!(net.delivered(0).is_empty());
    assert_eq!(net.peer(0, 1).endpoint, Some(address(1)));
    assert_eq!(net.peer(0, 1).rx_bytes, heard);
}

#[test]
fn replayed_handshakes_are_dropped_and_move_nothing() {
    let mut net: Net = Net::new(2);
    net.run(2000 * MS);
    let handshakes: Vec<_> = net.captured().into_iter().filter(|f| f.kind() < 4).collect();
    assert!(handshakes.len() >= 2);
    // An initiation that lost a collision was never taken, so that its first replay is answered; nothing comes of that.
    for round in 0..2 {
        net.captured();
        for flight in &handshakes {
            net.inject(usize::from(flight.to == address(1)), stranger(), &flight.payload);
        }
        let answers = net.captured().iter().filter(|f| f.to == stranger()).count();
        assert!(answers <= 1 - round, "{answers} answers to replays");
    }
    let rejected: u64 = (0..2)
        .map(|n| net.dropped(n, DropReason::HandshakeRejected))
        .sum();
    assert!(rejected >= 2, "{rejected}");
    let packet = packet("10.0.0.5", "10.1.0.9", b"still");
    net.outbound(0, &packet);
    net.run(10 * MS);
    assert_eq!(net.delivered(1), [packet]);
    assert_eq!(net.peer(1, 0).endpoint, Some(address(0)));
}

#[test]
fn a_packet_that_was_overtaken_does_not_move_the_endpoint_back() {
    let mut net: Net = Net::up(2);
    net.lose = Box::new(|_| true);
    net.captured();
    net.outbound(1, &packet("10.1.0.9", "10.0.0.5", b"early"));
    net.outbound(1, &packet("10.1.0.9", "10.0.0.5", b"late"));
    let mut sent = net.captured();
    // Traffic on an idle path has it probed at once.
    sent.retain(|flight| flight.payload.len() < 100);
    let elsewhere = SocketAddr::from(([192, 0, 2, 99], 9));
    net.inject(0, elsewhere, &sent[1].payload);
    assert_eq!(net.peer(0, 1).endpoint, Some(elsewhere));
    net.inject(0, address(1), &sent[0].payload);
    assert_eq!(net.delivered(0).len(), 2, "late, and good");
    assert_eq!(net.peer(0, 1).endpoint, Some(elsewhere));
}

#[test]
fn flipped_bits_are_dropped() {
    let mut net: Net = Net::up(2);
    net.captured();
    net.lose = Box::new(|_| true);
    net.outbound(1, &packet("10.1.0.9", "10.0.0.5", b"x"));
    let sealed = net.captured().remove(0).payload;
    for i in 0..sealed.len() {
        let mut flipped = sealed.clone();
        flipped[i] ^= 0x40;
        net.inject(0, stranger(), &flipped);
    }
    assert!(net.delivered(0).is_empty());
    assert_eq!(net.all_drops(0), sealed.len() as u64);
    for reason in [
        DropReason::Garbage,
        DropReason::UnknownIndex,
        DropReason::Unauthentic,
    ] {
        assert!(net.dropped(0, reason) > 0, "{reason}");
    }
    assert_eq!(net.peer(0, 1).endpoint, Some(address(1)));
    net.inject(0, address(1), &sealed);
    assert_eq!(net.delivered(0).len(), 1, "the real one still counts");
}

#[test]
fn a_packet_of_an_ended_session_is_dropped() {
    let mut net: Net = Net::up(2);
    net.captured();
    net.outbound(1, &packet("10.1.0.9", "10.0.0.5", b"x"));
    let mut sealed = net.captured().remove(0).payload;
    // Another session of the same tunnel.
    sealed[4] ^= 0x07;
    net.inject(0, stranger(), &sealed);
    assert_eq!(net.dropped(0, DropReason::SessionExpired), 1);
}

#[test]
fn strangers_get_no_answer() {
    let mut net: Net = Net::up(2);
    // Node 2 knows node 0, which does not know it.
    let mut outsider: Net = Net::without_tables(3);
    outsider.apply(2, table(2, 3));
    outsider.run(10 * MS);
    let initiation = outsider
        .captured()
        .into_iter()
        .find(|f| f.to == address(0))
        .unwrap()
        .payload;
    net.captured();
    net.inject(0, stranger(), &initiation);
    assert_eq!(net.dropped(0, DropReason::UnknownPeer), 1);
    let mut for_another = initiation.clone();
    for_another[120] ^= 1;
    net.inject(0, stranger(), &for_another);
    assert_eq!(net.dropped(0, DropReason::BadMac), 1);
    for kind in [2u8, 3, 4] {
        let len = [0, 148, 92, 64, 40][usize::from(kind)];
        let mut message = vec![0x5a; len];
        message[..4].copy_from_slice(&[kind, 0, 0, 0]);
        net.inject(0, stranger(), &message);
    }
    assert_eq!(net.dropped(0, DropReason::UnknownIndex), 3);
    assert!(net.captured().is_empty());
}

#[test]
fn a_flood_of_handshakes_is_bounded_and_an_honest_one_still_passes() {
    let mut net: Net = Net::up(3);
    // What an attacker on the path recorded: initiations with a good MAC1, from forged addresses.
    let mut outsider: Net = Net::without_tables(4);
    outsider.apply(3, table(3, 4));
    outsider.run(10 * MS);
    let initiation = outsider
        .captured()
        .into_iter()
        .find(|f| f.to == address(0))
        .unwrap()
        .payload;

    let mut without = table(2, 3);
    without.peers.clear();
    net.apply(2, without);
    let flood = |net: &mut Net, n: u32| {
        for i in 0..n {
            let from = SocketAddr::from(([100, 64, (i >> 8) as u8, i as u8], 1000));
            net.inject(0, from, &initiation);
        }
    };
    flood(&mut net, 2000);
    let taken = net.dropped(0, DropReason::UnknownPeer);
    assert!(taken <= 210, "key exchanges: {taken}");
    assert!(net.dropped(0, DropReason::CookieRequired) > 1700);
    // Node 2 comes back in the middle of it, and gets in by a cookie.
    net.captured();
    net.apply(2, table(2, 3));
    let began = net.now;
    while net.peer(2, 0).state != PeerState::Up {
        flood(&mut net, 50);
        net.run(10 * MS);
        assert!(net.now - began < 1000 * MS, "still not in");
    }
    let cookies = net
        .captured()
        .iter()
        .filter(|f| f.kind() == 3 && f.to == address(2))
        .count();
    assert!(cookies >= 1);
    let through = packet("10.1.0.9", "10.0.0.5", b"data goes on");
    net.outbound(1, &through);
    net.run(5 * MS);
    assert_eq!(net.delivered(0), [through]);
}

#[test]
fn one_real_address_cannot_take_all_handshakes() {
    let mut net: Net = Net::up(2);
    // Node 1 itself floods: it can use cookies.
    let mut lost = 0;
    for _ in 0..2000 {
        let engine = &mut net.nodes[1].engine;
        let slot = engine.peers[0].current.unwrap();
        let mut message = [0; 148];
        let tunnel = engine.tunnels.get_mut(slot).unwrap();
        tunnel.seal.initiate(&mut message, net.now).unwrap();
        net.inject(0, address(1), &message);
        let cookie = net.captured().into_iter().rev().find(|f| f.kind() == 3);
        if let Some(cookie) = cookie {
            net.inject(1, address(0), &cookie.payload);
        }
        lost = net.dropped(0, DropReason::HandshakeRateLimited);
        if lost > 100 {
            break;
        }
    }
    assert!(lost > 100, "{lost}");
}

#[test]
fn the_queue_of_handshakes_is_bounded() {
    let mut net: Net<StandIn> = Net::up(2);
    let node = &mut net.nodes[1];
    let mut message = [0; 148];
    let slot = node.engine.peers[0].current.unwrap();
    let seal = &mut node.engine.tunnels.get_mut(slot).unwrap().seal;
    seal.initiate(&mut message, net.now).unwrap();
    // Each from a real address of its own, all in one wake-up.
    let node = &mut net.nodes[0];
    let (mut write, mut send) = (crate::WriteBatch::default(), crate::SendBatch::default());
    for i in 0..500u16 {
        let source = SocketAddr::from(([198, 18, (i >> 8) as u8, i as u8], 1));
        let datagram = crate::Datagram {
            source,
            local: None,
            payload: &message,
        };
        node.engine
            .handle_inbound(datagram, net.now, &mut write, &mut send);
    }
    assert_eq!(net.dropped(0, DropReason::HandshakeQueueFull), 500 - 128);
}

#[test]
fn a_forged_cookie_changes_nothing() {
    let mut net: Net = Net::without_tables(2);
    net.apply(0, table(0, 2));
    net.run(300 * MS);
    let initiation = net.captured().pop().unwrap().payload;
    let mut cookie = vec![0x33; 64];
    cookie[..4].copy_from_slice(&[3, 0, 0, 0]);
    cookie[4..8].copy_from_slice(&initiation[4..8]);
    net.inject(0, address(1), &cookie);
    assert_eq!(net.dropped(0, DropReason::HandshakeRejected), 1);
    net.run(MS);
    assert!(net.captured().is_empty(), "no retry is hurried by it");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_has_no_effect(datagrams in prop::collection::vec(
        (prop::collection::vec(any::<u8>(), 0..300), 0u8..6, prop_oneof![Just(0usize), Just(148), Just(92), Just(64), Just(40)]),
        1..40,
    )) {
        let mut net: Net = Net::up(2);
        let before = net.all_drops(0);
        let mut sent = 0;
        for (mut bytes, kind, len) in datagrams {
            if len > 0 {
                bytes.resize(len, 0xa5);
                bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
            }
            net.inject(0, stranger(), &bytes);
            sent += 1;
        }
        prop_assert_eq!(net.all_drops(0) - before, sent);
        prop_assert!(net.delivered(0).is_empty());
        let whole = packet("10.1.0.9", "10.0.0.5", b"still here");
        net.outbound(1, &whole);
        net.run(5 * MS);
        prop_assert_eq!(net.delivered(0), vec![whole]);
    }
}
