//! One peer as a lane sees it.

use super::counters::PeerCounters;
use super::engine::KeyPair;
use super::liveness::Liveness;
use super::path::{Path, PathId};
use super::relayed::Relayed;
use super::tunnels::Tunnels;
use crate::path::endpoints::Endpoints;
use crate::relay::Session;
use crate::relay::bucket::Bucket;
use crate::relay::choice::Choice;
use crate::stats::PathState;
use crate::table::{PeerId, PeerKind};
use crate::tunnel::Seal;
use crate::tunnel::handshake::{Driver, Side};
use crate::tunnel::pending::Pending;
use std::collections::VecDeque;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Control messages that are read of one peer: so many a second, and of so long at once.
const CONTROL_RATE: u64 = 100;
const CONTROL_BURST: Duration = Duration::from_secs(10);

/// How long after its last packet a path still carries traffic.
const BUSY: Duration = Duration::from_secs(1);

/// The tunnel that should be.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) pair: KeyPair,
    pub(super) preshared_key: Option<Zeroizing<[u8; 32]>>,
}

impl Wanted {
    /// Both ends compare the same two keys, so that each knows which of them it is.
    pub(super) fn side(&self, kind: PeerKind) -> Side {
        match kind {
            PeerKind::Client => Side::Client,
            PeerKind::Node if self.pair.0 < self.pair.1 => Side::Lower,
            PeerKind::Node => Side::Higher,
        }
    }
}

/// A tunnel under keys that are no longer current; packets still come through it for a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Old {
    pub(super) slot: u32,
    /// Set when the new tunnel has its session.
    pub(super) until: Option<Instant>,
}

pub(super) struct PeerState {
    pub(super) id: PeerId,
    pub(super) kind: PeerKind,
    pub(super) mesh_address: Option<Ipv6Addr>,
    pub(super) keepalive: Option<Duration>,
    pub(super) wanted: Option<Wanted>,
    pub(super) driver: Driver,
    pub(super) last_initiation: Option<Instant>,
    /// The session under which the last one went through a relay too.
    pub(super) initiated_over: Option<Session>,
    pub(super) current: Option<u32>,
    pub(super) old: Option<Old>,
    /// The way straight to it.
    pub(super) direct: Path,
    /// Where that leads.
    pub(super) endpoints: Endpoints,
    pub(super) endpoint_set: u64,
    /// The ways through relays that were asked for.
    pub(super) relayed: Vec<Relayed>,
    /// Which of all these its packets take.
    pub(super) choice: Choice,
    /// Relays that were asked in vain, and until when they are left alone.
    pub(super) resting_relays: Vec<(PeerId, Instant)>,
    /// How many in a row.
    pub(super) refusals: u32,
    /// Not before this are more relays asked.
    pub(super) next_ask: Instant,
    /// The state that was told last.
    pub(super) shown: PathState,
    /// What it may say to us in control messages.
    pub(super) allowance: Bucket,
    /// In a lane above 0: lane 0 does not reach it directly, and has its packets.
    pub(super) relayed_by_lane_0: bool,
    pub(super) pending: Pending,
    pub(super) pings: VecDeque<u32>,
    pub(super) last_data: Option<Instant>,
    pub(super) last_sent: Option<Instant>,
    /// When its timers run next; lanes above 0 mostly have none.
    pub(super) due: Option<Instant>,
    /// In a lane above 0: whether its tunnel may be used.
    pub(super) liveness: Liveness,
    /// When the other lanes were last told that packets pass.
    pub(super) told_lanes: Option<Instant>,
    pub(super) counters: Arc<PeerCounters>,
}

impl PeerState {
    pub(super) fn new(id: PeerId, kind: PeerKind, now: Instant) -> PeerState {
        PeerState {
            id,
            kind,
            mesh_address: None,
            keepalive: None,
            wanted: None,
            driver: Driver::new(Side::Client),
            last_initiation: None,
            initiated_over: None,
            current: None,
            old: None,
            direct: Path::new(now),
            endpoints: Endpoints::default(),
            endpoint_set: 0,
            relayed: Vec::new(),
            choice: Choice::default(),
            resting_relays: Vec::new(),
            refusals: 0,
            next_ask: now,
            shown: PathState::Connecting,
            allowance: Bucket::new(CONTROL_RATE, CONTROL_BURST),
            relayed_by_lane_0: false,
            pending: Pending::default(),
            pings: VecDeque::new(),
            last_data: None,
            last_sent: None,
            due: None,
            liveness: Liveness::default(),
            told_lanes: None,
            counters: Arc::default(),
        }
    }

