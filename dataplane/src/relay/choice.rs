//! Which way an end takes to a peer: straight, or through a relay.
//!
//! Away from the direct path at once when nothing proves it any more and there is another way; back only when it was well for a
//! while. Away from a direct path that works only when another way was clearly better for long.

use super::Session;
use crate::stats::PathState;
use std::time::{Duration, Instant};

/// A direct path must have been well for this long before packets return to it.
pub const STABLE: Duration = Duration::from_secs(5);

/// Another way must have been better for this long before packets leave a direct path that works.
pub const BETTER_FOR: Duration = Duration::from_secs(30);

/// A pair that has no session yet is given this long before relays are asked.
const CONNECT: Duration = Duration::from_secs(2);

/// A relayed path that was never proven is believed in for this long.
const TRIAL: Duration = Duration::from_secs(1);

/// Direct paths with shorter round trips need no comparison.
const FAR: Duration = Duration::from_millis(60);

/// How long a comparison goes on, and when the next one may begin.
const LOOK: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// A way is better when it takes less than this share of the round trip, and less by this much.
const SHARE: f64 = 0.6;
const LESS_BY: Duration = Duration::from_millis(10);

/// Packets stay on a better way until it takes more than this share.
const SHARE_TO_STAY: f64 = 0.8;

/// A direct path that loses more than the first is left for one that loses less than the second; to stay, the first may halve.
const LOSSY: f64 = 0.05;
const CLEAN: f64 = 0.01;

/// How a path is now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Its health.
    pub state: PathState,
    /// Since when.
    pub since: Instant,
    /// Smoothed round trip; of a relayed path that was not measured yet, the sum of its legs.
    pub rtt: Option<Duration>,
    /// Share of round trips lost, 0 to 1.
    pub loss: f64,
}

impl Figures {
    /// Whether probes prove the path.
    pub fn works(&self) -> bool {
        self.state.works()
    }

    /// Whether there is hope: it works, or was not tried for long.
    pub fn may_work(&self, now: Instant) -> bool {
        let young = now.saturating_duration_since(self.since) < TRIAL;
        self.works() || (self.state == PathState::Connecting && young)
    }

    fn is_better_than(&self, direct: &Figures, share: f64, lossy: f64) -> bool {
        let faster = match (self.rtt, direct.rtt) {
            (Some(here), Some(there)) => here < there.mul_f64(share) && here + LESS_BY < there,
            _ => false,
        };
        let cleaner = direct.loss > lossy && self.loss < CLEAN;
        (faster && self.loss <= direct.loss + CLEAN) || cleaner
    }
}

/// Why packets take another way now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing proves the direct path any more.
    DirectLost,
    /// There never was a direct path.
    NoDirect,
    /// The way through the relay was better for a while.
    RelayBetter,
    /// The relay, or its way to the peer, does not work any more.
    RelayLost,
    /// The direct path was well again for a while.
    DirectBack,
}

impl Reason {
    /// snake_case, for logs and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::DirectLost => "direct_lost",
            Reason::NoDirect => "no_direct",
            Reason::RelayBetter => "relay_better",
            Reason::RelayLost => "relay_lost",
            Reason::DirectBack => "direct_back",
        }
    }
}

/// Packets take another way from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Under which session; `None`: straight.
    pub to: Option<Session>,
    /// Why.
    pub reason: Reason,
}

/// The choice for one peer.
#[derive(Debug, Default)]
pub struct Choice {
    via: Option<Session>,
    /// It was chosen though the direct path works.
    for_better: bool,
    /// Since when the direct path could take the packets back.
    well: Option<Instant>,
    /// Since when there is a better way.
    better: Option<Instant>,
    /// When the last comparison began.
    look: Option<Instant>,
}

impl Choice {
    /// Under which session packets go; `None`: straight.
    pub fn via(&self) -> Option<Session> {
        self.via
    }

    /// Whether relays are to be asked, and what they said to be kept alive. `busy`: packets pass.
    pub fn wants_relay(&mut self, direct: &Figures, busy: bool, now: Instant) -> bool {
        let age = now.saturating_duration_since(direct.since);
        let needed = match direct.state {
            PathState::Connecting => age >= CONNECT,
            PathState::Suspect | PathState::Down => true,
            PathState::Up | PathState::Degraded => false,
        };
        needed || self.via.is_some() || self.compares(direct, busy, now)
    }

    fn compares(&mut self, direct: &Figures, busy: bool, now: Instant) -> bool {
        let worth_it =
            busy && (direct.state == PathState::Degraded || direct.rtt.is_some_and(|rtt| rtt > FAR));
        let since = |at: Instant| now.saturating_duration_since(at);
        if worth_it && self.look.is_none_or(|at| since(at) >= LOOK_AGAIN) {
            self.look = Some(now);
        }
        worth_it && self.look.is_some_and(|at| since(at) < LOOK)
    }

