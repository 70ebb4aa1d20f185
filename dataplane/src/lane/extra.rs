//! What is different in a lane above 0.
//!
//! Lane 0 keeps a tunnel to every peer, probes it and knows where it is. A lane above has one only while packets pass,
//! built when lane 0 says so, to the port that many above lane 0's; what it has no tunnel for it hands over.
//!
//! ```text
//!            lane 0: packets pass, the peer is at A:p   ── Active ──►   lane i: builds a tunnel to A:p+i
//!            lane 0: only a relay reaches the peer    ── Active ──►   lane i: hands its packets over until that changes
//!  lane 0: the path carries traffic, probe it closely  ◄── Active ──   lane i: packets pass
//!            lane 0: seals them, routes to own clients ◄── Handoff ──   lane i: has no tunnel for these
//! ```

use super::engine::{EngineEvent, LaneEngine};
use super::handoff::{Handoff, Origin};
use super::liveness::{Due, Liveness, TRIES};
use super::path::PathId;
use crate::batch::{SendBatch, WriteBatch};
use crate::drop::DropReason;
use crate::flow::{Ingress, Verdict};
use crate::offload::Frame;
use crate::packet::{Packet, decrement_hop_limit};
use crate::table::{PeerId, PeerKind};
use crate::tunnel::Seal;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// While packets pass, lanes tell each other this often.
const TELL: Duration = Duration::from_millis(500);

impl<S: Seal> LaneEngine<S> {
    /// Another lane says that packets pass between us and a peer. `at`: where lane 0 reaches it, if that is who says so. `None`
    /// from lane 0: only a relay reaches it, and lanes above 0 do not use those.
    pub fn handle_active(&mut self, peer: &PeerId, at: Option<SocketAddr>, now: Instant) {
        let Some(index) = self.table.peer_index(peer) else {
            return;
        };
        match at {
            Some(at) if self.lane > 0 => self.follow(index, at, now),
            Some(_) => {}
            None if self.lane > 0 => self.peers[index as usize].relayed_by_lane_0 = true,
            None => {
                if let Some(at) = self.peers[index as usize].note_data(now) {
                    self.wake(index, at);
                }
            }
        }
    }

    /// What this lane cannot send itself; the caller passes it to lane 0 and clears it.
    pub fn handoff(&mut self) -> &mut Handoff {
        &mut self.handoff
    }

    /// Lane 0 takes what another lane handed over.
    pub fn handle_handoff(
        &mut self,
        handoff: &mut Handoff,
        now: Instant,
        send: &mut SendBatch,
        write: &mut WriteBatch,
    ) {
        for (origin, packet) in handoff.packets() {
            match origin {
                Origin::Tun => self.handle_outbound(Frame::whole(packet), now, send, write),
                Origin::Peer(from) => self.pass_on(&from, packet, now, send, write),
            }
        }
    }

    /// Whether a packet for a peer goes to lane 0.
    pub(super) fn takes_detour(&mut self, peer: u32, packet: &Packet<'_>, now: Instant) -> bool {
        if self.lane == 0 {
            return false;
        }
        let live = self.peers[peer as usize].sending(&self.tunnels).is_some();
        self.detours.takes(packet, !live, now)
    }

    pub(super) fn hand_over(&mut self, origin: Origin, packet: &[u8]) {
        if self.handoff.push(origin, packet) {
            self.counters.handed_off.add(1);
        } else {
            self.dropped(DropReason::HandoffFull);
        }
    }

    /// A packet from a peer that another lane checked, for a client of ours or as the answer to a check; the tables of two lanes
    /// may differ for a turn.
    fn pass_on(
        &mut self,
        from: &PeerId,
        bytes: &mut [u8],
        now: Instant,
        send: &mut SendBatch,
        write: &mut WriteBatch,
    ) {
        let Some(peer) = self.table.peer_index(from) else {
            return self.dropped(DropReason::PeerRemoved);
        };
        let packet = match Packet::parse(bytes) {
            Ok(packet) => packet,
            Err(malformed) => return self.dropped(malformed.into()),
        };
        let (len, tcp) = (packet.bytes.len(), packet.tcp());
        match self.flows.verdict(Ingress::Peer(peer), &packet, &self.table) {
            Verdict::Deliver if self.takes_answer(peer, &packet, now, send) => {}
            Verdict::Deliver => write.push(&bytes[..len]),
            Verdict::Tunnel(onward) if decrement_hop_limit(bytes).is_some() => {
                let mut frame = Frame::whole(bytes);
                frame.describe(len, tcp);
                if let Some(refusal) = self.transmit(onward, frame, now, send) {
                    self.answer(peer, refusal, now, send);
                }
            }
            Verdict::Tunnel(_) => self.dropped(DropReason::HopLimit),
            Verdict::Drop(reason) => self.dropped(reason),
        }
    }

