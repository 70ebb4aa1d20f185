//! How soon to look at the kernel again: at once for one change, ever slower when somebody keeps
//! undoing what we do. Pure.

use std::time::{Duration, Instant};

/// Notifications come in bursts: wait for the burst to end.
pub const DEBOUNCE: Duration = Duration::from_millis(50);
const QUIET: Duration = Duration::from_secs(30);
const FREE_REPAIRS: u32 = 10;
const SLOWEST: Duration = Duration::from_secs(5);

/// Counts repairs and turns too many of them into a pause.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    streak: u32,
    last: Option<Instant>,
}

impl Pace {
    /// A repair was made at `now`.
    pub fn repaired(&mut self, now: Instant) {
        let quiet = self
            .last
            .is_none_or(|last| now.saturating_duration_since(last) > QUIET);
        self.streak = if quiet { 1 } else { self.streak.saturating_add(1) };
        self.last = Some(now);
    }

    /// True from the repair on at which we begin to give way.
    pub fn is_fighting(&self) -> bool {
        self.streak > FREE_REPAIRS
    }

    /// How long to wait after a notification.
    pub fn delay(&self) -> Duration {
        let over = self.streak.saturating_sub(FREE_REPAIRS).min(10);
        DEBOUNCE.saturating_mul(1 << over).min(SLOWEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_repairs_stay_prompt() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        for minute in 0..100 {
            pace.repaired(start + Duration::from_secs(60 * minute));
            assert_eq!(pace.delay(), DEBOUNCE);
        }
    }

    #[test]
    fn a_fight_is_slowed_down_and_forgotten() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        (0..30).for_each(|i| pace.repaired(start + Duration::from_secs(i)));
        assert!(pace.is_fighting());
        assert_eq!(pace.delay(), SLOWEST);
        pace.repaired(start + Duration::from_secs(120));
        assert_eq!(pace.delay(), DEBOUNCE);
    }
}
