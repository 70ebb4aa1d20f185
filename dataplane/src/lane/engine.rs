//! The engine of one lane: bytes and a clock reading in, bytes out. No socket, no lock on the packet path, no allocation on
//! the steady path.
//!
//! The caller's part, once per wake-up: [`LaneEngine::handle_wake`]; [`LaneEngine::handle_table`] if there is a new one; [`LaneEngine::handle_inbound`]
//! and [`LaneEngine::handle_outbound`] for what came; [`LaneEngine::handle_timeout`] if [`LaneEngine::poll_timeout`] is due
//! (handshake messages that came in wait for it, a few a turn); drain both batches and [`LaneEngine::poll_event`].
//!
//! | file | is |
//! |---|---|
//! | `outbound` | a packet from the TUN to its tunnel |
//! | `inbound` | a datagram to its tunnel, the checks behind it, and where it goes |
//! | `handshakes` | handshake messages, in and out |
//! | `relayed`, `relays` | ways through other nodes, and others' ways through this one |
//! | `control` | what lanes of two nodes say to each other |
//! | `mtu` | how large packets to a peer may be |
//! | `timers` | all that happens because time passes |
//! | `checks` | whether what lies behind peers answers |
//! | `reconcile` | a new table |
//! | `extra`, `liveness`, `handoff` | what is different in a lane above 0, and what lanes say to each other |
//! | `peer`, `path`, `tunnels`, `inbox`, `counters` | what the engine is made of |

use super::checks::Checks;
use super::counters::LaneCounters;
use super::handoff::{Detours, Handoff};
use super::inbox::Inbox;
use super::mtu::Refusals;
use super::peer::PeerState;
use super::tunnels::Tunnels;
use crate::check::{CheckTarget, Verdict as CheckVerdict};
use crate::drop::DropReason;
use crate::flow::FlowCache;
use crate::path::health::{Cause, Change};
use crate::path::runs::Verdict;
use crate::path::stamp::NtpClock;
use crate::relay::bucket::Bucket;
use crate::relay::choice;
use crate::relay::sessions::Sessions;
use crate::table::{CompiledTable, PeerId, PeerKind};
use crate::tunnel::pending::{self, Budget};
use crate::tunnel::{Seal, WireGuard};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Events that wait for the caller; the oldest goes when he does not come.
const MAX_EVENTS: usize = 4096;

/// Pings that wait for a session, of one peer.
const MAX_PINGS: usize = 16;

/// Largest inner packet, and so the largest answer to a probe.
const MAX_PACKET: usize = 65_535;

/// What an engine is told once.
#[derive(Debug)]
pub struct EngineConfig {
    /// Which lane it is; lane 0 probes, has the clients, and takes what the others cannot send.
    pub lane: u8,
    /// How many lanes the node has.
    pub lanes: u8,
    /// Random: makes receiver indices and relay sessions that nobody guesses.
    pub seed: u64,
    /// Wall time for probes.
    pub clock: NtpClock,
    /// Where it counts.
    pub counters: Arc<LaneCounters>,
}

/// Why the engine wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Handshake messages wait.
    Handshakes,
    /// A peer's timers: probes, retries, renewal, keepalives.
    Peers,
    /// A check of what lies behind a peer.
    Checks,
}

/// What the engine noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineEvent {
    /// The peer has a session and answers.
    PeerUp {
        /// Who.
        peer: PeerId,
    },
    /// The peer does not answer any more, or never did.
    PeerDown {
        /// Who.
        peer: PeerId,
        /// Why we think so.
        reason: Cause,
    },
    /// A path to the peer is in another state.
    PathChanged {
        /// Who.
        peer: PeerId,
        /// From what to what, and why.
        change: Change,
    },
    /// Authenticated data came from another address than before: answers go there now.
    EndpointMoved {
        /// Who.
        peer: PeerId,
        /// Where it was; `None`: this is the first.
        from: Option<SocketAddr>,
        /// Where it is.
        to: SocketAddr,
    },
    /// Packets to the peer take another way from now on.
    PathSwitched {
        /// Who.
        peer: PeerId,
        /// The relay before; `None`: straight.
        from: Option<PeerId>,
        /// The relay now; `None`: straight.
        to: Option<PeerId>,
        /// Why.
        reason: choice::Reason,
    },
    /// The lane was woken this late: nothing that was missed meanwhile is held against a peer.
    LocalStall {
        /// How late.
        late: Duration,
    },
    /// Packets pass between us and the peer: the other lanes are to know ([`LaneEngine::handle_active`]).
    Active {
        /// Who.
        peer: PeerId,
        /// Where lane 0 reaches it; `None` from other lanes, and from lane 0 when only a relay reaches it.
        at: Option<SocketAddr>,
    },
    /// This lane, which is not lane 0, hears nothing from the peer: its packets go by lane 0. Told once until it works.
    LaneSilent {
        /// Who.
        peer: PeerId,
        /// Where it should answer.
        at: SocketAddr,
    },
    /// Datagrams that leave together do not arrive there, or do again.
    Runs {
        /// Who.
        peer: PeerId,
        /// Which of the two.
        verdict: Verdict,
    },
    /// A target behind a peer answers, or does not any more.
    CheckChanged {
        /// Through whom.
        owner: PeerId,
        /// What.
        target: CheckTarget,
        /// What is known now.
        verdict: CheckVerdict,
    },
    /// A peer says how a target behind us fares. Whether it was asked to is not known here.
    CheckReported {
        /// Who says so.
        peer: PeerId,
        /// What.
        target: CheckTarget,
        /// Whether it answers.
        passes: bool,
    },
    /// A ping was answered.
    Pong {
        /// What [`LaneEngine::ping`] returned.
        id: u32,
        /// The round trip inside the tunnel.
        rtt: Duration,
    },
}

