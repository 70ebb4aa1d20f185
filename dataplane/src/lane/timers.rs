//! All that happens because time passes.

use super::engine::{EngineEvent, LaneEngine};
use super::path::{PROBE_BUSY, PROBE_IDLE, PathId};
use super::relayed::MAX_RELAYED;
use crate::batch::{Manner, SendBatch};
use crate::drop::DropReason;
use crate::path::health::{Cause, Change};
use crate::stats::{PathState, PeerState};
use crate::table::PeerKind;
use crate::tunnel::{HANDSHAKE, Seal, Ticked};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The tunnels' own timers want to run this often.
const TICK: Duration = Duration::from_millis(250);

/// Woken this late, we slept or were starved: what seems missing may be our own doing.
const STALL: Duration = Duration::from_millis(100);

/// Initiations begun in one turn: half a millisecond each.
const INITIATIONS: usize = 8;

/// While a path is down, handshakes look for the peer elsewhere this often.
const SEARCH: Duration = Duration::from_secs(5);

impl<S: Seal> LaneEngine<S> {
    /// Does what is due: takes handshake messages that wait, and runs the timers of peers.
    pub fn handle_timeout(&mut self, now: Instant, send: &mut SendBatch) {
        self.detect_stall(now);
        self.take_handshakes(now, send);
        self.sweep_sessions(now);
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        let mut initiations = 0;
        for peer in 0..self.peers.len() as u32 {
            if self.peers[peer as usize].due.is_some_and(|due| due <= now) {
                self.run_peer(peer, &mut initiations, now, send);
            }
        }
        self.deadline = self.peers.iter().filter_map(|p| p.due).min();
    }

    fn detect_stall(&mut self, now: Instant) {
        let Some(late) = self.deadline.and_then(|at| now.checked_duration_since(at)) else {
            return;
        };
        if late <= STALL {
            return;
        }
        for state in &mut self.peers {
            state.paths().for_each(|path| path.handle_stall(now));
            state.liveness.handle_stall(now);
        }
        if self.lane == 0 {
            self.tell(EngineEvent::LocalStall { late });
        }
    }

    fn run_peer(&mut self, peer: u32, initiations: &mut usize, now: Instant, send: &mut SendBatch) {
        self.tick_tunnels(peer, now, send);
        self.expire_pending(peer, now);
        let may_begin = if self.lane == 0 {
            self.judge(peer, now);
            self.run_relayed(peer, now, send);
            self.probe(peer, now, send);
            self.keep_alive(peer, now, send);
            true
        } else {
            self.run_extra(peer, now, send)
        };
        for id in self.path_ids(peer) {
            self.probe_mtu(id, peer, now, send);
            self.probe_runs(id, peer, now, send);
        }
        self.tell_lanes(peer, now);
        let state = &mut self.peers[peer as usize];
        if state.kind == PeerKind::Client
            && state.pending.is_empty()
            && state.sending(&self.tunnels).is_none()
        {
            match state.keepalive {
                Some(_) => state.driver.want(now),
                None => state.driver.rest(),
            }
        }
        if may_begin && state.driver.is_due(now) && *initiations < INITIATIONS {
            *initiations += 1;
            self.initiate(peer, now, send);
        }
        let tick = now + TICK;
        let due = match self.lane {
            0 => {
                let state = &self.peers[peer as usize];
                let timers = [state.driver.poll_timeout(), self.mtu_due(peer, now)];
                let tick = tick.min(state.next_probe());
                Some(timers.into_iter().flatten().fold(tick, Instant::min))
            }
            _ => self.extra_due(peer, tick, now),
        };
        self.peers[peer as usize].due = due;
    }

