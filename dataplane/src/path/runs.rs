//! Whether datagrams that leave together arrive: a network card that corrupts what it segments is found here.
//!
//! While a path carries packets, a probe is sent as the first of a run (`UDP_SEGMENT`), and at the same moment a second one,
//! the control, alone. A card that corrupts runs loses every probe and no control. A path that loses packets loses both
//! alike: a missing probe counts only when its control was answered, and how many in a row make a verdict adapts to how many
//! are lost on their own. Then the peer's datagrams leave one by one. Probes keep leaving in runs: once they arrive, so may
//! everything else. It is a verdict about one peer, so that one which does not answer cannot slow down the others.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Probes under way that are remembered: more than [`PATIENCE`] of them.
const REMEMBERED: usize = 8;

/// How often a path in use is tried.
pub const PACE: Duration = Duration::from_millis(250);

/// A probe that is not answered after this long is missing.
const PATIENCE: Duration = Duration::from_secs(1);

/// Missing probes in a row that make a verdict, at least and at most. With [`PACE`] and [`PATIENCE`] the least is 3.5 s.
const MISSES: std::ops::RangeInclusive<u32> = 10..=40;

/// So improbable the row must be under the loss of the path.
const IMPROBABLE: f64 = 1e-8;

/// Answered probes in a row after which runs are used again.
const ANSWERS: u32 = 10;

/// Numbers of these probes begin here, those of path MTU discovery below it.
pub const FIRST_SEQUENCE: u32 = 1 << 31;

/// What became certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Runs do not arrive, single datagrams do.
    Lost,
    /// Runs arrive again.
    Restored,
}

/// A probe and its control, which has the next number.
#[derive(Clone, Copy, Debug)]
struct Pair {
    sequence: u32,
    sent: Instant,
    probe: bool,
    control: bool,
}

/// The watch over the runs to one peer.
#[derive(Debug)]
pub struct RunWatch {
    sent: VecDeque<Pair>,
    next_sequence: u32,
    due: Option<Instant>,
    /// Whether datagrams are to leave one by one.
    single: bool,
    misses: u32,
    answers: u32,
    /// Share of controls that were lost, smoothed.
    loss: f64,
}

impl Default for RunWatch {
    fn default() -> RunWatch {
        RunWatch {
            sent: VecDeque::with_capacity(REMEMBERED),
            next_sequence: FIRST_SEQUENCE,
            due: None,
            single: false,
            misses: 0,
            answers: 0,
            loss: 0.0,
        }
    }
}

impl RunWatch {
    /// Whether datagrams to the peer must leave one by one.
    pub fn is_single(&self) -> bool {
        self.single
    }

    /// Whether `sequence` is of one of these probes.
    pub fn owns(sequence: u32) -> bool {
        sequence >= FIRST_SEQUENCE
    }

    /// If it is time: the number of the next probe. Its control has the next one, and what fills the run the one after, which
    /// is not listened for: it may leave alone, when the probe ends a run of larger datagrams.
    pub fn ask(&mut self, now: Instant) -> Option<u32> {
        let due = self
            .due
            .filter(|due| now.saturating_duration_since(*due) < PATIENCE);
        if due.is_some_and(|due| now < due) {
            return None;
        }
        self.due = Some(now + PACE);
        // A path that was idle: a single packet needs no probes.
        due?;
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(4).max(FIRST_SEQUENCE);
        if self.sent.len() == REMEMBERED {
            self.sent.pop_front();
        }
        self.sent.push_back(Pair {
            sequence,
            sent: now,
            probe: false,
            control: false,
        });
        Some(sequence)
    }

    /// One of them was answered.
    pub fn handle_answer(&mut self, sequence: u32) {
        let of = |pair: &&mut Pair| pair.sequence == sequence || pair.sequence + 1 == sequence;
        if let Some(pair) = self.sent.iter_mut().find(of) {
            match pair.sequence == sequence {
                true => pair.probe = true,
                false => pair.control = true,
            }
        }
    }

