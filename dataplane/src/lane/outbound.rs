//! A packet from the TUN to its tunnel.

use super::engine::LaneEngine;
use super::handoff::Origin;
use crate::batch::SendBatch;
use crate::drop::DropReason;
use crate::flow::{FlowKey, Ingress, Verdict};
use crate::packet::Packet;
use crate::tunnel::{HANDSHAKE, OVERHEAD, Seal};
use std::time::Instant;

impl<S: Seal> LaneEngine<S> {
    /// Takes one IP packet from the TUN (without its vnet header), of at most 65,535 bytes, and seals it into `send`; or
    /// keeps a copy until there is a session; or drops and counts it.
    pub fn handle_outbound(&mut self, packet: &[u8], now: Instant, send: &mut SendBatch) {
        let packet = match Packet::parse(packet) {
            Ok(packet) => packet,
            Err(malformed) => return self.dropped(malformed.into()),
        };
        let key = FlowKey {
            ingress: Ingress::Tun,
            source: packet.source,
            destination: packet.destination,
        };
        match self.flows.verdict(&key, &self.table) {
            Verdict::Tunnel(peer) if self.takes_detour(peer, &packet, now) => {
                self.hand_over(Origin::Tun, packet.bytes);
            }
            Verdict::Tunnel(peer) => self.transmit(peer, packet.bytes, now, send),
            // Nothing from the TUN is delivered to the TUN.
            Verdict::Deliver => self.dropped(DropReason::NoRoute),
            Verdict::Drop(reason) => self.dropped(reason),
        }
    }

    /// Seals a packet for a peer of the table, or lets it wait for a session.
    pub(super) fn transmit(&mut self, peer: u32, packet: &[u8], now: Instant, send: &mut SendBatch) {
        let state = &mut self.peers[peer as usize];
        if let Some(sooner) = state.note_data(now) {
            self.wake(peer, sooner);
        }
        if self.seal(peer, packet, now, send) {
            self.note_packet(peer);
        } else {
            self.wait(peer, packet, now);
        }
    }

    /// Seals a packet for a peer; `false`: there is no session, or no place to send to.
    pub(super) fn seal(&mut self, peer: u32, packet: &[u8], now: Instant, send: &mut SendBatch) -> bool {
        let state = &mut self.peers[peer as usize];
        let (Some(slot), Some(to)) = (state.sending(&self.tunnels), state.endpoints.current()) else {
            return false;
        };
        let Some(tunnel) = self.tunnels.get_mut(slot) else {
            return false;
        };
        let out = send.reserve(HANDSHAKE.max(packet.len() + OVERHEAD));
        let Some(len) = tunnel.seal.seal(packet, out, now) else {
            tunnel.live = false;
            return false;
        };
        send.commit(to, len);
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
