//! One packet, as a piece of a larger one: which flow it belongs to, and what may stand beside it.
//!
//! The rules are those of the kernel's own receive offload (net/ipv4/tcp_offload.c, net/ipv4/udp_offload.c),
//! and stricter where that would lose something: pieces that are merged and split again are the same bytes.

use std::ops::Range;

use super::checksum::{fold, sum};

pub(super) const IPV4_HEADER: usize = 20;
pub(super) const IPV6_HEADER: usize = 40;
pub(super) const UDP_HEADER: usize = 8;
const TCP_HEADER: usize = 20;

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
const ICMPV6: u8 = 58;

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;
pub(super) const URG: u8 = 0x20;
pub(super) const CWR: u8 = 0x80;

/// Flags that only the last segment keeps when the kernel splits: nothing can follow them.
pub(super) const LAST_ONLY: u8 = FIN | PSH;

/// Fragment offset and "more fragments" (RFC 791 §3.1).
const FRAGMENT: u16 = 0x3fff;
const DONT_FRAGMENT: u8 = 0x40;

/// What a packet is to its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Payload of a flow, in headers that a group can share.
    Segment(Segment),
    /// Of a flow, but it travels alone: what came before leaves before it.
    Alone(Flow),
    /// Of a flow that cannot be told: a fragment, or headers with options.
    Opaque,
    /// Of no flow.
    Other,
}

/// Both ends of a stream or an exchange, with the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    addresses: [u8; 32],
    ports: [u8; 4],
    pub(super) protocol: u8,
    /// Where the transport header stands, which also tells the version.
    pub(super) transport: u8,
}

/// A packet that may be part of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) flow: Flow,
    /// Bytes of all headers.
    pub(super) headers: usize,
    /// Bytes of payload, at least one.
    pub(super) payload: usize,
    /// Those of the TCP flags that nothing can follow.
    pub(super) last_only: u8,
}

/// Looks at headers only; no checksum is verified.
pub(super) fn parse(packet: &[u8]) -> Shape {
    match packet.first().map(|first| first >> 4) {
        Some(4) => parse_ipv4(packet),
        Some(6) => parse_ipv6(packet),
        _ => Shape::Other,
    }
}

fn parse_ipv4(packet: &[u8]) -> Shape {
    let Some(header) = packet.first_chunk::<IPV4_HEADER>() else {
        return Shape::Other;
    };
    let protocol = header[9];
    if protocol != TCP && protocol != UDP {
        return Shape::Other;
    }
    let plain =
        header[0] == 0x45 && word(header, 6) & FRAGMENT == 0 && usize::from(word(header, 2)) == packet.len();
    if !plain {
        return Shape::Opaque;
    }
    parse_transport(packet, IPV4_HEADER, protocol, 12..20)
}

fn parse_ipv6(packet: &[u8]) -> Shape {
    let Some(header) = packet.first_chunk::<IPV6_HEADER>() else {
        return Shape::Other;
    };
    match header[6] {
        protocol @ (TCP | UDP) if IPV6_HEADER + usize::from(word(header, 4)) == packet.len() => {
            parse_transport(packet, IPV6_HEADER, protocol, 8..40)
        }
        ICMPV6 => Shape::Other,
        _ => Shape::Opaque,
    }
}

fn parse_transport(packet: &[u8], transport: usize, protocol: u8, addresses: Range<usize>) -> Shape {
    let Some(ports) = packet[transport..].first_chunk::<4>() else {
        return Shape::Opaque;
    };
    let mut flow = Flow {
        addresses: [0; 32],
        ports: *ports,
        protocol,
        transport: transport as u8,
    };
    flow.addresses[..addresses.len()].copy_from_slice(&packet[addresses]);
    let segment = if protocol == TCP {
        tcp(packet, flow)
    } else {
        udp(packet, flow)
    };
    segment.map_or(Shape::Alone(flow), Shape::Segment)
}

