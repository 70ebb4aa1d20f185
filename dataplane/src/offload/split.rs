//! One super-packet becomes the packets that the kernel would have made of it.
//!
//! ```text
//!   super-packet   IP TCP │ payload 0 │ payload 1 │ payload 2 │
//!   segment 0      IP TCP │ payload 0 │
//!   segment 1               … IP TCP  │ payload 1 │          headers are written over payload 0,
//!   segment 2                           … IP TCP  │ payload 2 │     which has left already
//! ```
//!
//! So no payload is moved: sealing, which copies anyway, is the only copy that there is.

use super::Upper;
use super::checksum::{fold, sum};

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const FIN_AND_PSH: u8 = 0x09;
const SYN_RST_URG: u8 = 0x26;
const CWR: u8 = 0x80;

/// IP and TCP headers without and with all options, IPv6 extension headers included.
const MAX_HEADERS: usize = 512;

/// The packets of a frame, one after the other: each is finished when it is handed out, and gone with the next.
#[derive(Debug)]
pub struct Segments<'a> {
    packet: &'a mut [u8],
    /// Where the payload of the next segment begins, behind the headers of the super-packet.
    offset: usize,
    /// Payload bytes of every segment but the last.
    size: usize,
    /// Absent: the packet is handed out as it is.
    template: Option<Template>,
}

impl<'a> Segments<'a> {
    /// One finished packet.
    pub(super) fn one(packet: &'a mut [u8]) -> Segments<'a> {
        Segments {
            size: packet.len(),
            packet,
            offset: 0,
            template: None,
        }
    }

    /// A super-packet whose transport header stands at `transport`, in packets of at most `size` bytes of payload. `None`: it
    /// is no such packet.
    pub(super) fn many(
        packet: &'a mut [u8],
        upper: Upper,
        transport: usize,
        size: usize,
    ) -> Option<Segments<'a>> {
        let template = Template::new(packet, upper, transport).filter(|_| size > 0)?;
        Some(Segments {
            packet,
            offset: 0,
            size,
            template: Some(template),
        })
    }

    /// Bytes of the largest packet.
    pub fn largest(&self) -> usize {
        let headers = self.template.as_ref().map_or(0, |template| template.length);
        self.packet.len().min(headers + self.size)
    }

    /// The next packet, whose bytes may be used up.
    pub fn pop(&mut self) -> Option<&mut [u8]> {
        let headers = self.template.as_ref().map_or(0, |template| template.length);
        let payload = self.packet.len() - headers;
        // Headers without payload are a packet too.
        if self.offset >= payload.max(1) {
            return None;
        }
        let offset = self.offset;
        self.offset += self.size.max(1);
        let end = payload.min(self.offset);
        let segment = &mut self.packet[offset..headers + end];
        if let Some(template) = &self.template {
            template.finish(segment, offset, offset / self.size, end == payload);
        }
        Some(segment)
    }
}

/// The headers of a super-packet.
#[derive(Debug)]
struct Template {
    headers: [u8; MAX_HEADERS],
    length: usize,
    upper: Upper,
    ipv4: bool,
    transport: usize,
}

impl Template {
    fn new(packet: &[u8], upper: Upper, transport: usize) -> Option<Template> {
        let length = headers_length(packet, upper, transport)?;
        let mut headers = [0; MAX_HEADERS];
        headers.get_mut(..length)?.copy_from_slice(&packet[..length]);
        Some(Template {
            headers,
            length,
            upper,
            ipv4: packet[0] >> 4 == 4,
            transport,
        })
    }

    /// Writes the headers of segment `index`, whose payload starts at `offset` of the whole.
    fn finish(&self, segment: &mut [u8], offset: usize, index: usize, last: bool) {
        segment[..self.length].copy_from_slice(&self.headers[..self.length]);
        if self.ipv4 {
            finish_ipv4(segment, self.transport, index);
        } else {
            put(segment, 4, (segment.len() - IPV6_HEADER) as u16);
        }
        let pseudo = self.pseudo_header(segment);
        let upper = &mut segment[self.transport..];
        match self.upper {
            Upper::Tcp => finish_tcp(upper, pseudo, offset, index == 0, last),
            Upper::Udp => finish_udp(upper, pseudo),
        }
    }

    fn pseudo_header(&self, segment: &[u8]) -> u64 {
        let addresses = if self.ipv4 {
            &segment[12..20]
        } else {
            &segment[8..40]
        };
        let protocol = match self.upper {
            Upper::Tcp => 6,
            Upper::Udp => 17,
        };
        sum(addresses) + protocol + (segment.len() - self.transport) as u64
    }
}

fn finish_ipv4(segment: &mut [u8], header: usize, index: usize) {
    put(segment, 2, segment.len() as u16);
    let identification = u16::from_be_bytes([segment[4], segment[5]]).wrapping_add(index as u16);
    put(segment, 4, identification);
    put(segment, 10, 0);
    let checksum = !fold(sum(&segment[..header]));
    put(segment, 10, checksum);
}

fn finish_tcp(tcp: &mut [u8], pseudo: u64, offset: usize, first: bool, last: bool) {
    let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]).wrapping_add(offset as u32);
    tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
    // RFC 3168 §6.1.2: CWR stands on the first packet after the reduction, hence on no other.
    let absent = if last { 0 } else { FIN_AND_PSH } | if first { 0 } else { CWR };
    tcp[13] &= !absent;
    put(tcp, 16, 0);
    let checksum = !fold(sum(tcp) + pseudo);
    put(tcp, 16, checksum);
}

fn finish_udp(udp: &mut [u8], pseudo: u64) {
    put(udp, 4, udp.len() as u16);
    put(udp, 6, 0);
    let checksum = !fold(sum(udp) + pseudo);
    // Zero would say that there is none (RFC 768).
    put(udp, 6, if checksum == 0 { u16::MAX } else { checksum });
}

/// Payload bytes that fit a packet of `mtu` bytes behind the headers of this one of TCP. `None`: none do.
pub(super) fn room(packet: &[u8], transport: usize, mtu: usize) -> Option<usize> {
    let headers = headers_length(packet, Upper::Tcp, transport)?;
    mtu.checked_sub(headers).filter(|room| *room > 0)
}

/// Whether segments may be made of this packet of TCP: it neither opens nor resets a connection, nor points at urgent data.
pub(super) fn may_be_split(packet: &[u8], transport: usize) -> bool {
    packet
        .get(transport + 13)
        .is_some_and(|flags| flags & SYN_RST_URG == 0)
}

/// Whether the checksum of this packet of TCP is right: segments get new ones, which must not cover up damage.
pub(super) fn is_intact(packet: &[u8], transport: usize) -> bool {
    Template::new(packet, Upper::Tcp, transport)
        .is_some_and(|template| fold(sum(&packet[transport..]) + template.pseudo_header(packet)) == u16::MAX)
}

/// Length of IP and transport headers, if `packet` has them as the kernel says.
fn headers_length(packet: &[u8], upper: Upper, transport: usize) -> Option<usize> {
    let ip_ends = match packet.first()? >> 4 {
        4 => usize::from(packet[0] & 0x0f) * 4 == transport && transport >= IPV4_HEADER,
        6 => transport >= IPV6_HEADER,
        _ => false,
    };
    let header = packet.get(transport..)?;
    let length = match upper {
        Upper::Tcp => usize::from(header.get(..TCP_HEADER)?[12] >> 4) * 4,
        Upper::Udp => UDP_HEADER,
    };
    let fits = upper == Upper::Udp || length >= TCP_HEADER;
    (ip_ends && fits && length <= header.len()).then_some(transport + length)
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
