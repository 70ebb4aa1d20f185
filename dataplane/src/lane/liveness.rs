//! Whether a lane above 0 may carry a peer's packets. Pure.
//!
//! Its UDP port may be closed anywhere on the way, now or later, so a lane's tunnel is used only while it answers: it is
//! dropped when it sends and hears nothing, tried again with growing pauses, and freed when nobody uses it. Whoever
//! receives and has nothing to send says so with an empty packet, so that silence means something.

use std::time::{Duration, Instant};

/// Sending for this long without hearing anything ends a tunnel.
pub(super) const SILENCE: Duration = Duration::from_secs(1);

/// An empty packet goes out this long after something was heard, if nothing else did.
const ANSWER: Duration = Duration::from_millis(200);

/// An unused tunnel says this often that it is there: address translators forget after 30 s.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Nothing heard for this long ends an unused tunnel: two empty packets were lost, or nobody sends them.
const UNHEARD: Duration = Duration::from_secs(50);

/// A tunnel that carried nothing for this long is freed.
const UNUSED: Duration = Duration::from_secs(600);

/// It is not used any more for this long before that: the other side may be about to free it.
const MARGIN: Duration = Duration::from_secs(10);

/// Initiations of one attempt to build a tunnel.
pub(super) const TRIES: usize = 4;

/// Pauses between attempts that failed: doubled from the first to the last.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(60);

/// A tunnel that lasted this long makes earlier failures forgotten.
const PROVEN: Duration = Duration::from_secs(60);

/// The life of one peer's tunnel in one lane.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    /// Since when there is a tunnel.
    built: Option<Instant>,
    /// The last packet that somebody had sent, either way: no probe, no answer.
    used: Option<Instant>,
    heard: Option<Instant>,
    sent: Option<Instant>,
    /// The first packet with payload that was sent since anything was heard.
    unanswered: Option<Instant>,
    /// The first packet with payload that was heard since anything was sent.
    owed: Option<Instant>,
    failures: u32,
    retry: Option<Instant>,
}

/// What has to be done about a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing.
    Nothing,
    /// Send an empty packet.
    Answer,
    /// Drop it: it does not answer.
    Silent,
    /// Free it: nobody uses it.
    Unused,
}

impl Liveness {
    /// There is a tunnel from now on, with or without a session.
    pub(super) fn handle_built(&mut self, now: Instant) {
        *self = Liveness {
            built: Some(now),
            heard: Some(now),
            sent: Some(now),
            failures: self.failures,
            ..Liveness::default()
        };
    }

    /// A packet that somebody sent passes, either way.
    pub(super) fn handle_used(&mut self, now: Instant) {
        self.used = Some(now);
    }

    /// A packet was sealed; `payload`: it was not empty.
    pub(super) fn handle_sent(&mut self, payload: bool, now: Instant) {
        (self.sent, self.owed) = (Some(now), None);
        if payload {
            self.unanswered.get_or_insert(now);
        }
    }

    /// An authentic packet came; `payload`: it was not empty.
    pub(super) fn handle_heard(&mut self, payload: bool, now: Instant) {
        (self.heard, self.unanswered) = (Some(now), None);
        if payload {
            self.owed.get_or_insert(now);
        }
    }

    /// We slept: what was missed meanwhile is nobody's fault.
    pub(super) fn handle_stall(&mut self, now: Instant) {
        self.unanswered = self.unanswered.map(|_| now);
        self.heard = self.heard.map(|_| now);
    }

    /// The tunnel is gone because it did not answer: schedules the next attempt. Returns how many failed in a row.
    pub(super) fn handle_failed(&mut self, now: Instant) -> u32 {
        let lasted = past(self.built, PROVEN, now);
        let failures = if lasted { 0 } else { self.failures };
        let pause = *PAUSES.start() * (1 << failures.min(8));
        *self = Liveness {
            failures: failures + 1,
            retry: Some(now + pause.min(*PAUSES.end())),
            ..Liveness::default()
        };
        self.failures
    }

