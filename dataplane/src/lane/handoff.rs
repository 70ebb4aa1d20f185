//! Packets that a lane has no tunnel for, on their way to lane 0: all that ever passes from lane to lane.
//!
//! A flow that was handed over stays with lane 0 until it pauses, also when the lane has a tunnel meanwhile: it would
//! overtake itself otherwise. Most do not even come back: lane 0 writes the answers to its own TUN queue, and the kernel
//! then gives that queue the flow's packets.

use crate::packet::Packet;
use crate::table::PeerId;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Most bytes handed over in one turn: a little more than a turn reads from the TUN.
pub const MAX_BYTES: usize = 5 * 65_536;

/// Where a packet came from before it was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From this host, by the lane's TUN queue.
    Tun,
    /// From a peer, checked, and on its way to a client of this node; or it may answer a check.
    Peer(PeerId),
}

/// The packets of one turn, one behind the other.
#[derive(Debug, Default)]
pub struct Handoff {
    bytes: Vec<u8>,
    /// Where each ends.
    packets: Vec<(Origin, usize)>,
}

impl Handoff {
    /// Appends a copy; `false`: there is no room.
    #[must_use]
    pub fn push(&mut self, origin: Origin, packet: &[u8]) -> bool {
        let room = self.bytes.len() + packet.len() <= MAX_BYTES;
        if room {
            self.bytes.extend_from_slice(packet);
            self.packets.push((origin, self.bytes.len()));
        }
        room
    }

    /// Each packet, in order.
    pub fn packets(&mut self) -> impl Iterator<Item = (Origin, &mut [u8])> {
        let mut rest = self.bytes.as_mut_slice();
        let mut start = 0;
        self.packets.iter().map(move |&(origin, end)| {
            let (packet, behind) = std::mem::take(&mut rest).split_at_mut(end - start);
            (rest, start) = (behind, end);
            (origin, packet)
        })
    }

    /// How many packets there are.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether there is nothing to hand over.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Forgets the packets and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.packets.clear();
    }
}

/// Flows that are remembered; of two that share a place the later one is.
const SLOTS: usize = 512;

/// A flow that pauses for longer than this has nothing under way that it could overtake.
const PAUSE: Duration = Duration::from_secs(1);

/// The flows that were handed over lately.
#[derive(Debug)]
pub(super) struct Detours {
    slots: Box<[Option<(u64, Instant)>]>,
    last: Option<Instant>,
}

impl Default for Detours {
    fn default() -> Detours {
        Detours {
            slots: vec![None; SLOTS].into_boxed_slice(),
            last: None,
        }
    }
}

impl Detours {
    /// Whether a packet goes to lane 0: it `must`, or earlier packets of its flow did.
    pub(super) fn takes(&mut self, packet: &Packet<'_>, must: bool, now: Instant) -> bool {
        let recent = |at: Instant| now.saturating_duration_since(at) < PAUSE;
        if !must && !self.last.is_some_and(recent) {
            return false;
        }
        let flow = flow_of(packet);
        let slot = &mut self.slots[flow as usize % SLOTS];
        let takes = must || slot.is_some_and(|(known, at)| known == flow && recent(at));
        if takes {
            *slot = Some((flow, now));
            self.last = Some(now);
        }
        takes
    }
}

/// One number for all packets of a flow. A fragment has no ports, so all of them count as one flow of their addresses.
fn flow_of(packet: &Packet<'_>) -> u64 {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |h: u64, word: u64| (h.rotate_left(29) ^ word).wrapping_mul(MIX);
    let fold = |h: u64, address: IpAddr| match address {
        IpAddr::V4(a) => mix(h, u64::from(u32::from(a))),
        IpAddr::V6(a) => {
            let bits = u128::from(a);
            mix(mix(h, (bits >> 64) as u64), bits as u64)
        }
    };
    let ports = packet.bytes.get(packet.payload..packet.payload + 4);
    let ports = ports.filter(|_| !packet.fragment && has_ports(packet.protocol));
    let ports = ports.map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    let h = fold(
        fold(u64::from(packet.protocol), packet.source),
        packet.destination,
    );
    let h = mix(h, u64::from(ports));
    h ^ (h >> 32)
}

/// TCP, UDP, DCCP, SCTP, UDP-Lite: their first four bytes are two ports.
fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 33 | 132 | 136)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
        Instant::now()
    }

    fn udp(from: u16) -> Vec<u8> {
        let mut bytes = vec![];
        etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [10, 1, 0, 1], 64)
            .udp(from, 53)
            .write(&mut bytes, b"x")
            .unwrap();
        bytes
    }

    #[test]
    fn what_is_handed_over_comes_out_as_it_was_and_no_more_than_fits() {
        let mut handoff = Handoff::default();
        assert!(handoff.push(Origin::Tun, &[1, 2, 3]));
        assert!(handoff.push(Origin::Peer([7; 32]), &[]));
        assert!(handoff.push(Origin::Tun, &[4]));
        assert!(!handoff.push(Origin::Tun, &vec![0; MAX_BYTES]));
        let out: Vec<_> = handoff.packets().map(|(o, p)| (o, p.to_vec())).collect();
        let wanted = [
            (Origin::Tun, vec![1, 2, 3]),
            (Origin::Peer([7; 32]), vec![]),
            (Origin::Tun, vec![4]),
        ];
        assert_eq!(out, wanted);
        handoff.clear();
        assert!(handoff.is_empty() && handoff.push(Origin::Tun, &vec![0; MAX_BYTES]));
    }

    #[test]
    fn a_flow_on_a_detour_stays_there_until_it_pauses_and_others_are_free() {
        let (mut detours, start) = (Detours::default(), now());
        let (ours, other) = (udp(1000), udp(1001));
        let (ours, other) = (Packet::parse(&ours).unwrap(), Packet::parse(&other).unwrap());
        assert!(!detours.takes(&ours, false, start));
        assert!(detours.takes(&ours, true, start));
        assert!(detours.takes(&ours, false, start + PAUSE / 2));
        assert!(!detours.takes(&other, false, start + PAUSE / 2));
        assert!(
            detours.takes(&ours, false, start + PAUSE),
            "the pause begins at the last packet"
        );
        assert!(!detours.takes(&ours, false, start + PAUSE * 2));
    }
}
