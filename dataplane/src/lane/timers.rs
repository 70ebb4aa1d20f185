//! All that happens because time passes.

use super::engine::{EngineEvent, LaneEngine};
use super::path::PathId;
use super::relayed::MAX_RELAYED;
use crate::batch::{Manner, SendBatch};
use crate::drop::DropReason;
use crate::path::health::{Cause, Change};
use crate::path::probing;
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
        self.handle_wake(now);
        self.take_handshakes(now, send);
        self.sweep_sessions(now);
        self.run_checks(now, send);
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

    /// Notices if the lane slept: to be called before what came meanwhile is taken, so that answers to it already say so.
    pub fn handle_wake(&mut self, now: Instant) {
        let Some(late) = self.deadline.and_then(|at| now.checked_duration_since(at)) else {
            return;
        };
        if late <= STALL {
            return;
        }
        self.deadline = Some(now);
        for state in &mut self.peers {
            state.paths().for_each(|path| path.handle_stall(now));
            state.liveness.handle_stall(now);
        }
        self.checks.handle_stall(now);
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
                let tick = tick.min(state.probing_due(now));
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
                let alive = !state.direct.probing.health().state().fails();
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
        if state.direct.probing.health().state().fails() && !searched {
            state.driver.want(now);
        }
    }

    fn judge_path(&mut self, id: PathId, peer: u32, now: Instant) {
        let state = &mut self.peers[peer as usize];
        let used = state.using() == id;
        let counters = Arc::clone(&state.counters);
        let Some(path) = state.path_mut(id) else { return };
        counters.probes_lost.add(path.probing.handle_timeout(now) as u64);
        if used {
            counters.set_figures(&path.probing.figures(now));
        }
        self.take_verdict(id, peer, now);
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

    /// If a path is in another state, and it is the one in use, that is the peer's.
    pub(super) fn take_verdict(&mut self, id: PathId, peer: u32, now: Instant) {
        let state = &mut self.peers[peer as usize];
        let change = state.path_mut(id).and_then(|path| path.probing.poll_change());
        let Some(change) = change else { return };
        // The path works again: what a dead one began is no longer needed, unless it is for new keys.
        let direct = id == PathId::Direct && change.to.works();
        if direct && state.current.is_some_and(|slot| self.tunnels.is_live(slot)) {
            state.driver.rest();
        }
        if state.using() == id {
            if change.to == PathState::Suspect {
                state.doubt_relayed(id, now);
            }
            self.show(peer, change.to, change.cause);
        }
    }

    /// The state of the path in use: first where it is read at any time, then as news.
    pub(super) fn show(&mut self, peer: u32, to: PathState, cause: Cause) {
        let state = &mut self.peers[peer as usize];
        let since = state.path_in_use().probing.health().since();
        let since = since.saturating_duration_since(self.counters.start);
        state.counters.set_state(to, cause, since);
        let from = std::mem::replace(&mut state.shown, to);
        let change = Change { from, to, cause };
        if from == to {
            return;
        }
        let peer = state.id;
        self.tell(EngineEvent::PathChanged { peer, change });
        match (PeerState::from(change.from), PeerState::from(change.to)) {
            (before, after) if before == after => {}
            (_, PeerState::Up) => self.tell(EngineEvent::PeerUp { peer }),
            (_, PeerState::Down) => self.tell(EngineEvent::PeerDown {
                peer,
                reason: change.cause,
            }),
            (_, PeerState::Connecting) => {}
        }
    }

    /// Probes a node if it is time, and once for every ping; wants a session if there is none.
    fn probe(&mut self, peer: u32, now: Instant, send: &mut SendBatch) {
        let state = &mut self.peers[peer as usize];
        let (Some(to), Some(from)) = (state.mesh_address, self.table.mesh_address()) else {
            state.direct.probing.postpone(now + probing::IDLE);
            return;
        };
        let due = state.probing_due(now) <= now;
        let current = state.current.is_some_and(|slot| self.tunnels.is_live(slot));
        if !current && (due || !state.pings.is_empty()) {
            state.driver.want(now);
        }
        if state.sending(&self.tunnels).is_none() {
            let busy = state.is_busy(now);
            for path in state.paths().filter(|path| path.probing.is_due(busy, now)) {
                path.probing.postpone(now + probing::IDLE);
            }
            return;
        }
        while let Some(ping) = self.peers[peer as usize].pings.pop_front() {
            let used = self.peers[peer as usize].using();
            self.probe_path(used, peer, (from, to), Some(ping), now, send);
        }
        for id in self.path_ids(peer) {
            let state = &mut self.peers[peer as usize];
            let busy = state.is_path_busy(id, now);
            if state.path(id).is_some_and(|path| path.probing.is_due(busy, now)) {
                self.probe_path(id, peer, (from, to), None, now, send);
            }
        }
    }

    fn probe_path(
        &mut self,
        id: PathId,
        peer: u32,
        between: (Ipv6Addr, Ipv6Addr),
        ping: Option<u32>,
        now: Instant,
        send: &mut SendBatch,
    ) {
        let leads_somewhere = self.hop(id, peer).is_some();
        let state = &mut self.peers[peer as usize];
        let counters = Arc::clone(&state.counters);
        let Some(path) = state.path_mut(id) else { return };
        if !leads_somewhere {
            return path.probing.postpone(now + probing::IDLE);
        }
        let probe = path.probing.probe(between, ping, &self.clock, now);
        counters.probes_sent.add(1);
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