    /// Judges. `relayed`: the ways through relays that both ends have bound.
    pub fn handle_timeout(
        &mut self,
        direct: &Figures,
        relayed: &[(Session, Figures)],
        now: Instant,
    ) -> Option<Switch> {
        let usable = relayed.iter().filter(|(_, figures)| figures.may_work(now));
        let best = usable
            .clone()
            .min_by_key(|(_, figures)| (!figures.works(), figures.rtt.unwrap_or(Duration::MAX)));
        let taken = usable.clone().find(|(session, _)| Some(*session) == self.via);
        let switch = match (self.via, taken) {
            (None, _) => self.leave(direct, best, now),
            (Some(_), None) => Some(self.replace(direct, best)),
            // Another is proven while this one keeps us waiting.
            (Some(_), Some((_, taken))) if !taken.works() && best.is_some_and(|(_, best)| best.works()) => {
                Some(self.replace(direct, best))
            }
            (Some(_), Some((_, taken))) => self.stay(direct, taken, now),
        }?;
        (self.well, self.better) = (None, None);
        self.for_better = switch.reason == Reason::RelayBetter;
        let before = std::mem::replace(&mut self.via, switch.to);
        (before != switch.to).then_some(switch)
    }

    /// Packets go straight.
    fn leave(&mut self, direct: &Figures, best: Option<&(Session, Figures)>, now: Instant) -> Option<Switch> {
        let (session, best) = best?;
        let to = Some(*session);
        if !direct.works() {
            let never = direct.state == PathState::Connecting;
            let reason = if never {
                Reason::NoDirect
            } else {
                Reason::DirectLost
            };
            return Some(Switch { to, reason });
        }
        if !(best.works() && best.is_better_than(direct, SHARE, LOSSY)) {
            self.better = None;
            return None;
        }
        let since = *self.better.get_or_insert(now);
        (now.saturating_duration_since(since) >= BETTER_FOR).then_some(Switch {
            to,
            reason: Reason::RelayBetter,
        })
    }

    /// The relay that packets went through is of no use any more.
    fn replace(&self, direct: &Figures, best: Option<&(Session, Figures)>) -> Switch {
        let other = best.filter(|_| !direct.works()).map(|(session, _)| *session);
        Switch {
            to: other,
            reason: Reason::RelayLost,
        }
    }

