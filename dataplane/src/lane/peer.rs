//! One peer as a lane sees it.

use super::counters::PeerCounters;
use super::engine::KeyPair;
use super::liveness::Liveness;
use super::path::{PROBE_BUSY, Path};
use super::tunnels::Tunnels;
use crate::path::endpoints::Endpoints;
use crate::table::{PeerId, PeerKind};
use crate::tunnel::Seal;
use crate::tunnel::handshake::{Driver, Side};
use crate::tunnel::pending::Pending;
use std::collections::VecDeque;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

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
    pub(super) current: Option<u32>,
    pub(super) old: Option<Old>,
    /// The way straight to it.
    pub(super) direct: Path,
    /// Where that leads.
    pub(super) endpoints: Endpoints,
    pub(super) endpoint_set: u64,
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
            current: None,
            old: None,
            direct: Path::new(now),
            endpoints: Endpoints::default(),
            endpoint_set: 0,
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
        self.direct.next_probe = self.direct.next_probe.min(now + PROBE_BUSY);
        Some(now)
    }

    pub(super) fn note_sent(&mut self, bytes: usize, now: Instant) {
        self.last_sent = Some(now);
        self.counters.tx_bytes.add(bytes as u64);
    }
}
