//! A datagram to its tunnel, the checks on what was inside, and where it goes from there.

use super::engine::{EngineEvent, LaneEngine};
use super::handoff::Origin;
use super::path::{Hop, PathId};
use super::tunnels::Newness;
use crate::batch::{Datagram, SendBatch, WriteBatch};
use crate::control;
use crate::demux::{Class, Message, classify};
use crate::drop::DropReason;
use crate::flow::{Ingress, Verdict};
use crate::offload::Frame;
use crate::packet::udp::{self, UdpV6};
use crate::packet::{Packet, decrement_hop_limit, ipv6, mss};
use crate::path::stamp;
use crate::tunnel::{HANDSHAKE, OVERHEAD, Opened, Rejected, Seal, counter, receiver_index};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

impl From<Rejected> for DropReason {
    fn from(rejected: Rejected) -> DropReason {
        match rejected {
            Rejected::Replayed => DropReason::Replayed,
            Rejected::Unauthentic => DropReason::Unauthentic,
            Rejected::NoSession => DropReason::SessionExpired,
            Rejected::Handshake => DropReason::HandshakeRejected,
        }
    }
}

impl<S: Seal> LaneEngine<S> {
    /// Takes one WireGuard datagram (one segment of a GRO batch). Data is opened and checked at once; packets for this host
    /// go to `write`, answers and packets for own clients to `send`. Handshake messages wait for
    /// [`LaneEngine::handle_timeout`].
    pub fn handle_inbound(
        &mut self,
        datagram: Datagram<'_>,
        now: Instant,
        write: &mut WriteBatch,
        send: &mut SendBatch,
    ) {
        match classify(datagram.payload) {
            Class::WireGuard(message) => {
                let from = Hop::from(datagram.reply_to());
                self.handle_message(message, datagram.payload, from, now, write, send);
            }
            Class::Relay => self.handle_frame(datagram, now, write, send),
            Class::Quic | Class::Garbage => self.dropped(DropReason::Garbage),
        }
    }

    /// Takes one WireGuard message, however it came.
    pub(super) fn handle_message(
        &mut self,
        message: Message,
        payload: &[u8],
        from: Hop,
        now: Instant,
        write: &mut WriteBatch,
        send: &mut SendBatch,
    ) {
        match message {
            Message::Data => self.handle_data(payload, from, now, write, send),
            Message::Cookie => self.handle_cookie(payload, from, now),
            message => self.handle_handshake(message, payload, from, now, send),
        }
    }

    fn handle_data(
        &mut self,
        payload: &[u8],
        from: Hop,
        now: Instant,
        write: &mut WriteBatch,
        send: &mut SendBatch,
    ) {
        let index = receiver_index(Message::Data, payload);
        if !self.is_way_of_index(index, &from) {
            return self.dropped(DropReason::RelayWrongSource);
        }
        let found = self.tunnels.find_mut(index);
        let Some((slot, tunnel)) = found else {
            return self.dropped(DropReason::UnknownIndex);
        };
        let peer = tunnel.peer;
        let out = write.reserve(HANDSHAKE.max(payload.len()));
        let opened = tunnel
            .seal
            .open(Message::Data, payload, from.to.remote.ip(), out, now);
        let len = match opened {
            // All that was sealed, padding included: what is malformed is for our own parser to say.
            Opened::Packet | Opened::Malformed => payload.len() - OVERHEAD,
            Opened::Keepalive => 0,
            Opened::Rejected(rejected) => return self.dropped(rejected.into()),
            // No data packet gives one of these.
            Opened::Respond { .. } | Opened::Established { .. } | Opened::Cookie => return,
        };
        let newness = tunnel.note(index, counter(payload));
        self.peers[peer as usize]
            .counters
            .rx_bytes
            .add(payload.len() as u64);
        self.counters.rx_bytes.add(payload.len() as u64);
        self.handle_authentic(slot, newness, len > 0, from, now, send);
        if len > 0 {
            self.handle_inner(peer, from.path(), len, now, write, send);
        }
    }

    /// A packet that proves who sent it: the only thing that moves an endpoint or proves life.
    fn handle_authentic(
        &mut self,
        slot: u32,
        newness: Newness,
        payload: bool,
        from: Hop,
        now: Instant,
        send: &mut SendBatch,
    ) {
        let Some(tunnel) = self.tunnels.get_mut(slot) else {
            return;
        };
        let peer = tunnel.peer;
        let confirmed = newness == Newness::Session && std::mem::take(&mut tunnel.answered);
        let live = tunnel.live;
        let state = &mut self.peers[peer as usize];
        state.liveness.handle_heard(payload, now);
        if let Some(path) = state.path_mut(from.path()) {
            path.probing.handle_heard(now);
        }
        // A relay that strips its frames must not pass for the peer.
        let moves =
            newness != Newness::Late && from.path() == PathId::Direct && !self.is_relay_of(peer, &from);
        let state = &mut self.peers[peer as usize];
        let moved = if moves {
            state.endpoints.handle_data(from.to)
        } else {
            None
        };
        if confirmed || !live {
            self.handle_session(slot, now, send);
        }
        if let Some(before) = moved.filter(|_| self.lane == 0) {
            let state = &mut self.peers[peer as usize];
            state.told_lanes = None;
            state.counters.set_endpoint(Some(from.to.remote));
            let event = EngineEvent::EndpointMoved {
                peer: state.id,
                from: before,
                to: from.to.remote,
            };
            self.tell(event);
        }
    }

