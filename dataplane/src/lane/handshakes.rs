//! Handshake messages, in and out.

use super::engine::{KeyPair, LaneEngine};
use super::inbox::{PER_TURN, Waiting};
use super::path::{Hop, PathId};
use super::tunnels::Tunnel;
use crate::batch::{Manner, SendBatch};
use crate::demux::Message;
use crate::drop::DropReason;
use crate::tunnel::{COOKIE, CookieCheck, HANDSHAKE, Opened, Seal, receiver_index};
use std::time::{Duration, Instant};

/// How long packets may still come under old keys once there is a session under the new ones.
const OLD_LINGERS: Duration = Duration::from_secs(3);

impl<S: Seal> LaneEngine<S> {
    /// Lets an initiation or a response wait for its turn, if it is for us and its sender may.
    pub(super) fn handle_handshake(
        &mut self,
        message: Message,
        payload: &[u8],
        from: Hop,
        now: Instant,
        send: &mut SendBatch,
    ) {
        let local = match message {
            Message::Response => match self.local_of(receiver_index(message, payload)) {
                Some(public) => self.locals.iter().find(|l| l.public == public),
                None => return self.dropped(DropReason::UnknownIndex),
            },
            _ => self.locals.iter().find(|l| S::is_for(&l.key, payload)),
        };
        let Some(local) = local.filter(|l| message != Message::Response || S::is_for(&l.key, payload)) else {
            return self.dropped(DropReason::BadMac);
        };
        let (public, source) = (local.public, from.to.remote.ip());
        if self.inbox.handle_arrival(now) {
            match S::check_cookie(
                &local.key,
                source,
                payload,
                from.reserve(COOKIE, Manner::default(), send),
            ) {
                CookieCheck::Valid if self.inbox.allow(source, now) => {}
                CookieCheck::Valid => return self.dropped(DropReason::HandshakeRateLimited),
                CookieCheck::Reply { len } => {
                    from.commit(len, Manner::default(), send);
                    return self.dropped(DropReason::CookieRequired);
                }
                CookieCheck::Forged => return self.dropped(DropReason::BadMac),
            }
        }
        if !self.inbox.push(Waiting::new(message, from, public, payload)) {
            self.dropped(DropReason::HandshakeQueueFull);
        }
    }

    /// The key of ours that the tunnel with this receiver index uses.
    fn local_of(&self, index: u32) -> Option<[u8; 32]> {
        self.tunnels.find(index).map(|tunnel| tunnel.pair.0)
    }

    /// Takes a few of the messages that wait.
    pub(super) fn take_handshakes(&mut self, now: Instant, send: &mut SendBatch) {
        for _ in 0..PER_TURN {
            let Some(waiting) = self.inbox.pop() else { return };
            match waiting.message {
                Message::Initiation => self.handle_initiation(&waiting, now, send),
                _ => self.handle_response(&waiting, now, send),
            }
        }
    }

