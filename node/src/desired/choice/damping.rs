//! How long something that failed has to work before it is trusted again.
//!
//! ```text
//!            fails                works                 held for long enough
//!   Fine ───────────► Failing ───────────► Returning ───────────────────────► Fine
//!                        ▲                     │ fails: held twice as long the next time
//!                        └─────────────────────┘
//! ```
//!
//! Who says that it goes (is drained, withdrew its prefixes) has not failed: it returns after [`PLANNED`], and nothing
//! is counted, not even a path that breaks when the node restarts meanwhile.

use std::time::{Duration, Instant};

/// How long it is held back after a first failure.
pub const FIRST: Duration = Duration::from_secs(10);
/// And at most.
pub const LONGEST: Duration = Duration::from_secs(300);
/// After a planned absence.
pub const PLANNED: Duration = Duration::from_secs(2);
/// Failures further apart than this have nothing to do with each other.
const FORGOTTEN: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// Nothing is held against it.
    #[default]
    Fine,
    Failing {
        planned: bool,
    },
    Returning {
        until: Instant,
        planned: bool,
    },
}

/// What is remembered of one thing that may fail. Pure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Damping {
    phase: Phase,
    strikes: u32,
    failed: Option<Instant>,
}

impl Damping {
    /// It works, at least since `since`.
    pub fn handle_works(&mut self, since: Instant, now: Instant) {
        match self.phase {
            Phase::Failing { planned } => {
                let hold = if planned { PLANNED } else { self.hold() };
                // What worked all the time, and only asked to be left, is as new from now on.
                let from = if self.failed.is_some_and(|failed| since > failed) {
                    since
                } else {
                    now
                };
                self.phase = Phase::Returning {
                    until: from + hold,
                    planned,
                };
                self.handle_works(since, now);
            }
            Phase::Returning { until, .. } if now >= until => self.phase = Phase::Fine,
            Phase::Returning { .. } | Phase::Fine => {}
        }
    }

    /// It does not work. `planned`: it said so before.
    pub fn handle_fails(&mut self, planned: bool, now: Instant) {
        if matches!(self.phase, Phase::Failing { .. }) {
            return;
        }
        let planned = planned || matches!(self.phase, Phase::Returning { planned: true, .. });
        if !planned {
            let related = self
                .failed
                .is_some_and(|last| now.saturating_duration_since(last) < FORGOTTEN);
            self.strikes = if related {
                self.strikes.saturating_add(1)
            } else {
                1
            };
        }
        (self.phase, self.failed) = (Phase::Failing { planned }, Some(now));
    }

    /// Until when it is held back, if it is.
    pub fn held_until(&self, now: Instant) -> Option<Instant> {
        match self.phase {
            Phase::Returning { until, .. } if now < until => Some(until),
            _ => None,
        }
    }

    /// Whether nothing is worth remembering any more.
    pub fn is_forgotten(&self, now: Instant) -> bool {
        let old = self
            .failed
            .is_none_or(|at| now.saturating_duration_since(at) >= FORGOTTEN);
        self.phase == Phase::Fine && old
    }

    fn hold(&self) -> Duration {
        let doublings = self.strikes.saturating_sub(1).min(8);
        (FIRST * (1 << doublings)).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn start() -> Instant {
        Instant::now()
    }

    fn fails_and_works(damping: &mut Damping, at: Instant) -> Duration {
        damping.handle_fails(false, at);
        damping.handle_works(at + S, at + S);
        damping.held_until(at + S).unwrap() - (at + S)
    }

    #[test]
    fn what_never_failed_is_not_held_back() {
        let (mut damping, now) = (Damping::default(), start());
        damping.handle_works(now, now);
        assert_eq!(damping.held_until(now), None);
    }

    #[test]
    fn each_failure_is_held_against_it_twice_as_long_up_to_five_minutes() {
        let (mut damping, start) = (Damping::default(), start());
        let holds: Vec<u64> = (0..7)
            .map(|n| fails_and_works(&mut damping, start + n * 5 * S).as_secs())
            .collect();
        assert_eq!(holds, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(fails_and_works(&mut damping, start + 3600 * S), FIRST, "long ago");
    }

    #[test]
    fn it_is_trusted_once_it_worked_for_long_enough() {
        let (mut damping, start) = (Damping::default(), start());
        fails_and_works(&mut damping, start);
        damping.handle_works(start + S, start + 10 * S);
        assert_eq!(damping.held_until(start + 10 * S), Some(start + 11 * S));
        damping.handle_works(start + S, start + 11 * S);
        assert_eq!(damping.held_until(start + 11 * S), None);
        assert!(!damping.is_forgotten(start + 12 * S) && damping.is_forgotten(start + FORGOTTEN));
    }

    #[test]
    fn who_said_that_it_goes_has_not_failed() {
        let (mut damping, start) = (Damping::default(), start());
        damping.handle_fails(true, start);
        damping.handle_fails(false, start + S);
        damping.handle_works(start + 30 * S, start + 30 * S);
        assert_eq!(damping.held_until(start + 30 * S), Some(start + 30 * S + PLANNED));
        damping.handle_fails(false, start + 31 * S);
        damping.handle_works(start + 32 * S, start + 32 * S);
        assert_eq!(
            damping.held_until(start + 32 * S),
            Some(start + 34 * S),
            "it restarts"
        );
        damping.handle_works(start + 32 * S, start + 34 * S);
        assert_eq!(fails_and_works(&mut damping, start + 60 * S), FIRST);
    }

    #[test]
    fn who_only_asked_to_be_left_returns_after_it_takes_that_back() {
        let (mut damping, start) = (Damping::default(), start());
        damping.handle_works(start, start);
        damping.handle_fails(true, start + 10 * S);
        damping.handle_works(start, start + 60 * S);
        assert_eq!(damping.held_until(start + 60 * S), Some(start + 60 * S + PLANNED));
    }
}
