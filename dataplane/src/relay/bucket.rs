//! An allowance that refills: so much a second, and no more than a while's worth at once.

use std::time::{Duration, Instant};

/// The allowance. It keeps when it will be full again, nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    per_second: u64,
    depth: Duration,
    full: Option<Instant>,
}

impl Bucket {
    /// `per_second` units a second; `depth`: how long a full bucket lasts when it refills no more.
    pub fn new(per_second: u64, depth: Duration) -> Bucket {
        Bucket {
            per_second: per_second.max(1),
            depth,
            full: None,
        }
    }

    /// Takes so many units, if they are there.
    #[must_use]
    pub fn take(&mut self, units: u64, now: Instant) -> bool {
        let nanos = u128::from(units) * 1_000_000_000 / u128::from(self.per_second);
        let cost = Duration::from_nanos(nanos.min(u64::MAX.into()) as u64);
        let full = self.full.map_or(now, |full| full.max(now));
        let allowed = full.saturating_duration_since(now) + cost <= self.depth;
        if allowed {
            self.full = Some(full + cost);
        }
        allowed
    }

    /// Whether it refills at this pace.
    pub fn is_of(&self, per_second: u64) -> bool {
        self.per_second == per_second.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_a_burst_and_then_the_rate() {
        #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
        let start = Instant::now();
        let mut bucket = Bucket::new(1_000, Duration::from_millis(100));
        let mut taken = |at: Duration| (0..1_000).filter(|_| bucket.take(1, start + at)).count();
        assert_eq!(taken(Duration::ZERO), 100);
        assert_eq!(taken(Duration::from_millis(10)), 10);
        assert_eq!(taken(Duration::from_secs(60)), 100);
    }
}