    /// Packets go through a relay, and it works.
    fn stay(&mut self, direct: &Figures, taken: &Figures, now: Instant) -> Option<Switch> {
        let better = self.for_better && taken.is_better_than(direct, SHARE_TO_STAY, LOSSY / 2.0);
        if !direct.works() || better {
            self.well = None;
            return None;
        }
        let since = *self.well.get_or_insert(now);
        (now.saturating_duration_since(since) >= STABLE).then_some(Switch {
            to: None,
            reason: Reason::DirectBack,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const S: Duration = Duration::from_secs(1);
    const ONE: Session = Session(1);
    const TWO: Session = Session(2);

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
        Instant::now()
    }

    fn path(state: PathState, rtt: u32, since: Instant) -> Figures {
        Figures {
            state,
            since,
            rtt: Some(rtt * MS),
            loss: 0.0,
        }
    }

    fn to(session: Option<Session>, reason: Reason) -> Option<Switch> {
        Some(Switch { to: session, reason })
    }

    #[test]
    fn away_at_once_and_back_after_a_while() {
        let (mut choice, now) = (Choice::default(), start());
        let (up, lost) = (path(PathState::Up, 10, now), path(PathState::Suspect, 10, now));
        let relays = [(ONE, path(PathState::Up, 30, now))];
        assert_eq!(choice.handle_timeout(&up, &relays, now), None);
        assert_eq!(
            choice.handle_timeout(&lost, &relays, now),
            to(Some(ONE), Reason::DirectLost)
        );
        assert_eq!(choice.handle_timeout(&up, &relays, now + S), None);
        assert_eq!(
            choice.handle_timeout(&lost, &relays, now + 4 * S),
            None,
            "a relapse begins it anew"
        );
        assert_eq!(choice.handle_timeout(&up, &relays, now + 5 * S), None);
        assert_eq!(choice.handle_timeout(&up, &relays, now + 9 * S), None);
        assert_eq!(
            choice.handle_timeout(&up, &relays, now + 10 * S),
            to(None, Reason::DirectBack)
        );
    }

    #[test]
    fn a_relay_that_dies_is_replaced_or_left() {
        let now = start();
        let (up, lost) = (path(PathState::Up, 10, now), path(PathState::Down, 10, now));
        let dead = (ONE, path(PathState::Suspect, 30, now));
        let spare = (TWO, path(PathState::Up, 90, now));
        let mut choice = Choice::default();
        choice.handle_timeout(&lost, &[(ONE, path(PathState::Up, 30, now)), spare], now);
        assert_eq!(choice.via(), Some(ONE), "the nearer one");
        assert_eq!(
            choice.handle_timeout(&lost, &[dead, spare], now),
            to(Some(TWO), Reason::RelayLost)
        );
        assert_eq!(
            choice.handle_timeout(&up, &[dead], now),
            to(None, Reason::RelayLost)
        );
    }

    #[test]
    fn a_relay_that_never_proves_itself_is_not_waited_for() {
        let (mut choice, now) = (Choice::default(), start());
        let lost = path(PathState::Suspect, 10, now);
        let relays = [(ONE, path(PathState::Connecting, 30, now))];
        assert_eq!(
            choice.handle_timeout(&lost, &relays, now),
            to(Some(ONE), Reason::DirectLost)
        );
        assert_eq!(
            choice.handle_timeout(&lost, &relays, now + TRIAL),
            to(None, Reason::RelayLost)
        );
    }

    #[test]
    fn a_relay_that_proved_itself_takes_over_from_one_that_has_not() {
        let (mut choice, now) = (Choice::default(), start());
        let lost = path(PathState::Suspect, 10, now);
        let first = (ONE, path(PathState::Connecting, 30, now));
        choice.handle_timeout(&lost, &[first], now);
        let untried = (TWO, path(PathState::Connecting, 20, now));
        assert_eq!(choice.handle_timeout(&lost, &[first, untried], now), None);
        let proven = (TWO, path(PathState::Up, 90, now));
        assert_eq!(
            choice.handle_timeout(&lost, &[first, proven], now),
            to(Some(TWO), Reason::RelayLost)
        );
    }

    #[test]
    fn relays_are_asked_when_the_direct_path_does_not_work_and_not_otherwise() {
        let (mut choice, now) = (Choice::default(), start());
        let mut wants = |state, at| choice.wants_relay(&path(state, 10, now), true, at);
        assert!(!wants(PathState::Up, now) && !wants(PathState::Connecting, now));
        assert!(wants(PathState::Connecting, now + CONNECT));
        assert!(wants(PathState::Suspect, now) && wants(PathState::Down, now));
    }

    #[test]
    fn far_paths_are_compared_now_and_then_while_packets_pass() {
        let (mut choice, now) = (Choice::default(), start());
        let far = path(PathState::Up, 200, now);
        assert!(!choice.wants_relay(&far, false, now));
        assert!(choice.wants_relay(&far, true, now));
        assert!(!choice.wants_relay(&far, true, now + LOOK));
        assert!(choice.wants_relay(&far, true, now + LOOK_AGAIN));
    }

    #[test]
    fn only_what_is_clearly_better_for_long_is_taken_and_it_is_kept_while_it_is() {
        let (mut choice, now) = (Choice::default(), start());
        let direct = path(PathState::Up, 200, now);
        let relay = |rtt| [(ONE, path(PathState::Up, rtt, now))];
        assert_eq!(choice.handle_timeout(&direct, &relay(100), now), None);
        assert_eq!(choice.handle_timeout(&direct, &relay(130), now + 20 * S), None);
        assert_eq!(choice.handle_timeout(&direct, &relay(100), now + 30 * S), None);
        assert_eq!(
            choice.handle_timeout(&direct, &relay(100), now + 60 * S),
            to(Some(ONE), Reason::RelayBetter)
        );
        assert_eq!(choice.handle_timeout(&direct, &relay(150), now + 70 * S), None);
        assert_eq!(choice.handle_timeout(&direct, &relay(170), now + 80 * S), None);
        assert_eq!(
            choice.handle_timeout(&direct, &relay(170), now + 85 * S),
            to(None, Reason::DirectBack)
        );
    }

    #[test]
    fn a_lossy_direct_path_is_left_for_a_clean_one() {
        let (mut choice, now) = (Choice::default(), start());
        let direct = Figures {
            loss: 0.08,
            ..path(PathState::Degraded, 20, now)
        };
        let relays = [(ONE, path(PathState::Up, 60, now))];
        assert_eq!(choice.handle_timeout(&direct, &relays, now), None);
        assert_eq!(
            choice.handle_timeout(&direct, &relays, now + BETTER_FOR),
            to(Some(ONE), Reason::RelayBetter)
        );
    }
}