    fn tick_tunnels(&mut self, peer: u32, now: Instant, send: &mut SendBatch) {
        let state = &self.peers[peer as usize];
        let (current, old) = (state.current, state.old);
        for slot in current.into_iter().chain(old.map(|old| old.slot)) {
            self.tick_tunnel(peer, slot, now, send);
        }
        if let Some(old) = old
            && (!self.tunnels.is_live(old.slot) || old.until.is_some_and(|until| until <= now))
            && self.peers[peer as usize]
                .current
                .is_some_and(|slot| self.tunnels.is_live(slot))
        {
            self.tunnels.remove(old.slot);
            self.peers[peer as usize].old = None;
        }
    }

    fn tick_tunnel(&mut self, peer: u32, slot: u32, now: Instant, send: &mut SendBatch) {
        let hop = self.hop(self.peers[peer as usize].using(), peer);
        let Some(tunnel) = self.tunnels.get_mut(slot) else {
            return;
        };
        let mut message = [0; HANDSHAKE];
        let ticked = tunnel.seal.tick(&mut message, now);
        let live = tunnel.seal.has_session(now);
        let state = &mut self.peers[peer as usize];
        tunnel.live = live && !state.liveness.is_closing(now);
        let current = state.current == Some(slot);
        if current && !live {
            state.driver.handle_expired();
        }
        match ticked {
            Ticked::Idle => {}
            Ticked::Keepalive { len } => {
                if let Some(hop) = hop {
                    hop.reserve(len, Manner::default(), send)
                        .copy_from_slice(&message[..len]);
                    let sent = hop.commit(len, Manner::default(), send);
                    state.note_sent(sent, now);
                }
            }
            Ticked::Initiation { len } => {
                // Its own view of when to begin; one more attempt to us.
                let alive = state.direct.health.state() != PathState::Down;
                state.endpoints.next_targets(state.driver.attempts(), alive);
                if current {
                    state.driver.handle_sent(now);
                }
                self.counters.handshakes_started.add(1);
                self.send_to_targets(peer, &message[..len], now, send);
            }
        }
    }

    fn expire_pending(&mut self, peer: u32, now: Instant) {
        while self.peers[peer as usize]
            .pending
            .pop_expired(now, &mut self.budget)
            .is_some()
        {
            self.dropped(DropReason::NoSession);
        }
        self.counters.pending_bytes.set(self.budget.used() as u64);
    }

    fn judge(&mut self, peer: u32, now: Instant) {
        let state = &mut self.peers[peer as usize];
        if state.kind == PeerKind::Client {
            let live = state.current.is_some_and(|slot| self.tunnels.is_live(slot));
            state.counters.set_session(live);
            return;
        }
        for id in self.path_ids(peer) {
            self.judge_path(id, peer, now);
        }
        let state = &mut self.peers[peer as usize];
        let searched = state
            .last_initiation
            .is_some_and(|at| now.saturating_duration_since(at) < SEARCH);
        if state.direct.health.state() == PathState::Down && !searched {
            state.driver.want(now);
        }
    }

    fn judge_path(&mut self, id: PathId, peer: u32, now: Instant) {
        let state = &mut self.peers[peer as usize];
        let used = state.using() == id;
        let counters = Arc::clone(&state.counters);
        let Some(path) = state.path_mut(id) else { return };
        let heard = path.health.is_heard(now);
        counters
            .probes_lost
            .add(path.sender.handle_timeout(heard, now) as u64);
        let loss = path.sender.ratios(now);
        if used {
            counters.set_loss(loss);
        }
        if let Some(change) = path.health.handle_timeout(loss.round_trip(), now) {
            self.tell_path(id, peer, change);
        }
    }

    /// The paths of a peer as they are now.
    fn path_ids(&self, peer: u32) -> impl Iterator<Item = PathId> + use<S> {
        let state = &self.peers[peer as usize];
        let mut ids = [None; MAX_RELAYED + 1];
        for (place, id) in ids.iter_mut().zip(state.path_ids()) {
            *place = Some(id);
        }
        ids.into_iter().flatten()
    }

