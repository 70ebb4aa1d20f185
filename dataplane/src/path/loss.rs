//! Loss per direction, from two sequences of numbers.
//!
//! Between two answers, the sender's numbers say how many probes left, the reflector's how many of them arrived, and every
//! answer that is missing between two of the reflector's numbers was lost on the way back. Where no answer comes at all, the
//! numbers say nothing; then it is the way there if the peer is heard otherwise, and the way back if not.

use super::window::{Window, Windows};
use std::time::Instant;

/// More new numbers than this at once are a new session of the other side, no loss.
const MAX_STEP: u32 = 1 << 16;

/// Shares lost, 0 to 1.
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

/// What was counted on one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Probes, or answers, that left.
    pub sent: u32,
    /// Those that did not arrive.
    pub lost: u32,
    /// Runs of those.
    pub runs: u32,
}

impl Way {
    fn share(self) -> f64 {
        f64::from(self.lost.min(self.sent)) / f64::from(self.sent.max(1))
    }

    fn add(&mut self, sent: u32, lost: u32) {
        self.sent += sent;
        self.lost += lost;
        self.runs += u32::from(lost > 0);
    }

    fn merge(&mut self, more: Way) {
        self.sent += more.sent;
        self.lost += more.lost;
        self.runs += more.runs;
    }

    /// What was counted as lost came after all.
    fn found(&mut self, n: u32) {
        self.lost = self.lost.saturating_sub(n);
    }
}

/// Both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// From us to the peer.
    pub there: Way,
    /// From the peer to us.
    pub back: Way,
}

/// The numbers of one session.
#[derive(Debug)]
pub struct Loss {
    windows: Windows<Ways>,
    /// The same since [`Loss::forgive`].
    forgiving: Windows<Ways>,
    /// Highest sender and reflector numbers so far.
    last: Option<(u32, u32)>,
    /// Highest sender number that [`Loss::handle_silence`] already blamed on a way.
    blamed: Option<u32>,
}

impl Loss {
    /// Nothing measured yet.
    pub fn new(start: Instant) -> Loss {
        Loss {
            windows: Windows::new(start),
            forgiving: Windows::new(start),
            last: None,
            blamed: None,
        }
    }

    /// An answer came: the probe's number and the reflector's own.
    pub fn handle_reply(&mut self, sender: u32, reflector: u32, now: Instant) {
        let Some((last_sender, last_reflector)) = self.last else {
            self.last = Some((sender, reflector));
            return self.count_passed(now);
        };
        let newer = |a: u32, b: u32| a.wrapping_sub(b).cast_signed() > 0;
        match (newer(sender, last_sender), newer(reflector, last_reflector)) {
            (true, true) => self.advance(sender, reflector, now),
            // The reflector began anew: nothing to compare with.
            (true, false) => {
                self.last = Some((sender, reflector));
                self.blamed = None;
                self.count_passed(now);
            }
            // The probe was overtaken on the way there, where it counts as lost until now.
            (false, true) => {
                self.last = Some((last_sender, reflector));
                self.count(now, |w| {
                    w.there.found(1);
                    w.back.add(1, 0);
                });
            }
            // The answer was overtaken on the way back.
            (false, false) => self.count(now, |w| w.back.found(1)),
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

    /// An outage has ended: from now on it is not to be mistaken for loss of a path that works.
    pub fn forgive(&mut self, now: Instant) {
        self.forgiving = Windows::new(now);
    }

    /// What was counted in a window since the last outage.
    pub fn since_outage(&self, window: Window, now: Instant) -> Ways {
        sum(self.forgiving.last(window, now))
    }

    /// Shares lost in a window.
    pub fn ratios(&self, window: Window, now: Instant) -> Ratios {
        let ways = sum(self.windows.last(window, now));
        Ratios {
            outbound: ways.there.share(),
            inbound: ways.back.share(),
        }
    }

    fn count(&mut self, now: Instant, mut add: impl FnMut(&mut Ways)) {
        self.windows.count(now, &mut add);
        self.forgiving.count(now, &mut add);
    }

    fn count_passed(&mut self, now: Instant) {
        self.count(now, |w| {
            w.there.add(1, 0);
            w.back.add(1, 0);
        });
    }
}

fn sum<'a>(counts: impl Iterator<Item = &'a Ways>) -> Ways {
    let mut sum = Ways::default();
    for more in counts {
        sum.there.merge(more.there);
        sum.back.merge(more.back);
    }
    sum
}
