//! Packets of every size over paths that take less.

use super::net::*;
use crate::DropReason;
use crate::packet::{Packet, checksum};
use crate::table::MtuPolicy;
use crate::tunnel::stand_in::StandIn;
use etherparse::{Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, PacketBuilder, TcpHeader, icmpv4};

/// Bytes in front of a datagram's payload: IPv4 and UDP.
const OUTER: usize = 28;

/// Two nodes whose path takes outer packets of `takes` bytes, and whose links take much more; it was measured.
fn measured(takes: usize) -> Net<StandIn> {
    let mut net = Net::without_tables(2);
    for n in 0..2 {
        let mut table = table(n, 2);
        table.mtu = MtuPolicy {
            link: 9_001,
            ..MtuPolicy::default()
        };
        net.apply(n, table);
    }
    net.lose = Box::new(move |flight| !flight.fragment && flight.payload.len() + OUTER > takes);
    net.run(10_000 * MS);
    net.captured();
    net
}

fn tcp(flags: impl FnOnce(&mut TcpHeader), payload: &[u8]) -> Vec<u8> {
    let mut header = TcpHeader::new(1, 2, 1_000, 500);
    flags(&mut header);
    let mut bytes = vec![];
    PacketBuilder::ipv4([10, 0, 0, 1], [10, 1, 0, 1], 64)
        .tcp_header(header)
        .write(&mut bytes, payload)
        .unwrap();
    bytes
}

/// A datagram that routers may fragment.
fn loose(payload: usize) -> Vec<u8> {
    let mut packet = packet("10.0.0.1", "10.1.0.1", &vec![7; payload]);
    set_flags(&mut packet, 0);
    packet
}

fn forbid_fragments(packet: &mut [u8]) {
    set_flags(packet, 0x40);
}

fn set_flags(packet: &mut [u8], flags: u8) {
    packet[6] = flags;
    packet[10..12].fill(0);
    let field = checksum::finish(checksum::add(0, &packet[..20]));
    packet[10..12].copy_from_slice(&field.to_be_bytes());
}

#[test]
fn the_mtu_of_a_path_is_measured_and_shown() {
    for (takes, mtu) in [(1_280, 1_200), (1_400, 1_340), (1_500, 1_440), (9_001, 8_941)] {
        let net = measured(takes);
        assert_eq!((net.peer(0, 1).mtu, net.peer(1, 0).mtu), (mtu, mtu), "{takes}");
    }
}

#[test]
fn probes_of_the_mtu_are_no_loss_of_the_path() {
    let net = measured(1_400);
    let peer = net.peer(0, 1);
    assert_eq!((peer.loss_out, peer.loss_in, peer.probes_lost), (0.0, 0.0, 0));
}

#[test]
fn datagram_that_may_be_fragmented_arrives_in_fragments_that_fit() {
    let mut net = measured(1_400);
    net.outbound(0, &loose(4_000));
    net.run(50 * MS);
    let fragments = net.delivered(1);
    assert_eq!(fragments.len(), 4);
    assert!(
        fragments
            .iter()
            .all(|f| f.len() <= 1_340 && Packet::parse(f).unwrap().fragment)
    );
}

#[test]
fn sender_of_a_datagram_that_forbids_it_is_told_the_size() {
    let mut net = measured(1_400);
    let mut big = packet("10.0.0.1", "10.1.0.1", &[7; 1_400]);
    forbid_fragments(&mut big);
    net.outbound(0, &big);
    let answers = net.delivered(0);
    let answer = Packet::parse(&answers[0]).unwrap();
    assert_eq!(
        (answer.source, answer.destination),
        ("10.1.0.1".parse().unwrap(), "10.0.0.1".parse().unwrap())
    );
    let icmp = Icmpv4Slice::from_slice(&answer.bytes[20..]).unwrap();
    let needed = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1_340 };
    assert_eq!(icmp.icmp_type(), Icmpv4Type::DestinationUnreachable(needed));
    assert!(big.starts_with(icmp.payload()));
    assert_eq!(net.dropped(0, DropReason::TooBig), 1);
}

#[test]
fn sender_of_a_large_v6_datagram_is_told_the_size() {
    let mut net = measured(1_400);
    net.outbound(0, &packet("fd00::1", "fd00:1::1", &[7; 1_400]));
    let answers = net.delivered(0);
    let answer = Packet::parse(&answers[0]).unwrap();
    assert_eq!(answer.source, "fd00:1::1".parse::<std::net::IpAddr>().unwrap());
    let icmp = Icmpv6Slice::from_slice(&answer.bytes[40..]).unwrap();
    assert_eq!(icmp.icmp_type(), Icmpv6Type::PacketTooBig { mtu: 1_340 });
}