    /// A path is in another state. If it is the one in use, that is the peer's.
    pub(super) fn tell_path(&mut self, id: PathId, peer: u32, change: Change) {
        if self.peers[peer as usize].using() == id {
            self.show(peer, change.to, change.cause);
        }
    }

    /// The state of the path in use: first where it is read at any time, then as news.
    pub(super) fn show(&mut self, peer: u32, to: PathState, cause: Cause) {
        let state = &mut self.peers[peer as usize];
        let id = state.id;
        let since = state
            .path_in_use()
            .health
            .since()
            .saturating_duration_since(self.counters.start);
        state.counters.set_state(to, cause, since);
        let from = std::mem::replace(&mut state.shown, to);
        let change = Change { from, to, cause };
        if from == to {
            return;
        }
        self.tell(EngineEvent::PathChanged { peer: id, change });
        match (PeerState::from(change.from), PeerState::from(change.to)) {
            (before, after) if before == after => {}
            (_, PeerState::Up) => self.tell(EngineEvent::PeerUp { peer: id }),
            (_, PeerState::Down) => self.tell(EngineEvent::PeerDown {
                peer: id,
                reason: change.cause,
            }),
            (_, PeerState::Connecting) => {}
        }
    }

    /// Probes a node if it is time, and once for every ping; wants a session if there is none.
    fn probe(&mut self, peer: u32, now: Instant, send: &mut SendBatch) {
        let state = &mut self.peers[peer as usize];
        let (Some(to), Some(from)) = (state.mesh_address, self.table.mesh_address()) else {
            state.direct.next_probe = now + PROBE_IDLE;
            return;
        };
        let due = state.next_probe() <= now;
        let current = state.current.is_some_and(|slot| self.tunnels.is_live(slot));
        if !current && (due || !state.pings.is_empty()) {
            state.driver.want(now);
        }
        if state.sending(&self.tunnels).is_none() {
            for path in state.paths().filter(|path| path.next_probe <= now) {
                path.next_probe = now + PROBE_IDLE;
            }
            return;
        }
        while let Some(ping) = self.peers[peer as usize].pings.pop_front() {
            let used = self.peers[peer as usize].using();
            self.probe_path(used, peer, (from, to), Some(ping), now, send);
        }
        for id in self.path_ids(peer) {
            let state = &mut self.peers[peer as usize];
            let busy = state.is_busy(now) && (id == PathId::Direct || id == state.using());
            if state.path(id).is_none_or(|path| path.next_probe > now) {
                continue;
            }
            self.probe_path(id, peer, (from, to), None, now, send);
            if let Some(path) = self.peers[peer as usize].path_mut(id) {
                let tried = id == PathId::Direct || path.health.state() != PathState::Connecting;
                let pace = if tried {
                    path.probe_interval(busy)
                } else {
                    PROBE_BUSY
                };
                path.next_probe = now + pace;
            }
        }
    }

    fn probe_path(
        &mut self,
        id: PathId,
        peer: u32,
        (from, to): (Ipv6Addr, Ipv6Addr),
        ping: Option<u32>,
        now: Instant,
        send: &mut SendBatch,
    ) {
        if self.hop(id, peer).is_none() {
            return;
        }
        let state = &mut self.peers[peer as usize];
        state.counters.probes_sent.add(1);
        let Some(path) = state.path_mut(id) else { return };
        let probe = path.sender.probe(from, to, ping, &self.clock, now);
        path.health.handle_probe(now);
        self.seal_over(id, peer, &probe, now, send);
    }

    fn keep_alive(&mut self, peer: u32, now: Instant, send: &mut SendBatch) {
        let state = &self.peers[peer as usize];
        let Some(interval) = state.keepalive else { return };
        let quiet = state
            .last_sent
            .is_none_or(|at| now.saturating_duration_since(at) >= interval);
        if quiet && state.sending(&self.tunnels).is_some() {
            self.seal(peer, &[], now, send);
        }
    }
}
