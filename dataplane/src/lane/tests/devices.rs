//! Two plain WireGuard devices: stock peers on both sides, cryptokey routing, no probes.

use super::net::*;
use crate::drop::DropReason;
use crate::table::{Forwarding, Keys, Peer, PeerKind, Table};
use crate::tunnel::stand_in::StandIn;
use std::net::SocketAddr;
use std::time::Duration;

fn device_key(n: usize) -> crate::table::LaneSecret {
    secret(3000 + n as u16)
}

fn other(me: usize) -> Peer {
    let n = 1 - me;
    Peer {
        id: device_key(n).public,
        kind: PeerKind::Client,
        mesh_address: None,
        lanes: vec![device_key(n).public],
        sources: vec![],
        ..node_peer(n, 0)
    }
}

/// Device `me` of two, `10.<n>.0.0/16` behind device n.
fn device(me: usize) -> Table {
    let peer = other(me);
    Table {
        epoch: 1,
        forwarding: Forwarding::Device,
        routes: vec![(format!("10.{}.0.0/16", 1 - me).parse().unwrap(), peer.id.into())],
        peers: vec![peer],
        keys: Keys {
            client: Some(device_key(me)),
            ..Keys::default()
        },
        ..Table::default()
    }
}

fn net() -> Net {
    let mut net: Net = Net::without_tables(2);
    net.apply(0, device(0));
    net.apply(1, device(1));
    net
}

fn question() -> Vec<u8> {
    packet("10.0.0.1", "10.1.0.1", b"question")
}

#[test]
fn nothing_is_said_until_there_is_something_to_send() {
    let mut net = net();
    net.run(Duration::from_secs(30));
    assert!(net.captured().is_empty());
    net.outbound(0, &question());
    net.run(100 * MS);
    assert_eq!(net.delivered(1).len(), 1);
}

#[test]
fn a_packet_for_anybody_goes_to_the_host_if_its_source_is_the_peers() {
    let mut net = net();
    net.outbound(0, &question());
    net.run(100 * MS);
    net.delivered(1);
    let mut everything = device(0);
    everything.routes = vec![("0.0.0.0/0".parse().unwrap(), other(0).id.into())];
    net.apply(0, everything);
    net.outbound(0, &packet("10.0.0.1", "8.8.8.8", b"x"));
    net.outbound(0, &packet("10.7.0.1", "8.8.8.8", b"x"));
    net.run(100 * MS);
    assert_eq!(net.delivered(1).len(), 1);
    assert_eq!(net.dropped(1, DropReason::SourceNotAllowed), 1);
}

#[test]
fn persistent_keepalive_makes_a_session_without_data_and_again_when_it_ended() {
    let mut net: Net<StandIn> = Net::without_tables(2);
    let mut first = device(0);
    first.peers[0].keepalive = Some(Duration::from_secs(5));
    net.apply(0, first.clone());
    net.run(20 * MS);
    net.apply(1, device(1));
    net.run(Duration::from_secs(20));
    assert!(net.stats(1).peers[&device_key(0).public].last_handshake.is_some());
    net.restart(1);
    net.apply(1, device(1));
    net.run(Duration::from_secs(300));
    let again = net.stats(1).peers[&device_key(0).public].last_handshake;
    assert!(again.is_some(), "a peer that forgot everything is found again");
}

#[test]
fn an_endpoint_that_is_set_again_replaces_one_that_the_peer_moved_to() {
    let mut net = net();
    net.outbound(0, &question());
    net.run(100 * MS);
    let elsewhere = SocketAddr::from(([198, 51, 100, 7], 7));
    let home = std::mem::replace(&mut net.nodes[1].address, elsewhere);
    net.outbound(1, &packet("10.1.0.1", "10.0.0.1", b"moved"));
    net.run(100 * MS);
    let shown = |net: &Net| net.stats(0).peers[&device_key(1).public].endpoint;
    assert_eq!(shown(&net), Some(elsewhere));
    net.nodes[1].address = home;
    let mut chosen = device(0);
    chosen.peers[0].endpoint_set = 1;
    net.apply(0, chosen.clone());
    assert_eq!(shown(&net), Some(home));
    net.delivered(1);
    net.outbound(0, &question());
    net.run(100 * MS);
    assert_eq!(net.delivered(1).len(), 1);
    net.nodes[1].address = elsewhere;
    net.outbound(1, &packet("10.1.0.1", "10.0.0.1", b"moved"));
    net.run(100 * MS);
    net.apply(0, chosen);
    assert_eq!(
        shown(&net),
        Some(elsewhere),
        "the same table again says nothing new"
    );
}

#[test]
fn the_same_table_again_resets_no_session() {
    let mut net = net();
    net.outbound(0, &question());
    net.run(100 * MS);
    let handshakes = net.stats(0).handshakes_completed;
    for n in [0, 1] {
        net.apply(
            n,
            Table {
                epoch: 2,
                ..device(n)
            },
        );
    }
    net.outbound(0, &question());
    net.run(100 * MS);
    assert_eq!(net.delivered(1).len(), 2);
    assert_eq!(net.stats(0).handshakes_completed, handshakes);
}

#[test]
fn without_a_private_key_nothing_happens() {
    let mut net = net();
    let mut keyless = device(0);
    keyless.keys.client = None;
    net.apply(0, keyless);
    net.outbound(0, &question());
    net.outbound(1, &packet("10.1.0.1", "10.0.0.1", b"x"));
    net.run(Duration::from_secs(10));
    assert!(net.delivered(0).is_empty() && net.delivered(1).is_empty());
}
