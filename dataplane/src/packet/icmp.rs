//! The two messages that tell a sender what the path takes: ICMP "fragmentation needed" (RFC 792, RFC 1191 §4, RFC 1812
//! §4.3.2) and ICMPv6 "packet too big" (RFC 4443 §3.2).
//!
//! They come from where the packet was going, as those of the kernel's own tunnels do (`iptunnel_pmtud_build_icmp`). From an
//! address of this host the kernel would take none over IPv4: one that comes in by an interface with a source of our own is
//! a martian. What lies behind the mesh is also what firewalls and reverse path filters expect from it.

use super::{Packet, checksum, ipv4, ipv6};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zerocopy::IntoBytes;

/// ICMP over IPv4 quotes as much as makes a packet of this size (RFC 1812 §4.3.2.3).
const MOST_V4: usize = 576;

/// ICMPv6 quotes as much as makes a packet of this size (RFC 4443 §3.2).
const MOST_V6: usize = 1_280;

/// Bytes that the largest message takes.
pub const MAX: usize = MOST_V6;

/// Type, code, checksum, and 4 bytes that hold the MTU.
const HEADER: usize = 8;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const UNREACHABLE: u8 = 3;
const FRAGMENTATION_NEEDED: u8 = 4;
const PACKET_TOO_BIG: u8 = 2;

/// ICMP types that are answers to an error, or ask for something: all others are errors, which must not be answered.
const ICMP_QUERIES: [u8; 9] = [0, 8, 9, 10, 13, 14, 15, 16, 42];

/// Writes the message for the sender of `packet` into `out`: the way to its destination takes packets of at most `mtu` bytes.
/// Returns its length; `None`: this packet is not to be answered (RFC 1812 §4.3.2.7, RFC 4443 §2.4 e). `out`: at least
/// [`MAX`] bytes.
pub fn too_big(packet: &Packet<'_>, mtu: u16, out: &mut [u8]) -> Option<usize> {
    if !may_answer(packet) {
        return None;
    }
    match (packet.destination, packet.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => fragmentation_needed(packet.bytes, from, to, mtu, out),
        (IpAddr::V6(from), IpAddr::V6(to)) => packet_too_big(packet.bytes, from, to, mtu, out),
        _ => None,
    }
}

fn fragmentation_needed(
    quote: &[u8],
    from: Ipv4Addr,
    to: Ipv4Addr,
    mtu: u16,
    out: &mut [u8],
) -> Option<usize> {
    let quote = &quote[..quote.len().min(MOST_V4 - ipv4::HEADER - HEADER)];
    let len = ipv4::HEADER + HEADER + quote.len();
    let out = out.get_mut(..len)?;
    let (header, message) = out.split_at_mut(ipv4::HEADER);
    ipv4::write_header(header, from, to, ICMP, len as u16);
    let mtu = u32::from(mtu);
    write_message(message, [UNREACHABLE, FRAGMENTATION_NEEDED], mtu, quote, 0);
    Some(len)
}

fn packet_too_big(quote: &[u8], from: Ipv6Addr, to: Ipv6Addr, mtu: u16, out: &mut [u8]) -> Option<usize> {
    let quote = &quote[..quote.len().min(MOST_V6 - ipv6::HEADER - HEADER)];
    let len = HEADER + quote.len();
    let out = out.get_mut(..ipv6::HEADER + len)?;
    let (header, message) = out.split_at_mut(ipv6::HEADER);
    header.copy_from_slice(ipv6::Header::new(from, to, ICMPV6, len as u16).as_bytes());
    let pseudo = checksum::pseudo_v6(from, to, ICMPV6, len);
    write_message(message, [PACKET_TOO_BIG, 0], u32::from(mtu), quote, pseudo);
    Some(ipv6::HEADER + len)
}

fn write_message(message: &mut [u8], kind: [u8; 2], mtu: u32, quote: &[u8], sum: u32) {
    message[..2].copy_from_slice(&kind);
    message[2..4].fill(0);
    message[4..8].copy_from_slice(&mtu.to_be_bytes());
    message[HEADER..].copy_from_slice(quote);
    let field = checksum::finish(checksum::add(sum, message));
    message[2..4].copy_from_slice(&field.to_be_bytes());
}

