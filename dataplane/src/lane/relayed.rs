//! Ways to a peer through relays: asked for when they are needed, kept while they are, and chosen between.

use super::engine::{EngineEvent, LaneEngine};
use super::path::{Hop, Path, PathId};
use crate::batch::SendBatch;
use crate::control::{Leg, Message};
use crate::relay::Session;
use crate::relay::candidates::{self, AT_ONCE, Candidate};
use crate::relay::choice::{Figures, Switch};
use crate::relay::sessions::{LIFETIME, RENEW};
use crate::stats::{PathState, Via};
use crate::table::{CompiledTable, PeerId, PeerKind};
use crate::tunnel::Seal;
use std::time::{Duration, Instant};

/// Most ways through relays to one peer: what we asked for, and what it did.
pub(super) const MAX_RELAYED: usize = 9;

/// A relay that does not answer for this long is not waited for: the next are asked too. Doubled with every sixth that was asked in
/// vain: when a node is gone no relay reaches it, and all others ask.
const PATIENCE: Duration = Duration::from_millis(200);
const MOST_PATIENCE: Duration = Duration::from_secs(30);

/// So many refusals in a row are followed by the next question at once.
const HASTY: u32 = 12;

/// Without an answer for this long it is given up.
const GIVE_UP: Duration = Duration::from_secs(2);

/// A relay that was of no use is left alone for this long, doubled with every eighth of them.
const REST: Duration = Duration::from_secs(5);
const MOST_DOUBLINGS: u32 = 4;

/// Relays remembered as of no use, for one peer.
const MAX_RESTING: usize = 64;

/// One way through a relay.
pub(super) struct Relayed {
    pub(super) relay: PeerId,
    /// Its index in the table.
    pub(super) index: u32,
    /// We asked for it, and renew it; otherwise the peer does.
    ours: bool,
    /// When it was asked for last.
    asked: Instant,
    since: Instant,
    bound: Option<Bound>,
    pub(super) path: Path,
}

/// Both ends have bound.
#[derive(Clone, Copy)]
struct Bound {
    session: Session,
    /// The way from the relay to the peer.
    leg: Leg,
    renewed: Instant,
}

impl Relayed {
    /// The session, once both ends have bound.
    pub(super) fn session(&self) -> Option<Session> {
        self.bound.map(|bound| bound.session)
    }

    /// There is a new table. Returns whether the relay is still in it.
    pub(super) fn handle_table(&mut self, table: &CompiledTable) -> bool {
        let index = table.peer_index(&self.relay);
        self.index = index.unwrap_or(self.index);
        index.is_some()
    }

