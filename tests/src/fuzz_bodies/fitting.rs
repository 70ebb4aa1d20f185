//! What happens to packets that a path does not take: they are split, fragmented, or refused with a word to their sender.

use etherparse::PacketBuilder;
use meshnode_dataplane::Frame;
use meshnode_dataplane::packet::fragment::Fragments;
use meshnode_dataplane::packet::{Packet, icmp};

use super::packets::{internet_checksum, packet_seeds};

/// Bytes of a `virtio_net_hdr`.
const VNET_HEADER: usize = 10;
/// What [`Fragments`] needs at least.
const LEAST: u16 = 68;

/// Any bytes as an MTU and a frame from the TUN.
pub fn fit(data: &[u8]) {
    let Some((mtu, frame)) = data.split_first_chunk() else {
        return;
    };
    let mtu = u16::from_be_bytes(*mtu).max(LEAST);
    split(frame, mtu);
    if let Some(Ok(packet)) = frame.get(VNET_HEADER..).map(Packet::parse) {
        fragment(&packet, mtu);
        refuse(&packet, mtu);
    }
}

fn split(frame: &[u8], mtu: u16) {
    let mut bytes = frame.to_vec();
    let Ok(mut frame) = Frame::read(&mut bytes) else {
        return;
    };
    let Ok(packet) = Packet::parse(frame.packet()) else {
        return;
    };
    let (len, tcp) = (packet.bytes.len(), packet.tcp());
    let ends = (packet.source, packet.destination);
    frame.describe(len, tcp);
    frame.fit(mtu);
    let Ok(mut segments) = frame.segments() else {
        return;
    };
    let largest = segments.largest();
    assert!(largest <= len);
    while let Some(segment) = segments.pop() {
        assert!(segment.len() <= largest);
        if let Ok(segment) = Packet::parse(segment) {
            assert_eq!((segment.source, segment.destination), ends);
        }
    }
}

/// Put behind each other, the payloads of all fragments are that of the packet.
fn fragment(packet: &Packet<'_>, mtu: u16) {
    let header = |bytes: &[u8]| usize::from(bytes[0] & 15) * 4;
    let mut bytes = packet.bytes.to_vec();
    let Some(mut fragments) = Fragments::new(&mut bytes, mtu.into()) else {
        return;
    };
    let mut joined = Vec::new();
    while let Some(fragment) = fragments.pop() {
        assert!(fragment.len() <= mtu.into());
        let parsed = Packet::parse(fragment).expect("a fragment is a packet");
        assert_eq!(
            (parsed.source, parsed.destination),
            (packet.source, packet.destination)
        );
        joined.extend_from_slice(&fragment[header(fragment)..]);
    }
    assert_eq!(joined, packet.bytes[header(packet.bytes)..]);
}

/// The sender of the packet is told, once: its answer has none.
fn refuse(packet: &Packet<'_>, mtu: u16) {
    let mut out = [0; icmp::MAX];
    let Some(len) = icmp::too_big(packet, mtu, &mut out) else {
        return;
    };
    let answer = Packet::parse(&out[..len]).expect("an answer is a packet");
    assert_eq!(
        (answer.source, answer.destination),
        (packet.destination, packet.source)
    );
    if answer.source.is_ipv4() {
        let (header, message) = answer.bytes.split_at(20);
        assert_eq!((internet_checksum(header), internet_checksum(message)), (0, 0));
    }
    assert_eq!(icmp::too_big(&answer, mtu, &mut [0; icmp::MAX]), None);
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let lone = packet_seeds()
        .into_iter()
        .map(|packet| framed(80, [0; VNET_HEADER], &packet));
    lone.chain([large_tcp(), large_udp()]).collect()
}

fn large_tcp() -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([10, 0, 0, 5], [10, 1, 0, 9], 64)
        .tcp(1000, 80, 7, 500)
        .write(&mut packet, &[7; 900])
        .expect("a vector takes all");
    framed(200, vnet(1, 20 + 20, 300, 20, 16), &packet)
}

fn large_udp() -> Vec<u8> {
    let mut packet = Vec::new();
    let (from, to) = ([0xfd; 16], [0xfc; 16]);
    PacketBuilder::ipv6(from, to, 64)
        .udp(1000, 2000)
        .write(&mut packet, &[7; 900])
        .expect("a vector takes all");
    framed(1_280, vnet(5, 40 + 8, 300, 40, 6), &packet)
}

fn framed(mtu: u16, header: [u8; VNET_HEADER], packet: &[u8]) -> Vec<u8> {
    [&mtu.to_be_bytes()[..], &header, packet].concat()
}

/// A header that asks for a checksum and for segments.
fn vnet(kind: u8, headers: u16, size: u16, start: u16, offset: u16) -> [u8; VNET_HEADER] {
    let mut header = [1, kind, 0, 0, 0, 0, 0, 0, 0, 0];
    for (at, field) in [(2, headers), (4, size), (6, start), (8, offset)] {
        header[at..at + 2].copy_from_slice(&field.to_ne_bytes());
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_frames() {
        for seed in seeds() {
            assert!(Packet::parse(&seed[2 + VNET_HEADER..]).is_ok(), "{seed:02x?}");
        }
    }
}
