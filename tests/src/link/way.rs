//! One direction of a link: frames in, the same frames out when they are due, but for those that are lost.
//!
//! It reads no clock and draws from a seeded generator, so the same frames at the same times have the same fate.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::Conditions;
use super::loss::Losses;
use crate::random::Random;

/// Most bytes under way; what comes above is lost, as in a router's queue.
const MOST_BYTES: usize = 4 << 20;
/// Most frames under way, so that small ones are bounded too.
const MOST_FRAMES: usize = 16_384;

/// What became of the frames so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Came in.
    pub entered: u64,
    /// Went out, second copies included.
    pub delivered: u64,
    /// Taken by [`Conditions::loss`].
    pub lost: u64,
    /// Fell into the black hole.
    pub blocked: u64,
    /// Found the queue full.
    pub overflowed: u64,
    /// Were held back while later ones passed.
    pub held_back: u64,
    /// Went out twice.
    pub duplicated: u64,
}

/// The queue, what it does, and what it did.
#[derive(Debug)]
pub struct Way {
    conditions: Conditions,
    random: Random,
    losses: Losses,
    under_way: BinaryHeap<Reverse<Frame>>,
    bytes: usize,
    /// When the last frame that keeps its order is due.
    last_due: Option<Instant>,
    /// When the rate lets the next frame begin.
    free: Option<Instant>,
    counts: Counts,
}

/// Ordered by the time it is due, then by its arrival.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Frame {
    due: Instant,
    number: u64,
    bytes: Vec<u8>,
}

impl Way {
    /// A clear way.
    pub fn new(seed: u64) -> Way {
        Way {
            conditions: Conditions::default(),
            random: Random::new(seed),
            losses: Losses::default(),
            under_way: BinaryHeap::new(),
            bytes: 0,
            last_due: None,
            free: None,
            counts: Counts::default(),
        }
    }

    /// From now on. What is under way arrives as it would have; later frames may overtake it.
    pub fn set(&mut self, conditions: Conditions) {
        self.conditions = conditions;
        (self.last_due, self.free) = (None, None);
    }

    /// What it does to frames.
    pub fn conditions(&self) -> Conditions {
        self.conditions
    }

    /// What became of the frames so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A frame enters.
    pub fn handle_frame(&mut self, bytes: &[u8], now: Instant) {
        self.counts.entered += 1;
        if self.conditions.blocked {
            self.counts.blocked += 1;
            return;
        }
        if self.losses.takes(self.conditions.loss, &mut self.random) {
            self.counts.lost += 1;
            return;
        }
        let Some(begins) = self.passes_the_rate(bytes.len(), now) else {
            self.counts.overflowed += 1;
            return;
        };
        let due = self.due(begins);
        self.push(bytes, due);
        if self.random.chance(self.conditions.duplicated) {
            self.counts.duplicated += 1;
            self.push(bytes, due);
        }
    }

    /// The next frame that is due by now, if there is one.
    pub fn poll_frame(&mut self, now: Instant) -> Option<Vec<u8>> {
        let Reverse(first) = self.under_way.peek()?;
        if first.due > now {
            return None;
        }
        let Reverse(frame) = self.under_way.pop()?;
        self.bytes -= frame.bytes.len();
        self.counts.delivered += 1;
        Some(frame.bytes)
    }

