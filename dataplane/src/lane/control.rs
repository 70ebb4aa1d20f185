//! Control messages of peers in and ours out.

use super::engine::{EngineEvent, LaneEngine};
use super::path::PathId;
use crate::batch::SendBatch;
use crate::control::{self, MOST, Message};
use crate::drop::DropReason;
use crate::packet::{Packet, udp};
use crate::table::PeerKind;
use crate::tunnel::Seal;
use std::net::IpAddr;
use std::time::Instant;

impl<S: Seal> LaneEngine<S> {
    /// A packet to our control port came out of a peer's tunnel.
    pub(super) fn handle_control(
        &mut self,
        peer: u32,
        path: PathId,
        packet: &Packet<'_>,
        now: Instant,
        send: &mut SendBatch,
    ) {
        let state = &mut self.peers[peer as usize];
        let datagram = udp::parse_v6(packet)
            .filter(|udp| Some(udp.from.address) == state.mesh_address && udp.from.port == control::PORT);
        let Some(datagram) = datagram.filter(|_| self.lane == 0 && state.kind == PeerKind::Node) else {
            return self.dropped(DropReason::BadControl);
        };
        for message in control::messages(datagram.payload) {
            if !self.peers[peer as usize].allowance.take(1, now) {
                return self.dropped(DropReason::ControlRateLimited);
            }
            // A session is between nodes that reach the relay straight: through another relay nobody asks for one.
            match message {
                Ok(Message::Report { target, passes }) => {
                    let peer = self.peers[peer as usize].id;
                    self.tell(EngineEvent::CheckReported { peer, target, passes });
                }
                Ok(message) if path == PathId::Direct => {
                    self.handle_session_message(peer, message, now, send)
                }
                Ok(_) | Err(_) => self.dropped(DropReason::BadControl),
            }
        }
        self.counters.control_messages.add(1);
    }

    fn handle_session_message(&mut self, peer: u32, message: Message, now: Instant, send: &mut SendBatch) {
        match message {
            Message::Bind { other, answers } => self.handle_bind(peer, other, answers, now, send),
            Message::Unbind { other } => self.handle_unbind(peer, other),
            Message::Offer { other } => self.handle_offer(peer, other, now, send),
            Message::Bound { other, session, leg } => self.handle_bound(peer, other, session, leg, now),
            Message::Refused { other, .. } => self.handle_refused(peer, other, now),
            // It is about no session.
            Message::Report { .. } => {}
        }
    }

    /// Says something to a peer that we reach straight. What is lost is said again by whoever needs it.
    pub(super) fn say(&mut self, peer: u32, message: Message, now: Instant, send: &mut SendBatch) {
        self.say_over(PathId::Direct, peer, message, now, send);
    }

    /// The same over one of its paths.
    pub(super) fn say_over(
        &mut self,
        path: PathId,
        peer: u32,
        message: Message,
        now: Instant,
        send: &mut SendBatch,
    ) {
        let to = self.peers[peer as usize].mesh_address;
        let (Some(from), Some(to)) = (self.table.mesh_address(), to) else {
            return;
        };
        let mut packet = [0; MOST];
        let len = message.write(from, to, &mut packet);
        self.seal_over(path, peer, &packet[..len], now, send);
    }

    /// Whether this host tries to say something in our name.
    pub(super) fn is_control_of_host(&self, peer: u32, packet: &Packet<'_>) -> bool {
        let IpAddr::V6(destination) = packet.destination else {
            return false;
        };
        self.peers[peer as usize].mesh_address == Some(destination)
            && udp::ports(packet).is_some_and(|(_, to)| to == control::PORT)
    }
}