    /// Tells the other lanes, now and then, that packets pass; with where the peer is, when that is known here.
    pub(super) fn tell_lanes(&mut self, peer: u32, now: Instant) {
        let state = &mut self.peers[peer as usize];
        let told = state
            .told_lanes
            .is_some_and(|at| now.saturating_duration_since(at) < TELL);
        let proven = state.endpoints.proven().map(|endpoint| endpoint.remote);
        let straight = state.using() == PathId::Direct;
        let at = proven.filter(|_| self.lane == 0 && straight);
        let known = at.is_some() || !straight;
        let reachable = self.lane > 0 || (known && state.sending(&self.tunnels).is_some());
        if self.lanes > 1 && state.kind == PeerKind::Node && state.is_busy(now) && reachable && !told {
            state.told_lanes = Some(now);
            let peer = state.id;
            self.tell(EngineEvent::Active { peer, at });
        }
    }

    /// Follows lane 0 to where the peer is, and builds a tunnel there unless there is one or it failed lately.
    fn follow(&mut self, index: u32, at: SocketAddr, now: Instant) {
        let announced = &self.table.peers()[index as usize].peer.endpoints;
        let same_host = announced.iter().filter(|other| other.ip() == at.ip());
        let places: Vec<SocketAddr> = std::iter::once(&at)
            .chain(same_host)
            .filter_map(|place| Some((place.ip(), place.port().checked_add(self.lane as u16)?).into()))
            .collect();
        let state = &mut self.peers[index as usize];
        state.relayed_by_lane_0 = false;
        if state.wanted.is_none() {
            return;
        }
        state.endpoints.set_candidates(&places);
        let elsewhere = state
            .endpoints
            .current()
            .is_some_and(|e| e.remote.ip() != at.ip());
        if let Some(place) = places.first().filter(|_| elsewhere) {
            state.endpoints.move_to(*place);
        }
        let live = state.sending(&self.tunnels).is_some();
        if !live && state.liveness.may_try(now) {
            state.driver.want(now);
            self.wake(index, now);
        }
    }

    /// What is due in a lane above 0, but for handshakes. Returns whether one may begin.
    pub(super) fn run_extra(&mut self, peer: u32, now: Instant, send: &mut SendBatch) -> bool {
        let state = &mut self.peers[peer as usize];
        let given_up = state.driver.attempts() >= TRIES && state.driver.is_due(now);
        let due = if given_up {
            Due::Silent
        } else {
            state.liveness.due(now)
        };
        match due {
            Due::Silent => self.fail(peer, now),
            Due::Unused => {
                state.liveness = Liveness::default();
                self.drop_tunnel(peer);
            }
            Due::Answer => drop(self.seal(peer, &[], now, send)),
            Due::Nothing => {}
        }
        !self.peers[peer as usize].liveness.is_closing(now)
    }

    /// When a lane above 0 looks at a peer again: without a tunnel, and not building one, never.
    pub(super) fn extra_due(&self, peer: u32, tick: Instant, now: Instant) -> Option<Instant> {
        let state = &self.peers[peer as usize];
        let driver = state
            .driver
            .poll_timeout()
            .filter(|_| !state.liveness.is_closing(now));
        let any = state.current.is_some() || driver.is_some() || state.is_busy(now);
        any.then(|| {
            let timers = [driver, state.liveness.poll_timeout(), self.mtu_due(peer, now)];
            timers.into_iter().flatten().fold(tick, Instant::min)
        })
    }

    /// The tunnel does not answer: the peer's packets go by lane 0 until it does.
    fn fail(&mut self, peer: u32, now: Instant) {
        let state = &mut self.peers[peer as usize];
        let at = state
            .endpoints
            .current()
            .or(state.endpoints.targets().first().copied());
        let first = state.liveness.handle_failed(now) == 1;
        if let Some(at) = at.filter(|_| first) {
            let event = EngineEvent::LaneSilent {
                peer: state.id,
                at: at.remote,
            };
            self.tell(event);
        }
        self.drop_tunnel(peer);
    }

    /// Forgets the tunnel, and where it went.
    fn drop_tunnel(&mut self, peer: u32) {
        let state = &mut self.peers[peer as usize];
        for slot in state
            .current
            .take()
            .into_iter()
            .chain(state.old.take().map(|old| old.slot))
        {
            self.tunnels.remove(slot);
        }
        state.driver.rest();
        state.driver.handle_expired();
        state.endpoints = Default::default();
    }
}
