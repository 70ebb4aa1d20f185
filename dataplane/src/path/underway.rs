//! Probes that wait for their answers, and how many are missing.
//!
//! A probe is missed when its answer is overdue and none that left later was answered either. An answer proves both ways; so
//! does a packet of the peer that names the last probe it had from us.

use super::misses::Misses;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A probe without an answer after this long is lost.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// More than leave in [`REPLY_TIMEOUT`] at the fastest pace, pings included.
const MAX: usize = 128;

/// One probe under way.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Its number.
    pub sequence: u32,
    /// When it left.
    pub sent: Instant,
    /// The timestamp in it.
    pub stamp: u64,
    /// The token of the ping that it is.
    pub ping: Option<u32>,
}

/// What is missing at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Probes in a row.
    pub count: u32,
    /// When the first of them left.
    pub since: Option<Instant>,
    /// When the next probe under way will be missing too.
    pub next: Option<Instant>,
    /// How long an answer may take.
    pub due: Duration,
}

/// The probes of one path.
#[derive(Debug)]
pub struct UnderWay {
    next: u32,
    probes: VecDeque<Probe>,
    /// The latest that is known to have made it both ways.
    proven: Option<u32>,
    /// Those after it that are no longer waited for.
    given_up: u32,
    first_given_up: Option<Instant>,
    misses: Misses,
}

