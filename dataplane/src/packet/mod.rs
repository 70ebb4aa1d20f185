//! Inner packets: bytes become a [`Packet`] once, and only the type travels.
//!
//! Parsing decides what is malformed; fragments, options and extension headers are not. It looks at headers only, allocates
//! nothing and never panics, whatever the bytes.

pub mod checksum;
pub mod extension;
pub mod fragment;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod mss;
pub mod udp;

use crate::drop::DropReason;
use std::net::IpAddr;

/// IP protocol number of TCP.
pub const TCP: u8 = 6;

/// IP protocol number of UDP.
pub const UDP: u8 = 17;

/// Why bytes are not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Fewer bytes than the headers need, or than the length field says.
    Truncated,
    /// Neither 4 nor 6.
    Version,
    /// A length field smaller than the header itself.
    Length,
    /// An IPv4-mapped IPv6 address.
    Mapped,
    /// A fragment that would end beyond 65,535 bytes, or one before the last whose size is no multiple of 8.
    Fragment,
    /// An extension header chain that is cut off, or too long.
    Extension,
}

impl From<Malformed> for DropReason {
    fn from(malformed: Malformed) -> DropReason {
        match malformed {
            Malformed::Truncated => DropReason::Truncated,
            Malformed::Version => DropReason::BadVersion,
            Malformed::Length => DropReason::BadLength,
            Malformed::Mapped => DropReason::MappedAddress,
            Malformed::Fragment => DropReason::BadFragment,
            Malformed::Extension => DropReason::BadExtensionHeader,
        }
    }
}

/// A well-formed inner packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The packet without anything behind the length that its header gives.
    pub bytes: &'a [u8],
    /// Where it is from.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// Protocol number of what it carries, behind all extension headers.
    pub protocol: u8,
    /// Where in `bytes` that begins; nothing meaningful is there in a fragment other than the first.
    pub payload: usize,
    /// Whether it is a fragment.
    pub fragment: bool,
}

impl<'a> Packet<'a> {
    /// Where its TCP header begins, if it is a whole packet of TCP.
    pub fn tcp(&self) -> Option<usize> {
        (self.protocol == TCP && !self.fragment).then_some(self.payload)
    }

    /// Parses one packet of any version; bytes behind its stated length are left out.
    pub fn parse(bytes: &'a [u8]) -> Result<Packet<'a>, Malformed> {
        match bytes.first().map(|first| first >> 4) {
            Some(4) => ipv4::parse(bytes),
            Some(6) => ipv6::parse(bytes),
            Some(_) => Err(Malformed::Version),
            None => Err(Malformed::Truncated),
        }
    }
}

/// Offset and size rules of fragments, the same in both versions. `offset` in bytes; `more`: not the last one.
fn check_fragment(offset: usize, len: usize, more: bool) -> Result<(), Malformed> {
    if offset + len > usize::from(u16::MAX) || (more && (len == 0 || !len.is_multiple_of(8))) {
        return Err(Malformed::Fragment);
    }
    Ok(())
}

/// Takes one hop off a packet that moves from one tunnel to another, as a router does. `None`: it had no hop left.
pub fn decrement_hop_limit(packet: &mut [u8]) -> Option<()> {
    match packet.first().map(|first| first >> 4) {
        Some(4) => ipv4::decrement_ttl(packet),
        _ => ipv6::decrement_hop_limit(packet),
    }
}

#[cfg(test)]
mod tests;
