//! A packet from the TUN to its tunnel.
//!
//! A super-packet is one packet here: parsed once, one verdict, one look at the peer's tunnel. Only then it is split, each
//! segment where it stands, and sealed straight into the send batch.

use super::engine::LaneEngine;
use super::handoff::Origin;
use super::path::{Hop, Path, PathId};
use crate::batch::{Manner, SendBatch, WriteBatch};
use crate::drop::DropReason;
use crate::flow::{Ingress, Verdict};
use crate::offload::{Frame, Segments};
use crate::packet::Packet;
use crate::packet::fragment::Fragments;
use crate::path::pmtu::OVERHEAD_V6;
use crate::tunnel::{HANDSHAKE, OVERHEAD, Seal};
use std::time::Instant;

/// The tunnel and the place that packets to a peer take now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) slot: u32,
    pub(super) hop: Hop,
    /// Largest packet that the path is used for, but for IPv6.
    pub(super) mtu: u16,
    /// Largest packet that travels in one piece.
    pub(super) whole: u16,
    /// Largest packet that our own link takes in one piece.
    pub(super) joins: u16,
    /// Whether each leaves by itself: runs to this peer do not arrive.
    pub(super) single: bool,
}

impl<S: Seal> LaneEngine<S> {
    /// Takes one frame from the TUN, of at most 65,535 bytes of packet, and seals what it stands for into `send`; or keeps a
    /// copy until there is a session; or drops and counts it. What the sender must be told goes to `write`.
    pub fn handle_outbound(
        &mut self,
        mut frame: Frame<'_>,
        now: Instant,
        send: &mut SendBatch,
        write: &mut WriteBatch,
    ) {
        let packet = match Packet::parse(frame.packet()) {
            Ok(packet) => packet,
            Err(malformed) => return self.dropped(malformed.into()),
        };
        let verdict = self.flows.verdict(Ingress::Tun, &packet, &self.table);
        let forged = matches!(verdict, Verdict::Tunnel(peer) if self.is_control_of_host(peer, &packet));
        let detour = matches!(verdict, Verdict::Tunnel(peer) if self.takes_detour(peer, &packet, now));
        let (len, tcp) = (packet.bytes.len(), packet.tcp());
        frame.describe(len, tcp);
        match verdict {
            Verdict::Tunnel(_) if forged => self.dropped(DropReason::BadControl),
            Verdict::Tunnel(_) if detour => self.detour(frame),
            Verdict::Tunnel(peer) => {
                if let Some(refusal) = self.transmit(peer, frame, now, send) {
                    write.push(&self.scratch[..refusal]);
                }
            }
            // Nothing from the TUN is delivered to the TUN.
            Verdict::Deliver => self.dropped(DropReason::NoRoute),
            Verdict::Drop(reason) => self.dropped(reason),
        }
    }

    /// Hands the packets of a frame over to lane 0.
    fn detour(&mut self, frame: Frame<'_>) {
        match frame.segments() {
            Ok(mut segments) => {
                while let Some(packet) = segments.pop() {
                    self.hand_over(Origin::Tun, packet);
                }
            }
            Err(reason) => self.dropped(reason),
        }
    }

    /// Seals a frame for a peer of the table, or lets it wait for a session. If it is too large for the path and must not be
    /// cut, what its sender is to know stands in `scratch`: returns the length.
    pub(super) fn transmit(
        &mut self,
        peer: u32,
        mut frame: Frame<'_>,
        now: Instant,
        send: &mut SendBatch,
    ) -> Option<usize> {
        if let Some(sooner) = self.peers[peer as usize].note_data(now) {
            self.wake(peer, sooner);
        }
        let sizes = self.sizes(peer);
        frame.fit(sizes.mtu);
        let mtu = sizes.limit(frame.is_ipv6());
        let mut segments = match frame.segments() {
            Ok(segments) => segments,
            Err(reason) => {
                self.dropped(reason);
                return None;
            }
        };
        let way = self.way(peer);
        if segments.largest() > usize::from(mtu) {
            return self.transmit_large(peer, way, segments, mtu, now, send);
        }
        while let Some(packet) = segments.pop() {
            self.seal_or_wait(peer, way, packet, now, send);
        }
        None
    }

    /// The same for packets some of which are larger than the path takes.
    fn transmit_large(
        &mut self,
        peer: u32,
        way: Option<Way>,
        mut segments: Segments<'_>,
        mtu: u16,
        now: Instant,
        send: &mut SendBatch,
    ) -> Option<usize> {
        let mut refusal = None;
        while let Some(packet) = segments.pop() {
            if packet.len() <= usize::from(mtu) {
                self.seal_or_wait(peer, way, packet, now, send);
            } else if let Some(mut fragments) = Fragments::new(&mut *packet, usize::from(mtu)) {
                while let Some(fragment) = fragments.pop() {
                    self.seal_or_wait(peer, way, fragment, now, send);
                }
            } else {
                self.dropped(DropReason::TooBig);
                refusal = refusal.or_else(|| self.refuse(packet, mtu, now));
            }
        }
        refusal
    }