fn newer(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

impl UnderWay {
    /// None yet.
    pub fn new(now: Instant) -> UnderWay {
        UnderWay {
            next: 0,
            probes: VecDeque::new(),
            proven: None,
            given_up: 0,
            first_given_up: None,
            misses: Misses::new(now),
        }
    }

    /// A probe leaves: its number.
    pub fn handle_sent(&mut self, stamp: u64, ping: Option<u32>, now: Instant) -> u32 {
        if self.probes.len() == MAX {
            self.give_up();
        }
        let sequence = self.next;
        self.next = self.next.wrapping_add(1);
        self.probes.push_back(Probe {
            sequence,
            sent: now,
            stamp,
            ping,
        });
        sequence
    }

    /// The answer to this probe came. `None`: it is not under way. `due`: how long answers may take.
    pub fn handle_answer(&mut self, sequence: u32, due: Duration, now: Instant) -> Option<Probe> {
        let at = self.probes.iter().position(|p| p.sequence == sequence)?;
        let probe = self.probes[at];
        self.prove(sequence, due, now);
        self.probes.remove(at);
        Some(probe)
    }

    /// The peer says that it had this probe. Returns whether that is news of one under way.
    pub fn handle_echo(&mut self, sequence: u32, stamp: u64, due: Duration, now: Instant) -> bool {
        let news = self.is_open(sequence)
            && self
                .probes
                .iter()
                .any(|p| p.sequence == sequence && p.stamp == stamp);
        if news {
            self.prove(sequence, due, now);
        }
        news
    }

    /// Gives up on the next probe that was waited for long enough.
    pub fn expire(&mut self, now: Instant) -> Option<Probe> {
        let first = self.probes.front()?;
        let long = now.saturating_duration_since(first.sent) >= REPLY_TIMEOUT;
        long.then(|| self.give_up()).flatten()
    }

    /// What is missing, if an answer may take as long as `due`.
    pub fn missing(&self, due: Duration, now: Instant) -> Missing {
        let mut missing = Missing {
            count: self.given_up,
            since: self.first_given_up,
            next: None,
            due,
        };
        for probe in self.probes.iter().filter(|p| self.is_open(p.sequence)) {
            if now.saturating_duration_since(probe.sent) < due {
                missing.next = Some(probe.sent + due);
                break;
            }
            missing.count += 1;
            missing.since.get_or_insert(probe.sent);
        }
        missing
    }

    /// How many may be missing before that says something.
    pub fn allowed(&self, now: Instant) -> u32 {
        self.misses.allowed(now)
    }

    /// What is under way, and what is missing, proves nothing.
    pub fn restart(&mut self) {
        self.probes.clear();
        self.proven = self.next.checked_sub(1);
        (self.given_up, self.first_given_up) = (0, None);
    }

    /// Whether nothing proves this probe or a later one.
    fn is_open(&self, sequence: u32) -> bool {
        self.proven.is_none_or(|proven| newer(sequence, proven))
    }

    fn give_up(&mut self) -> Option<Probe> {
        let probe = self.probes.pop_front()?;
        if self.is_open(probe.sequence) {
            self.given_up += 1;
            self.first_given_up.get_or_insert(probe.sent);
        }
        Some(probe)
    }

    fn prove(&mut self, sequence: u32, due: Duration, now: Instant) {
        if !self.is_open(sequence) {
            return;
        }
        let overdue = |p: &&Probe| now.saturating_duration_since(p.sent) >= due;
        let before = self
            .probes
            .iter()
            .filter(|p| self.is_open(p.sequence) && newer(sequence, p.sequence))
            .filter(overdue);
        let (count, first) = before.fold((self.given_up, self.first_given_up), |(n, first), p| {
            (n + 1, first.or(Some(p.sent)))
        });
        let lasted = first.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.misses.handle_run(count, lasted, now);
        self.proven = Some(sequence);
        (self.given_up, self.first_given_up) = (0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const DUE: Duration = Duration::from_millis(50);

    fn four() -> (UnderWay, Instant) {
        #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
        let start = Instant::now();
        let mut way = UnderWay::new(start);
        for i in 0..4 {
            way.handle_sent(u64::from(i) + 70, None, start + i * 100 * MS);
        }
        (way, start)
    }

    #[test]
    fn what_is_overdue_is_missing_and_the_next_is_announced() {
        let (way, start) = four();
        let missing = way.missing(DUE, start + 320 * MS);
        assert_eq!(
            missing,
            Missing {
                count: 3,
                since: Some(start),
                next: Some(start + 350 * MS),
                due: DUE
            }
        );
        assert_eq!(way.missing(DUE, start + 350 * MS).count, 4);
    }

    #[test]
    fn an_answer_excuses_all_that_left_before() {
        let (mut way, start) = four();
        assert!(way.handle_answer(2, DUE, start + 320 * MS).is_some());
        assert_eq!(way.missing(DUE, start + 350 * MS).count, 1);
        assert!(
            way.handle_answer(0, DUE, start + 360 * MS).is_some(),
            "late, and measured"
        );
        assert_eq!(
            way.missing(DUE, start + 360 * MS).count,
            1,
            "but it proves nothing new"
        );
        assert!(way.handle_answer(0, DUE, start + 370 * MS).is_none());
    }

    #[test]
    fn the_peers_word_counts_if_it_names_the_probe_by_number_and_time() {
        let (mut way, start) = four();
        let now = start + 400 * MS;
        assert!(!way.handle_echo(3, 70, DUE, now), "of another life");
        assert!(!way.handle_echo(9, 79, DUE, now), "never sent");
        assert!(way.handle_echo(3, 73, DUE, now));
        assert!(!way.handle_echo(3, 73, DUE, now), "known already");
        assert_eq!(way.missing(DUE, now).since, None);
    }

    #[test]
    fn what_is_given_up_stays_missing_until_an_answer() {
        let (mut way, start) = four();
        let now = start + REPLY_TIMEOUT + 150 * MS;
        assert_eq!(std::iter::from_fn(|| way.expire(now)).count(), 2);
        let missing = way.missing(DUE, now);
        assert_eq!((missing.count, missing.since), (4, Some(start)));
        way.handle_answer(3, DUE, now);
        assert_eq!(way.missing(DUE, now).count, 0);
    }

    #[test]
    fn a_restart_forgets_what_is_under_way_and_what_is_missing() {
        let (mut way, start) = four();
        way.restart();
        let now = start + 900 * MS;
        assert_eq!(way.missing(DUE, now).since, None);
        assert!(!way.handle_echo(3, 73, DUE, now));
        let next = way.handle_sent(80, None, now);
        assert_eq!(next, 4);
        assert_eq!(way.missing(DUE, now + DUE).count, 1);
    }
}
