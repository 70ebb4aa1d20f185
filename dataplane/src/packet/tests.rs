use super::*;
use etherparse::{PacketBuilder, ip_number};
use proptest::prelude::*;

fn v4(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(1000, 2000);
    builder.write(&mut out, payload).unwrap();
    out
}

fn v6(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let (a, b) = (
        "fd00::1".parse::<std::net::Ipv6Addr>().unwrap(),
        "fd00::2".parse::<std::net::Ipv6Addr>().unwrap(),
    );
    PacketBuilder::ipv6(a.octets(), b.octets(), 64)
        .udp(1000, 2000)
        .write(&mut out, payload)
        .unwrap();
    out
}

/// An IPv6 packet with `chain` between the fixed header and its end.
fn v6_chain(first: u8, chain: &[u8]) -> Vec<u8> {
    let mut p = v6(&[]);
    p.truncate(40);
    p.extend_from_slice(chain);
    p[4..6].copy_from_slice(&(chain.len() as u16).to_be_bytes());
    p[6] = first;
    p
}

#[test]
fn both_versions_give_addresses_protocol_and_ports() {
    for bytes in [v4(&[1, 2, 3]), v6(&[1, 2, 3])] {
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.protocol, UDP);
        assert_eq!(udp::ports(&packet), Some((1000, 2000)));
        assert_eq!(&bytes[packet.payload + 8..], [1, 2, 3]);
    }
}

#[test]
fn what_stands_behind_the_stated_length_is_left_out() {
    for mut bytes in [v4(b"x"), v6(b"x")] {
        let len = bytes.len();
        bytes.extend_from_slice(&[0; 15]);
        assert_eq!(Packet::parse(&bytes).unwrap().bytes.len(), len);
    }
}

#[test]
fn every_truncation_is_malformed() {
    for bytes in [v4(b"hello"), v6(b"hello")] {
        for len in 0..bytes.len() {
            assert_eq!(Packet::parse(&bytes[..len]), Err(Malformed::Truncated), "{len}");
        }
    }
}

#[test]
fn other_versions_and_impossible_lengths_are_malformed() {
    for version in (0..16).filter(|v| ![4, 6].contains(v)) {
        let mut bytes = v4(b"");
        bytes[0] = version << 4 | 5;
        assert_eq!(Packet::parse(&bytes), Err(Malformed::Version));
    }
    let mut short_header = v4(b"");
    short_header[0] = 0x44;
    assert_eq!(Packet::parse(&short_header), Err(Malformed::Length));
    let mut shorter_than_header = v4(b"");
    shorter_than_header[2..4].copy_from_slice(&19u16.to_be_bytes());
    assert_eq!(Packet::parse(&shorter_than_header), Err(Malformed::Length));
}

#[test]
fn a_mapped_address_is_refused_on_either_side() {
    let mapped = "::ffff:10.0.0.1".parse::<std::net::Ipv6Addr>().unwrap().octets();
    for at in [8, 24] {
        let mut bytes = v6(b"");
        bytes[at..at + 16].copy_from_slice(&mapped);
        assert_eq!(Packet::parse(&bytes), Err(Malformed::Mapped));
    }
}