    /// What has to be done now.
    pub(super) fn due(&self, now: Instant) -> Due {
        if past(self.unanswered, SILENCE, now) || past(self.heard, UNHEARD, now) {
            Due::Silent
        } else if self.is_unused(UNUSED, now) {
            Due::Unused
        } else if past(self.owed, ANSWER, now) || past(self.sent, KEEPALIVE, now) {
            Due::Answer
        } else {
            Due::Nothing
        }
    }

    /// When silence would end the tunnel.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.unanswered.map(|since| since + SILENCE)
    }

    /// Whether the tunnel is left alone because it ends soon.
    pub(super) fn is_closing(&self, now: Instant) -> bool {
        self.is_unused(UNUSED - MARGIN, now)
    }

    /// Lane 0 never says that it built a tunnel: its own are kept.
    fn is_unused(&self, long: Duration, now: Instant) -> bool {
        self.built.is_some() && past(self.used.or(self.built), long, now)
    }

    /// Whether an attempt may begin.
    pub(super) fn may_try(&self, now: Instant) -> bool {
        self.retry.is_none_or(|at| at <= now)
    }
}

fn past(since: Option<Instant>, long: Duration, now: Instant) -> bool {
    since.is_some_and(|at| now.saturating_duration_since(at) >= long)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const S: Duration = Duration::from_secs(1);

    fn built() -> (Liveness, Instant) {
        #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
        let start = Instant::now();
        let mut liveness = Liveness::default();
        liveness.handle_built(start);
        (liveness, start)
    }

    #[test]
    fn a_second_of_sending_into_silence_ends_it() {
        let (mut tunnel, start) = built();
        tunnel.handle_sent(true, start);
        tunnel.handle_sent(true, start + 900 * MS);
        assert_eq!(tunnel.due(start + 999 * MS), Due::Nothing);
        assert_eq!(tunnel.due(start + S), Due::Silent);
        tunnel.handle_heard(false, start + S);
        assert_eq!(tunnel.due(start + S), Due::Nothing);
    }

    #[test]
    fn who_only_receives_answers_once_and_answers_are_not_answered() {
        let (mut tunnel, start) = built();
        tunnel.handle_heard(true, start);
        tunnel.handle_heard(true, start + 100 * MS);
        assert_eq!(tunnel.due(start + 200 * MS), Due::Answer);
        tunnel.handle_sent(false, start + 200 * MS);
        tunnel.handle_heard(false, start + 300 * MS);
        assert_eq!(tunnel.due(start + 2 * S), Due::Nothing);
    }

    #[test]
    fn our_own_sleep_is_no_silence() {
        let (mut tunnel, start) = built();
        tunnel.handle_sent(true, start);
        tunnel.handle_stall(start + 90 * S);
        assert_eq!(tunnel.due(start + 90 * S + 999 * MS), Due::Answer);
        assert_eq!(tunnel.due(start + 91 * S), Due::Silent);
    }

    #[test]
    fn an_unused_tunnel_keeps_warm_then_rests_then_goes() {
        let (mut tunnel, start) = built();
        let mut now = start;
        while now + KEEPALIVE < start + UNUSED - MARGIN {
            assert!(!tunnel.is_closing(now));
            now += KEEPALIVE;
            assert_eq!(tunnel.due(now), Due::Answer);
            tunnel.handle_sent(false, now);
            tunnel.handle_heard(false, now);
        }
        assert!(tunnel.is_closing(start + UNUSED - MARGIN));
        assert_eq!(tunnel.due(start + UNUSED), Due::Unused);
    }

    #[test]
    fn failures_are_retried_ever_more_slowly_until_it_holds() {
        let (mut tunnel, start) = built();
        let mut now = start;
        let mut pauses = vec![];
        for _ in 0..6 {
            tunnel.handle_failed(now);
            let again = (1..=100).find(|s| tunnel.may_try(now + S * *s)).unwrap();
            pauses.push(again);
            now += S * again;
            tunnel.handle_built(now);
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
        tunnel.handle_failed(now + PROVEN);
        assert!(tunnel.may_try(now + PROVEN + 5 * S));
    }
}
