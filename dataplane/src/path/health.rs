//! Whether a path works, judged here and per direction; never by what others say.
//!
//! ```text
//!                    an answer              poor for a while
//!   Connecting ──────────────────────► Up ◄──────────────────► Degraded
//!       │                              ▲ │   good for longer      │
//!       │                   answers in │ │ answers missing,       │
//!       │ no session            a row  │ ▼ or the local link      ▼
//!       │                              Suspect ◄──────────────────┘
//!       ▼                                │
//!     Down ◄─────────────────────────────┘ silent for too long to be only slow
//!       └── answers in a row ──► Up
//! ```
//!
//! An answer, or the peer's word that it had our probe, proves both ways; any other authenticated packet proves only the way
//! from the peer. When *we* slept nothing is proven and all deadlines begin again.

use super::quality::Quality;
use super::underway::Missing;
use crate::stats::PathState;
use std::time::{Duration, Instant};

/// A path that never worked is down after this long, not connecting.
const CONNECT: Duration = Duration::from_secs(10);

/// A path whose answers are missing for this long is suspect, if there are enough of them. Long enough for a host that does
/// not get to run for a moment, short enough that traffic has moved after less than half a second.
const SUSPECT: Duration = Duration::from_millis(250);

/// No path is down sooner after its last answer: a round trip may grow to this without harm.
const DOWN: Duration = Duration::from_millis(1500);

/// Answers in a row after which a path that did not work does again: one may be luck.
const RECOVERED: u32 = 3;

/// How long a path is poor before it is degraded: longer than a burst of traffic fills a queue.
const POOR: Duration = Duration::from_secs(3);

/// How long a degraded path is good before it is up.
const GOOD: Duration = Duration::from_secs(10);

/// How long an authenticated packet proves the way from the peer.
const HEARD: Duration = Duration::from_secs(3);

/// Why a path is in its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// It was not tried yet.
    #[default]
    New,
    /// Probes are answered.
    Answered,
    /// Nothing comes from the peer.
    Silent,
    /// The peer is heard, and our probes are not answered: the way to it is broken.
    NotAnswering,
    /// No handshake completed.
    NoHandshake,
    /// The address or the interface of ours that it used is gone.
    LocalLink,
    /// It loses too many packets.
    Loss,
    /// Its round trip is much longer than it was.
    RoundTrip,
    /// The peer itself stood still, and says so.
    PeerStalled,
}

impl Cause {
    /// All of them.
    pub const ALL: [Cause; 9] = [
        Cause::New,
        Cause::Answered,
        Cause::Silent,
        Cause::NotAnswering,
        Cause::NoHandshake,
        Cause::LocalLink,
        Cause::Loss,
        Cause::RoundTrip,
        Cause::PeerStalled,
    ];

    /// snake_case, for logs and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::New => "new",
            Cause::Answered => "answered",
            Cause::Silent => "silent",
            Cause::NotAnswering => "not_answering",
            Cause::NoHandshake => "no_handshake",
            Cause::LocalLink => "local_link",
            Cause::Loss => "loss",
            Cause::RoundTrip => "round_trip",
            Cause::PeerStalled => "peer_stalled",
        }
    }
}

/// A path went from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it was.
    pub from: PathState,
    /// What it is.
    pub to: PathState,
    /// Why.
    pub cause: Cause,
}

/// What a verdict rests on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence {
    /// The answers that are missing.
    pub missing: Missing,
    /// How many may be before that says something.
    pub allowed: u32,
    /// How well the path works.
    pub quality: Quality,
}

/// The health of one path.
#[derive(Debug)]
pub struct Health {
    state: PathState,
    cause: Cause,
    since: Instant,
    heard: Option<Instant>,
    /// Answers in a row while the path does not work.
    answers: u32,
    poor_since: Option<Instant>,
    good_since: Option<Instant>,
}

impl Health {
    /// A path that nothing is known of.
    pub fn new(now: Instant) -> Health {
        Health {
            state: PathState::Connecting,
            cause: Cause::New,
            since: now,
            heard: None,
            answers: 0,
            poor_since: None,
            good_since: None,
        }
    }

    /// What is known of the path.
    pub fn state(&self) -> PathState {
        self.state
    }

    /// Why it is in this state.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// Since when it is in this state.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Whether the peer was heard lately: the way from it works.
    pub fn is_heard(&self, now: Instant) -> bool {
        self.heard
            .is_some_and(|at| now.saturating_duration_since(at) < HEARD)
    }