#[test]
fn options_and_extension_headers_pass() {
    let mut with_options = vec![
        0x46, 0, 0, 28, 0, 0, 0, 0, 64, UDP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, 1, 1, 1,
    ];
    with_options.extend_from_slice(&[0; 4]);
    assert_eq!(Packet::parse(&with_options).unwrap().payload, 24);
    let hop_by_hop = [60, 0, 1, 4, 0, 0, 0, 0];
    let destination = [UDP, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let udp = [0u8; 8];
    let bytes = v6_chain(0, &[&hop_by_hop[..], &destination, &udp].concat());
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!((packet.protocol, packet.payload), (UDP, 64));
}

#[test]
fn a_cut_or_endless_chain_is_malformed() {
    assert_eq!(Packet::parse(&v6_chain(0, &[UDP])), Err(Malformed::Extension));
    assert_eq!(
        Packet::parse(&v6_chain(0, &[UDP, 9, 0, 0, 0, 0, 0, 0])),
        Err(Malformed::Extension)
    );
    assert_eq!(
        Packet::parse(&v6_chain(44, &[UDP, 0, 0])),
        Err(Malformed::Extension)
    );
    let endless = [60u8, 0, 1, 4, 0, 0, 0, 0].repeat(20);
    assert_eq!(Packet::parse(&v6_chain(60, &endless)), Err(Malformed::Extension));
}

#[test]
fn fragments_pass_and_impossible_fragments_do_not() {
    let fragment = |offset: u16, more: bool, len: usize| {
        let mut bytes = v4(&vec![0; len]);
        let payload = bytes.len() - 20;
        bytes[6..8].copy_from_slice(&((offset / 8) | if more { 0x2000 } else { 0 }).to_be_bytes());
        (Packet::parse(&bytes).map(|p| p.fragment), payload)
    };
    assert_eq!(fragment(0, true, 8).0, Ok(true));
    assert_eq!(fragment(1480, false, 5).0, Ok(true));
    assert_eq!(fragment(0, true, 5).0, Err(Malformed::Fragment));
    assert_eq!(fragment(65_528, false, 100).0, Err(Malformed::Fragment));

    let v6 = |offset: u16, more: u16, len: usize| {
        let mut chain = vec![UDP, 0, 0, 0, 0, 0, 0, 1];
        chain[2..4].copy_from_slice(&(offset | more).to_be_bytes());
        chain.resize(8 + len, 0);
        Packet::parse(&v6_chain(44, &chain)).map(|p| p.fragment)
    };
    assert_eq!(v6(0, 1, 16), Ok(true));
    assert_eq!(v6(1240, 0, 3), Ok(true));
    assert_eq!(v6(0, 0, 3), Ok(false));
    assert_eq!(v6(0, 1, 3), Err(Malformed::Fragment));
    assert_eq!(v6(0xfff8, 0, 16), Err(Malformed::Fragment));
}

#[test]
fn a_hop_is_taken_off_and_the_checksum_stays_right() {
    let mut bytes = v4(b"abc");
    decrement_hop_limit(&mut bytes).unwrap();
    assert_eq!(bytes[8], 63);
    assert_eq!(checksum::finish(checksum::add(0, &bytes[..20])), 0);
    bytes[8] = 1;
    assert_eq!(decrement_hop_limit(&mut bytes), None);
    let mut bytes = v6(b"abc");
    decrement_hop_limit(&mut bytes).unwrap();
    assert_eq!(ipv6::hop_limit(&bytes), 63);
}

#[test]
fn what_we_write_reads_the_same_for_others() {
    let (a, b) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
    let mut bytes = vec![0; udp::OVERHEAD_V6 + 5];
    bytes[udp::OVERHEAD_V6..].copy_from_slice(b"probe");
    let (from, to) = (
        udp::Port {
            address: a,
            port: 862,
        },
        udp::Port { address: b, port: 7 },
    );
    udp::write_v6(&mut bytes, from, to);
    let parsed = udp::parse_v6(&Packet::parse(&bytes).unwrap()).unwrap();
    assert_eq!(
        parsed,
        udp::UdpV6 {
            from,
            to,
            payload: b"probe"
        }
    );
    let theirs = etherparse::SlicedPacket::from_ip(&bytes).unwrap();
    let Some(etherparse::TransportSlice::Udp(udp)) = theirs.transport else {
        panic!("no udp")
    };
    assert_eq!((udp.source_port(), udp.destination_port()), (862, 7));
    for i in 8..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[i] ^= 1;
        assert!(
            Packet::parse(&flipped)
                .ok()
                .and_then(|p| udp::parse_v6(&p))
                .is_none(),
            "{i}"
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_parse_or_fail_without_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), version in 0u8..3) {
        if let (Some(first), true) = (bytes.first_mut(), version > 0) {
            *first = (*first & 0x0f) | if version == 1 { 0x40 } else { 0x60 };
        }
        if let Ok(packet) = Packet::parse(&bytes) {
            prop_assert!(packet.bytes.len() <= bytes.len() && packet.payload <= packet.bytes.len());
            let _ = udp::parse_v6(&packet);
            let _ = decrement_hop_limit(&mut bytes);
        }
    }

    #[test]
    fn honest_packets_read_as_etherparse_reads_them(payload in prop::collection::vec(any::<u8>(), 0..200), v6_not_v4: bool) {
        let bytes = if v6_not_v4 { v6(&payload) } else { v4(&payload) };
        let ours = Packet::parse(&bytes).unwrap();
        let theirs = etherparse::SlicedPacket::from_ip(&bytes).unwrap();
        let ip = theirs.net.and_then(|net| net.ip_payload_ref().map(|p| p.ip_number)).unwrap();
        prop_assert_eq!(ip, ip_number::UDP);
        prop_assert_eq!(ours.protocol, ip.0);
        prop_assert_eq!(&bytes[ours.payload + 8..], &payload[..]);
    }
}
