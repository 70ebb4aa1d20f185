//! The packets of a check: an echo request (RFC 792, RFC 4443 §4.1) or a SYN (RFC 9293), and the one packet that answers it.
//!
//! The answer comes among the packets for this node's hosts, and some of those may talk to the target themselves. An answer
//! is ours only if it carries what we sent: an echo's identifier, number and payload; a SYN's port and number, from ports
//! beyond those that Linux gives to connections of its own (32,768 to 60,999).

use super::CheckTarget;
use crate::packet::{Packet, TCP, checksum, ipv4, ipv6};
use std::net::IpAddr;
use zerocopy::IntoBytes;

/// Bytes of the longest packet of a check.
pub const MOST: usize = ipv6::HEADER + ECHO;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Type, code, checksum, identifier, number; then the mark and the nonce.
const ECHO: usize = 8 + MARK.len() + 8;

/// Says whose echo requests these are to whoever captures them.
const MARK: &[u8; 8] = b"meshnode";

const SEGMENT: usize = 20;
const FIRST_PORT: u16 = 61_000;
const PORTS: u64 = 4_536;

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// One question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// To whom.
    pub target: CheckTarget,
    /// From where; of the target's family.
    pub source: IpAddr,
    /// What tells it from all others.
    pub nonce: u64,
}

/// How a target answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With an echo reply.
    Echo,
    /// It would take the connection, and waits for it: [`Question::write_reset`] takes it back.
    Accepted,
    /// With a refusal.
    Refused,
}

impl Question {
    /// Writes the inner packet; returns its length. `None`: source and target are of two families.
    pub fn write(&self, out: &mut [u8; MOST]) -> Option<usize> {
        match self.target {
            CheckTarget::Icmp(_) => self.write_echo(out),
            CheckTarget::Tcp(_) => self.write_segment(self.sequence(), SYN, out),
        }
    }

    /// Writes the packet that ends a connection which the target has accepted.
    pub fn write_reset(&self, out: &mut [u8; MOST]) -> Option<usize> {
        self.write_segment(self.sequence().wrapping_add(1), RST, out)
    }

    /// How `packet` answers, if it does.
    pub fn answer(&self, packet: &Packet<'_>) -> Option<Answer> {
        let ours = packet.source == self.target.address() && packet.destination == self.source;
        if !ours || packet.fragment {
            return None;
        }
        let upper = packet.bytes.get(packet.payload..)?;
        let sum = checksum::pseudo(packet.source, packet.destination, packet.protocol, upper.len());
        match (self.target, packet.protocol) {
            (CheckTarget::Icmp(IpAddr::V4(_)), ICMP) => self.echoed(upper, [0, 0], 0),
            (CheckTarget::Icmp(IpAddr::V6(_)), ICMPV6) => self.echoed(upper, [129, 0], sum),
            (CheckTarget::Tcp(socket), TCP) => self.segment(upper, socket.port(), sum),
            _ => None,
        }
    }

    fn echoed(&self, message: &[u8], kind: [u8; 2], sum: u32) -> Option<Answer> {
        let fits = message.len() == ECHO && message[..2] == kind && message[4..] == self.echo_body();
        (fits && is_whole(sum, message)).then_some(Answer::Echo)
    }

    fn segment(&self, segment: &[u8], port: u16, sum: u32) -> Option<Answer> {
        let head: &[u8; SEGMENT] = segment.first_chunk()?;
        let fits = head[..2] == port.to_be_bytes()
            && head[2..4] == self.port().to_be_bytes()
            && head[8..12] == self.sequence().wrapping_add(1).to_be_bytes();
        if !fits || !is_whole(sum, segment) {
            return None;
        }
        match head[13] & (SYN | RST | ACK) {
            flags if flags == SYN | ACK => Some(Answer::Accepted),
            flags if flags == RST | ACK => Some(Answer::Refused),
            _ => None,
        }
    }

