//! All that happens because time passes.

use super::engine::{EngineEvent, LaneEngine};
use super::path::PROBE_IDLE;
use crate::batch::SendBatch;
use crate::drop::DropReason;
use crate::path::health::Change;
use crate::stats::{PathState, PeerState};
use crate::table::PeerKind;
use crate::tunnel::{HANDSHAKE, Seal, Ticked};
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
            state.direct.handle_stall(now);
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
            self.probe(peer, now, send);
            self.keep_alive(peer, now, send);
            true
        } else {
            self.run_extra(peer, now, send)
        };
        self.probe_mtu(peer, now, send);
        self.probe_runs(peer, now, send);
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
                let tick = tick.min(state.direct.next_probe);
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
                if let Some(to) = state.endpoints.current() {
                    send.push(to, &message[..len]);
                    state.note_sent(len, now);
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
        let heard = state.direct.health.is_heard(now);
        state
            .counters
            .probes_lost
            .add(state.direct.sender.handle_timeout(heard, now) as u64);
        let loss = state.direct.sender.ratios(now);
        state.counters.set_loss(loss);
        let verdict = state.direct.health.handle_timeout(loss.round_trip(), now);
        let searched = state
            .last_initiation
            .is_some_and(|at| now.saturating_duration_since(at) < SEARCH);
        if state.direct.health.state() == PathState::Down && !searched {
            state.driver.want(now);
        }
        if let Some(change) = verdict {
            self.tell_path(peer, change);
        }
    }

    /// A path is in another state: first where it is read at any time, then as news.
    pub(super) fn tell_path(&mut self, peer: u32, change: Change) {
        let state = &self.peers[peer as usize];
        let id = state.id;
        let since = state
            .direct
            .health
            .since()
            .saturating_duration_since(self.counters.start);
        state.counters.set_state(change.to, change.cause, since);
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
        let due = state.direct.next_probe <= now;
        let current = state.current.is_some_and(|slot| self.tunnels.is_live(slot));
        if !current && (due || !state.pings.is_empty()) {
            state.driver.want(now);
        }
        if state.sending(&self.tunnels).is_none() {
            if due {
                state.direct.next_probe = now + PROBE_IDLE;
            }
            return;
        }
        let pings = state.pings.len();
        for i in 0..pings + usize::from(due) {
            let state = &mut self.peers[peer as usize];
            let ping = if i < pings { state.pings.pop_front() } else { None };
            let probe = state.direct.sender.probe(from, to, ping, &self.clock, now);
            state.direct.health.handle_probe(now);
            state.counters.probes_sent.add(1);
            self.seal(peer, &probe, now, send);
        }
        let state = &mut self.peers[peer as usize];
        if due {
            state.direct.next_probe = now + state.direct.probe_interval(state.is_busy(now));
        }
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
