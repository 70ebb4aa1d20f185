//! IPv4 (RFC 791).

use super::{Malformed, Packet, check_fragment, checksum};
use std::net::Ipv4Addr;
use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The fixed part of the header; options follow.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
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

/// Bytes of the header without options.
pub const HEADER: usize = size_of::<Header>();

/// Flag: routers must not fragment this packet.
pub const DONT_FRAGMENT: u16 = 0x4000;

/// Flag: this is not the last fragment.
pub const MORE_FRAGMENTS: u16 = 0x2000;

const OFFSET: u16 = 0x1fff;

pub(super) fn parse(bytes: &[u8]) -> Result<Packet<'_>, Malformed> {
    let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| Malformed::Truncated)?;
    let header_len = usize::from(header.version_and_words & 0x0f) * 4;
    let total = usize::from(header.total_length.get());
    if header_len < HEADER || total < header_len {
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

/// Whether routers may fragment a packet; only IPv4 knows that.
pub fn may_fragment(packet: &[u8]) -> bool {
    packet.len() >= HEADER && packet[0] >> 4 == 4 && flags(packet) & DONT_FRAGMENT == 0
}

/// Where in the original packet this fragment begins, in units of 8 bytes. `packet` was parsed as IPv4.
pub fn fragment_offset(packet: &[u8]) -> u16 {
    flags(packet) & OFFSET
}

fn flags(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[6], packet[7]])
}

/// Writes a header without options, TTL 64, for a packet of `total` bytes that is never fragmented. `out`: [`HEADER`] bytes.
pub fn write_header(out: &mut [u8], from: Ipv4Addr, to: Ipv4Addr, protocol: u8, total: u16) {
    let header = Header {
        version_and_words: 0x45,
        // Internetwork control (RFC 1812 §4.3.2.5).
        traffic_class: 0xc0,
        total_length: U16::new(total),
        identification: U16::ZERO,
        flags_and_offset: U16::new(DONT_FRAGMENT),
        ttl: 64,
        protocol,
        checksum: U16::ZERO,
        source: from.octets(),
        destination: to.octets(),
    };
    out.copy_from_slice(header.as_bytes());
    let field = checksum::finish(checksum::add(0, out));
    out[10..12].copy_from_slice(&field.to_be_bytes());
}

pub(super) fn decrement_ttl(packet: &mut [u8]) -> Option<()> {
    let word = |p: &[u8], at: usize| u16::from_be_bytes([p[at], p[at + 1]]);
    if packet.len() < HEADER || packet[8] <= 1 {
        return None;
    }
    let old = word(packet, 8);
    packet[8] -= 1;
    let field = checksum::update(word(packet, 10), old, word(packet, 8));
    packet[10..12].copy_from_slice(&field.to_be_bytes());
    Some(())
}
