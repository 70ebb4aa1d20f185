//! Keys change while packets flow.

use super::net::*;
use crate::drop::DropReason;
use crate::stats::PeerState;
use crate::table::{Keys, Table};

/// The table of node `me` of two, under its own epoch, knowing the other's.
fn at(me: usize, own: u16, other: u16) -> Table {
    let mut table = table(me, 2);
    table.peers[0] = node_peer(1 - me, other);
    let previous = (own > 0).then(|| lane_key(me, own - 1)).into_iter().collect();
    table.keys = Keys {
        lanes: vec![lane_key(me, own)],
        previous,
        client: None,
    };
    table
}

/// Both ways, a packet every millisecond.
fn traffic(net: &mut Net, ms: u32) -> u32 {
    for i in 0..ms {
        net.outbound(0, &packet("10.0.0.5", "10.1.0.9", &i.to_be_bytes()));
        net.outbound(1, &packet("10.1.0.9", "10.0.0.5", &i.to_be_bytes()));
        net.run(MS);
    }
    ms
}

#[test]
fn a_new_epoch_of_one_side_loses_no_packet() {
    let mut net: Net = Net::up(2);
    let mut sent = traffic(&mut net, 50);
    net.apply(0, at(0, 1, 0));
    // The record takes its time: only the old keys work meanwhile.
    sent += traffic(&mut net, 700);
    net.apply(1, at(1, 0, 1));
    sent += traffic(&mut net, 1000);
    net.run(20 * MS);
    assert_eq!(
        (net.delivered(0).len(), net.delivered(1).len()),
        (sent as usize, sent as usize)
    );
    net.run(4000 * MS);
    for n in 0..2 {
        assert_eq!(net.nodes[n].engine.tunnels.len(), 1, "the old tunnel is gone");
        assert_eq!(net.peer(n, 1 - n).state, PeerState::Up);
    }
    let keys = net.nodes[0]
        .engine
        .tunnels
        .get(net.nodes[0].engine.peers[0].current.unwrap())
        .unwrap()
        .pair;
    assert_eq!(keys, (lane_key(0, 1).public, lane_key(1, 0).public));
}

#[test]
fn a_new_epoch_of_both_sides_at_once_loses_no_packet() {
    let mut net: Net = Net::up(2);
    let mut sent = traffic(&mut net, 50);
    net.apply(0, at(0, 1, 0));
    net.apply(1, at(1, 1, 0));
    sent += traffic(&mut net, 100);
    net.apply(0, at(0, 1, 1));
    sent += traffic(&mut net, 30);
    net.apply(1, at(1, 1, 1));
    sent += traffic(&mut net, 2000);
    net.run(20 * MS);
    assert_eq!(
        (net.delivered(0).len(), net.delivered(1).len()),
        (sent as usize, sent as usize)
    );
}

#[test]
fn old_keys_that_are_not_kept_are_gone_at_once() {
    let mut net: Net = Net::up(2);
    let mut without_previous = at(0, 1, 0);
    without_previous.keys.previous.clear();
    net.apply(0, without_previous);
    assert!(net.nodes[0].engine.peers[0].old.is_none());
    net.outbound(1, &packet("10.1.0.9", "10.0.0.5", b"x"));
    net.run(10 * MS);
    assert!(net.dropped(0, DropReason::SessionExpired) + net.dropped(0, DropReason::UnknownIndex) >= 1);
    assert!(net.delivered(0).is_empty());
}

#[test]
fn a_restarted_peer_is_back_as_soon_as_its_record_is() {
    let mut net: Net = Net::up(2);
    let restarted: Net = Net::without_tables(2);
    net.nodes[1].engine = restarted.nodes.into_iter().nth(1).unwrap().engine;
    net.apply(1, at(1, 1, 0));
    net.run(300 * MS);
    net.apply(0, at(0, 0, 1));
    net.run(100 * MS);
    let whole = packet("10.0.0.5", "10.1.0.9", b"x");
    net.outbound(0, &whole);
    net.run(10 * MS);
    assert_eq!(net.delivered(1), [whole]);
}

#[test]
fn a_preshared_key_counts_on_both_sides() {
    let psk = |value: u8| Some(zeroize::Zeroizing::new([value; 32]));
    let mut net: Net = Net::without_tables(2);
    for (n, value) in [(0, 7), (1, 8)] {
        let mut table = table(n, 2);
        table.peers[0].preshared_key = psk(value);
        net.apply(n, table);
    }
    net.run(2000 * MS);
    assert_eq!(net.peer(0, 1).last_handshake, None);
    let mut agreed = table(1, 2);
    agreed.peers[0].preshared_key = psk(7);
    net.apply(1, agreed);
    net.run(6000 * MS);
    assert_eq!(net.peer(0, 1).state, PeerState::Up);
}

#[test]
fn new_keys_are_taken_up_after_a_block_that_the_old_ones_survived() {
    let mut net: Net = Net::up(2);
    net.lose = Box::new(|f| f.from == address(1));
    net.apply(0, at(0, 1, 0));
    net.apply(1, at(1, 0, 1));
    net.run(2500 * MS);
    net.lose = Box::new(|_| false);
    net.run(10_000 * MS);
    for n in 0..2 {
        let state = &net.nodes[n].engine.peers[0];
        assert!(state.old.is_none() && net.nodes[n].engine.tunnels.is_live(state.current.unwrap()));
    }
}
