//! One way to a peer and all that is measured on it.

use crate::path::health::Health;
use crate::path::pmtu::{self, PathMtu};
use crate::path::runs::RunWatch;
use crate::path::stamp::{Reflector, Sender};
use crate::stats::PathState;
use std::time::{Duration, Instant};

/// Probes on a path that carries traffic, or that misses answers.
pub(super) const PROBE_BUSY: Duration = Duration::from_millis(100);

/// Probes on an idle path.
pub(super) const PROBE_IDLE: Duration = Duration::from_secs(1);

/// Before anybody knows where a peer is.
const NOWHERE: pmtu::Path = pmtu::Path {
    to: None,
    link: u16::MAX,
    most: u16::MAX,
};

/// A way to a peer. The tunnel is the same on every way; loss, round trips, sizes and health are each way's own.
pub(super) struct Path {
    pub(super) sender: Sender,
    pub(super) reflector: Reflector,
    pub(super) health: Health,
    pub(super) next_probe: Instant,
    pub(super) pmtu: PathMtu,
    /// The answers to the peer's probes of how much its way to us takes.
    pub(super) mtu_reflector: Reflector,
    pub(super) runs: RunWatch,
}

impl Path {
    /// A path of which nothing is known.
    pub(super) fn new(now: Instant) -> Path {
        Path {
            sender: Sender::new(now),
            reflector: Reflector::default(),
            health: Health::new(now),
            next_probe: now,
            pmtu: PathMtu::new(NOWHERE, now),
            mtu_reflector: Reflector::default(),
            runs: RunWatch::default(),
        }
    }

    /// How long after a probe the next one leaves. `busy`: the path carries traffic.
    pub(super) fn probe_interval(&self, busy: bool) -> Duration {
        let close = busy || self.health.is_suspect();
        if close && self.health.state() == PathState::Up {
            PROBE_BUSY
        } else {
            PROBE_IDLE
        }
    }

    /// We slept: what is under way proves nothing.
    pub(super) fn handle_stall(&mut self, now: Instant) {
        self.sender.restart();
        self.health.handle_stall(now);
        self.pmtu.handle_stall(now);
        self.runs.handle_stall();
    }
}