    fn write_echo(&self, out: &mut [u8; MOST]) -> Option<usize> {
        let protocol = if self.source.is_ipv4() { ICMP } else { ICMPV6 };
        let kind = if self.source.is_ipv4() { 8 } else { 128 };
        let start = self.write_header(protocol, ECHO, out)?;
        let message = &mut out[start..start + ECHO];
        message[..4].copy_from_slice(&[kind, 0, 0, 0]);
        message[4..].copy_from_slice(&self.echo_body());
        // ICMP over IPv4 has no pseudo header.
        let sum = match protocol {
            ICMP => 0,
            _ => checksum::pseudo(self.source, self.target.address(), protocol, ECHO),
        };
        let field = checksum::finish(checksum::add(sum, message));
        message[2..4].copy_from_slice(&field.to_be_bytes());
        Some(start + ECHO)
    }

    /// Identifier and number, mark, nonce: what an echo reply gives back (RFC 792).
    fn echo_body(&self) -> [u8; ECHO - 4] {
        let mut body = [0; ECHO - 4];
        body[..4].copy_from_slice(&self.sequence().to_be_bytes());
        body[4..12].copy_from_slice(MARK);
        body[12..].copy_from_slice(&self.nonce.to_be_bytes());
        body
    }

    fn write_segment(&self, sequence: u32, flags: u8, out: &mut [u8; MOST]) -> Option<usize> {
        let CheckTarget::Tcp(socket) = self.target else {
            return None;
        };
        let start = self.write_header(TCP, SEGMENT, out)?;
        let segment = &mut out[start..start + SEGMENT];
        segment.fill(0);
        segment[..2].copy_from_slice(&self.port().to_be_bytes());
        segment[2..4].copy_from_slice(&socket.port().to_be_bytes());
        segment[4..8].copy_from_slice(&sequence.to_be_bytes());
        segment[12..14].copy_from_slice(&[(SEGMENT as u8 / 4) << 4, flags]);
        let window = if flags == SYN { u16::MAX } else { 0 };
        segment[14..16].copy_from_slice(&window.to_be_bytes());
        let sum = checksum::pseudo(self.source, socket.ip(), TCP, SEGMENT);
        let field = checksum::finish(checksum::add(sum, segment));
        segment[16..18].copy_from_slice(&field.to_be_bytes());
        Some(start + SEGMENT)
    }

    /// Returns where the header ends.
    fn write_header(&self, protocol: u8, len: usize, out: &mut [u8; MOST]) -> Option<usize> {
        match (self.source, self.target.address()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let total = (ipv4::HEADER + len) as u16;
                ipv4::write_header(&mut out[..ipv4::HEADER], from, to, protocol, total);
                Some(ipv4::HEADER)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let header = ipv6::Header::new(from, to, protocol, len as u16);
                out[..ipv6::HEADER].copy_from_slice(header.as_bytes());
                Some(ipv6::HEADER)
            }
            _ => None,
        }
    }

    fn sequence(&self) -> u32 {
        self.nonce as u32
    }

    fn port(&self) -> u16 {
        FIRST_PORT + ((self.nonce >> 32) % PORTS) as u16
    }
}

/// Whether a packet could be an answer at all: all that is asked of packets as long as there are checks.
pub fn may_answer(packet: &Packet<'_>) -> bool {
    let Some(upper) = packet.bytes.get(packet.payload..).filter(|_| !packet.fragment) else {
        return false;
    };
    match packet.protocol {
        TCP => is_answer_to_syn(upper),
        ICMP | ICMPV6 => upper.len() == ECHO && matches!(upper[0], 0 | 129) && upper[8..16] == *MARK,
        _ => false,
    }
}

fn is_answer_to_syn(segment: &[u8]) -> bool {
    let Some(head) = segment.first_chunk::<SEGMENT>() else {
        return false;
    };
    let answers = head[13] & ACK != 0 && head[13] & (SYN | RST) != 0;
    answers && u16::from_be_bytes([head[2], head[3]]) >= FIRST_PORT
}

fn is_whole(sum: u32, message: &[u8]) -> bool {
    checksum::finish(checksum::add(sum, message)) == 0
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
