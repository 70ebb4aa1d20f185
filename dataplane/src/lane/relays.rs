//! What this node does as a relay: it keeps sessions for pairs of members and sends their frames on, unread.

use super::engine::LaneEngine;
use super::path::Hop;
use crate::batch::{Datagram, Endpoint, Manner, SendBatch, WriteBatch};
use crate::control::{Leg, Message, Refusal};
use crate::demux::{Class, classify};
use crate::drop::DropReason;
use crate::relay::bucket::Bucket;
use crate::relay::frame::Frame;
use crate::relay::sessions::{Member, Taken};
use crate::table::{PeerId, PeerKind};
use crate::tunnel::Seal;
use std::time::{Duration, Instant};

/// How much may pass at once beyond the limit, as the time that it takes at the limit.
const BURST: Duration = Duration::from_millis(100);

/// Sessions that have ended are forgotten this often.
const SWEEP: Duration = Duration::from_secs(1);

impl<S: Seal> LaneEngine<S> {
    /// A relay frame came: to be sent on, or for us.
    pub(super) fn handle_frame(
        &mut self,
        datagram: Datagram<'_>,
        now: Instant,
        write: &mut WriteBatch,
        send: &mut SendBatch,
    ) {
        let Some(frame) = Frame::parse(datagram.payload) else {
            return self.dropped(DropReason::Garbage);
        };
        let from = datagram.reply_to();
        if self.sessions.contains(frame.session) {
            if let Err(reason) = self.send_on(&frame, datagram.payload, from, now, send) {
                self.dropped(reason);
            }
            return;
        }
        let hop = Hop {
            to: from,
            session: Some(frame.session),
        };
        match classify(frame.message) {
            Class::WireGuard(message) => {
                self.handle_message(message, frame.message, hop, now, write, send);
            }
            _ => self.dropped(DropReason::Garbage),
        }
    }

    /// From one end of a session to the other, as it came.
    fn send_on(
        &mut self,
        frame: &Frame<'_>,
        datagram: &[u8],
        from: Endpoint,
        now: Instant,
        send: &mut SendBatch,
    ) -> Result<(), DropReason> {
        let [one, other] = self
            .sessions
            .ends(frame.session, now)
            .ok_or(DropReason::RelayUnknownSession)?;
        let at = |peer: u32| self.peers[peer as usize].endpoints.proven();
        let is_at = |peer| at(peer).is_some_and(|place| place.remote == from.remote);
        let onward = match (is_at(one), is_at(other)) {
            (true, _) => other,
            (false, true) => one,
            (false, false) => return Err(DropReason::RelayWrongSource),
        };
        let to = at(onward).ok_or(DropReason::RelayNoPath)?;
        let bytes = datagram.len() as u64;
        if let Some(limit) = &mut self.relay_limit
            && !limit.take(bytes * 8, now)
        {
            return Err(DropReason::RelayLimited);
        }
        let single = self.peers[onward as usize].direct.runs.is_single();
        let manner = Manner {
            fragment: frame.fragment,
            alone: frame.fragment || single,
        };
        send.reserve(datagram.len()).copy_from_slice(datagram);
        send.commit_as(to, manner, datagram.len());
        self.counters.relayed_bytes.add(bytes);
        self.counters.relayed_packets.add(1);
        Ok(())
    }

    /// A member wants to reach another through us.
    pub(super) fn handle_bind(
        &mut self,
        from: u32,
        other: PeerId,
        answers: bool,
        now: Instant,
        send: &mut SendBatch,
    ) {
        let bound = self.bind(from, &other, now);
        let (taken, to) = match bound {
            Ok(bound) => bound,
            Err(reason) => return self.say(from, Message::Refused { other, reason }, now, send),
        };
        let asker = self.peers[from as usize].id;
        if taken.offer && !answers {
            self.say(to, Message::Offer { other: asker }, now, send);
        }
        if taken.complete {
            for (end, far) in [(from, to), (to, from)] {
                let message = Message::Bound {
                    other: self.peers[far as usize].id,
                    session: taken.session,
                    leg: self.leg(far, now),
                };
                self.say(end, message, now, send);
            }
        }
    }

    fn bind(&mut self, from: u32, other: &PeerId, now: Instant) -> Result<(Taken, u32), Refusal> {
        if !self.table.relay().enabled || self.lane > 0 {
            return Err(Refusal::NotRelaying);
        }
        let to = self.table.peer_index(other).ok_or(Refusal::UnknownPeer)?;
        let end = &self.peers[to as usize];
        if to == from || end.kind != PeerKind::Node {
            return Err(Refusal::UnknownPeer);
        }
        if !end.direct.probing.health().state().works() {
            return Err(Refusal::NoPath);
        }
        let member = |peer: u32| Member {
            id: self.peers[peer as usize].id,
            peer,
        };
        let (from, other) = (member(from), member(to));
        let taken = self.sessions.handle_bind(from, other, now);
        taken.map(|taken| (taken, to)).map_err(|_| Refusal::Full)
    }

    /// How far a peer is from here.
    pub(super) fn leg(&self, peer: u32, now: Instant) -> Leg {
        let path = self.peers[peer as usize].direct.figures(now);
        Leg {
            rtt: path.rtt,
            loss: path.loss,
        }
    }

    pub(super) fn handle_unbind(&mut self, from: u32, other: PeerId) {
        let from = self.peers[from as usize].id;
        self.sessions.handle_unbind(&from, &other);
    }

    /// There is a new table: members may have gone or moved in it, and the limit may be another.
    pub(super) fn reconcile_relays(&mut self) {
        let table = std::sync::Arc::clone(&self.table);
        let policy = table.relay();
        if policy.enabled {
            self.sessions.handle_table(|id| table.peer_index(id));
        } else {
            self.sessions.clear();
        }
        let known = self
            .relay_limit
            .filter(|b| policy.limit.is_some_and(|l| b.is_of(l)));
        self.relay_limit = known.or(policy.limit.map(|limit| Bucket::new(limit, BURST)));
        for state in &mut self.peers {
            state.relayed.retain_mut(|relayed| relayed.handle_table(&table));
        }
    }

    /// Forgets sessions that nobody renewed, now and then.
    pub(super) fn sweep_sessions(&mut self, now: Instant) {
        let swept = self
            .swept
            .is_some_and(|at| now.saturating_duration_since(at) < SWEEP);
        if self.lane > 0 || swept {
            return;
        }
        self.swept = Some(now);
        self.sessions.handle_timeout(now);
        self.counters
            .relay_sessions
            .set(self.sessions.complete(now) as u64);
    }
}