fn tcp(packet: &[u8], flow: Flow) -> Option<Segment> {
    let header = packet[usize::from(flow.transport)..].first_chunk::<TCP_HEADER>()?;
    let (data_offset, flags) = (usize::from(header[12] >> 4) * 4, header[13]);
    let headers = usize::from(flow.transport) + data_offset;
    let payload = packet.len().checked_sub(headers)?;
    // CWR tells of one reduction: as part of a group it would be told of every segment, or of none.
    let whole = flags & (SYN | RST | URG | CWR | ACK) == ACK && data_offset >= TCP_HEADER && payload > 0;
    whole.then_some(Segment {
        flow,
        headers,
        payload,
        last_only: flags & LAST_ONLY,
    })
}

fn udp(packet: &[u8], flow: Flow) -> Option<Segment> {
    let datagram = &packet[usize::from(flow.transport)..];
    let header = datagram.first_chunk::<UDP_HEADER>()?;
    // Without a checksum (RFC 768) there is nothing that says whether it is whole.
    let whole =
        usize::from(word(header, 4)) == datagram.len() && word(header, 6) != 0 && datagram.len() > UDP_HEADER;
    whole.then_some(Segment {
        flow,
        headers: usize::from(flow.transport) + UDP_HEADER,
        payload: datagram.len() - UDP_HEADER,
        last_only: 0,
    })
}

impl Flow {
    /// Whether it is of IPv4.
    pub(super) fn is_ipv4(&self) -> bool {
        usize::from(self.transport) == IPV4_HEADER
    }

    /// The sum of the pseudo header for `length` bytes of transport header and payload.
    pub(super) fn pseudo_header(&self, length: usize) -> u64 {
        // The addresses of IPv4 are padded with zeros, which add nothing.
        sum(&self.addresses) + u64::from(self.protocol) + length as u64
    }
}

impl Segment {
    /// Whether the checksums of `packet`, which this is, are right.
    pub(super) fn is_intact(&self, packet: &[u8]) -> bool {
        let (header, body) = packet.split_at(usize::from(self.flow.transport));
        let header_holds = !self.flow.is_ipv4() || fold(sum(header)) == 0xffff;
        header_holds && fold(sum(body) + self.flow.pseudo_header(body.len())) == 0xffff
    }

    /// Whether two packets of one flow, `first` being this one, differ only in what splitting makes anew:
    /// lengths, identification, sequence, FIN and PSH, checksums.
    pub(super) fn shares_headers(&self, first: &[u8], next: &[u8]) -> bool {
        let transport = usize::from(self.flow.transport);
        let equal = |range: Range<usize>| first.get(range.clone()) == next.get(range);
        let network = match self.flow.is_ipv4() {
            // Version, class; flags, TTL.
            true => equal(0..2) && equal(6..9),
            // Version, class, flow label; hop limit.
            false => equal(0..4) && equal(7..8),
        };
        let tcp = |at: usize| transport + at;
        network
            && (self.flow.protocol == UDP
                // Acknowledgement and data offset; flags; window; urgent pointer and options.
                || equal(tcp(8)..tcp(13))
                    && (first[tcp(13)] ^ next[tcp(13)]) & !LAST_ONLY == 0
                    && equal(tcp(14)..tcp(16))
                    && equal(tcp(18)..self.headers))
    }
}

/// The sequence number of a TCP segment.
pub(super) fn sequence(packet: &[u8], segment: &Segment) -> u32 {
    let at = usize::from(segment.flow.transport) + 4;
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}

/// The identification of an IPv4 packet.
pub(super) fn identification(packet: &[u8]) -> u16 {
    word(packet, 4)
}

/// Whether an IPv4 packet must not be fragmented, so that its identification means nothing (RFC 6864 §4.1).
pub(super) fn is_atomic(packet: &[u8]) -> bool {
    packet[6] & DONT_FRAGMENT != 0
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
