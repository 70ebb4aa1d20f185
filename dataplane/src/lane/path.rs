//! One way to a peer and all that is measured on it.

use crate::batch::{Endpoint, Manner, SendBatch};
use crate::path::pmtu::{self, PathMtu};
use crate::path::probing::Probing;
use crate::path::runs::RunWatch;
use crate::path::stamp::Reflector;
use crate::path::window::Window;
use crate::relay::choice::Figures;
use crate::relay::{Session, frame};
use std::time::Instant;

/// Before anybody knows where a peer is.
const NOWHERE: pmtu::Path = pmtu::Path {
    to: None,
    link: u16::MAX,
    most: u16::MAX,
    in_front: 0,
};

/// Which of the ways to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathId {
    /// Straight.
    Direct,
    /// Through the relay of this session.
    Relayed(Session),
}

impl From<Option<Session>> for PathId {
    fn from(via: Option<Session>) -> PathId {
        via.map_or(PathId::Direct, PathId::Relayed)
    }
}

/// Where a datagram goes next, or came from: a peer, or the relay between, under the session of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) to: Endpoint,
    pub(super) session: Option<Session>,
}

impl Hop {
    pub(super) fn path(&self) -> PathId {
        self.session.into()
    }

    /// Bytes in front of a WireGuard message.
    pub(super) fn in_front(&self) -> usize {
        self.session.map_or(0, |_| frame::HEADER)
    }

    /// Room for a message of `len` bytes, behind what belongs in front of it.
    pub(super) fn reserve<'a>(&self, len: usize, manner: Manner, send: &'a mut SendBatch) -> &'a mut [u8] {
        let (header, message) = send.reserve(self.in_front() + len).split_at_mut(self.in_front());
        if let Some(session) = self.session {
            header.copy_from_slice(&frame::header(session, manner.fragment));
        }
        message
    }

    /// What was written where [`Hop::reserve`] said leaves. Returns the size of the datagram.
    pub(super) fn commit(&self, len: usize, manner: Manner, send: &mut SendBatch) -> usize {
        let len = self.in_front() + len;
        send.commit_as(self.to, manner, len);
        len
    }
}

impl From<Endpoint> for Hop {
    fn from(to: Endpoint) -> Hop {
        Hop { to, session: None }
    }
}

/// A way to a peer. The tunnel is the same on every way; loss, round trips, sizes and health are each way's own.
pub(super) struct Path {
    pub(super) probing: Probing,
    pub(super) pmtu: PathMtu,
    /// The answers to the peer's probes of how much its way to us takes.
    pub(super) mtu_reflector: Reflector,
    pub(super) runs: RunWatch,
}

impl Path {
    /// A path of which nothing is known.
    pub(super) fn new(now: Instant) -> Path {
        Path {
            probing: Probing::new(now),
            pmtu: PathMtu::new(NOWHERE, now),
            mtu_reflector: Reflector::default(),
            runs: RunWatch::default(),
        }
    }

    /// What the choice between paths goes by.
    pub(super) fn figures(&self, now: Instant) -> Figures {
        let health = self.probing.health();
        Figures {
            state: health.state(),
            since: health.since(),
            rtt: self.probing.round_trips().smoothed,
            loss: self.probing.loss(Window::TenSeconds, now).round_trip(),
        }
    }

    /// We slept: what is under way proves nothing.
    pub(super) fn handle_stall(&mut self, now: Instant) {
        self.probing.handle_stall(now);
        self.pmtu.handle_stall(now);
        self.runs.handle_stall();
    }
}