    /// Judges what has had its time.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Verdict> {
        let had_its_time = |pair: &Pair| now.saturating_duration_since(pair.sent) >= PATIENCE;
        while let Some(pair) = self.sent.front().copied().filter(had_its_time) {
            self.sent.pop_front();
            if let Some(verdict) = self.judge(pair) {
                return Some(verdict);
            }
        }
        None
    }

    /// We slept: what is under way proves nothing.
    pub fn handle_stall(&mut self) {
        self.sent.clear();
        self.misses = 0;
    }

    fn judge(&mut self, pair: Pair) -> Option<Verdict> {
        let lost = if pair.control { 0.0 } else { 1.0 };
        self.loss += (lost - self.loss) / 16.0;
        match (pair.probe, pair.control) {
            (true, _) => (self.misses, self.answers) = (0, self.answers + 1),
            (false, true) => (self.misses, self.answers) = (self.misses + 1, 0),
            (false, false) => {}
        }
        let verdict = match self.single {
            false if self.misses >= self.verdict_after() => Verdict::Lost,
            true if self.answers >= ANSWERS => Verdict::Restored,
            _ => return None,
        };
        self.single = verdict == Verdict::Lost;
        (self.misses, self.answers) = (0, 0);
        Some(verdict)
    }

    fn verdict_after(&self) -> u32 {
        // A tenth is taken for granted: what was lost lately says little about the next second.
        let loss = (self.loss + 0.1).min(0.9);
        let row = (IMPROBABLE.ln() / loss.ln()).ceil() as u32;
        row.clamp(*MISSES.start(), *MISSES.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Path {
        watch: RunWatch,
        now: Instant,
        /// What the network does is a function of this.
        state: u64,
        loss: f64,
        corrupts: bool,
    }

    impl Path {
        fn new(loss: f64, seed: u64) -> Path {
            #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
            let now = Instant::now();
            Path {
                watch: RunWatch::default(),
                now,
                state: seed,
                loss,
                corrupts: false,
            }
        }

        fn loses(&mut self) -> bool {
            self.state = self
                .state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((self.state >> 33) as f64 / f64::from(u32::MAX >> 1)) < self.loss
        }

        /// Lets time pass; the first verdict, and when it came.
        fn run(&mut self, time: Duration) -> Option<(Verdict, Duration)> {
            let start = self.now;
            while self.now - start < time {
                self.now += PACE;
                if let Some(sequence) = self.watch.ask(self.now) {
                    if !self.loses() && !self.corrupts {
                        self.watch.handle_answer(sequence);
                    }
                    if !self.loses() {
                        self.watch.handle_answer(sequence + 1);
                    }
                }
                if let Some(verdict) = self.watch.handle_timeout(self.now) {
                    return Some((verdict, self.now - start));
                }
            }
            None
        }
    }

    #[test]
    fn runs_that_never_arrive_are_given_up_within_five_seconds() {
        let mut path = Path::new(0.0, 1);
        assert_eq!(path.run(Duration::from_secs(60)), None);
        path.corrupts = true;
        let (verdict, after) = path.run(Duration::from_secs(60)).unwrap();
        assert_eq!(verdict, Verdict::Lost);
        assert!(after <= Duration::from_secs(5), "{after:?}");
        assert!(path.watch.is_single());
    }

    #[test]
    fn runs_are_used_again_once_they_arrive() {
        let mut path = Path::new(0.0, 1);
        path.corrupts = true;
        path.run(Duration::from_secs(10)).unwrap();
        assert_eq!(path.run(Duration::from_secs(600)), None);
        path.corrupts = false;
        assert_eq!(path.run(Duration::from_secs(10)).unwrap().0, Verdict::Restored);
        assert!(!path.watch.is_single());
    }

    #[test]
    fn dead_path_says_nothing_about_runs() {
        let mut path = Path::new(0.0, 1);
        path.run(Duration::from_secs(10));
        path.loss = 1.1;
        assert_eq!(path.run(Duration::from_secs(600)), None);
    }

    #[test]
    fn corruption_is_found_on_a_lossy_path_too() {
        let mut path = Path::new(0.36, 7);
        path.run(Duration::from_secs(10));
        path.corrupts = true;
        assert_eq!(path.run(Duration::from_secs(20)).unwrap().0, Verdict::Lost);
    }

    #[test]
    fn late_and_foreign_answers_change_nothing() {
        let mut watch = RunWatch::default();
        for sequence in [0, FIRST_SEQUENCE, u32::MAX] {
            watch.handle_answer(sequence);
        }
        assert!(!watch.is_single());
    }

    proptest! {
        /// 20 % each way, for three hours each.
        #[test]
        fn loss_alone_is_never_a_verdict(seed: u64, loss in 0.0..0.36) {
            prop_assert_eq!(Path::new(loss, seed).run(Duration::from_secs(10_800)), None);
        }
    }
}