    /// Something authenticated came from the peer.
    pub fn handle_heard(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// Both ways are proven. `stalled`: the peer says that it stood still lately.
    pub fn handle_proof(&mut self, stalled: bool, now: Instant) -> Option<Change> {
        self.heard = Some(now);
        let enough = match (self.state, self.cause) {
            (PathState::Up | PathState::Degraded, _) => return None,
            // Nothing was wrong with the path, and it is another one now; or it was not there before.
            (PathState::Suspect, Cause::LocalLink) | (_, Cause::New | Cause::NoHandshake) => 1,
            _ => RECOVERED,
        };
        self.answers += 1;
        if self.answers < enough {
            return None;
        }
        let cause = match stalled && self.cause == Cause::Silent {
            true => Cause::PeerStalled,
            false => Cause::Answered,
        };
        Some(self.turn(PathState::Up, cause, now))
    }

    /// The address or the interface of ours that the path used is gone.
    pub fn handle_local_loss(&mut self, now: Instant) -> Option<Change> {
        self.answers = 0;
        self.state
            .works()
            .then(|| self.turn(PathState::Suspect, Cause::LocalLink, now))
    }

    /// Another path to the peer went silent: what proved this one may be older than what befell the peer itself, so it has to
    /// be proven anew.
    pub fn handle_doubt(&mut self, now: Instant) -> Option<Change> {
        self.state
            .works()
            .then(|| self.turn(PathState::Connecting, Cause::New, now))
    }

    /// Judges.
    pub fn handle_timeout(&mut self, evidence: &Evidence, now: Instant) -> Option<Change> {
        if evidence.missing.count > 0 {
            self.answers = 0;
        }
        match self.state {
            PathState::Down => None,
            PathState::Connecting => self.judge_connecting(now),
            PathState::Suspect => self.judge_silence(&evidence.missing, now),
            PathState::Up | PathState::Degraded => {
                let verdict = self.judge_misses(evidence, now);
                verdict.or_else(|| self.judge_quality(evidence.quality, now))
            }
        }
    }

    /// When the same evidence would say more.
    pub fn poll_timeout(&self, missing: &Missing) -> Option<Instant> {
        match self.state {
            PathState::Up | PathState::Degraded => missing.since.map(|since| since + SUSPECT),
            PathState::Suspect => missing.since.map(|since| since + DOWN),
            PathState::Connecting => Some(self.since + CONNECT),
            PathState::Down => None,
        }
    }

    /// We stalled: whatever is missing may be our own doing.
    pub fn handle_stall(&mut self, now: Instant) {
        (self.poor_since, self.good_since) = (None, None);
        if self.state == PathState::Connecting {
            self.since = now;
        }
    }

    fn judge_connecting(&mut self, now: Instant) -> Option<Change> {
        if now.saturating_duration_since(self.since) < CONNECT {
            return None;
        }
        let cause = match self.is_heard(now) {
            true => Cause::NotAnswering,
            false => Cause::NoHandshake,
        };
        Some(self.turn(PathState::Down, cause, now))
    }

    fn judge_misses(&mut self, evidence: &Evidence, now: Instant) -> Option<Change> {
        let since = evidence.missing.since?;
        let long = now.saturating_duration_since(since) >= SUSPECT;
        if !long || evidence.missing.count < evidence.allowed {
            return None;
        }
        Some(self.turn(PathState::Suspect, self.silence(&evidence.missing), now))
    }

    fn judge_silence(&mut self, missing: &Missing, now: Instant) -> Option<Change> {
        let since = missing.since?;
        if now.saturating_duration_since(since) < DOWN {
            return None;
        }
        let cause = match self.cause {
            Cause::LocalLink => Cause::LocalLink,
            _ => self.silence(missing),
        };
        Some(self.turn(PathState::Down, cause, now))
    }

    fn judge_quality(&mut self, quality: Quality, now: Instant) -> Option<Change> {
        let lasts = |since: &mut Option<Instant>, holds: bool, long: Duration| {
            *since = since.filter(|_| holds).or(holds.then_some(now));
            since.is_some_and(|at| now.saturating_duration_since(at) >= long)
        };
        let poor = lasts(&mut self.poor_since, matches!(quality, Quality::Poor(_)), POOR);
        let good = lasts(&mut self.good_since, quality == Quality::Good, GOOD);
        match (self.state, quality) {
            (PathState::Up, Quality::Poor(cause)) if poor => Some(self.turn(PathState::Degraded, cause, now)),
            (PathState::Degraded, Quality::Good) if good => {
                Some(self.turn(PathState::Up, Cause::Answered, now))
            }
            _ => None,
        }
    }

    /// Which way is broken when these answers are missing. What is heard later than the first of them was due left the peer
    /// after it went missing; what is heard before may have been under way.
    fn silence(&self, missing: &Missing) -> Cause {
        let since = missing.since.map(|since| since + missing.due);
        match self.heard.zip(since).is_some_and(|(heard, since)| heard > since) {
            true => Cause::NotAnswering,
            false => Cause::Silent,
        }
    }

    fn turn(&mut self, to: PathState, cause: Cause, now: Instant) -> Change {
        let from = self.state;
        (self.state, self.cause, self.since) = (to, cause, now);
        (self.answers, self.poor_since, self.good_since) = (0, None, None);
        Change { from, to, cause }
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
