//! Is our clock right? What fresh records say about it.
//!
//! A record dates itself by its node's clock when it is signed, and reaches us some time later. So at any
//! moment after its arrival that node's clock shows *at least* `issued_at` plus what has passed here since
//! (by the monotonic clock, which no jump of the wall clock touches). How much more is unknown, but bounded:
//!
//! - Any record may have lain with others for as long as it is valid: 24 hours.
//! - Two that came at least half an hour apart, and were signed just as far apart, took equally long; and
//!   only records that come at once do that. So the better of the two is taken as exact.
//!
//! Each node gives so a range for its clock; the offset nearest to ours in it is its vote, and the median
//! of the votes is believed. A node that we only know from disk has no vote, nor one that has left.
//! A single liar moves the median nowhere among honest members, and whoever is cut off from all keeps the
//! votes that he had: being alone is not mistaken for a wrong clock, and a jump of ours shows at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use meshnode_crypto::{NodeId, UnixMillis};

use crate::api::Now;
use crate::record::VALIDITY;

/// How far our clock may be from the members' median.
pub const MAX_SKEW: Duration = Duration::from_secs(600);

// Records closer together than this say one thing: both may have lain with the same neighbour.
const APART: Duration = Duration::from_secs(1800);

/// What a node's clock showed at least when the directory began, by the record that came at `arrived`.
#[derive(Clone, Copy, Debug)]
struct Sample {
    base: i64,
    arrived: i64,
}

#[derive(Debug)]
pub(super) struct ClockCheck {
    epoch: Instant,
    // The one before the last, and the last.
    samples: BTreeMap<NodeId, (Option<Sample>, Sample)>,
}

impl ClockCheck {
    pub(super) fn new(epoch: Instant) -> Self {
        ClockCheck {
            epoch,
            samples: BTreeMap::new(),
        }
    }

    /// A record of `node`, newer than the last, arrived from a peer.
    pub(super) fn arrived(&mut self, node: NodeId, issued_at: UnixMillis, now: Now) {
        let arrived = self.elapsed(now);
        let sample = Sample {
            base: millis(issued_at).saturating_sub(arrived),
            arrived,
        };
        let next = match self.samples.get(&node) {
            None => (None, sample),
            Some((before, last)) if arrived - last.arrived < APART.as_millis() as i64 => (
                *before,
                Sample {
                    base: last.base.max(sample.base),
                    arrived: last.arrived,
                },
            ),
            Some((_, last)) => (Some(*last), sample),
        };
        self.samples.insert(node, next);
    }

    pub(super) fn forget(&mut self, node: &NodeId) {
        self.samples.remove(node);
    }

    /// The members' clock minus ours in milliseconds, when it is more than [`MAX_SKEW`] off.
    pub(super) fn skew(&self, now: Now) -> Option<i64> {
        let here = millis(now.wall).saturating_sub(self.elapsed(now));
        let mut votes: Vec<i64> = self.samples.values().map(|samples| vote(samples, here)).collect();
        votes.sort_unstable();
        // Of two in the middle, whatever between them is nearest to our own time.
        let (below, above) = (
            votes.get(votes.len().checked_sub(1)? / 2)?,
            votes.get(votes.len() / 2)?,
        );
        let median = 0.clamp(*below, *above);
        (median.unsigned_abs() > MAX_SKEW.as_millis() as u64).then_some(median)
    }

    fn elapsed(&self, now: Now) -> i64 {
        now.monotonic.saturating_duration_since(self.epoch).as_millis() as i64
    }
}

fn millis(time: UnixMillis) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