    /// The tunnel to seal with: the new one as soon as it has a session.
    pub(super) fn sending<S: Seal>(&self, tunnels: &Tunnels<S>) -> Option<u32> {
        if self.relayed_by_lane_0 {
            return None;
        }
        let old = self.old.map(|old| old.slot);
        self.current
            .into_iter()
            .chain(old)
            .find(|slot| tunnels.is_live(*slot))
    }

    /// An operator says where the peer is.
    pub(super) fn choose_endpoint(&mut self, endpoint: Option<SocketAddr>) {
        if let Some(endpoint) = endpoint {
            self.endpoints.choose(endpoint);
            self.counters.set_endpoint(Some(endpoint));
        }
    }

    pub(super) fn is_busy(&self, now: Instant) -> bool {
        self.last_data
            .is_some_and(|at| now.saturating_duration_since(at) < BUSY)
    }

    /// A packet with payload passed, either way. Returns when the timers are to run if it is the first for a while: the next
    /// probe is due sooner, and the other lanes are to know.
    pub(super) fn note_data(&mut self, now: Instant) -> Option<Instant> {
        let was_busy = self.is_busy(now);
        self.last_data = Some(now);
        self.liveness.handle_used(now);
        if was_busy || self.kind == PeerKind::Client {
            return None;
        }
        Some(now)
    }

    /// The path that packets take.
    pub(super) fn using(&self) -> PathId {
        self.choice.via().into()
    }

    /// The same, with what is measured on it.
    pub(super) fn path_in_use(&self) -> &Path {
        self.path(self.using()).unwrap_or(&self.direct)
    }

    pub(super) fn path(&self, id: PathId) -> Option<&Path> {
        match id {
            PathId::Direct => Some(&self.direct),
            PathId::Relayed(session) => self
                .relayed
                .iter()
                .find(|r| r.session() == Some(session))
                .map(|r| &r.path),
        }
    }

    pub(super) fn path_mut(&mut self, id: PathId) -> Option<&mut Path> {
        match id {
            PathId::Direct => Some(&mut self.direct),
            PathId::Relayed(session) => self
                .relayed
                .iter_mut()
                .find(|r| r.session() == Some(session))
                .map(|r| &mut r.path),
        }
    }

    /// All paths that packets can pass.
    pub(super) fn path_ids(&self) -> impl Iterator<Item = PathId> {
        let relayed = self.relayed.iter().filter_map(Relayed::session);
        std::iter::once(PathId::Direct).chain(relayed.map(PathId::Relayed))
    }

    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut Path> {
        let relayed = self.relayed.iter_mut().map(|r| &mut r.path);
        std::iter::once(&mut self.direct).chain(relayed)
    }

    /// The path in use went silent. It may be the peer that did, so whatever proved the ways through relays before counts no more.
    pub(super) fn doubt_relayed(&mut self, used: PathId, now: Instant) {
        let spare = |relayed: &&mut Relayed| relayed.session().map(PathId::Relayed) != Some(used);
        let spares = self.relayed.iter_mut().filter(spare);
        spares.for_each(|relayed| relayed.path.probing.handle_doubt(now));
    }

    /// Whether a path carries traffic, or would if the one in use were gone.
    pub(super) fn is_path_busy(&self, id: PathId, now: Instant) -> bool {
        self.is_busy(now) && (id == PathId::Direct || id == self.using())
    }

    /// When something is due on any path.
    pub(super) fn probing_due(&self, now: Instant) -> Instant {
        let due = |id| {
            let busy = self.is_path_busy(id, now);
            self.path(id).map(|path| path.probing.poll_timeout(busy, now))
        };
        let direct = self.direct.probing.poll_timeout(self.is_busy(now), now);
        self.path_ids().filter_map(due).fold(direct, Instant::min)
    }

    pub(super) fn note_sent(&mut self, bytes: usize, now: Instant) {
        self.last_sent = Some(now);
        self.counters.tx_bytes.add(bytes as u64);
    }
}