    fn seal_or_wait(
        &mut self,
        peer: u32,
        way: Option<Way>,
        packet: &[u8],
        now: Instant,
        send: &mut SendBatch,
    ) {
        if way.is_some_and(|way| self.seal_on(way, peer, packet, now, send)) {
            self.note_packet(peer);
        } else {
            self.wait(peer, packet, now);
        }
    }

    /// Seals a packet for a peer; `false`: there is no session, or no place to send to.
    pub(super) fn seal(&mut self, peer: u32, packet: &[u8], now: Instant, send: &mut SendBatch) -> bool {
        self.seal_over(self.peers[peer as usize].using(), peer, packet, now, send)
    }

    /// The same over one of its paths.
    pub(super) fn seal_over(
        &mut self,
        path: PathId,
        peer: u32,
        packet: &[u8],
        now: Instant,
        send: &mut SendBatch,
    ) -> bool {
        self.way_over(path, peer)
            .is_some_and(|way| self.seal_on(way, peer, packet, now, send))
    }

    /// The way that packets to a peer take.
    pub(super) fn way(&self, peer: u32) -> Option<Way> {
        self.way_over(self.peers[peer as usize].using(), peer)
    }

    pub(super) fn way_over(&self, id: PathId, peer: u32) -> Option<Way> {
        let state = &self.peers[peer as usize];
        let hop = self.hop(id, peer)?;
        let path: &Path = state.path(id)?;
        let sizes = self.sizes_of(state.kind, path);
        let link = self.table.mtu().link;
        Some(Way {
            slot: state.sending(&self.tunnels)?,
            hop,
            mtu: sizes.mtu,
            whole: sizes.whole,
            joins: link.saturating_sub(OVERHEAD_V6 + hop.in_front() as u16),
            single: path.runs.is_single(),
        })
    }

    /// Where datagrams go on this path.
    pub(super) fn hop(&self, id: PathId, peer: u32) -> Option<Hop> {
        let state = &self.peers[peer as usize];
        match id {
            PathId::Direct => state.endpoints.current().map(Hop::from),
            PathId::Relayed(session) => {
                let relayed = state.relayed.iter().find(|r| r.session() == Some(session))?;
                let relay = &self.peers[relayed.index as usize];
                let to = relay.endpoints.proven()?;
                Some(Hop {
                    to,
                    session: Some(session),
                })
            }
        }
    }

    fn seal_on(&mut self, way: Way, peer: u32, packet: &[u8], now: Instant, send: &mut SendBatch) -> bool {
        self.seal_as(way, way.manner(packet.len()), peer, packet, now, send)
    }

    pub(super) fn seal_as(
        &mut self,
        way: Way,
        manner: Manner,
        peer: u32,
        packet: &[u8],
        now: Instant,
        send: &mut SendBatch,
    ) -> bool {
        let Some(tunnel) = self.tunnels.get_mut(way.slot).filter(|tunnel| tunnel.live) else {
            return false;
        };
        let room = HANDSHAKE.max(packet.len() + OVERHEAD);
        let out = way.hop.reserve(room, manner, send);
        let Some(len) = tunnel.seal.seal(packet, out, now) else {
            tunnel.live = false;
            return false;
        };
        let len = way.hop.commit(len, manner, send);
        let state = &mut self.peers[peer as usize];
        state.note_sent(len, now);
        state.liveness.handle_sent(!packet.is_empty(), now);
        self.counters.tx_bytes.add(len as u64);
        true
    }

    fn note_packet(&mut self, peer: u32) {
        self.counters.tx_packets.add(1);
        self.peers[peer as usize].counters.tx_packets.add(1);
    }

    fn wait(&mut self, peer: u32, packet: &[u8], now: Instant) {
        let state = &mut self.peers[peer as usize];
        let dropped = state.pending.push(packet, now, &mut self.budget);
        let without_session = state.sending(&self.tunnels).is_none();
        if without_session {
            state.driver.want(now);
        }
        for _ in 0..dropped {
            self.dropped(DropReason::NoSession);
        }
        self.counters.pending_bytes.set(self.budget.used() as u64);
        if without_session && let Some(at) = self.peers[peer as usize].driver.poll_timeout() {
            self.wake(peer, at);
        }
    }

    /// Sends what waited for a session.
    pub(super) fn flush(&mut self, peer: u32, now: Instant, send: &mut SendBatch) {
        while let Some(packet) = self.peers[peer as usize].pending.pop(&mut self.budget) {
            if !self.seal(peer, &packet, now, send) {
                self.dropped(DropReason::NoSession);
                continue;
            }
            self.note_packet(peer);
        }
        self.counters.pending_bytes.set(self.budget.used() as u64);
    }
}