    /// What is wrong with it.
    fn verdict(&self, relay_works: bool, now: Instant) -> Verdict {
        let age = |at: Instant| now.saturating_duration_since(at);
        let useless = match self.bound {
            None => age(self.since) >= GIVE_UP,
            // What the peer asked for stays open to it, whether it is of use to us or not.
            Some(_) => self.ours && !self.path.figures(now).may_work(now),
        };
        let ended = self.bound.is_some_and(|bound| age(bound.renewed) >= LIFETIME);
        if useless || self.ours && !relay_works {
            Verdict::Useless
        } else if ended {
            Verdict::Ended
        } else {
            Verdict::Keep
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Keep,
    /// Nobody wants it any more.
    Ended,
    /// It does not work.
    Useless,
}

impl<S: Seal> LaneEngine<S> {
    /// What is due about ways through relays to a peer.
    pub(super) fn run_relayed(&mut self, peer: u32, now: Instant, send: &mut SendBatch) {
        let state = &self.peers[peer as usize];
        if state.kind != PeerKind::Node || state.mesh_address.is_none() {
            return;
        }
        self.drop_relayed(peer, now, send);
        self.choose(peer, now, send);
        let state = &mut self.peers[peer as usize];
        let (direct, busy) = (state.direct.figures(now), state.is_busy(now));
        if state.choice.wants_relay(&direct, busy, now) {
            self.renew(peer, now, send);
            self.ask(peer, now, send);
        } else {
            (state.refusals, state.next_ask) = (0, now);
        }
    }

    /// Forgets what ended or does not work.
    fn drop_relayed(&mut self, peer: u32, now: Instant, send: &mut SendBatch) {
        for at in (0..self.peers[peer as usize].relayed.len()).rev() {
            let relayed = &self.peers[peer as usize].relayed[at];
            let relay_works = self.peers[relayed.index as usize]
                .direct
                .probing
                .health()
                .state()
                .works();
            let verdict = relayed.verdict(relay_works, now);
            if verdict == Verdict::Keep {
                continue;
            }
            let state = &mut self.peers[peer as usize];
            let gone = state.relayed.swap_remove(at);
            if verdict == Verdict::Useless {
                state.rest(gone.relay, now);
            }
            if gone.ours && gone.bound.is_some() {
                let other = state.id;
                self.say(gone.index, Message::Unbind { other }, now, send);
            }
        }
    }

    /// Packets take the way that is best now.
    fn choose(&mut self, peer: u32, now: Instant, send: &mut SendBatch) {
        let state = &self.peers[peer as usize];
        if state.relayed.is_empty() && state.using() == PathId::Direct {
            return;
        }
        let direct = state.direct.figures(now);
        let relayed: Vec<(Session, Figures)> = state
            .relayed
            .iter()
            .filter_map(|relayed| Some((relayed.session()?, self.figures_of(relayed, now))))
            .collect();
        let state = &mut self.peers[peer as usize];
        if let Some(switch) = state.choice.handle_timeout(&direct, &relayed, now) {
            self.switch(peer, switch, now, send);
        }
    }

    fn figures_of(&self, relayed: &Relayed, now: Instant) -> Figures {
        let mut figures = relayed.path.figures(now);
        if !self.peers[relayed.index as usize]
            .direct
            .probing
            .health()
            .state()
            .works()
        {
            figures.state = PathState::Down;
        }
        let near = self.leg(relayed.index, now).rtt;
        let far = relayed.bound.and_then(|bound| bound.leg.rtt);
        figures.rtt = figures.rtt.or(near.zip(far).map(|(near, far)| near + far));
        figures
    }

    /// Packets take another way from now on: whoever reads figures, the other lanes and the node learn it.
    fn switch(&mut self, peer: u32, switch: Switch, now: Instant, send: &mut SendBatch) {
        let via = switch.to.and_then(|session| self.via(peer, session, now));
        let state = &mut self.peers[peer as usize];
        let before = state.counters.set_via(via);
        state.told_lanes = None;
        let path = state.path_in_use();
        state.counters.set_round_trips(path.probing.round_trips());
        state.counters.set_figures(&path.probing.figures(now));
        state.counters.mtu.set(path.pmtu.mtu().into());
        let (to, cause) = (path.probing.health().state(), path.probing.health().cause());
        let event = EngineEvent::PathSwitched {
            peer: state.id,
            from: before.map(|via| via.relay),
            to: via.map(|via| via.relay),
            reason: switch.reason,
        };
        // What was never tried may work or not: until it proves itself, the peer is what it was.
        if to != PathState::Connecting {
            self.show(peer, to, cause);
        }
        self.tell(event);
        self.tell_lanes(peer, now);
        let state = &mut self.peers[peer as usize];
        match state.sending(&self.tunnels) {
            Some(_) => self.flush(peer, now, send),
            None => {
                state.driver.rest();
                state.driver.want(now);
            }
        }
    }

    fn via(&self, peer: u32, session: Session, now: Instant) -> Option<Via> {
        let state = &self.peers[peer as usize];
        let relayed = state.relayed.iter().find(|r| r.session() == Some(session))?;
        Some(Via {
            relay: relayed.relay,
            near: self.leg(relayed.index, now).rtt,
            far: relayed.bound.and_then(|bound| bound.leg.rtt),
        })
    }

    /// Says to relays that we still want them.
    fn renew(&mut self, peer: u32, now: Instant, send: &mut SendBatch) {
        for at in 0..self.peers[peer as usize].relayed.len() {
            let state = &mut self.peers[peer as usize];
            let (other, relayed) = (state.id, &mut state.relayed[at]);
            let due = now.saturating_duration_since(relayed.asked) >= RENEW;
            if due && (relayed.ours || state.choice.via() == relayed.session()) {
                relayed.asked = now;
                let answers = false;
                let relay = relayed.index;
                self.say(relay, Message::Bind { other, answers }, now, send);
            }
        }
    }

    /// Asks as many relays as are missing. Those that take long to answer are not waited for.
    fn ask(&mut self, peer: u32, now: Instant, send: &mut SendBatch) {
        let state = &mut self.peers[peer as usize];
        if now < state.next_ask {
            return;
        }
        state.resting_relays.retain(|(_, until)| now < *until);
        let hopeful =
            |r: &&Relayed| r.ours && (r.bound.is_some() || now.saturating_duration_since(r.since) < PATIENCE);
        let room = (MAX_RELAYED - state.relayed.len().min(MAX_RELAYED))
            .min(AT_ONCE.saturating_sub(state.relayed.iter().filter(hopeful).count()));
        if room == 0 {
            return;
        }
        let pause = PATIENCE * (1 << (state.refusals / 6).min(10));
        state.next_ask = now + pause.min(MOST_PATIENCE);
        let other = state.id;
        for candidate in self.candidates(peer).into_iter().take(room) {
            let relayed = Relayed::new(candidate.id, candidate.peer, true, now);
            self.peers[peer as usize].relayed.push(relayed);
            let answers = false;
            self.say(candidate.peer, Message::Bind { other, answers }, now, send);
        }
    }

    /// Nodes that relay and that we reach straight, the ones to ask first in front.
    fn candidates(&self, peer: u32) -> Vec<Candidate> {
        let state = &self.peers[peer as usize];
        let unknown = |relay: &PeerId| {
            state.relayed.iter().all(|r| r.relay != *relay)
                && state.resting_relays.iter().all(|(resting, _)| resting != relay)
        };
        let mut candidates: Vec<Candidate> = (0u32..)
            .zip(&self.peers)
            .filter(|(index, relay)| {
                *index != peer
                    && self.table.relays(&relay.id)
                    && relay.direct.probing.health().state().works()
            })
            .filter(|(_, relay)| unknown(&relay.id))
            .map(|(index, relay)| Candidate {
                id: relay.id,
                peer: index,
                rtt: relay.direct.probing.round_trips().smoothed,
            })
            .collect();
        let ends = [self.table.mesh_address(), state.mesh_address];
        candidates::rank(&mut candidates, ends);
        candidates
    }

    /// A relay says that a peer wants to reach us through it. A member may always be reached through a member.
    pub(super) fn handle_offer(&mut self, relay: u32, other: PeerId, now: Instant, send: &mut SendBatch) {
        let Some(peer) = self.table.peer_index(&other).filter(|peer| *peer != relay) else {
            return;
        };
        let id = self.peers[relay as usize].id;
        let state = &mut self.peers[peer as usize];
        if state.kind != PeerKind::Node {
            return;
        }
        if let Some(relayed) = state.relayed.iter_mut().find(|r| r.relay == id) {
            relayed.asked = now;
        } else if state.relayed.len() < MAX_RELAYED {
            state.relayed.push(Relayed::new(id, relay, false, now));
        } else {
            return;
        }
        let answers = true;
        self.say(relay, Message::Bind { other, answers }, now, send);
    }

    /// A relay says that both ends have bound.
    pub(super) fn handle_bound(
        &mut self,
        relay: u32,
        other: PeerId,
        session: Session,
        leg: Leg,
        now: Instant,
    ) {
        let Some(peer) = self.table.peer_index(&other) else {
            return;
        };
        let id = self.peers[relay as usize].id;
        let state = &mut self.peers[peer as usize];
        let taken = |r: &Relayed| r.relay != id && r.session() == Some(session);
        if state.relayed.iter().any(taken) {
            return;
        }
        let Some(relayed) = state.relayed.iter_mut().find(|r| r.relay == id) else {
            return;
        };
        if relayed.session() != Some(session) {
            relayed.path = Path::new(now);
        }
        relayed.bound = Some(Bound {
            session,
            leg,
            renewed: now,
        });
        state.refusals = 0;
        if state.choice.via() == Some(session) {
            let via = self.via(peer, session, now);
            self.peers[peer as usize].counters.set_via(via);
        }
        self.wake(peer, now);
    }

    /// A relay does not want to, or cannot.
    pub(super) fn handle_refused(&mut self, relay: u32, other: PeerId, now: Instant) {
        let Some(peer) = self.table.peer_index(&other) else {
            return;
        };
        let id = self.peers[relay as usize].id;
        let state = &mut self.peers[peer as usize];
        let before = state.relayed.len();
        state.relayed.retain(|r| r.relay != id);
        if state.relayed.len() < before {
            state.rest(id, now);
            if state.refusals < HASTY {
                state.next_ask = now;
            }
            self.wake(peer, now);
        }
    }

    /// Whether a message of a peer's tunnel may come this way: straight, or from the relay of a session with it.
    pub(super) fn is_way_of(&self, peer: u32, hop: &Hop) -> bool {
        if hop.session.is_none() {
            return true;
        }
        let mut relayed = self.peers[peer as usize].relayed.iter();
        relayed.any(|r| r.session() == hop.session && self.is_at(r.index, hop))
    }

    /// The same for the tunnel with this receiver index; one that nobody has is for others to find out.
    pub(super) fn is_way_of_index(&self, index: u32, hop: &Hop) -> bool {
        let tunnel = hop.session.and_then(|_| self.tunnels.find(index));
        tunnel.is_none_or(|tunnel| self.is_way_of(tunnel.peer, hop))
    }

    /// Whether this is where a relay between us and the peer is.
    pub(super) fn is_relay_of(&self, peer: u32, hop: &Hop) -> bool {
        let mut relayed = self.peers[peer as usize].relayed.iter();
        relayed.any(|r| self.is_at(r.index, hop))
    }

    fn is_at(&self, peer: u32, hop: &Hop) -> bool {
        let proven = self.peers[peer as usize].endpoints.proven();
        proven.is_some_and(|place| place.remote == hop.to.remote)
    }
}

impl Relayed {
    fn new(relay: PeerId, index: u32, ours: bool, now: Instant) -> Relayed {
        Relayed {
            relay,
            index,
            ours,
            asked: now,
            since: now,
            bound: None,
            path: Path::new(now),
        }
    }
}

impl super::peer::PeerState {
    /// Leaves a relay alone for a while.
    fn rest(&mut self, relay: PeerId, now: Instant) {
        let pause = REST * (1 << (self.refusals / 8).min(MOST_DOUBLINGS));
        self.refusals += 1;
        if self.resting_relays.len() >= MAX_RESTING {
            self.resting_relays.remove(0);
        }
        self.resting_relays.push((relay, now + pause));
    }
}
