//! When to begin a handshake: the driver of one tunnel. Pure; it never sees a byte.
//!
//! Whoever has something to send, or a probe, and no session initiates. Retries follow after 250 ms, 500 ms, 1, 2 and 5 s
//! (then every 5 s, for as long as somebody wants the tunnel), and at once after a cookie. Of two nodes, the one with the
//! lower key renews a session before it ages, and keeps its initiation when both began at once; the other is the backstop.

use std::time::{Duration, Instant};

const RETRIES: [Duration; 5] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// The lower key renews a session this old; boringtun itself would at 120 s, whichever side began the last one.
const RENEW_LOWER: Duration = Duration::from_secs(110);

/// The higher key renews when the lower one has not; sessions end at 180 s.
const RENEW_HIGHER: Duration = Duration::from_secs(140);

/// How long a first initiation outranks the other side's.
const COLLISION: Duration = Duration::from_millis(250);

/// Which side of the pair we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Our key is the lower one.
    Lower,
    /// Our key is the higher one.
    Higher,
    /// The other side is a stock client: it renews by itself, and collisions are not settled.
    Client,
}

/// The driver of one tunnel.
#[derive(Debug)]
pub struct Driver {
    side: Side,
    /// Initiations sent since the last session, or since this renewal began.
    attempts: usize,
    sent_at: Option<Instant>,
    next: Option<Instant>,
    established: Option<Instant>,
}

impl Driver {
    /// A driver that wants nothing yet.
    pub fn new(side: Side) -> Driver {
        Driver {
            side,
            attempts: 0,
            sent_at: None,
            next: None,
            established: None,
        }
    }

    /// Somebody has a packet or a probe and there is no session, or the path is dead: begin, unless under way.
    pub fn want(&mut self, now: Instant) {
        self.next.get_or_insert(now);
    }

    /// Nobody wants the tunnel any more.
    pub fn rest(&mut self) {
        (self.attempts, self.next, self.sent_at) = (0, None, None);
    }

    /// Whether an initiation is due.
    pub fn is_due(&self, now: Instant) -> bool {
        self.poll_timeout().is_some_and(|at| at <= now)
    }

    /// An initiation goes out: schedules the next.
    pub fn handle_sent(&mut self, now: Instant) {
        let pause = RETRIES[self.attempts.min(RETRIES.len() - 1)];
        self.attempts += 1;
        (self.sent_at, self.next) = (Some(now), Some(now + pause));
    }

    /// Whether an initiation of the other side is left alone because ours counts. `from_target`: it comes from where ours
    /// went, so that ours will arrive too.
    pub fn outranks(&self, from_target: bool, now: Instant) -> bool {
        let fresh = self
            .sent_at
            .is_some_and(|at| now.saturating_duration_since(at) < COLLISION);
        self.side == Side::Lower && self.attempts == 1 && fresh && from_target
    }

    /// An initiation of the other side checked out and was answered: the session comes with their first packet, and until
    /// then our own retry is the backstop.
    pub fn handle_answered(&mut self, now: Instant) {
        if self.next.is_some() {
            self.next = Some(now + RETRIES[1]);
        }
    }

    /// A cookie was accepted: what was sent is void, try again at once.
    pub fn handle_cookie(&mut self, now: Instant) {
        if self.next.is_some() {
            self.next = Some(now);
        }
    }

    /// There is a session, begun by either side.
    pub fn handle_established(&mut self, now: Instant) {
        self.rest();
        self.established = Some(now);
    }

    /// The session ended.
    pub fn handle_expired(&mut self) {
        self.established = None;
    }

    /// When the session came to be.
    pub fn established(&self) -> Option<Instant> {
        self.established
    }

    /// Whether the session is so old that it is renewed.
    pub fn is_aged(&self, now: Instant) -> bool {
        self.established
            .is_some_and(|at| now.saturating_duration_since(at) >= RENEW_LOWER)
    }

    /// Initiations sent in vain since the last session.
    pub fn attempts(&self) -> usize {
        self.attempts
    }

    /// When the next initiation is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let renew = match self.side {
            Side::Lower => self.established.map(|at| at + RENEW_LOWER),
            Side::Higher => self.established.map(|at| at + RENEW_HIGHER),
            Side::Client => None,
        };
        self.next.or(renew)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
        Instant::now()
    }

    const MS: Duration = Duration::from_millis(1);

    /// The times in ms at which initiations go out within `until`.
    fn attempts(driver: &mut Driver, start: Instant, until: Duration) -> Vec<u128> {
        let mut times = vec![];
        while let Some(at) = driver.poll_timeout().filter(|at| *at <= start + until) {
            driver.handle_sent(at);
            times.push((at - start).as_millis());
        }
        times
    }

    #[test]
    fn retries_slow_down_to_one_in_five_seconds_and_never_end() {
        let (mut driver, start) = (Driver::new(Side::Higher), start());
        assert_eq!(driver.poll_timeout(), None);
        driver.want(start);
        let times = attempts(&mut driver, start, Duration::from_secs(19));
        assert_eq!(times, [0, 250, 750, 1750, 3750, 8750, 13_750, 18_750]);
        assert!(!attempts(&mut driver, start, Duration::from_secs(900)).is_empty());
    }

    #[test]
    fn a_cookie_is_used_at_once() {
        let (mut driver, start) = (Driver::new(Side::Higher), start());
        driver.want(start);
        driver.handle_sent(start);
        driver.handle_cookie(start + 30 * MS);
        assert!(driver.is_due(start + 30 * MS));
    }

    #[test]
    fn wanting_again_does_not_hurry() {
        let (mut driver, start) = (Driver::new(Side::Lower), start());
        driver.want(start);
        driver.handle_sent(start);
        driver.want(start + MS);
        assert!(!driver.is_due(start + MS));
    }

    #[test]
    fn the_lower_key_keeps_its_first_initiation_only_on_a_path_that_works_both_ways() {
        let start = start();
        let begun = |side| {
            let mut driver = Driver::new(side);
            driver.want(start);
            driver.handle_sent(start);
            driver
        };
        assert!(begun(Side::Lower).outranks(true, start + 20 * MS));
        assert!(!begun(Side::Lower).outranks(false, start + 20 * MS));
        assert!(!begun(Side::Higher).outranks(true, start + 20 * MS));
        assert!(!begun(Side::Client).outranks(true, start + 20 * MS));
        let mut retried = begun(Side::Lower);
        retried.handle_sent(start + 250 * MS);
        assert!(!retried.outranks(true, start + 260 * MS));
    }

    #[test]
    fn the_lower_key_renews_first_and_the_higher_is_the_backstop() {
        let start = start();
        let due = |side| {
            let mut driver = Driver::new(side);
            driver.handle_established(start);
            driver.poll_timeout().map(|at| at - start)
        };
        assert_eq!(due(Side::Lower), Some(RENEW_LOWER));
        assert_eq!(due(Side::Higher), Some(RENEW_HIGHER));
        assert_eq!(due(Side::Client), None);
    }

    #[test]
    fn an_answered_initiation_gives_the_other_side_time_to_confirm() {
        let (mut driver, start) = (Driver::new(Side::Higher), start());
        driver.want(start);
        driver.handle_sent(start);
        driver.handle_answered(start + 200 * MS);
        assert!(!driver.is_due(start + 300 * MS));
        driver.handle_established(start + 300 * MS);
        assert!(!driver.is_due(start + Duration::from_secs(60)));
    }
}