    /// `len` bytes of decrypted packet stand where `write` reserves next.
    fn handle_inner(
        &mut self,
        peer: u32,
        path: PathId,
        len: usize,
        now: Instant,
        write: &mut WriteBatch,
        send: &mut SendBatch,
    ) {
        let bytes = write.reserve(len);
        let packet = match Packet::parse(bytes) {
            Ok(packet) => packet,
            Err(malformed) => return self.dropped(malformed.into()),
        };
        match self.own_port(&packet) {
            Some(control::PORT) => return self.handle_control(peer, path, &packet, now, send),
            Some(_) => return self.handle_probe(peer, path, &packet, now, send),
            None => {}
        }
        let (len, tcp) = (packet.bytes.len(), packet.tcp());
        let verdict = self.flows.verdict(Ingress::Peer(peer), &packet, &self.table);
        if let Verdict::Drop(reason) = verdict {
            return self.dropped(reason);
        }
        if verdict == Verdict::Deliver && self.takes_answer(peer, &packet, now, send) {
            return;
        }
        self.counters.rx_packets.add(1);
        let state = &mut self.peers[peer as usize];
        state.counters.rx_packets.add(1);
        if let Some(sooner) = state.note_data(now) {
            self.wake(peer, sooner);
        }
        let mtu = self.sizes(peer).mtu;
        match verdict {
            Verdict::Tunnel(onward) if self.takes_detour(onward, &packet, now) => {
                let from = Origin::Peer(self.peers[peer as usize].id);
                self.hand_over(from, packet.bytes);
            }
            Verdict::Tunnel(onward) => {
                if decrement_hop_limit(bytes).is_none() {
                    return self.dropped(DropReason::HopLimit);
                }
                clamp(&mut bytes[..len], tcp, mtu);
                let mut frame = Frame::whole(&mut bytes[..len]);
                frame.describe(len, tcp);
                if let Some(refusal) = self.transmit(onward, frame, now, send) {
                    self.answer(peer, refusal, now, send);
                }
            }
            Verdict::Deliver => {
                clamp(&mut bytes[..len], tcp, mtu);
                write.commit(len);
            }
            Verdict::Drop(_) => {}
        }
    }

    /// Sends the first `len` bytes of `scratch` to a peer.
    pub(super) fn answer(&mut self, peer: u32, len: usize, now: Instant, send: &mut SendBatch) {
        let scratch = std::mem::take(&mut self.scratch);
        self.seal(peer, &scratch[..len], now, send);
        self.scratch = scratch;
    }

    /// The port that a packet goes to if it is for the lane itself: a probe's, or that of control messages, of our mesh address.
    fn own_port(&self, packet: &Packet<'_>) -> Option<u16> {
        let IpAddr::V6(destination) = packet.destination else {
            return None;
        };
        if Some(destination) != self.table.mesh_address() {
            return None;
        }
        let (from, to) = udp::ports(packet)?;
        let answers = [stamp::SENDER_PORT, stamp::MTU_SENDER_PORT];
        let ours = [stamp::PORT, control::PORT].contains(&to) || from == stamp::PORT && answers.contains(&to);
        ours.then_some(to)
    }

    fn handle_probe(
        &mut self,
        peer: u32,
        path: PathId,
        packet: &Packet<'_>,
        now: Instant,
        send: &mut SendBatch,
    ) {
        let address = self.peers[peer as usize].mesh_address;
        let datagram = udp::parse_v6(packet).filter(|udp| Some(udp.from.address) == address);
        let handled = match datagram {
            Some(udp) if udp.to.port == stamp::PORT && udp.from.port == stamp::MTU_SENDER_PORT => {
                self.reflect_mtu(path, peer, &udp, packet.bytes, now, send)
            }
            Some(udp) if udp.to.port == stamp::PORT => {
                self.reflect(path, peer, &udp, packet.bytes, now, send)
            }
            Some(udp) if udp.to.port == stamp::MTU_SENDER_PORT => {
                self.handle_mtu_answer(path, peer, udp.payload, now)
            }
            Some(udp) => self.handle_answer(path, peer, udp.payload, now),
            None => false,
        };
        if !handled {
            self.dropped(DropReason::BadProbe);
        }
    }

    fn reflect(
        &mut self,
        id: PathId,
        peer: u32,
        probe: &UdpV6<'_>,
        packet: &[u8],
        now: Instant,
        send: &mut SendBatch,
    ) -> bool {
        let Some(path) = self.peers[peer as usize].path_mut(id) else {
            return false;
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        let answer = path
            .probing
            .reflect(probe, ipv6::hop_limit(packet), &self.clock, now, &mut scratch);
        if let Some(len) = answer {
            self.seal_over(id, peer, &scratch[..len], now, send);
        }
        self.scratch = scratch;
        self.take_verdict(id, peer, now);
        answer.is_some()
    }

    fn handle_answer(&mut self, id: PathId, peer: u32, payload: &[u8], now: Instant) -> bool {
        let state = &mut self.peers[peer as usize];
        let used = state.using() == id;
        let counters = Arc::clone(&state.counters);
        let Some(path) = state.path_mut(id) else {
            return false;
        };
        let Some(measured) = path.probing.handle_reply(payload, &self.clock, now) else {
            return false;
        };
        if used && !measured.stalled {
            let since_start = now.saturating_duration_since(self.counters.start);
            counters.handle_round_trip(measured.rtt, path.probing.round_trips(), since_start);
        }
        self.take_verdict(id, peer, now);
        if let Some(id) = measured.ping {
            self.tell(EngineEvent::Pong {
                id,
                rtt: measured.rtt,
            });
        }
        true
    }
}

/// Lets both ends of a TCP connection know what the path takes.
fn clamp(packet: &mut [u8], tcp: Option<usize>, mtu: u16) {
    let ipv6 = packet[0] >> 4 == 6;
    if let Some(segment) = tcp.and_then(|at| packet.get_mut(at..)) {
        mss::clamp(segment, ipv6, mtu, mss::Checksum::Complete);
    }
}
