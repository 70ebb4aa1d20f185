//! What may pass, checked both ways (fault M9).

use super::net::*;
use crate::drop::DropReason;

/// Sends a packet through the tunnel from node 1 to node 0, whatever node 1's own table says.
fn from_peer(net: &mut Net, packet: &[u8]) {
    let mut lying = table(1, 2);
    lying.routes = vec![
        ("0.0.0.0/0".parse().unwrap(), id(0).into()),
        ("::/0".parse().unwrap(), id(0).into()),
    ];
    net.apply(1, lying);
    net.outbound(1, packet);
    net.run(10 * MS);
}

#[track_caller]
fn refused(packet: &[u8], reason: DropReason) {
    let mut net: Net = Net::up(2);
    from_peer(&mut net, packet);
    assert!(net.delivered(0).is_empty());
    assert_eq!(net.dropped(0, reason), 1);
    assert_eq!(net.all_drops(0), 1);
}

#[test]
fn a_source_that_is_not_the_peers_is_refused() {
    for source in ["10.2.0.1", "10.0.0.1", "127.0.0.1", "8.8.8.8"] {
        refused(&packet(source, "10.0.0.5", b"x"), DropReason::SourceNotAllowed);
    }
    refused(
        &packet("fd00:2::1", "fd00:0::5", b"x"),
        DropReason::SourceNotAllowed,
    );
    refused(
        &packet(&mesh_address(0).to_string(), "fd00:0::5", b"x"),
        DropReason::SourceNotAllowed,
    );
}

#[test]
fn a_destination_that_is_not_ours_is_refused() {
    for destination in [
        "169.254.169.254",
        "10.1.0.1",
        "10.2.0.1",
        "127.0.0.1",
        "255.255.255.255",
    ] {
        refused(
            &packet("10.1.0.9", destination, b"x"),
            DropReason::DestinationNotOurs,
        );
    }
    for destination in ["fd00:2::1", "::1", "ff02::1", "fe80::1"] {
        refused(
            &packet("fd00:1::9", destination, b"x"),
            DropReason::DestinationNotOurs,
        );
    }
}

#[test]
fn a_packet_from_a_peer_never_goes_back_into_the_mesh() {
    let mut net: Net = Net::up(3);
    let mut lying = table(1, 3);
    lying.routes = vec![("10.0.0.0/8".parse().unwrap(), id(0).into())];
    net.apply(1, lying);
    net.captured();
    net.outbound(1, &packet("10.1.0.9", "10.2.0.1", &[9; 600]));
    net.run(10 * MS);
    assert_eq!(net.dropped(0, DropReason::DestinationNotOurs), 1);
    assert!(net.delivered(2).is_empty());
    assert!(
        !net.captured()
            .iter()
            .any(|f| f.to == address(2) && f.payload.len() > 600)
    );
}

#[test]
fn the_mesh_address_of_a_peer_is_a_source_and_ours_a_destination() {
    let mut net: Net = Net::up(2);
    let (one, zero) = (mesh_address(1).to_string(), mesh_address(0).to_string());
    from_peer(&mut net, &packet(&one, &zero, b"x"));
    assert_eq!(net.delivered(0).len(), 1);
}

/// Seals bytes that node 1 itself would never send on.
fn sealed(net: &mut Net, bytes: &[u8]) {
    let engine = &mut net.nodes[1].engine;
    let slot = engine.peers[0].current.unwrap();
    let mut out = vec![0; 2000];
    let len = engine
        .tunnels
        .get_mut(slot)
        .unwrap()
        .seal
        .seal(bytes, &mut out, net.now)
        .unwrap();
    net.inject(0, address(1), &out[..len]);
}

use crate::tunnel::Seal;

#[test]
fn malformed_packets_are_refused_each_with_its_reason() {
    let whole = packet("10.1.0.9", "10.0.0.5", b"hello");
    let whole_v6 = packet("fd00:1::9", "fd00:0::5", b"hello");
    let mut version = whole.clone();
    version[0] = 0x55;
    let mut length = whole.clone();
    length[3] = 10;
    let mut fragment = whole.clone();
    fragment[6] = 0x20;
    let mut mapped = whole_v6.clone();
    mapped[8..24].copy_from_slice(&"::ffff:10.1.0.9".parse::<std::net::Ipv6Addr>().unwrap().octets());
    let mut chain = whole_v6.clone();
    chain[6] = 60;
    chain[41] = 200;
    let mut cut = whole.clone();
    cut.truncate(30);
    let cases = [
        (version, DropReason::BadVersion),
        (length, DropReason::BadLength),
        (fragment, DropReason::BadFragment),
        (mapped, DropReason::MappedAddress),
        (chain, DropReason::BadExtensionHeader),
        (cut, DropReason::Truncated),
        (vec![0x45], DropReason::Truncated),
    ];
    for (bytes, reason) in cases {
        let mut net: Net = Net::up(2);
        sealed(&mut net, &bytes);
        assert_eq!(net.dropped(0, reason), 1, "from the tunnel: {reason}");
        assert!(net.delivered(0).is_empty());
        net.outbound(0, &bytes);
        assert_eq!(net.dropped(0, reason), 2, "from the TUN: {reason}");
    }
}

#[test]
fn fragments_and_options_pass() {
    let mut net: Net = Net::up(2);
    let mut first = packet("10.1.0.9", "10.0.0.5", &[1; 16]);
    first[6] = 0x20;
    let mut last = packet("10.1.0.9", "10.0.0.5", &[2; 5]);
    last[7] = 3;
    for bytes in [&first, &last] {
        net.outbound(1, bytes);
    }
    net.run(10 * MS);
    assert_eq!(net.delivered(0), [first, last]);
}

#[test]
fn what_stands_behind_the_packet_does_not_travel() {
    let mut net: Net = Net::up(2);
    let whole = packet("10.1.0.9", "10.0.0.5", b"hello");
    let padded = [&whole[..], &[0xee; 20]].concat();
    net.outbound(1, &padded);
    net.run(10 * MS);
    assert_eq!(net.delivered(0), [whole]);
}

#[test]
fn a_forged_probe_is_refused() {
    let mut net: Net = Net::up(3);
    let probe = |from: &str, port: u16| {
        let to = crate::packet::udp::Port {
            address: mesh_address(0),
            port,
        };
        let from = crate::packet::udp::Port {
            address: from.parse().unwrap(),
            port: 862,
        };
        let mut bytes = vec![0; 100];
        crate::packet::udp::write_v6(&mut bytes, from, to);
        bytes
    };
    let other = mesh_address(2).to_string();
    sealed(&mut net, &probe(&other, 862));
    sealed(
        &mut net,
        &probe(&mesh_address(1).to_string(), crate::path::stamp::SENDER_PORT),
    );
    let mut corrupt = probe(&mesh_address(1).to_string(), 862);
    corrupt[99] ^= 1;
    sealed(&mut net, &corrupt);
    assert_eq!(net.dropped(0, DropReason::BadProbe), 3);
}