// `here`: our wall clock when the directory began, as each base is for its node.
fn vote((before, last): &(Option<Sample>, Sample), here: i64) -> i64 {
    let bound = MAX_SKEW.as_millis() as i64;
    let best = before.map_or(last.base, |before| before.base.max(last.base));
    let agree = before.is_some_and(|before| before.base.abs_diff(last.base) < bound.unsigned_abs());
    let slack = if agree { 0 } else { VALIDITY.as_millis() as i64 };
    let at_least = best.saturating_sub(here);
    0.clamp(at_least, at_least.saturating_add(slack))
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshnode_crypto::SigningKey;

    const HOUR: u64 = 3_600_000;
    const START: u64 = 1_800_000_000_000;

    struct World {
        epoch: Instant,
        check: ClockCheck,
    }

    impl World {
        #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
        fn new() -> Self {
            let epoch = Instant::now();
            World {
                epoch,
                check: ClockCheck::new(epoch),
            }
        }

        // `at`: real milliseconds since the start; `error`: our wall clock minus the real one.
        fn now(&self, at: u64, error: i64) -> Now {
            let wall = UnixMillis((START + at).saturating_add_signed(error));
            Now {
                wall,
                monotonic: self.epoch + Duration::from_millis(at),
            }
        }

        fn arrives(&mut self, n: u8, issued: u64, at: u64) {
            let now = self.now(at, 0);
            self.check.arrived(node(n), UnixMillis(START + issued), now);
        }
    }

    fn node(n: u8) -> NodeId {
        SigningKey::from_seed([n; 32]).public_key()
    }

    #[test]
    fn records_that_are_hours_old_at_the_first_meeting_accuse_nobody() {
        let mut world = World::new();
        for n in 1..9 {
            world.arrives(n, u64::from(n) * HOUR, 10 * HOUR);
        }
        assert_eq!(world.check.skew(world.now(10 * HOUR, 0)), None);
    }

    #[test]
    fn a_clock_ten_years_ahead_shows_at_the_first_record() {
        let mut world = World::new();
        world.arrives(1, 0, 0);
        let ten_years = 10 * 365 * 24 * HOUR as i64;
        let skew = world.check.skew(world.now(1, ten_years)).unwrap();
        assert!(skew < -ten_years + 25 * HOUR as i64);
    }

    #[test]
    fn a_clock_that_is_behind_shows_at_the_first_record() {
        let mut world = World::new();
        world.arrives(1, 10 * HOUR, 10 * HOUR);
        assert_eq!(
            world.check.skew(world.now(10 * HOUR, -(HOUR as i64))),
            Some(HOUR as i64)
        );
    }

    #[test]
    fn a_jump_of_our_clock_shows_at_once_and_ends_with_it() {
        let mut world = World::new();
        for n in 1..4 {
            world.arrives(n, 0, 1);
            world.arrives(n, HOUR, HOUR + 1);
        }
        assert_eq!(world.check.skew(world.now(2 * HOUR, 599_000)), None);
        assert!(world.check.skew(world.now(2 * HOUR, 700_000)).is_some());
        assert_eq!(world.check.skew(world.now(2 * HOUR, 0)), None);
    }

    #[test]
    fn being_cut_off_for_days_is_not_a_wrong_clock() {
        let mut world = World::new();
        for n in 1..4 {
            world.arrives(n, 0, 1);
            world.arrives(n, HOUR, HOUR + 1);
        }
        assert_eq!(world.check.skew(world.now(30 * 24 * HOUR, 0)), None);
    }

    #[test]
    fn the_first_records_after_a_partition_accuse_nobody() {
        let mut world = World::new();
        for n in 1..4 {
            world.arrives(n, 0, 1);
            world.arrives(n, HOUR, HOUR + 1);
            world.arrives(n, 50 * HOUR, 51 * HOUR - 1);
        }
        assert_eq!(world.check.skew(world.now(51 * HOUR, 0)), None);
    }

    #[test]
    fn two_old_records_of_a_dead_node_accuse_nobody() {
        let mut world = World::new();
        for n in 1..4 {
            world.arrives(n, 0, 10 * HOUR);
            world.arrives(n, 1, 10 * HOUR + 1);
        }
        assert_eq!(world.check.skew(world.now(11 * HOUR, 0)), None);
    }

    #[test]
    fn of_two_members_that_disagree_neither_is_believed_against_us() {
        let mut world = World::new();
        world.arrives(1, 0, 0);
        world
            .check
            .arrived(node(2), UnixMillis(START + HOUR / 2), world.now(0, 0));
        assert_eq!(world.check.skew(world.now(1, 0)), None);
    }

    #[test]
    fn one_liar_among_three_moves_nothing() {
        let mut world = World::new();
        for n in 1..4 {
            world.arrives(n, 0, 1);
        }
        world
            .check
            .arrived(node(3), UnixMillis(START + 999 * HOUR), world.now(2, 0));
        assert_eq!(world.check.skew(world.now(3, 0)), None);
    }
}