#[test]
fn a_flood_of_large_datagrams_is_not_answered_one_by_one() {
    let mut net = measured(1_400);
    let mut big = packet("10.0.0.1", "10.1.0.1", &[7; 1_400]);
    forbid_fragments(&mut big);
    for _ in 0..1_000 {
        net.outbound(0, &big);
    }
    assert_eq!(
        (net.delivered(0).len(), net.dropped(0, DropReason::TooBig)),
        (50, 1_000)
    );
}

#[test]
fn large_packet_of_tcp_arrives_as_segments_that_fit() {
    let mut net = measured(1_400);
    let payload: Vec<u8> = (0..8_000u32).map(|i| i as u8).collect();
    let mut big = tcp(|header| (header.ack, header.psh) = (true, true), &payload);
    forbid_fragments(&mut big);
    net.outbound(0, &big);
    net.run(50 * MS);
    let mut stream = vec![];
    for segment in net.delivered(1) {
        assert!(segment.len() <= 1_340);
        stream.extend_from_slice(&segment[40..]);
    }
    assert_eq!(stream, payload);
    assert_eq!(net.dropped(0, DropReason::TooBig), 0);
}

#[test]
fn damaged_packet_of_tcp_is_not_made_whole_by_splitting() {
    let mut net = measured(1_400);
    let mut big = tcp(|header| header.ack = true, &[1; 2_000]);
    forbid_fragments(&mut big);
    big[100] ^= 1;
    net.outbound(0, &big);
    net.run(50 * MS);
    assert!(net.delivered(1).is_empty());
    assert_eq!(net.dropped(0, DropReason::TooBig), 1);
}

#[test]
fn mss_is_clamped_to_the_path_on_both_of_its_ends() {
    let mut net = measured(1_400);
    let syn = |header: &mut TcpHeader| {
        header.syn = true;
        header
            .set_options(&[etherparse::TcpOptionElement::MaximumSegmentSize(8_960)])
            .unwrap();
    };
    net.outbound(0, &tcp(syn, &[]));
    net.run(50 * MS);
    let arrived = net.delivered(1).remove(0);
    assert_eq!(arrived[42..44], 1_300u16.to_be_bytes());
    // What comes out of a tunnel is clamped too: the way back may be the narrow one.
    let mut bigger = net.nodes[0].table.clone();
    bigger.mtu.most = 9_000;
    net.nodes[0]
        .engine
        .handle_table(std::sync::Arc::new(bigger.compile()), net.now);
    net.outbound(0, &tcp(syn, &[]));
    net.run(50 * MS);
    assert_eq!(net.delivered(1).remove(0)[42..44], 1_300u16.to_be_bytes());
}

#[test]
fn path_that_shrinks_silently_carries_data_again_within_a_second() {
    let mut net = measured(9_000);
    assert_eq!(net.peer(0, 1).mtu, 8_940);
    net.lose = Box::new(|flight| !flight.fragment && flight.payload.len() + OUTER > 1_400);
    let big = loose(8_000);
    for _ in 0..110 {
        net.outbound(0, &big);
        net.run(10 * MS);
    }
    net.run(50 * MS);
    net.delivered(1);
    net.outbound(0, &big);
    net.run(50 * MS);
    assert!(net.delivered(1).len() > 5);
    assert_eq!(net.peer(0, 1).loss_out, 0.0);
}

#[test]
fn what_a_path_takes_travels_whole_and_only_more_may_be_fragmented() {
    let mut net = measured(1_280);
    net.outbound(0, &packet("fd00::1", "fd00:1::1", &[7; 1_100]));
    net.outbound(0, &packet("fd00::1", "fd00:1::1", &[7; 1_231]));
    let sealed = |payload: usize| payload + 48 + crate::tunnel::OVERHEAD;
    let sent = net.captured();
    let may_be_fragmented = |payload| {
        let of = sent
            .iter()
            .filter(|flight| flight.payload.len() == sealed(payload));
        of.map(|flight| flight.fragment).collect::<Vec<_>>()
    };
    assert_eq!(
        (may_be_fragmented(1_100), may_be_fragmented(1_231)),
        (vec![false], vec![true])
    );
}

#[test]
fn below_the_floor_tcp_is_cut_to_travel_whole() {
    let mut net = measured(1_280);
    let mut big = tcp(|header| header.ack = true, &[7; 1_240]);
    forbid_fragments(&mut big);
    net.outbound(0, &big);
    assert!(net.captured().iter().all(|flight| !flight.fragment));
    net.run(50 * MS);
    assert_eq!(net.delivered(1).len(), 2);
    assert_eq!(net.dropped(0, DropReason::TooBig), 0);
}

#[test]
fn below_the_floor_no_v6_sender_is_told_less_than_ipv6_demands() {
    let mut net = measured(1_280);
    net.outbound(0, &packet("fd00::1", "fd00:1::1", &[7; 1_400]));
    let answers = net.delivered(0);
    let icmp = Icmpv6Slice::from_slice(&answers[0][40..]).unwrap();
    assert_eq!(icmp.icmp_type(), Icmpv6Type::PacketTooBig { mtu: 1_280 });
}
