//! Whom to introduce ourselves to.
//!
//! Gossip never meets again by itself: halves parted for longer than its grace stay apart for ever, and
//! a node whose first message was lost stays alone. So every few seconds one member that gossip does
//! not show as live is picked from those known (the directory and the cache), and gossip is told to
//! talk to it. A member that stays silent is asked less and less often, but never given up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

/// How often one member is picked.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// The longest that a silent member is left alone.
pub const MAX_BACKOFF: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
struct Silence {
    tries: u32,
    not_before: Instant,
}

/// Picks members to gossip with; see the module documentation.
#[derive(Debug)]
pub struct Introducer<R> {
    rng: R,
    next: Instant,
    silent: BTreeMap<Ipv6Addr, Silence>,
}

impl<R: Rng> Introducer<R> {
    /// An introducer whose first pick is due at once.
    pub fn new(rng: R, now: Instant) -> Self {
        Introducer {
            rng,
            next: now,
            silent: BTreeMap::new(),
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Instant {
        self.next
    }

    /// The member to gossip with now, if a pick is due and one is to be had.
    ///
    /// `known`: mesh addresses of all members but ourselves. `live`: those that gossip shows as live.
    pub fn handle_timeout(
        &mut self,
        known: &BTreeSet<Ipv6Addr>,
        live: &BTreeSet<Ipv6Addr>,
        now: Instant,
    ) -> Option<Ipv6Addr> {
        if now < self.next {
            return None;
        }
        self.next = now + self.jittered(INTERVAL);
        self.silent
            .retain(|address, _| known.contains(address) && !live.contains(address));
        let pick = self.pick(known, live, now)?;
        self.back_off(pick, now);
        Some(pick)
    }

    /// Makes every silent member eligible again, as when our own network came back.
    pub fn network_changed(&mut self, now: Instant) {
        self.silent.clear();
        self.next = now;
    }

    fn pick(
        &mut self,
        known: &BTreeSet<Ipv6Addr>,
        live: &BTreeSet<Ipv6Addr>,
        now: Instant,
    ) -> Option<Ipv6Addr> {
        let due = |address: &&Ipv6Addr| {
            !live.contains(*address)
                && self
                    .silent
                    .get(*address)
                    .is_none_or(|silence| silence.not_before <= now)
        };
        let candidates: Vec<Ipv6Addr> = known.iter().filter(due).copied().collect();
        if candidates.is_empty() {
            return None;
        }
        let index = self.rng.random_range(0..candidates.len());
        candidates.get(index).copied()
    }

    fn back_off(&mut self, address: Ipv6Addr, now: Instant) {
        let tries = self.silent.get(&address).map_or(0, |silence| silence.tries);
        let wait = INTERVAL.saturating_mul(1 << tries.min(10)).min(MAX_BACKOFF);
        let not_before = now + self.jittered(wait);
        self.silent.insert(
            address,
            Silence {
                tries: tries + 1,
                not_before,
            },
        );
    }

    // Three quarters to five quarters, so that nodes started together do not stay in step.
    fn jittered(&mut self, duration: Duration) -> Duration {
        duration.mul_f64(self.rng.random_range(0.75..1.25))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn address(n: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n)
    }

    fn members(n: u16) -> BTreeSet<Ipv6Addr> {
        (1..=n).map(address).collect()
    }

    // Time is moved, never read: the first instant is as good as any.
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    fn introducer(now: Instant) -> Introducer<ChaCha8Rng> {
        Introducer::new(ChaCha8Rng::seed_from_u64(7), now)
    }

    #[test]
    fn nobody_is_picked_when_all_are_live_or_nobody_is_known() {
        let now = start();
        assert_eq!(
            introducer(now).handle_timeout(&members(3), &members(3), now),
            None
        );
        assert_eq!(
            introducer(now).handle_timeout(&members(0), &members(0), now),
            None
        );
    }

    #[test]
    fn a_member_that_gossip_lost_is_picked_and_later_again() {
        let mut now = start();
        let mut introducer = introducer(now);
        let live: BTreeSet<_> = members(4)
            .into_iter()
            .filter(|member| *member != address(2))
            .collect();
        let mut picks = 0;
        for _ in 0..100 {
            picks += usize::from(introducer.handle_timeout(&members(4), &live, now) == Some(address(2)));
            now = introducer.poll_timeout();
        }
        assert!((10..30).contains(&picks), "picked {picks} times in about 500 s");
    }

    #[test]
    fn before_the_interval_is_over_nothing_is_picked() {
        let now = start();
        let mut introducer = introducer(now);
        assert!(introducer.handle_timeout(&members(4), &members(0), now).is_some());
        assert_eq!(introducer.handle_timeout(&members(4), &members(0), now), None);
        assert!(introducer.poll_timeout() > now);
    }

    #[test]
    fn every_absent_member_is_tried() {
        let mut now = start();
        let mut introducer = introducer(now);
        let mut tried = BTreeSet::new();
        for _ in 0..200 {
            tried.extend(introducer.handle_timeout(&members(20), &members(0), now));
            now = introducer.poll_timeout();
        }
        assert_eq!(tried, members(20));
    }

    #[test]
    fn a_member_that_came_back_loses_its_backoff() {
        let mut now = start();
        let mut introducer = introducer(now);
        for _ in 0..50 {
            introducer.handle_timeout(&members(1), &members(0), now);
            now = introducer.poll_timeout();
        }
        introducer.handle_timeout(&members(1), &members(1), now);
        now = introducer.poll_timeout();
        assert_eq!(
            introducer.handle_timeout(&members(1), &members(0), now),
            Some(address(1))
        );
    }

    #[test]
    fn same_seed_same_picks() {
        let now = start();
        let picks = |_| {
            let mut introducer = introducer(now);
            let mut at = now;
            let mut picks = Vec::new();
            for _ in 0..30 {
                picks.push(introducer.handle_timeout(&members(9), &members(2), at));
                at = introducer.poll_timeout();
            }
            picks
        };
        assert_eq!(picks(0), picks(1));
    }
}
