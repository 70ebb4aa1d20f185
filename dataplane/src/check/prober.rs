//! When to ask a target behind a peer, and what follows from its answers and its silence.
//!
//! ```text
//!             an answer                     n questions in a row unanswered, the first for 800 ms
//!   Unknown ────────────► Passes ───────────────────────────────────────────────────────────────► Fails
//!      └───── the same silence ──────────────────────────────────────────────────────────────────►  │
//!                           ▲ ──────────────── 3 answers in a row ──────────────────────────────────┘
//! ```
//!
//! A question leaves every half second, and every 200 ms while the verdict is in doubt. How many misses it takes (`n`, 3 at
//! least) follows from the loss that is measured anyhow: fewer than one false verdict a month. Silence counts only if the peer
//! itself answered a probe meanwhile; while the path to it does not work nothing is asked or concluded, for then the path's
//! health decides. Nor is what was under way held against anybody after this host itself stood still.
//!
//! The caller's part: [`Prober::set_path`] and then [`Prober::handle_timeout`] at [`Prober::poll_timeout`];
//! [`Prober::handle_packet`] for what may be an answer; [`Prober::poll_change`] and [`Prober::poll_report`] after each.

use super::wire::{Answer, Question};
use super::{Check, Verdict};
use crate::packet::Packet;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Between two questions when nothing is in doubt; up to [`JITTER`] less.
pub const PACE: Duration = Duration::from_millis(500);

/// So that the checks of many nodes do not fall into step.
const JITTER: u64 = 100;

/// Between two questions while something is in doubt.
pub const CLOSE: Duration = Duration::from_millis(200);

/// Silence has lasted this long before it counts.
pub const SPAN: Duration = Duration::from_millis(800);

/// Misses in a row that it takes at least, and at most.
const MISSES: usize = 3;
const MOST_MISSES: usize = 10;

/// Answers in a row that it takes to pass again.
const ANSWERS: u32 = 3;

/// Questions a month.
const MONTH: f64 = 5.2e6;

/// An answer may take so long, or twice the usual round trip, before it is missed; but never longer than the most.
const PATIENCE: Duration = Duration::from_millis(200);
const MOST_PATIENCE: Duration = Duration::from_secs(1);

/// An answer that comes later than this is none.
const KEPT: Duration = Duration::from_secs(4);

/// The verdict is told again this often, since whoever is told may have restarted.
pub const REPORT: Duration = Duration::from_secs(2);

/// How often to look whether a path that does not work does.
const LOOK: Duration = Duration::from_millis(100);

/// Weight of the newest question in the measured loss and round trip.
const NEWEST: f64 = 1.0 / 256.0;
const NEWEST_RTT: u32 = 8;

/// One check and how it goes.
#[derive(Debug)]
pub struct Prober {
    check: Check,
    verdict: Verdict,
    /// What was told of the verdict here.
    told: Verdict,
    reported: Option<(Verdict, Instant)>,
    /// Questions so far.
    asked: u64,
    last: Option<Instant>,
    /// Since the last that was answered, oldest first: at most `KEPT / CLOSE`.
    under_way: VecDeque<(u64, Instant)>,
    answered: u32,
    loss: f64,
    rtt: Option<Duration>,
    path_works: bool,
    /// When the peer itself last answered.
    path_proven: Option<Instant>,
    due: Instant,
}

impl Prober {
    /// Of a check of which nothing is known: its first question is due now.
    pub fn new(check: Check, now: Instant) -> Prober {
        Prober {
            check,
            verdict: Verdict::Unknown,
            told: Verdict::Unknown,
            reported: None,
            asked: 0,
            last: None,
            under_way: VecDeque::new(),
            answered: 0,
            loss: 0.0,
            rtt: None,
            path_works: true,
            path_proven: None,
            due: now,
        }
    }

    /// What is checked.
    pub fn check(&self) -> &Check {
        &self.check
    }

    /// What is known.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Whether the path to the peer works at all, and when the peer itself last answered a probe on it.
    pub fn set_path(&mut self, works: bool, proven: Option<Instant>, now: Instant) {
        self.path_proven = proven;
        if works != self.path_works {
            self.path_works = works;
            self.restart(now);
        }
    }

    /// We slept: what is under way proves nothing.
    pub fn handle_stall(&mut self, now: Instant) {
        self.restart(now);
    }

