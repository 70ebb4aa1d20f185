//! How many answers may be missing in a row before that says something about the path.
//!
//! Loss comes in runs. From the runs of the last ten seconds, minute and five minutes: how often one begins, and how likely it
//! goes on after each miss. The answer is the shortest run that this path has less than once a month by its own habits.
//! What follows the first miss is looked at once more by itself: many runs of one, which are chance, are not to hide the few
//! long ones, which are bursts.

use super::window::{Window, Windows};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Probes in a month at ten a second.
const MONTH: f64 = 26e6;

/// Fewest and most misses that are waited for. Three, because one or two say nothing about the first loss ever; thirty, so
/// that a path that loses most of its packets, and is degraded anyway, is left within a second too.
const ALLOWED: RangeInclusive<u32> = 3..=30;

/// A run that lasted longer was an outage and says nothing about loss: after it, the next is to be seen as soon as the first.
const OUTAGE: Duration = Duration::from_secs(1);

/// What is thought of the first misses of a path: this many are counted as seen before...
const PRIOR: f64 = 4.0;

/// ...and this share of them was followed by another: loss is bursty until shown otherwise.
const PRIOR_FOLLOWED: f64 = 0.5;

/// A window counts as no fewer probes than it has on a busy path in ten seconds.
const FEWEST: u32 = 100;

#[derive(Clone, Copy, Debug, Default)]
struct Runs {
    runs: u32,
    missed: u32,
}

impl Runs {
    fn add(&mut self, missed: u32) {
        self.runs += u32::from(missed > 0);
        self.missed += missed;
    }

    fn merge(&mut self, more: Runs) {
        self.runs += more.runs;
        self.missed += more.missed;
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    probes: u32,
    all: Runs,
    /// The same without the first miss of each.
    behind_first: Runs,
}

/// The runs of misses of a path.
#[derive(Clone, Debug)]
pub struct Misses {
    windows: Windows<Counted>,
}

impl Misses {
    /// Nothing seen yet.
    pub fn new(now: Instant) -> Misses {
        Misses {
            windows: Windows::new(now),
        }
    }

    /// An answer came, after `missed` probes without one that took `lasted`.
    pub fn handle_run(&mut self, missed: u32, lasted: Duration, now: Instant) {
        let missed = if lasted > OUTAGE { 0 } else { missed };
        self.windows.count(now, |w| {
            w.probes += missed + 1;
            w.all.add(missed);
            w.behind_first.add(missed.saturating_sub(1));
        });
    }

    /// A run at least this long happens less than once a month.
    pub fn allowed(&self, now: Instant) -> u32 {
        let long = self.sum(Window::FiveMinutes, now);
        let of = |window| {
            let counted = self.sum(window, now);
            let all = needed(counted.all, counted.probes, goes_on(long.all, PRIOR_FOLLOWED));
            let before = goes_on(long.behind_first, PRIOR_FOLLOWED);
            all.max(1 + needed(counted.behind_first, counted.probes, before))
        };
        let most = Window::ALL.into_iter().map(of).fold(0, u32::max);
        most.clamp(*ALLOWED.start(), *ALLOWED.end())
    }

    fn sum(&self, window: Window, now: Instant) -> Counted {
        let mut sum = Counted::default();
        for more in self.windows.last(window, now) {
            sum.probes += more.probes;
            sum.all.merge(more.all);
            sum.behind_first.merge(more.behind_first);
        }
        sum
    }
}

/// How likely a miss is followed by another. `before`: what is thought of it without these runs.
fn goes_on(runs: Runs, before: f64) -> f64 {
    let followed = f64::from(runs.missed - runs.runs) + PRIOR * before;
    followed / (f64::from(runs.missed) + PRIOR)
}

/// The `n` with `begins * goes_on^(n - 1) * MONTH < 1`; 0 where no run ever began.
fn needed(runs: Runs, probes: u32, before: f64) -> u32 {
    if runs.runs == 0 {
        return 0;
    }
    let begins = f64::from(runs.runs) / f64::from(probes.max(FEWEST));
    let more = ((begins * MONTH).ln() / -goes_on(runs, before).ln()).ceil();
    1 + more as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn after(runs: &[(u32, u32)]) -> u32 {
        #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
        let mut now = Instant::now();
        let mut misses = Misses::new(now);
        for (missed, times) in runs {
            for _ in 0..*times {
                now += 100 * MS * (missed + 1);
                misses.handle_run(*missed, 100 * MS * *missed, now);
            }
        }
        misses.allowed(now)
    }

    #[test]
    fn three_misses_say_enough_where_nothing_is_ever_lost() {
        assert_eq!(after(&[]), 3);
        assert_eq!(after(&[(0, 600)]), 3);
    }

    #[test]
    fn a_lossy_path_is_given_more() {
        let two_percent: Vec<_> = [(0, 48), (1, 1)].into_iter().cycle().take(120).collect();
        assert!((4..=8).contains(&after(&two_percent)), "{}", after(&two_percent));
        let a_third: Vec<_> = [(0, 2), (1, 1), (0, 2), (2, 1)]
            .into_iter()
            .cycle()
            .take(2000)
            .collect();
        assert!((14..=30).contains(&after(&a_third)), "{}", after(&a_third));
    }

    #[test]
    fn a_path_that_loses_in_bursts_is_given_longer_ones() {
        let singly: Vec<_> = [(0, 49), (1, 1)].into_iter().cycle().take(120).collect();
        let in_bursts: Vec<_> = [(0, 149), (3, 1)].into_iter().cycle().take(120).collect();
        assert!(after(&in_bursts) > 2 * after(&singly));
    }

    #[test]
    fn an_outage_is_no_loss() {
        assert_eq!(after(&[(0, 100), (40, 1), (0, 100)]), 3);
    }

    #[test]
    fn hopeless_loss_is_not_waited_for_for_ever() {
        assert_eq!(after(&[(9, 500)]), *ALLOWED.end());
    }

    #[test]
    fn loss_is_forgotten_after_five_minutes() {
        assert!(after(&[(1, 50), (0, 2000)]) > 3);
        assert_eq!(after(&[(1, 50), (0, 3200)]), 3);
    }
}