    fn handle_initiation(&mut self, waiting: &Waiting, now: Instant, send: &mut SendBatch) {
        let Some(local) = self.locals.iter().find(|l| l.public == waiting.local) else {
            return self.dropped(DropReason::BadMac);
        };
        let Some(remote) = S::initiator(&local.key, waiting.bytes()) else {
            return self.dropped(DropReason::HandshakeRejected);
        };
        let pair = (waiting.local, remote);
        let peer = self.pairs.get(&pair).copied();
        let Some((peer, slot)) = peer.and_then(|peer| Some((peer, self.tunnel_of(peer, &pair, now)?))) else {
            return self.dropped(DropReason::UnknownPeer);
        };
        if !self.is_way_of(peer, &waiting.from) {
            return self.dropped(DropReason::RelayWrongSource);
        }
        let state = &mut self.peers[peer as usize];
        let current = state.current == Some(slot);
        let to_there = match waiting.from.session {
            Some(session) => state.initiated_over == Some(session),
            None => state.endpoints.is_target(waiting.from.to.remote),
        };
        if current && state.driver.outranks(to_there, now) {
            return self.dropped(DropReason::HandshakeCollision);
        }
        let Some(tunnel) = self.tunnels.get_mut(slot) else {
            return;
        };
        let source = waiting.from.to.remote.ip();
        let out = waiting.from.reserve(HANDSHAKE, Manner::default(), send);
        let Opened::Respond { len } = tunnel
            .seal
            .open(waiting.message, waiting.bytes(), source, out, now)
        else {
            return self.dropped(DropReason::HandshakeRejected);
        };
        tunnel.answered = true;
        // Its slot for sessions may have held the one in use.
        tunnel.live = tunnel.seal.has_session(now);
        let len = waiting.from.commit(len, Manner::default(), send);
        state.note_sent(len, now);
        state.counters.rx_bytes.add(waiting.bytes().len() as u64);
        if waiting.from.path() == PathId::Direct {
            state.endpoints.handle_handshake(waiting.from.to, false);
        }
        if current {
            state.driver.handle_answered(now);
        }
    }

    fn handle_response(&mut self, waiting: &Waiting, now: Instant, send: &mut SendBatch) {
        let index = receiver_index(Message::Response, waiting.bytes());
        if !self.is_way_of_index(index, &waiting.from) {
            return self.dropped(DropReason::RelayWrongSource);
        }
        let found = self.tunnels.find_mut(index);
        let Some((slot, tunnel)) = found else {
            return self.dropped(DropReason::UnknownIndex);
        };
        let source = waiting.from.to.remote.ip();
        let out = waiting.from.reserve(HANDSHAKE, Manner::default(), send);
        let opened = tunnel
            .seal
            .open(waiting.message, waiting.bytes(), source, out, now);
        let Opened::Established { len } = opened else {
            return self.dropped(DropReason::HandshakeRejected);
        };
        let state = &mut self.peers[tunnel.peer as usize];
        if waiting.from.path() == PathId::Direct {
            state.endpoints.handle_handshake(waiting.from.to, true);
        }
        // To where the answer came from: it is what confirms the session to them, wherever the path ends up.
        let len = waiting.from.commit(len, Manner::default(), send);
        state.note_sent(len, now);
        state.counters.rx_bytes.add(waiting.bytes().len() as u64);
        self.handle_session(slot, now, send);
    }

    /// A cookie counts only for the initiation that it answers, and then only hurries the next one.
    pub(super) fn handle_cookie(&mut self, payload: &[u8], from: Hop, now: Instant) {
        let index = receiver_index(Message::Cookie, payload);
        if !self.is_way_of_index(index, &from) {
            return self.dropped(DropReason::RelayWrongSource);
        }
        let found = self.tunnels.find_mut(index);
        let Some((slot, tunnel)) = found else {
            return self.dropped(DropReason::UnknownIndex);
        };
        let (peer, source) = (tunnel.peer, from.to.remote.ip());
        let opened = tunnel
            .seal
            .open(Message::Cookie, payload, source, &mut [0; HANDSHAKE], now);
        if opened != Opened::Cookie {
            return self.dropped(DropReason::HandshakeRejected);
        }
        let state = &mut self.peers[peer as usize];
        if state.current == Some(slot) {
            state.driver.handle_cookie(now);
            self.wake(peer, now);
        }
    }

    /// A tunnel has a new session: as initiator by the response, as responder by the first packet under it.
    pub(super) fn handle_session(&mut self, slot: u32, now: Instant, send: &mut SendBatch) {
        let Some(tunnel) = self.tunnels.get_mut(slot) else {
            return;
        };
        let peer = tunnel.peer;
        tunnel.live = tunnel.seal.has_session(now);
        if !tunnel.live {
            return;
        }
        self.counters.handshakes_completed.add(1);
        let since_start = now.saturating_duration_since(self.counters.start);
        let state = &mut self.peers[peer as usize];
        state.counters.set_established(since_start);
        if state.current == Some(slot) {
            state.driver.handle_established(now);
            if let Some(old) = &mut state.old {
                old.until.get_or_insert(now + OLD_LINGERS);
            }
        }
        // The first probe says at once whether it works both ways.
        for path in state.paths().filter(|p| !p.probing.health().state().works()) {
            path.probing.hurry(now);
        }
        self.wake(peer, now);
        self.flush(peer, now, send);
    }

