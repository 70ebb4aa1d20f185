//! One TCP super-packet becomes the segments that the kernel would have made of it.
//!
//! ```text
//!   super-packet   IP TCP │ payload 0 │ payload 1 │ payload 2 │
//!   segment 0      IP TCP │ payload 0 │
//!   segment 1               … IP TCP  │ payload 1 │          headers are written over payload 0,
//!   segment 2                           … IP TCP  │ payload 2 │     which has left already
//! ```

use super::checksum::{fold, sum};

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;
const TCP: u8 = 6;
const FIN_AND_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// IP and TCP headers without and with all options, IPv6 extension headers included.
const MAX_HEADERS: usize = 512;

/// Hands `take` the segments of a TCP super-packet, at most `mss` bytes of payload each.
///
/// `transport`: where the TCP header stands. `None`: this is no TCP super-packet.
pub(super) fn tcp(
    packet: &mut [u8],
    transport: usize,
    mss: usize,
    mut take: impl FnMut(&[u8]),
) -> Option<()> {
    let mut headers = [0; MAX_HEADERS];
    let length = headers_length(packet, transport)?;
    let headers = headers.get_mut(..length)?;
    headers.copy_from_slice(&packet[..length]);
    if mss == 0 {
        return None;
    }
    let template = Template {
        ipv4: packet[0] >> 4 == 4,
        transport,
        flags: packet[transport + 13],
    };
    let payload = packet.len() - length;
    let count = payload.div_ceil(mss).max(1);
    for index in 0..count {
        let offset = index * mss;
        let size = mss.min(payload - offset);
        let segment = &mut packet[offset..offset + length + size];
        segment[..length].copy_from_slice(headers);
        template.edit(segment, index, offset, index + 1 == count);
        take(segment);
    }
    Some(())
}

struct Template {
    ipv4: bool,
    transport: usize,
    flags: u8,
}

impl Template {
    /// Makes the copied headers those of segment `index`, whose payload starts at `offset`.
    fn edit(&self, segment: &mut [u8], index: usize, offset: usize, last: bool) {
        if self.ipv4 {
            edit_ipv4(segment, self.transport, index);
        } else {
            let length = segment.len() - IPV6_HEADER;
            put(segment, 4, length as u16);
        }
        let pseudo = self.pseudo_header(segment);
        let tcp = &mut segment[self.transport..];
        let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]).wrapping_add(offset as u32);
        tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
        // RFC 3168 §6.1.2: CWR stands on the first packet after the reduction, hence on no other.
        let absent = if last { 0 } else { FIN_AND_PSH } | if index == 0 { 0 } else { CWR };
        tcp[13] = self.flags & !absent;
        put(tcp, 16, 0);
        let checksum = !fold(sum(tcp) + pseudo);
        put(tcp, 16, checksum);
    }

    fn pseudo_header(&self, segment: &[u8]) -> u64 {
        let addresses = if self.ipv4 {
            &segment[12..20]
        } else {
            &segment[8..40]
        };
        sum(addresses) + u64::from(TCP) + (segment.len() - self.transport) as u64
    }
}

fn edit_ipv4(segment: &mut [u8], header: usize, index: usize) {
    let length = segment.len() as u16;
    put(segment, 2, length);
    let identification = u16::from_be_bytes([segment[4], segment[5]]).wrapping_add(index as u16);
    put(segment, 4, identification);
    put(segment, 10, 0);
    let checksum = !fold(sum(&segment[..header]));
    put(segment, 10, checksum);
}

/// Length of IP and TCP headers, if `packet` has them as the kernel says.
fn headers_length(packet: &[u8], transport: usize) -> Option<usize> {
    let ip_ends = match packet.first()? >> 4 {
        4 => usize::from(packet[0] & 0x0f) * 4 == transport && transport >= IPV4_HEADER,
        6 => transport >= IPV6_HEADER,
        _ => false,
    };
    let data_offset = usize::from(packet.get(transport..transport + TCP_HEADER)?[12] >> 4) * 4;
    let length = transport + data_offset;
    (ip_ends && data_offset >= TCP_HEADER && length <= packet.len()).then_some(length)
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
