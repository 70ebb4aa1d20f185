//! What arrives on the UDP port, and what is found in tunnels and on the TUN device.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{IpSlice, PacketBuilder};
use meshnode_dataplane::demux::{Class, Message, classify};
use meshnode_dataplane::packet::{Packet, decrement_hop_limit, udp};
use meshnode_dataplane::relay::Session;
use meshnode_dataplane::relay::frame::{self, Frame};

/// Any bytes as a datagram on the shared port.
pub fn demux(data: &[u8]) {
    let starts_as_wireguard = matches!(data, [1..=4, 0, 0, 0, ..]);
    match classify(data) {
        Class::WireGuard(message) => assert!(starts_as_wireguard && fits(message, data.len())),
        Class::Relay => {
            let frame = Frame::parse(data).expect("it was recognised by its header");
            assert!(matches!(classify(frame.message), Class::WireGuard(_)));
        }
        Class::Quic => assert!(
            !starts_as_wireguard && data[0] & 0x40 != 0,
            "QUIC has its fixed bit set"
        ),
        Class::Garbage => assert!(data.first().is_none_or(|first| first & 0x40 == 0)),
    }
}

fn fits(message: Message, length: usize) -> bool {
    match message {
        Message::Initiation => length == 148,
        Message::Response => length == 92,
        Message::Cookie => length == 64,
        Message::Data => length >= 32,
    }
}

/// Any bytes as an inner packet, compared with a naive reading of its fixed header and with etherparse.
pub fn packet(data: &[u8]) {
    let Ok(packet) = Packet::parse(data) else { return };
    assert_eq!(
        (packet.bytes, packet.source, packet.destination),
        read_naively(data)
    );
    assert!(packet.payload <= packet.bytes.len());
    assert!(
        ![packet.source, packet.destination].iter().any(is_mapped),
        "no 4-in-6"
    );
    compare_with_etherparse(&packet);
    check_udp(&packet);
    check_hop(data);
}

/// The stated part and the addresses, straight from RFC 791 and RFC 8200.
fn read_naively(data: &[u8]) -> (&[u8], IpAddr, IpAddr) {
    let word = |at: usize| usize::from(u16::from_be_bytes([data[at], data[at + 1]]));
    if data[0] >> 4 == 4 {
        let address = |at: usize| Ipv4Addr::new(data[at], data[at + 1], data[at + 2], data[at + 3]).into();
        return (&data[..word(2)], address(12), address(16));
    }
    let address = |at: usize| {
        <[u8; 16]>::try_from(&data[at..at + 16])
            .map(Ipv6Addr::from)
            .map(IpAddr::from)
    };
    let read = |at| address(at).expect("16 bytes were taken");
    (&data[..40 + word(4)], read(8), read(24))
}

fn is_mapped(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// Where etherparse finds no extension headers, what the packet carries is beyond dispute.
fn compare_with_etherparse(packet: &Packet<'_>) {
    let Ok(other) = IpSlice::from_slice(packet.bytes) else {
        return;
    };
    assert_eq!(
        (other.source_addr(), other.destination_addr()),
        (packet.source, packet.destination)
    );
    let extended = match &other {
        IpSlice::Ipv4(v4) => v4.extensions().auth.is_some(),
        // It does not walk mobility, host identity and shim6 headers; we do.
        IpSlice::Ipv6(v6) => {
            !v6.extensions().is_empty() || matches!(v6.header().next_header().0, 135 | 139 | 140)
        }
    };
    if !extended {
        let payload = other.payload();
        assert_eq!(packet.protocol, payload.ip_number.0);
        assert_eq!(packet.fragment, payload.fragmented);
        assert_eq!(&packet.bytes[packet.payload..], payload.payload);
    }
}

fn check_udp(packet: &Packet<'_>) {
    let ports = udp::ports(packet);
    if let Some(datagram) = udp::parse_v6(packet) {
        assert_eq!(ports, Some((datagram.from.port, datagram.to.port)));
        assert_eq!(IpAddr::V6(datagram.from.address), packet.source);
        assert!(datagram.payload.len() + 8 <= packet.bytes.len() - packet.payload);
    }
}

/// A hop less is the only difference, and the checksum is as good or bad as before.
fn check_hop(data: &[u8]) {
    let mut hopped = data.to_vec();
    if decrement_hop_limit(&mut hopped).is_none() {
        assert_eq!(hopped, data);
        return;
    }
    let (at, changed): (usize, &[usize]) = if data[0] >> 4 == 4 {
        (8, &[8, 10, 11])
    } else {
        (7, &[7])
    };
    assert_eq!(hopped[at], data[at] - 1);
    let differ = (0..data.len()).filter(|index| hopped[*index] != data[*index]);
    assert!({ differ }.all(|index| changed.contains(&index)));
    if data[0] >> 4 == 4 {
        let length = usize::from(data[0] & 15) * 4;
        let good = |bytes: &[u8]| internet_checksum(&bytes[..length]) == 0;
        assert_eq!(good(&hopped), good(data), "the header's checksum");
    }
}

/// RFC 1071, the slow way: 0 over a header whose checksum is right.
pub(super) fn internet_checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

pub(super) fn demux_seeds() -> Vec<Vec<u8>> {
    let wireguard = [(1, 148), (2, 92), (3, 64), (4, 32), (4, 1452)].map(|(kind, length)| {
        let mut datagram = vec![0xa5; length];
        datagram[..4].copy_from_slice(&[kind, 0, 0, 0]);
        datagram
    });
    let other = [0xc3, 0x43, 0x10, 0x00, 0x80].map(|first| [&[first][..], &[0; 40]].concat());
    let header = frame::header(Session(7), true);
    let relayed = wireguard.clone().map(|message| [&header[..], &message].concat());
    wireguard.into_iter().chain(relayed).chain(other).collect()
}

/// Packets of a neighbour (10.1.0.0/16, fd00:1::/32) to here (10.0.0.0/16, fd00::/32), whole and in parts.
pub(super) fn packet_seeds() -> Vec<Vec<u8>> {
    let v4 = || PacketBuilder::ipv4([10, 1, 0, 5], [10, 0, 0, 9], 64);
    let (from, to) = (
        Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 5),
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9),
    );
    let v6 = || PacketBuilder::ipv6(from.octets(), to.octets(), 64);
    let mut seeds = vec![
        built(|out| v4().udp(1000, 2000).write(out, b"datagram")),
        built(|out| v4().tcp(1000, 80, 7, 500).syn().write(out, b"segment")),
        built(|out| v6().udp(1000, 2000).write(out, b"datagram")),
        built(|out| v6().tcp(1000, 80, 7, 500).write(out, b"segment")),
    ];
    let mut fragment = seeds[0].clone();
    fragment[6] = 0x20;
    fragment.truncate(36);
    fragment[3] = 36;
    seeds.push(fragment);
    seeds.push(with_extensions(&seeds[2]));
    seeds
}

fn built<E: std::fmt::Debug>(write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes).expect("a vector takes all");
    bytes
}

/// Hop-by-hop options, then a fragment header, in front of what an IPv6 packet carries.
fn with_extensions(packet: &[u8]) -> Vec<u8> {
    let (hop_by_hop, fragment) = ([44, 0, 1, 4, 0, 0, 0, 0], [packet[6], 0, 0, 0, 0, 0, 0, 9]);
    let mut bytes = [&packet[..40], &hop_by_hop, &fragment, &packet[40..]].concat();
    bytes[5] += 16;
    bytes[6] = 0;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_packets() {
        for seed in packet_seeds() {
            assert!(Packet::parse(&seed).is_ok(), "{seed:02x?}");
        }
    }
}