    /// Judges; returns the question that is to leave now, if one is due.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Question> {
        if !self.path_works {
            self.due = now + LOOK;
            return None;
        }
        self.judge(now);
        let question = (self.next_question(now) <= now).then(|| self.ask(now));
        self.plan(now);
        question
    }

    /// When to call [`Prober::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Instant {
        self.due
    }

    /// Takes a packet that may be an answer: the question that it answers, and how. `None`: it is no answer to anything under
    /// way.
    pub fn handle_packet(&mut self, packet: &Packet<'_>, now: Instant) -> Option<(Question, Answer)> {
        let find = |(at, (nonce, sent)): (usize, &(u64, Instant))| {
            let question = self.question(*nonce);
            let answer = question.answer(packet).filter(|_| now < *sent + KEPT)?;
            Some((at, question, answer))
        };
        let (at, question, answer) = self.under_way.iter().enumerate().find_map(find)?;
        self.handle_answer(at, now);
        self.plan(now);
        Some((question, answer))
    }

    /// The verdict, if it is another than when it was last asked for.
    pub fn poll_change(&mut self) -> Option<Verdict> {
        let before = std::mem::replace(&mut self.told, self.verdict);
        (before != self.verdict).then_some(self.verdict)
    }

    /// Whether the target answers, if it is time to tell the peer.
    pub fn poll_report(&mut self, now: Instant) -> Option<bool> {
        let known = self.path_works && self.verdict != Verdict::Unknown;
        if !known || self.next_report().is_some_and(|at| now < at) {
            return None;
        }
        self.reported = Some((self.verdict, now));
        self.plan(now);
        Some(self.verdict == Verdict::Passes)
    }

    fn next_report(&self) -> Option<Instant> {
        let (told, at) = self.reported?;
        (told == self.verdict).then_some(at + REPORT)
    }

    fn restart(&mut self, now: Instant) {
        self.under_way.clear();
        self.answered = 0;
        self.last = None;
        self.due = now;
    }

    fn ask(&mut self, now: Instant) -> Question {
        self.asked += 1;
        let nonce = mix(self.check.seed.wrapping_add(self.asked));
        self.last = Some(now);
        self.under_way.push_back((nonce, now));
        self.question(nonce)
    }

    fn question(&self, nonce: u64) -> Question {
        Question {
            target: self.check.target,
            source: self.check.source,
            nonce,
        }
    }

    fn handle_answer(&mut self, at: usize, now: Instant) {
        let Some(&(_, sent)) = self.under_way.get(at) else {
            return;
        };
        let missed = self.misses(sent);
        let rtt = now.saturating_duration_since(sent);
        self.under_way.drain(..=at);
        self.rtt = Some(
            self.rtt
                .map_or(rtt, |before| (before * (NEWEST_RTT - 1) + rtt) / NEWEST_RTT),
        );
        self.answered = if missed > 0 { 1 } else { self.answered + 1 };
        match self.verdict {
            Verdict::Unknown => self.verdict = Verdict::Passes,
            Verdict::Fails if self.answered >= ANSWERS => self.verdict = Verdict::Passes,
            Verdict::Fails => {}
            Verdict::Passes => self.note_loss(missed),
        }
    }

    /// Of the questions before an answer so many were lost. What a target that failed did not answer is no loss.
    fn note_loss(&mut self, missed: usize) {
        for _ in 0..missed {
            self.loss += (1.0 - self.loss) * NEWEST;
        }
        self.loss -= self.loss * NEWEST;
    }

    fn judge(&mut self, now: Instant) {
        while self
            .under_way
            .front()
            .is_some_and(|(_, sent)| now >= *sent + KEPT)
        {
            self.under_way.pop_front();
        }
        let misses = self.misses(now);
        if misses == 0 {
            return;
        }
        self.answered = 0;
        let silent = self.under_way.front().is_some_and(|(_, sent)| {
            let peer_answers = self.path_proven.is_some_and(|proven| proven > *sent);
            peer_answers && now >= *sent + SPAN
        });
        if silent && misses >= self.allowed() {
            self.verdict = Verdict::Fails;
        }
    }

    /// How many of those under way should have been answered by now.
    fn misses(&self, now: Instant) -> usize {
        let patience = self.patience();
        let overdue = |(_, sent): &&(u64, Instant)| now >= *sent + patience;
        self.under_way.iter().take_while(overdue).count()
    }

    fn patience(&self) -> Duration {
        let usual = self.rtt.map_or(MOST_PATIENCE, |rtt| rtt * 2);
        usual.clamp(PATIENCE, MOST_PATIENCE)
    }

    /// Misses in a row that chance brings less than once a month.
    fn allowed(&self) -> usize {
        if self.loss <= 0.0 {
            return MISSES;
        }
        let run = MONTH.ln() / -self.loss.min(0.9).ln();
        (run.ceil() as usize).clamp(MISSES, MOST_MISSES)
    }

    fn next_question(&self, now: Instant) -> Instant {
        let Some(last) = self.last else { return now };
        let doubt = match self.verdict {
            Verdict::Fails => self.answered > 0,
            Verdict::Passes | Verdict::Unknown => self.misses(now) > 0,
        };
        if doubt {
            return last + CLOSE;
        }
        let less = mix(self.check.seed ^ self.asked) % (JITTER + 1);
        last + PACE - Duration::from_millis(less)
    }

    fn plan(&mut self, now: Instant) {
        let patience = self.patience();
        let misses = self.under_way.iter().map(|(_, sent)| *sent + patience);
        let silence = self.under_way.front().map(|(_, sent)| *sent + SPAN);
        let report = Some(self.verdict)
            .filter(|verdict| *verdict != Verdict::Unknown)
            .map(|_| self.next_report().unwrap_or(now));
        let more = misses.chain(silence).filter(|at| *at > now).chain(report);
        self.due = more.fold(self.next_question(now), Instant::min);
    }
}

/// The finaliser of splitmix64 (Steele, Lea and Flood, 2014): every bit of the input changes half of the output.
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
#[path = "prober_tests.rs"]
mod tests;
