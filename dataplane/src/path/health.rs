//! Whether a path works, judged here and per direction; never by what others say.
//!
//! An answered probe proves both directions; any other authenticated packet proves only the way from the peer. A path is down
//! when as many probes in a row stay unanswered as its measured loss makes improbable, and for long enough that a slower path
//! would have answered. When *we* slept, nothing is proven and all deadlines begin again.

use crate::stats::PeerState;
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

/// Why a peer is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// Nothing comes from it.
    Silent,
    /// It is heard, and our probes are not answered: the way to it is broken.
    NotAnswering,
    /// No handshake completed.
    NoHandshake,
}

impl DownReason {
    /// snake_case, for logs and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            DownReason::Silent => "silent",
            DownReason::NotAnswering => "not_answering",
            DownReason::NoHandshake => "no_handshake",
        }
    }
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// The path works both ways.
    Up,
    /// It does not.
    Down(DownReason),
}

/// The health of one peer's path.
#[derive(Debug)]
pub struct Health {
    state: PeerState,
    since: Instant,
    answered: Option<Instant>,
    heard: Option<Instant>,
    unanswered: u32,
}

impl Health {
    /// A path that nothing is known of.
    pub fn new(now: Instant) -> Health {
        Health {
            state: PeerState::Connecting,
            since: now,
            answered: None,
            heard: None,
            unanswered: 0,
        }
    }

    /// Up, connecting or down.
    pub fn state(&self) -> PeerState {
        self.state
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
    pub fn handle_answer(&mut self, now: Instant) -> Option<Transition> {
        (self.heard, self.answered, self.unanswered) = (Some(now), Some(now), 0);
        if self.state == PeerState::Up {
            return None;
        }
        (self.state, self.since) = (PeerState::Up, now);
        Some(Transition::Up)
    }

    /// Judges. `round_trip_loss`: measured share of probes without an answer.
    pub fn handle_timeout(&mut self, round_trip_loss: f64, now: Instant) -> Option<Transition> {
        let reason = match self.state {
            PeerState::Up => self.lost(round_trip_loss, now)?,
            PeerState::Connecting if now.saturating_duration_since(self.since) >= CONNECT => {
                if self.is_heard(now) {
                    DownReason::NotAnswering
                } else {
                    DownReason::NoHandshake
                }
            }
            _ => return None,
        };
        (self.state, self.since) = (PeerState::Down, now);
        Some(Transition::Down(reason))
    }

    fn lost(&self, round_trip_loss: f64, now: Instant) -> Option<DownReason> {
        let quiet = self
            .answered
            .is_none_or(|at| now.saturating_duration_since(at) >= PATIENCE);
        if !quiet || self.unanswered < misses(round_trip_loss) {
            return None;
        }
        Some(if self.is_heard(now) {
            DownReason::NotAnswering
        } else {
            DownReason::Silent
        })
    }

    /// We stalled: whatever is missing may be our own doing.
    pub fn handle_stall(&mut self, now: Instant) {
        self.unanswered = 0;
        if self.answered.is_some() {
            self.answered = Some(now);
        }
        if self.state == PeerState::Connecting {
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

    fn up(now: Instant) -> Health {
        let mut health = Health::new(now);
        health.handle_probe(now);
        assert_eq!(health.handle_answer(now), Some(Transition::Up));
        health
    }

    /// Probes every 100 ms without an answer until the verdict; `heard` says whether other packets come.
    fn silence(health: &mut Health, start: Instant, loss: f64, heard: bool) -> (Duration, DownReason) {
        for i in 1..1000 {
            let now = start + i * 100 * MS;
            health.handle_probe(now);
            if heard {
                health.handle_heard(now);
            }
            if let Some(Transition::Down(reason)) = health.handle_timeout(loss, now) {
                return (now - start, reason);
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
        assert_eq!(health.state(), PeerState::Down);
        assert_eq!(health.handle_answer(start + 9000 * MS), Some(Transition::Up));
    }

    #[test]
    fn one_broken_way_is_told_from_a_dead_peer() {
        let start = start();
        assert_eq!(
            silence(&mut up(start), start, 0.0, true).1,
            DownReason::NotAnswering
        );
        let mut health = up(start - 5000 * MS);
        assert_eq!(silence(&mut health, start, 0.0, false).1, DownReason::Silent);
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
        assert_eq!(health.state(), PeerState::Up);
    }

    #[test]
    fn a_peer_that_never_answered_is_connecting_and_then_down() {
        let start = start();
        let mut health = Health::new(start);
        assert_eq!(health.handle_timeout(0.0, start + CONNECT / 2), None);
        assert_eq!(health.state(), PeerState::Connecting);
        let verdict = health.handle_timeout(0.0, start + CONNECT);
        assert_eq!(verdict, Some(Transition::Down(DownReason::NoHandshake)));
    }
}