    /// Begins a handshake under the current keys, towards the places where the peer may be.
    pub(super) fn initiate(&mut self, peer: u32, now: Instant, send: &mut SendBatch) {
        let state = &mut self.peers[peer as usize];
        let (attempt, alive) = (
            state.driver.attempts(),
            !state.direct.probing.health().state().fails(),
        );
        state.driver.handle_sent(now);
        state.last_initiation = Some(now);
        // Without keys there is nothing to begin with; the attempt counts, so that the next one waits its turn.
        let Some(wanted) = state.wanted.clone() else {
            return;
        };
        let nowhere = state.endpoints.next_targets(attempt, alive).is_empty();
        if nowhere && state.using() == PathId::Direct {
            return;
        }
        let Some(slot) = self.tunnel_of(peer, &wanted.pair, now) else {
            return;
        };
        let mut message = [0; HANDSHAKE];
        let Some(len) = self
            .tunnels
            .get_mut(slot)
            .and_then(|t| t.seal.initiate(&mut message, now))
        else {
            return;
        };
        self.counters.handshakes_started.add(1);
        self.send_to_targets(peer, &message[..len], now, send);
    }

    /// Sends one message to all targets of the current attempt, and through the relay if there is one. While there is a session
    /// it goes straight alone: it looks for a direct path then, and the answer by the relay might come first.
    pub(super) fn send_to_targets(&mut self, peer: u32, message: &[u8], now: Instant, send: &mut SendBatch) {
        let state = &self.peers[peer as usize];
        let needed = state.sending(&self.tunnels).is_none() || state.driver.is_aged(now);
        let session = state.choice.via().filter(|_| needed);
        let relay = session.and_then(|session| self.hop(PathId::Relayed(session), peer));
        let state = &mut self.peers[peer as usize];
        state.initiated_over = relay.and_then(|hop| hop.session);
        let targets = state.endpoints.targets().iter();
        let mut sent = 0;
        for hop in targets.copied().map(Hop::from).chain(relay) {
            hop.reserve(message.len(), Manner::default(), send)
                .copy_from_slice(message);
            sent += hop.commit(message.len(), Manner::default(), send);
        }
        state.note_sent(sent, now);
    }

    /// The tunnel of a pair of keys of a peer: the old one, or the current one, made if it is not there yet.
    fn tunnel_of(&mut self, peer: u32, pair: &KeyPair, now: Instant) -> Option<u32> {
        let state = &self.peers[peer as usize];
        let mut slots = state.current.into_iter().chain(state.old.map(|old| old.slot));
        let tunnels = &self.tunnels;
        if let Some(slot) = slots.find(|slot| tunnels.get(*slot).is_some_and(|t| t.pair == *pair)) {
            return Some(slot);
        }
        let wanted = state.wanted.clone().filter(|wanted| wanted.pair == *pair)?;
        let local = self.locals.iter().find(|l| l.public == pair.0)?;
        let slot = self.tunnels.insert(|index| {
            let preshared_key = wanted.preshared_key.as_deref().copied();
            let seal = S::new(&local.key, pair.1, preshared_key, index, now);
            Tunnel::new(seal, *pair, peer)
        })?;
        let state = &mut self.peers[peer as usize];
        state.current = Some(slot);
        if self.lane > 0 {
            state.liveness.handle_built(now);
            self.wake(peer, now);
        }
        Some(slot)
    }
}
