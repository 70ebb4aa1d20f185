//! IPv4 (RFC 791).

use super::{Malformed, Packet, check_fragment, checksum};
use std::net::Ipv4Addr;
use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// The fixed part of the header; options follow.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    version_and_words: u8,
    traffic_class: u8,
    total_length: U16,
    identification: U16,
    flags_and_offset: U16,
    ttl: u8,
    protocol: u8,
    checksum: U16,
    source: [u8; 4],
    destination: [u8; 4],
}

const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

pub(super) fn parse(bytes: &[u8]) -> Result<Packet<'_>, Malformed> {
    let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| Malformed::Truncated)?;
    let header_len = usize::from(header.version_and_words & 0x0f) * 4;
    let total = usize::from(header.total_length.get());
    if header_len < size_of::<Header>() || total < header_len {
        return Err(Malformed::Length);
    }
    let bytes = bytes.get(..total).ok_or(Malformed::Truncated)?;
    let flags = header.flags_and_offset.get();
    let (offset, more) = (usize::from(flags & OFFSET) * 8, flags & MORE_FRAGMENTS != 0);
    let fragment = more || offset != 0;
    if fragment {
        check_fragment(offset, total - header_len, more)?;
    }
    Ok(Packet {
        bytes,
        source: Ipv4Addr::from(header.source).into(),
        destination: Ipv4Addr::from(header.destination).into(),
        protocol: header.protocol,
        payload: header_len,
        fragment,
    })
}

pub(super) fn decrement_ttl(packet: &mut [u8]) -> Option<()> {
    let word = |p: &[u8], at: usize| u16::from_be_bytes([p[at], p[at + 1]]);
    if packet.len() < size_of::<Header>() || packet[8] <= 1 {
        return None;
    }
    let old = word(packet, 8);
    packet[8] -= 1;
    let field = checksum::update(word(packet, 10), old, word(packet, 8));
    packet[10..12].copy_from_slice(&field.to_be_bytes());
    Some(())
}
