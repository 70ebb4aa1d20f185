//! IPv6 (RFC 8200).

use super::{Malformed, Packet, extension};
use std::net::Ipv6Addr;
use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The fixed header.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    version_class_flow: U32,
    payload_length: U16,
    next_header: u8,
    hop_limit: u8,
    source: [u8; 16],
    destination: [u8; 16],
}

/// Bytes of the fixed header.
pub const HEADER: usize = size_of::<Header>();

impl Header {
    /// A header for `payload` bytes of `protocol` with a hop limit of 255.
    pub fn new(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, payload: u16) -> Header {
        Header {
            version_class_flow: U32::new(6 << 28),
            payload_length: U16::new(payload),
            next_header: protocol,
            hop_limit: 255,
            source: source.octets(),
            destination: destination.octets(),
        }
    }
}

/// Hop limit of a packet that was parsed as IPv6.
pub fn hop_limit(packet: &[u8]) -> u8 {
    packet.get(7).copied().unwrap_or(0)
}

pub(super) fn parse(bytes: &[u8]) -> Result<Packet<'_>, Malformed> {
    let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| Malformed::Truncated)?;
    let total = HEADER + usize::from(header.payload_length.get());
    let bytes = bytes.get(..total).ok_or(Malformed::Truncated)?;
    let (source, destination) = (Ipv6Addr::from(header.source), Ipv6Addr::from(header.destination));
    if source.to_ipv4_mapped().is_some() || destination.to_ipv4_mapped().is_some() {
        return Err(Malformed::Mapped);
    }
    let upper = extension::walk(header.next_header, &bytes[HEADER..])?;
    Ok(Packet {
        bytes,
        source: source.into(),
        destination: destination.into(),
        protocol: upper.protocol,
        payload: HEADER + upper.offset,
        fragment: upper.fragment,
    })
}

pub(super) fn decrement_hop_limit(packet: &mut [u8]) -> Option<()> {
    let hops = packet.get_mut(7).filter(|hops| **hops > 1)?;
    *hops -= 1;
    Some(())
}
