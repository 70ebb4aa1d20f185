//! Loss per direction, from two sequences of numbers.
//!
//! Between two answers, the sender's numbers say how many probes left, the reflector's how many of them arrived, and every
//! answer that is missing between two of the reflector's numbers was lost on the way back. Where no answer comes at all, the
//! numbers say nothing; then it is the way there if the peer is heard otherwise, and the way back if not.

use std::time::{Duration, Instant};

/// Ten whole ones, and the one that is being filled.
const BUCKETS: usize = 11;
const BUCKET: Duration = Duration::from_secs(1);

/// More new numbers than this at once are a new session of the other side, no loss.
const MAX_STEP: u32 = 1 << 16;

/// Shares lost, 0 to 1, over the last 10 s.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ratios {
    /// From us to the peer.
    pub outbound: f64,
    /// From the peer to us.
    pub inbound: f64,
}

impl Ratios {
    /// Share of probes that come back with no answer.
    pub fn round_trip(&self) -> f64 {
        1.0 - (1.0 - self.outbound) * (1.0 - self.inbound)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Way {
    sent: u32,
    lost: u32,
}

impl Way {
    fn add(&mut self, sent: u32, lost: u32) {
        self.sent += sent;
        self.lost += lost;
    }

    /// What was counted as lost came after all.
    fn found(&mut self, n: u32) {
        self.lost = self.lost.saturating_sub(n);
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    tick: u64,
    there: Way,
    back: Way,
}

/// The numbers of one session.
#[derive(Debug)]
pub struct Loss {
    start: Instant,
    buckets: [Bucket; BUCKETS],
    /// Highest sender and reflector numbers so far.
    last: Option<(u32, u32)>,
    /// Highest sender number that [`Loss::handle_silence`] already blamed on a way.
    blamed: Option<u32>,
}

impl Loss {
    /// Nothing measured yet.
    pub fn new(start: Instant) -> Loss {
        Loss {
            start,
            buckets: [Bucket::default(); BUCKETS],
            last: None,
            blamed: None,
        }
    }

    /// An answer came: the probe's number and the reflector's own.
    pub fn handle_reply(&mut self, sender: u32, reflector: u32, now: Instant) {
        let Some((last_sender, last_reflector)) = self.last else {
            self.last = Some((sender, reflector));
            return self.count(now, |b| (b.there.add(1, 0), b.back.add(1, 0)));
        };
        let newer = |a: u32, b: u32| a.wrapping_sub(b).cast_signed() > 0;
        match (newer(sender, last_sender), newer(reflector, last_reflector)) {
            (true, true) => self.advance(sender, reflector, now),
            // The reflector began anew: nothing to compare with.
            (true, false) => {
                self.last = Some((sender, reflector));
                self.blamed = None;
                self.count(now, |b| (b.there.add(1, 0), b.back.add(1, 0)));
            }
            // The probe was overtaken on the way there, where it counts as lost until now.
            (false, true) => {
                self.last = Some((last_sender, reflector));
                self.count(now, |b| (b.there.found(1), b.back.add(1, 0)));
            }
            // The answer was overtaken on the way back.
            (false, false) => self.count(now, |b| (b.back.found(1), ())),
        }
    }

    fn advance(&mut self, sender: u32, reflector: u32, now: Instant) {
        let (last_sender, last_reflector) = self.last.unwrap_or((sender, reflector));
        let (sent, arrived) = (
            sender.wrapping_sub(last_sender),
            reflector.wrapping_sub(last_reflector),
        );
        self.last = Some((sender, reflector));
        if sent > MAX_STEP || arrived > MAX_STEP {
            return;
        }
        // Probes of the gap that silence already put on one way are not counted a second time.
        let blamed = self
            .blamed
            .take()
            .map_or(0, |b| b.wrapping_sub(last_sender).min(sent));
        let lost_there = sent.saturating_sub(arrived);
        let lost_back = arrived.saturating_sub(1).min(sent);
        // More arrived than left: some were overtaken by a probe that was answered before.
        let overtaken = arrived.saturating_sub(sent);
        let blamed_there = blamed.min(lost_there);
        let blamed_back = (blamed - blamed_there).min(lost_back);
        self.count(now, |b| {
            b.there.add(sent - blamed, lost_there - blamed_there);
            b.there.found(overtaken);
            b.back
                .add(arrived.min(sent) - blamed_back, lost_back - blamed_back);
        });
    }

    /// No answer to this probe. `heard`: whether anything came from the peer lately.
    pub fn handle_silence(&mut self, sender: u32, heard: bool, now: Instant) {
        // Before an answer with a higher number, only: behind it, the numbers themselves tell.
        let answered = self
            .last
            .is_some_and(|(last, _)| sender.wrapping_sub(last).cast_signed() <= 0);
        if answered {
            return;
        }
        self.blamed = Some(sender);
        self.count(now, |b| {
            if heard {
                b.there.add(1, 1)
            } else {
                b.back.add(1, 1)
            }
        });
    }

    /// What is missing is our own doing: the next answer only sets the numbers.
    pub fn restart(&mut self) {
        self.last = None;
        self.blamed = None;
    }

    /// Shares lost over the last 10 s.
    pub fn ratios(&self, now: Instant) -> Ratios {
        let oldest = self.tick(now).saturating_sub(BUCKETS as u64 - 1);
        let (mut there, mut back) = (Way::default(), Way::default());
        for bucket in self.buckets.iter().filter(|b| b.tick >= oldest) {
            there.add(bucket.there.sent, bucket.there.lost);
            back.add(bucket.back.sent, bucket.back.lost);
        }
        let share = |way: Way| f64::from(way.lost.min(way.sent)) / f64::from(way.sent.max(1));
        Ratios {
            outbound: share(there),
            inbound: share(back),
        }
    }

    fn tick(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() / BUCKET.as_secs()
    }

    fn count<R>(&mut self, now: Instant, add: impl FnOnce(&mut Bucket) -> R) {
        let tick = self.tick(now);
        let bucket = &mut self.buckets[(tick % BUCKETS as u64) as usize];
        if bucket.tick != tick {
            *bucket = Bucket {
                tick,
                ..Bucket::default()
            };
        }
        add(bucket);
    }
}
