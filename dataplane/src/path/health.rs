//! Whether a path works, judged here and per direction; never by what others say.
//!
//! An answered probe proves both directions; any other authenticated packet proves only the way from the peer. A path is down
//! when as many probes in a row stay unanswered as its measured loss makes improbable, and for long enough that a slower path
//! would have answered. When *we* slept, nothing is proven and all deadlines begin again.

use crate::stats::PathState;
use std::time::{Duration, Instant};

/// A peer that has no session after this long is down, not connecting.
const CONNECT: Duration = Duration::from_secs(10);

/// No path is down sooner after its last answer: a round trip may grow to this without harm.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Missing answers that make a path suspect: it is then probed as if it carried traffic.
const SUSPECT: u32 = 2;

/// How improbable a run of misses must be under the measured loss.
const IMPROBABLE: f64 = 1e-4;

/// Fewest and most misses in a row that make a path down.
const MISSES: std::ops::RangeInclusive<u32> = 4..=30;

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

/// The health of one peer's path.
#[derive(Debug)]
pub struct Health {
    state: PathState,
    cause: Cause,
    since: Instant,
    answered: Option<Instant>,
    heard: Option<Instant>,
    unanswered: u32,
}

impl Health {
    /// A path that nothing is known of.
    pub fn new(now: Instant) -> Health {
        Health {
            state: PathState::Connecting,
            cause: Cause::New,
            since: now,
            answered: None,
            heard: None,
            unanswered: 0,
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

    /// Whether answers are missing, so that probing faster pays.
    pub fn is_suspect(&self) -> bool {
        self.unanswered >= SUSPECT
    }

    /// Something authenticated came from the peer.
    pub fn handle_heard(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// A probe went out.
    pub fn handle_probe(&mut self, now: Instant) {
        self.unanswered += 1;
        self.answered.get_or_insert(now);
    }

    /// A probe was answered.
    pub fn handle_answer(&mut self, now: Instant) -> Option<Change> {
        (self.heard, self.answered, self.unanswered) = (Some(now), Some(now), 0);
        if self.state == PathState::Up {
            return None;
        }
        Some(self.turn(PathState::Up, Cause::Answered, now))
    }

    /// Judges. `round_trip_loss`: measured share of probes without an answer.
    pub fn handle_timeout(&mut self, round_trip_loss: f64, now: Instant) -> Option<Change> {
        let reason = match self.state {
            PathState::Up => self.lost(round_trip_loss, now)?,
            PathState::Connecting if now.saturating_duration_since(self.since) >= CONNECT => {
                if self.is_heard(now) {
                    Cause::NotAnswering
                } else {
                    Cause::NoHandshake
                }
            }
            _ => return None,
        };
        Some(self.turn(PathState::Down, reason, now))
    }

    fn turn(&mut self, to: PathState, cause: Cause, now: Instant) -> Change {
        let from = self.state;
        (self.state, self.cause, self.since) = (to, cause, now);
        Change { from, to, cause }
    }

    fn lost(&self, round_trip_loss: f64, now: Instant) -> Option<Cause> {
        let quiet = self
            .answered
            .is_none_or(|at| now.saturating_duration_since(at) >= PATIENCE);
        if !quiet || self.unanswered < misses(round_trip_loss) {
            return None;
        }
        Some(if self.is_heard(now) {
            Cause::NotAnswering
        } else {
            Cause::Silent
        })
    }

    /// We stalled: whatever is missing may be our own doing.
    pub fn handle_stall(&mut self, now: Instant) {
        self.unanswered = 0;
        if self.answered.is_some() {
            self.answered = Some(now);
        }
        if self.state == PathState::Connecting {
            self.since = now;
        }
    }
}

/// Misses in a row that are improbable under this loss.
fn misses(loss: f64) -> u32 {
    if loss <= 0.0 {
        return *MISSES.start();
    }
    let n = (IMPROBABLE.ln() / loss.min(0.99).ln()).ceil();
    (n as u32).clamp(*MISSES.start(), *MISSES.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
        Instant::now()
    }

    fn turned(change: Option<Change>) -> Option<PathState> {
        change.map(|change| change.to)
    }

    fn up(now: Instant) -> Health {
        let mut health = Health::new(now);
        health.handle_probe(now);
        assert_eq!(turned(health.handle_answer(now)), Some(PathState::Up));
        health
    }

    /// Probes every 100 ms without an answer until the verdict; `heard` says whether other packets come.
    fn silence(health: &mut Health, start: Instant, loss: f64, heard: bool) -> (Duration, Cause) {
        for i in 1..1000 {
            let now = start + i * 100 * MS;
            health.handle_probe(now);
            if heard {
                health.handle_heard(now);
            }
            if let Some(change) = health.handle_timeout(loss, now) {
                return (now - start, change.cause);
            }
        }
        panic!("never down");
    }

    #[test]
    fn a_silent_path_goes_down_and_comes_back_with_an_answer() {
        let start = start();
        let mut health = up(start);
        let (after, _) = silence(&mut health, start, 0.0, false);
        assert_eq!(after, PATIENCE);
        assert_eq!(health.state(), PathState::Down);
        assert_eq!(
            turned(health.handle_answer(start + 9000 * MS)),
            Some(PathState::Up)
        );
    }

    #[test]
    fn one_broken_way_is_told_from_a_dead_peer() {
        let start = start();
        assert_eq!(silence(&mut up(start), start, 0.0, true).1, Cause::NotAnswering);
        let mut health = up(start - 5000 * MS);
        assert_eq!(silence(&mut health, start, 0.0, false).1, Cause::Silent);
    }

    #[test]
    fn a_lossy_path_is_given_more_misses() {
        let start = start();
        assert_eq!(misses(0.0), 4);
        assert_eq!(misses(0.36), 10);
        assert_eq!(misses(1.0), 30);
        assert!(silence(&mut up(start), start, 0.75, true).0 >= 3000 * MS);
    }

    #[test]
    fn a_round_trip_that_grows_to_half_a_second_is_not_down() {
        let start = start();
        let mut health = up(start);
        for i in 1..100 {
            let now = start + i * 100 * MS;
            health.handle_probe(now);
            if i >= 5 {
                health.handle_answer(now);
            }
            assert_eq!(health.handle_timeout(0.0, now), None);
        }
    }

    #[test]
    fn our_own_sleep_accuses_nobody() {
        let start = start();
        let mut health = up(start);
        for i in 1..10 {
            health.handle_probe(start + i * 100 * MS);
        }
        let awake = start + Duration::from_secs(60);
        health.handle_stall(awake);
        assert_eq!(health.handle_timeout(0.0, awake), None);
        assert_eq!(health.state(), PathState::Up);
    }

    #[test]
    fn a_peer_that_never_answered_is_connecting_and_then_down() {
        let start = start();
        let mut health = Health::new(start);
        assert_eq!(health.handle_timeout(0.0, start + CONNECT / 2), None);
        assert_eq!(health.state(), PathState::Connecting);
        let verdict = health.handle_timeout(0.0, start + CONNECT);
        assert_eq!(
            verdict.map(|v| (v.to, v.cause)),
            Some((PathState::Down, Cause::NoHandshake))
        );
    }
}
