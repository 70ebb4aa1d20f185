//! UDP (RFC 768), as far as the lane itself speaks it: over IPv6 without extension headers.

use super::{Packet, UDP, checksum, ipv6};
use std::net::{IpAddr, Ipv6Addr};
use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The header.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    source: U16,
    destination: U16,
    length: U16,
    checksum: U16,
}

const HEADER: usize = size_of::<Header>();

/// Bytes in front of the payload of a packet made by [`write_v6`].
pub const OVERHEAD_V6: usize = ipv6::HEADER + HEADER;

/// One end of a UDP exchange over IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its address.
    pub address: Ipv6Addr,
    /// Its port.
    pub port: u16,
}

/// A datagram found in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpV6<'a> {
    /// Who sent it.
    pub from: Port,
    /// Whom it is for.
    pub to: Port,
    /// What it carries.
    pub payload: &'a [u8],
}

/// The ports of an unfragmented UDP packet, if it is one.
pub fn ports(packet: &Packet<'_>) -> Option<(u16, u16)> {
    if packet.protocol != UDP || packet.fragment {
        return None;
    }
    let (header, _) = Header::ref_from_prefix(packet.bytes.get(packet.payload..)?).ok()?;
    Some((header.source.get(), header.destination.get()))
}

/// The datagram in an IPv6 packet, if it is whole and its checksum holds.
pub fn parse_v6<'a>(packet: &Packet<'a>) -> Option<UdpV6<'a>> {
    let (source, destination) = ports(packet)?;
    let (IpAddr::V6(from), IpAddr::V6(to)) = (packet.source, packet.destination) else {
        return None;
    };
    let segment = &packet.bytes[packet.payload..];
    let (header, payload) = Header::ref_from_prefix(segment).ok()?;
    let len = usize::from(header.length.get());
    let sum = checksum::pseudo_v6(from, to, UDP, segment.len());
    if len != segment.len()
        || header.checksum.get() == 0
        || checksum::finish(checksum::add(sum, segment)) != 0
    {
        return None;
    }
    Some(UdpV6 {
        from: Port {
            address: from,
            port: source,
        },
        to: Port {
            address: to,
            port: destination,
        },
        payload,
    })
}

/// Writes IPv6 and UDP headers in front of the payload that stands at [`OVERHEAD_V6`] in `out`, and fills in the checksum.
/// `out` is the whole packet, at most 65,535 bytes. Hop limit 255.
pub fn write_v6(out: &mut [u8], from: Port, to: Port) {
    let len = (out.len() - ipv6::HEADER) as u16;
    let ip = ipv6::Header::new(from.address, to.address, UDP, len);
    out[..ipv6::HEADER].copy_from_slice(ip.as_bytes());
    let mut header = Header {
        source: U16::new(from.port),
        destination: U16::new(to.port),
        length: U16::new(len),
        checksum: U16::ZERO,
    };
    out[ipv6::HEADER..OVERHEAD_V6].copy_from_slice(header.as_bytes());
    let sum = checksum::pseudo_v6(from.address, to.address, UDP, usize::from(len));
    let field = checksum::finish(checksum::add(sum, &out[ipv6::HEADER..]));
    // Zero means "no checksum", which IPv6 forbids; all ones is the same number in one's complement.
    header.checksum = U16::new(if field == 0 { u16::MAX } else { field });
    out[ipv6::HEADER..OVERHEAD_V6].copy_from_slice(header.as_bytes());
}