/// Why a peer cannot be pinged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingRefused {
    /// It is not in the table.
    UnknownPeer,
    /// It is a client: stock WireGuard answers no probes.
    NotProbed,
    /// Too many pings wait for this peer's session.
    TooMany,
}

/// A key of ours, ready for tunnels.
pub(super) struct Local<S: Seal> {
    pub(super) public: [u8; 32],
    pub(super) key: S::Local,
}

/// Our key and the peer's: what names a tunnel.
pub(super) type KeyPair = ([u8; 32], [u8; 32]);

/// One lane's engine.
pub struct LaneEngine<S: Seal = WireGuard> {
    pub(super) lane: usize,
    pub(super) lanes: usize,
    pub(super) table: Arc<CompiledTable>,
    pub(super) locals: Vec<Local<S>>,
    /// In the order of the table's peers.
    pub(super) peers: Vec<PeerState>,
    pub(super) tunnels: Tunnels<S>,
    /// Which peer a pair of keys belongs to.
    pub(super) pairs: BTreeMap<KeyPair, u32>,
    pub(super) inbox: Inbox,
    pub(super) flows: FlowCache,
    pub(super) detours: Detours,
    pub(super) handoff: Handoff,
    pub(super) budget: Budget,
    pub(super) clock: NtpClock,
    pub(super) counters: Arc<LaneCounters>,
    pub(super) events: VecDeque<EngineEvent>,
    /// The earliest due time of any peer.
    pub(super) deadline: Option<Instant>,
    pub(super) next_ping: u32,
    pub(super) scratch: Vec<u8>,
    pub(super) refusals: Refusals,
    /// Whom this node relays for.
    pub(super) sessions: Sessions,
    /// How much of it.
    pub(super) relay_limit: Option<Bucket>,
    pub(super) swept: Option<Instant>,
    pub(super) checks: Checks,
}

impl<S: Seal> LaneEngine<S> {
    /// An engine without peers.
    pub fn new(config: EngineConfig) -> LaneEngine<S> {
        LaneEngine {
            lane: usize::from(config.lane),
            lanes: usize::from(config.lanes),
            table: Arc::default(),
            locals: Vec::new(),
            peers: Vec::new(),
            tunnels: Tunnels::new(config.seed as u32),
            pairs: BTreeMap::new(),
            inbox: Inbox::default(),
            flows: FlowCache::default(),
            detours: Detours::default(),
            handoff: Handoff::default(),
            budget: Budget::new(pending::MAX_BYTES),
            clock: config.clock,
            counters: config.counters,
            events: VecDeque::new(),
            deadline: None,
            next_ping: 0,
            scratch: vec![0; MAX_PACKET],
            refusals: Refusals::default(),
            sessions: Sessions::new(config.seed),
            relay_limit: None,
            swept: None,
            checks: Checks::default(),
        }
    }

    /// When [`LaneEngine::handle_timeout`] wants to be called next, and why; in the past: now.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        if !self.inbox.is_empty() {
            return Some((self.counters.start, Reason::Handshakes));
        }
        let peers = self.deadline.map(|at| (at, Reason::Peers));
        let checks = self.checks.poll_timeout().map(|at| (at, Reason::Checks));
        peers.into_iter().chain(checks).min_by_key(|(at, _)| *at)
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<EngineEvent> {
        self.events.pop_front()
    }

    /// Probes a peer once, now or as soon as there is a session; [`EngineEvent::Pong`] with the returned id is the answer.
    /// None comes if the probe or its answer is lost: the caller keeps the time.
    pub fn ping(&mut self, peer: PeerId, now: Instant) -> Result<u32, PingRefused> {
        let index = self.table.peer_index(&peer).ok_or(PingRefused::UnknownPeer)?;
        let state = self
            .peers
            .get_mut(index as usize)
            .ok_or(PingRefused::UnknownPeer)?;
        if state.kind == PeerKind::Client || state.mesh_address.is_none() {
            return Err(PingRefused::NotProbed);
        }
        if state.pings.len() >= MAX_PINGS {
            return Err(PingRefused::TooMany);
        }
        let id = self.next_ping;
        self.next_ping = self.next_ping.wrapping_add(1);
        state.pings.push_back(id);
        self.wake(index, now);
        Ok(id)
    }

    /// Counts a drop.
    pub(super) fn dropped(&self, reason: DropReason) {
        self.counters.drops.count(reason);
    }

    pub(super) fn tell(&mut self, event: EngineEvent) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// The peer's timers are to run at `at` or before.
    pub(super) fn wake(&mut self, peer: u32, at: Instant) {
        let state = &mut self.peers[peer as usize];
        state.due = Some(state.due.map_or(at, |due| due.min(at)));
        self.deadline = Some(self.deadline.map_or(at, |deadline| deadline.min(at)));
    }
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
