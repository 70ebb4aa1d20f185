//! Round trips, and how the delay of each way varies.

use super::window::{Window, Windows};
use std::time::{Duration, Instant};

/// No answer is overdue sooner: a host that is scheduled late is no lost packet.
const DUE_MIN: Duration = Duration::from_millis(50);

/// No answer is waited for longer before it counts as missing.
const DUE_MAX: Duration = Duration::from_secs(1);

/// Two packets whose delays differ by more were stamped by a clock that was set in between.
const CLOCK_STEP: i64 = 10_000_000_000;

fn step(old: Duration, new: Duration, share: u32) -> Duration {
    if new > old {
        old + (new - old) / share
    } else {
        old - (old - new) / share
    }
}

/// Smoothed figures of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundTrips {
    /// The last one.
    pub last: Option<Duration>,
    /// The smallest.
    pub min: Option<Duration>,
    /// Exponentially weighted, one eighth a sample (RFC 6298 §2).
    pub smoothed: Option<Duration>,
    /// Mean deviation from that, one quarter a sample (RFC 6298 §2).
    pub deviation: Duration,
    /// Interarrival jitter (RFC 3550 §6.4.1) over round trips.
    pub jitter: Option<Duration>,
}

impl RoundTrips {
    /// One more.
    pub fn handle(&mut self, rtt: Duration) {
        self.deviation = match self.smoothed {
            Some(smoothed) => step(self.deviation, rtt.abs_diff(smoothed), 4),
            None => rtt / 2,
        };
        if let Some(last) = self.last {
            self.jitter = Some(step(self.jitter.unwrap_or_default(), rtt.abs_diff(last), 16));
        }
        self.last = Some(rtt);
        self.min = Some(self.min.map_or(rtt, |min| min.min(rtt)));
        self.smoothed = Some(self.smoothed.map_or(rtt, |old| step(old, rtt, 8)));
    }

    /// How long an answer may take before it is missing: RFC 6298's timeout, within bounds of our own.
    pub fn due(&self) -> Duration {
        let expected = self.smoothed.map(|smoothed| smoothed + 4 * self.deviation);
        expected.unwrap_or(DUE_MAX).clamp(DUE_MIN, DUE_MAX)
    }
}

/// The smallest round trip of the last five minutes: what the path can do.
#[derive(Clone, Debug)]
pub struct Baseline {
    /// In microseconds, one up: 0 is none.
    windows: Windows<u32>,
}

impl Baseline {
    /// None yet.
    pub fn new(now: Instant) -> Baseline {
        Baseline {
            windows: Windows::new(now),
        }
    }

    /// One more round trip.
    pub fn handle(&mut self, rtt: Duration, now: Instant) {
        let us = (rtt.as_micros() as u32).saturating_add(1);
        self.windows.count(now, |least| {
            *least = if *least == 0 { us } else { us.min(*least) };
        });
    }

    /// The smallest.
    pub fn least(&self, now: Instant) -> Option<Duration> {
        let all = self.windows.last(Window::FiveMinutes, now);
        let least = all.filter(|us| **us > 0).min()?;
        Some(Duration::from_micros(u64::from(least - 1)))
    }
}

/// How much the delay of one way differs from packet to packet (RFC 3393), smoothed as interarrival jitter (RFC 3550 §6.4.1).
/// Only differences count, so the two clocks need not agree.
#[derive(Clone, Copy, Debug, Default)]
pub struct Variation {
    last: Option<i64>,
    smoothed: Option<Duration>,
}

impl Variation {
    /// A packet left and arrived at these times, in nanoseconds of either side's own clock.
    pub fn handle(&mut self, left: i64, arrived: i64) {
        let delay = arrived.wrapping_sub(left);
        let before = self.last.replace(delay);
        let differs = before.map(|before| delay.wrapping_sub(before).unsigned_abs());
        if let Some(differs) = differs.filter(|d| *d < CLOCK_STEP.unsigned_abs()) {
            let old = self.smoothed.unwrap_or_default();
            self.smoothed = Some(step(old, Duration::from_nanos(differs), 16));
        }
    }

    /// The next packet is compared with none before it.
    pub fn restart(&mut self) {
        self.last = None;
    }

    /// Mean difference; `None` before two packets.
    pub fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn an_answer_is_due_after_what_answers_took_so_far() {
        let mut trips = RoundTrips::default();
        assert_eq!(trips.due(), DUE_MAX);
        (0..50).for_each(|_| trips.handle(10 * MS));
        assert_eq!(trips.due(), DUE_MIN);
        (0..50).for_each(|_| trips.handle(200 * MS));
        assert!((200 * MS..250 * MS).contains(&trips.due()), "{:?}", trips.due());
        (0..50).for_each(|i| trips.handle((200 + i % 2 * 100) * MS));
        assert!((400 * MS..600 * MS).contains(&trips.due()), "{:?}", trips.due());
        (0..50).for_each(|_| trips.handle(3000 * MS));
        assert_eq!(trips.due(), DUE_MAX);
    }

    #[test]
    fn the_baseline_is_the_best_of_five_minutes() {
        #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut baseline = Baseline::new(start);
        assert_eq!(baseline.least(start), None);
        baseline.handle(10 * MS, at(0));
        baseline.handle(500 * MS, at(100));
        assert_eq!(baseline.least(at(299)), Some(10 * MS));
        assert_eq!(baseline.least(at(330)), Some(500 * MS));
    }

    #[test]
    fn steady_delays_vary_by_nothing_whatever_the_clocks_say() {
        let mut way = Variation::default();
        (0..20).for_each(|i| way.handle(i * 100, i * 100 + 777_000_000_000));
        assert_eq!(way.smoothed(), Some(Duration::ZERO));
        way.handle(3000, 3000 - 5_000_000_000_000);
        assert_eq!(way.smoothed(), Some(Duration::ZERO), "the clock was set");
    }

    #[test]
    fn delays_that_alternate_vary_by_their_difference() {
        let mut way = Variation::default();
        (0..200).for_each(|i| way.handle(i * 100_000_000, i * 100_000_000 + i % 2 * 8_000_000));
        let found = way.smoothed().unwrap();
        assert!(found.abs_diff(8 * MS) < MS, "{found:?}");
    }
}
