//! Stock WireGuard devices behind a node. The device here is an engine whose one peer is the node's client key.

use super::net::*;
use crate::drop::DropReason;
use crate::stats::PeerState;
use crate::table::{Keys, Peer, PeerKind, Table};
use std::time::Duration;

const PHONE: usize = 2;
const PHONE_KEY: u16 = 2000;
const CLIENT_KEY: u16 = 2001;

fn phone_peer() -> Peer {
    Peer {
        id: secret(PHONE_KEY).public,
        kind: PeerKind::Client,
        mesh_address: None,
        lanes: vec![secret(PHONE_KEY).public],
        endpoints: vec![],
        endpoint_set: 0,
        sources: vec!["100.96.0.2/32".parse().unwrap()],
        preshared_key: None,
        keepalive: None,
    }
}

/// Nodes 0 and 1, and a phone attached to node 0.
fn gateway() -> Table {
    let mut table = table(0, 2);
    table.peers.push(phone_peer());
    table
        .routes
        .push(("100.96.0.2/32".parse().unwrap(), secret(PHONE_KEY).public.into()));
    table.keys.client = Some(secret(CLIENT_KEY));
    table
}

fn phone(server_key: [u8; 32]) -> Table {
    let node = Peer {
        lanes: vec![server_key],
        sources: vec!["10.0.0.0/8".parse().unwrap()],
        mesh_address: None,
        keepalive: Some(Duration::from_secs(25)),
        ..node_peer(0, 0)
    };
    Table {
        local: vec!["100.96.0.2/32".parse().unwrap()],
        peers: vec![node],
        routes: vec![("10.0.0.0/8".parse().unwrap(), id(0).into())],
        keys: Keys {
            lanes: vec![secret(PHONE_KEY)],
            ..Keys::default()
        },
        ..Table::default()
    }
}

fn net() -> Net {
    let mut net: Net = Net::without_tables(3);
    net.apply(0, gateway());
    let mut one = table(1, 2);
    one.peers[0].sources.push("100.96.0.0/24".parse().unwrap());
    one.routes.push(("100.96.0.0/24".parse().unwrap(), id(0).into()));
    net.apply(1, one);
    net.apply(PHONE, phone(secret(CLIENT_KEY).public));
    net.run(1500 * MS);
    net
}

fn hops(packet: &[u8]) -> u8 {
    packet[8]
}

#[test]
fn a_client_reaches_its_node_and_the_mesh_and_is_reached() {
    let mut net = net();
    net.outbound(PHONE, &packet("100.96.0.2", "10.0.0.5", b"to the node's network"));
    net.outbound(PHONE, &packet("100.96.0.2", "10.1.0.9", b"to another network"));
    net.run(20 * MS);
    assert_eq!(net.delivered(0).len(), 1);
    let forwarded = net.delivered(1);
    assert_eq!((forwarded.len(), hops(&forwarded[0])), (1, 63));
    net.outbound(1, &packet("10.1.0.9", "100.96.0.2", b"back"));
    net.outbound(0, &packet("10.0.0.5", "100.96.0.2", b"back"));
    net.run(20 * MS);
    assert_eq!(net.delivered(PHONE).len(), 2);
    assert_eq!(net.stats(0).peers[&secret(PHONE_KEY).public].state, PeerState::Up);
    assert_eq!((0..3).map(|n| net.all_drops(n)).sum::<u64>(), 0);
}

#[test]
fn a_client_uses_the_client_key_only() {
    let mut net = net();
    net.apply(PHONE, phone(lane_key(0, 0).public));
    net.outbound(PHONE, &packet("100.96.0.2", "10.0.0.5", b"x"));
    net.run(500 * MS);
    assert!(net.delivered(0).is_empty());
    assert!(net.dropped(0, DropReason::UnknownPeer) > 0);
}

#[test]
fn a_node_uses_the_lane_key_only() {
    let mut net = net();
    let mut one = table(1, 2);
    one.peers[0].lanes = vec![secret(CLIENT_KEY).public];
    net.apply(1, one);
    net.run(500 * MS);
    assert!(net.dropped(0, DropReason::UnknownPeer) > 0);
}

#[test]
fn a_client_cannot_use_the_address_of_another() {
    let mut net = net();
    net.outbound(PHONE, &packet("100.96.0.3", "10.0.0.5", b"x"));
    net.outbound(PHONE, &packet("10.1.0.9", "10.0.0.5", b"x"));
    net.run(20 * MS);
    assert_eq!(net.dropped(0, DropReason::SourceNotAllowed), 2);
}

#[test]
fn a_packet_without_hops_left_is_not_forwarded() {
    let mut net = net();
    let mut last_hop = packet("100.96.0.2", "10.1.0.9", b"x");
    last_hop[8] = 1;
    net.outbound(PHONE, &last_hop);
    net.run(20 * MS);
    assert_eq!(net.dropped(0, DropReason::HopLimit), 1);
    assert!(net.delivered(1).is_empty());
}

#[test]
fn a_removed_client_is_gone_at_once() {
    let mut net = net();
    net.outbound(PHONE, &packet("100.96.0.2", "10.0.0.5", b"x"));
    net.run(20 * MS);
    assert_eq!(net.delivered(0).len(), 1);
    net.apply(0, table(0, 2));
    net.outbound(PHONE, &packet("100.96.0.2", "10.0.0.5", b"x"));
    net.run(20 * MS);
    assert!(net.delivered(0).is_empty());
    assert_eq!(net.dropped(0, DropReason::UnknownIndex), 1);
}

#[test]
fn a_client_roams() {
    let mut net = net();
    net.nodes[PHONE].address = std::net::SocketAddr::from(([198, 51, 100, 44], 777));
    net.outbound(PHONE, &packet("100.96.0.2", "10.0.0.5", b"x"));
    net.run(20 * MS);
    net.outbound(0, &packet("10.0.0.5", "100.96.0.2", b"x"));
    net.run(20 * MS);
    assert_eq!(net.delivered(PHONE).len(), 1);
}

#[test]
fn nobody_looks_for_a_client_that_was_never_seen() {
    let mut net: Net = Net::without_tables(1);
    let mut alone = gateway();
    alone.peers.retain(|p| p.kind == PeerKind::Client);
    net.apply(0, alone);
    net.outbound(0, &packet("10.0.0.5", "100.96.0.2", b"x"));
    net.run(60_000 * MS);
    assert!(net.captured().is_empty());
    assert_eq!(net.dropped(0, DropReason::NoSession), 1);
}
