//! Checks of what lies behind peers: questions into their tunnels, answers out of what comes in, and word to the peer.
//!
//! Lane 0 asks, through the tunnel of the peer that is checked, whatever the routes say. An answer comes as the kernels on its
//! way choose: in any lane, and out of the tunnel of any gateway of the target's prefix. It is admitted like every packet of
//! that gateway, before anybody looks whether it is an answer.

use super::engine::{EngineEvent, LaneEngine};
use super::handoff::Origin;
use crate::batch::SendBatch;
use crate::check::prober::Prober;
use crate::check::wire::{self, Answer};
use crate::check::{CheckTarget, Verdicts};
use crate::control::Message;
use crate::packet::Packet;
use crate::table::PeerId;
use crate::tunnel::Seal;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// The checks under way; of lane 0.
#[derive(Default)]
pub(super) struct Checks {
    /// Each with the index of its peer, in the order of the table.
    running: Vec<(u32, Prober)>,
    /// The earliest due time of any.
    due: Option<Instant>,
}

impl Checks {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    fn plan(&mut self) {
        self.due = self.running.iter().map(|(_, prober)| prober.poll_timeout()).min();
    }

    /// We slept.
    pub(super) fn handle_stall(&mut self, now: Instant) {
        for (_, prober) in &mut self.running {
            prober.handle_stall(now);
        }
        self.plan();
    }

    fn verdicts(&self) -> Verdicts {
        let verdict = |(_, prober): &(u32, Prober)| {
            let check = prober.check();
            ((check.owner, check.target), prober.verdict())
        };
        self.running.iter().map(verdict).collect()
    }
}

impl<S: Seal> LaneEngine<S> {
    /// Takes the checks of a new table; those that were there go on.
    pub(super) fn reconcile_checks(&mut self, now: Instant) {
        let table = Arc::clone(&self.table);
        let before = std::mem::take(&mut self.checks.running);
        if self.lane > 0 || (before.is_empty() && table.checks().is_empty()) {
            return;
        }
        let keyed = before.into_iter().map(|(_, prober)| {
            let check = *prober.check();
            ((check.owner, check.target), prober)
        });
        let mut before: BTreeMap<(PeerId, CheckTarget), Prober> = keyed.collect();
        for check in table.checks() {
            let Some(owner) = table.peer_index(&check.owner) else {
                continue;
            };
            let known = before.remove(&(check.owner, check.target));
            let known = known.filter(|prober| prober.check() == check);
            let prober = known.unwrap_or_else(|| Prober::new(*check, now));
            self.checks.running.push((owner, prober));
        }
        self.checks.plan();
        self.show_checks();
    }

    /// Asks what is due, and tells what came of it.
    pub(super) fn run_checks(&mut self, now: Instant, send: &mut SendBatch) {
        if self.checks.due.is_none_or(|due| now < due) {
            return;
        }
        for at in 0..self.checks.running.len() {
            let (owner, prober) = &mut self.checks.running[at];
            if prober.poll_timeout() > now {
                continue;
            }
            let owner = *owner;
            let state = &self.peers[owner as usize];
            let works = state.path_in_use().probing.health().state().works()
                && state.sending(&self.tunnels).is_some();
            let proven = state.counters.proven(self.counters.start);
            prober.set_path(works, proven, now);
            if let Some(question) = prober.handle_timeout(now) {
                let mut packet = [0; wire::MOST];
                if let Some(len) = question.write(&mut packet) {
                    self.seal(owner, &packet[..len], now, send);
                }
            }
            self.tell_check(at, now, send);
        }
        self.checks.plan();
    }

    /// Whether a packet that a peer sent to this node answers a check; a lane above 0 leaves that to lane 0.
    pub(super) fn takes_answer(
        &mut self,
        peer: u32,
        packet: &Packet<'_>,
        now: Instant,
        send: &mut SendBatch,
    ) -> bool {
        let checks = self.table.checks();
        if checks.is_empty()
            || !wire::may_answer(packet)
            || !checks
                .iter()
                .any(|check| check.is_between(packet.source, packet.destination))
        {
            return false;
        }
        if self.lane > 0 {
            let from = Origin::Peer(self.peers[peer as usize].id);
            self.hand_over(from, packet.bytes);
            return true;
        }
        self.take_answer(packet, now, send)
    }

    fn take_answer(&mut self, packet: &Packet<'_>, now: Instant, send: &mut SendBatch) -> bool {
        let mut running = self.checks.running.iter_mut().enumerate();
        let answered = running.find_map(|(at, (owner, prober))| {
            let (question, answer) = prober.handle_packet(packet, now)?;
            Some((at, *owner, question, answer))
        });
        let Some((at, owner, question, answer)) = answered else {
            return false;
        };
        if answer == Answer::Accepted {
            let mut reset = [0; wire::MOST];
            if let Some(len) = question.write_reset(&mut reset) {
                self.seal(owner, &reset[..len], now, send);
            }
        }
        self.tell_check(at, now, send);
        self.checks.plan();
        true
    }

    /// What is new of a check: first where it is read at any time, then as news, then to the peer.
    fn tell_check(&mut self, at: usize, now: Instant, send: &mut SendBatch) {
        let (owner, prober) = &mut self.checks.running[at];
        let (owner, check) = (*owner, *prober.check());
        let (change, report) = (prober.poll_change(), prober.poll_report(now));
        if let Some(verdict) = change {
            self.show_checks();
            self.tell(EngineEvent::CheckChanged {
                owner: check.owner,
                target: check.target,
                verdict,
            });
        }
        if let Some(passes) = report {
            let message = Message::Report {
                target: check.target,
                passes,
            };
            let path = self.peers[owner as usize].using();
            self.say_over(path, owner, message, now, send);
        }
    }

    fn show_checks(&self) {
        self.counters.checks.store(Arc::new(self.checks.verdicts()));
    }
}