    /// When [`Way::poll_frame`] will have one.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.under_way.peek().map(|Reverse(frame)| frame.due)
    }

    /// When the frame has left the bottleneck; nothing, when the queue before it is full.
    fn passes_the_rate(&mut self, length: usize, now: Instant) -> Option<Instant> {
        if self.bytes + length > MOST_BYTES || self.under_way.len() >= MOST_FRAMES {
            return None;
        }
        let Some(rate) = self.conditions.rate else {
            return Some(now);
        };
        let takes = Duration::from_secs_f64(length as f64 * 8.0 / rate.max(1) as f64);
        let free = self.free.unwrap_or(now).max(now) + takes;
        self.free = Some(free);
        Some(free)
    }

    fn due(&mut self, begins: Instant) -> Instant {
        let Conditions {
            delay,
            jitter,
            reordering,
            ..
        } = self.conditions;
        let due = begins + delay + jitter.mul_f64(self.random.unit());
        if self.random.chance(reordering.share) {
            self.counts.held_back += 1;
            return due + reordering.by.mul_f64(self.random.unit());
        }
        let due = self.last_due.map_or(due, |last| due.max(last));
        self.last_due = Some(due);
        due
    }

    fn push(&mut self, bytes: &[u8], due: Instant) {
        self.bytes += bytes.len();
        self.under_way.push(Reverse(Frame {
            due,
            number: self.counts.entered,
            bytes: bytes.to_vec(),
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Loss, Reordering};

    const MS: Duration = Duration::from_millis(1);

    fn way(conditions: Conditions) -> (Way, Instant) {
        let mut way = Way::new(1);
        way.set(conditions);
        (way, Instant::now())
    }

    /// A frame each millisecond, each its number; returns what came out and when, in milliseconds.
    fn pass(way: &mut Way, start: Instant, count: u32) -> Vec<(u32, u128)> {
        let mut out = Vec::new();
        for tick in 0..count + 2_000 {
            let now = start + MS * tick;
            if tick < count {
                way.handle_frame(&tick.to_be_bytes(), now);
            }
            while let Some(frame) = way.poll_frame(now) {
                let number = u32::from_be_bytes(frame.try_into().unwrap());
                out.push((number, (now - start).as_millis()));
            }
        }
        out
    }

    fn numbers(out: &[(u32, u128)]) -> Vec<u32> {
        out.iter().map(|(number, _)| *number).collect()
    }

    #[test]
    fn clear_way_delivers_at_once_and_in_order() {
        let (mut way, start) = way(Conditions::default());
        let out = pass(&mut way, start, 100);
        assert!(
            out.iter()
                .enumerate()
                .all(|(at, seen)| *seen == (at as u32, at as u128))
        );
        assert_eq!(way.counts().delivered, 100);
    }

    #[test]
    fn delay_moves_every_frame_by_itself() {
        let (mut way, start) = way(Conditions::delayed(40 * MS));
        let out = pass(&mut way, start, 100);
        assert_eq!(out.len(), 100);
        assert!(out.iter().all(|(number, at)| *at == u128::from(*number) + 40));
    }

    #[test]
    fn jitter_spreads_and_keeps_the_order() {
        let (mut way, start) = way(Conditions {
            delay: 5 * MS,
            jitter: 30 * MS,
            ..Conditions::default()
        });
        let out = pass(&mut way, start, 1_000);
        assert_eq!(numbers(&out), (0..1_000).collect::<Vec<_>>());
        assert!(
            out.iter()
                .all(|(number, at)| (5..=36).contains(&(at - u128::from(*number))))
        );
        let alone: Vec<Duration> = (10..200)
            .map(|second| start + MS * 1_000 * second)
            .map(|now| delay_of_one(&mut way, now))
            .collect();
        assert!(alone.iter().any(|late| *late < 10 * MS) && alone.iter().any(|late| *late > 30 * MS));
    }

    fn delay_of_one(way: &mut Way, now: Instant) -> Duration {
        way.handle_frame(b"alone", now);
        let due = way.poll_timeout().unwrap();
        way.poll_frame(due).unwrap();
        due - now
    }

    #[test]
    fn reordering_holds_back_its_share_and_loses_none() {
        let (mut way, start) = way(Conditions {
            delay: 5 * MS,
            reordering: Reordering {
                share: 0.25,
                by: 10 * MS,
            },
            ..Conditions::default()
        });
        let mut out = numbers(&pass(&mut way, start, 4_000));
        let overtaken = out.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!((600..1_000).contains(&overtaken), "{overtaken}");
        out.sort_unstable();
        assert_eq!(out, (0..4_000).collect::<Vec<_>>());
        assert!((900..1_100).contains(&way.counts().held_back));
    }

    #[test]
    fn duplicates_come_right_behind_their_frame() {
        let (mut way, start) = way(Conditions {
            duplicated: 0.1,
            ..Conditions::default()
        });
        let out = numbers(&pass(&mut way, start, 4_000));
        let doubled = out.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert_eq!(out.len(), 4_000 + doubled);
        assert!((320..480).contains(&doubled), "{doubled}");
    }

    #[test]
    fn lost_frames_are_counted_and_the_same_for_the_same_seed() {
        let conditions = Conditions {
            loss: Loss::Independent(0.3),
            ..Conditions::default()
        };
        let fates = [(); 2].map(|()| {
            let (mut way, start) = way(conditions);
            let out = pass(&mut way, start, 1_000);
            assert_eq!(way.counts().lost, 1_000 - out.len() as u64);
            numbers(&out)
        });
        assert!(fates[0].len() < 800 && fates[0] == fates[1]);
    }

    #[test]
    fn black_hole_swallows_and_heals() {
        let (mut way, start) = way(Conditions::black_hole());
        assert!(pass(&mut way, start, 100).is_empty());
        assert_eq!(way.counts().blocked, 100);
        way.set(Conditions::default());
        assert_eq!(pass(&mut way, start, 100).len(), 100);
    }

    #[test]
    fn rate_spaces_frames_and_a_full_queue_loses() {
        // 32 bits each 2 ms, and one comes each ms.
        let (mut way, start) = way(Conditions {
            rate: Some(16_000),
            ..Conditions::default()
        });
        let out = pass(&mut way, start, 100);
        assert_eq!(out[49].1, 100);
        let frame = vec![0; 60_000];
        (0..100).for_each(|_| way.handle_frame(&frame, start + 1_000 * MS));
        assert!(way.bytes <= MOST_BYTES);
        assert_eq!(way.counts().overflowed, 100 - (MOST_BYTES / frame.len()) as u64);
    }

    #[test]
    fn shorter_way_may_overtake_what_is_on_the_longer_one() {
        let (mut way, start) = way(Conditions::delayed(500 * MS));
        way.handle_frame(b"slow", start);
        way.set(Conditions::delayed(5 * MS));
        way.handle_frame(b"fast", start + MS);
        assert_eq!(way.poll_timeout(), Some(start + 6 * MS));
        assert_eq!(way.poll_frame(start + 6 * MS).unwrap(), b"fast");
        assert_eq!(way.poll_frame(start + 500 * MS).unwrap(), b"slow");
    }
}