/// No errors about errors, later fragments, or packets of or to many.
fn may_answer(packet: &Packet<'_>) -> bool {
    let one =
        |address: IpAddr| !address.is_multicast() && !address.is_unspecified() && !is_broadcast(address);
    let kind = packet.bytes.get(packet.payload).copied();
    let error = match (packet.protocol, kind) {
        (ICMP, Some(kind)) => !ICMP_QUERIES.contains(&kind),
        (ICMPV6, Some(kind)) => kind < 128,
        _ => false,
    };
    let later = packet.fragment && packet.source.is_ipv4() && ipv4::fragment_offset(packet.bytes) != 0;
    one(packet.source) && one(packet.destination) && !error && !later
}

fn is_broadcast(address: IpAddr) -> bool {
    address == IpAddr::V4(Ipv4Addr::BROADCAST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, PacketBuilder, icmpv4};
    use proptest::prelude::*;

    fn v4(len: usize) -> Vec<u8> {
        let mut bytes = vec![];
        let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 1, 0, 1], 64).udp(1, 2);
        builder.write(&mut bytes, &vec![9; len]).unwrap();
        bytes
    }

    fn v6(len: usize) -> Vec<u8> {
        let mut bytes = vec![];
        let builder = PacketBuilder::ipv6([1; 16], [2; 16], 64).udp(1, 2);
        builder.write(&mut bytes, &vec![9; len]).unwrap();
        bytes
    }

    fn answer(packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
        let mut out = vec![0xff; MAX];
        let len = too_big(&Packet::parse(packet).unwrap(), mtu, &mut out)?;
        out.truncate(len);
        Some(out)
    }

    proptest! {
        #[test]
        fn a_v4_sender_is_told_the_size_with_a_quote(len in 0usize..3_000, mtu: u16) {
            let packet = v4(len);
            let out = answer(&packet, mtu).unwrap();
            let parsed = Packet::parse(&out).unwrap();
            prop_assert_eq!((parsed.source, parsed.destination), ("10.1.0.1".parse().unwrap(), "10.0.0.1".parse().unwrap()));
            prop_assert_eq!(checksum::finish(checksum::add(0, &out[..20])), 0);
            prop_assert_eq!(checksum::finish(checksum::add(0, &out[20..])), 0);
            let icmp = Icmpv4Slice::from_slice(&out[20..]).unwrap();
            let needed = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
            prop_assert_eq!(icmp.icmp_type(), Icmpv4Type::DestinationUnreachable(needed));
            prop_assert!(out.len() <= 576 && packet.starts_with(icmp.payload()));
        }

        #[test]
        fn a_v6_sender_is_told_the_size_with_a_quote(len in 0usize..3_000, mtu: u16) {
            let packet = v6(len);
            let out = answer(&packet, mtu).unwrap();
            let icmp = Icmpv6Slice::from_slice(&out[40..]).unwrap();
            prop_assert!(icmp.is_checksum_valid([2; 16], [1; 16]));
            prop_assert_eq!(icmp.icmp_type(), Icmpv6Type::PacketTooBig { mtu: mtu.into() });
            prop_assert!(out.len() <= 1_280 && packet.starts_with(icmp.payload()));
        }
    }

    #[test]
    fn an_error_is_not_answered_with_another() {
        let error = answer(&v4(1_400), 1_280).unwrap();
        assert_eq!(answer(&error, 1_280), None);
        let error = answer(&v6(1_400), 1_280).unwrap();
        assert_eq!(answer(&error, 1_280), None);
    }

    #[test]
    fn nobody_is_answered_for_packets_of_many_or_later_fragments() {
        let mut to_all = v4(100);
        to_all[16..20].fill(255);
        assert_eq!(answer(&to_all, 1_280), None);
        let mut to_many = v4(100);
        to_many[16] = 224;
        assert_eq!(answer(&to_many, 1_280), None);
        let mut later = v4(100);
        later[7] = 3;
        assert_eq!(answer(&later, 1_280), None);
    }
}
