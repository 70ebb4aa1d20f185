//! How one address is taken, kept and lost on its LAN. Pure.
//!
//! ```text
//!              three probes unanswered
//!   Asking ──────────────────────────────► Holding   announced 3 times, renewed twice a second
//!     ▲ │ somebody has it                     │ somebody with a lower hardware address has it too
//!     │ ▼                                     ▼
//!   Waiting ◄─────────────────────────────────┘
//! ```
//!
//! A former holder that froze or died answers until the kernel takes the address from it, 2 s after the last renewal.
//! Over IPv6 nobody is asked: the kernel detects duplicates by itself (RFC 4862 §5.4), and those 2 s are waited for.

use std::time::{Duration, Instant};

use super::frames::Mac;

/// How long the kernel keeps the address after the last renewal.
pub const LIFETIME: Duration = Duration::from_secs(2);
const RENEW: Duration = Duration::from_millis(500);
/// Between two probes, and after the last one.
const PROBE: Duration = Duration::from_millis(100);
const PROBES: u32 = 3;
/// After an answer, before it is asked again.
const WAIT: Duration = Duration::from_millis(500);
/// When it is announced, counted from the taking.
const ANNOUNCE: [Duration; 3] = [Duration::ZERO, Duration::from_millis(250), Duration::from_secs(1)];

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ask whether anybody has it.
    Probe,
    /// Give it to the interface for [`LIFETIME`] from now, or renew it.
    Hold,
    /// Tell everybody that it is here.
    Announce,
    /// Take it from the interface at once.
    Release,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Asking {
        sent: u32,
        next: Instant,
    },
    Waiting {
        until: Instant,
    },
    Holding {
        renew: Instant,
        taken: Instant,
        announced: usize,
    },
}

/// One address that this node should hold.
#[derive(Debug)]
pub struct Claim {
    phase: Phase,
    mac: Mac,
}

impl Claim {
    /// Wanted from `now` on, at `mac`. `ask`: others can be asked whether they have it.
    pub fn new(mac: Mac, ask: bool, now: Instant) -> Claim {
        let (sent, next) = if ask { (0, now) } else { (PROBES, now + LIFETIME) };
        Claim {
            phase: Phase::Asking { sent, next },
            mac,
        }
    }

    /// Whether it is ours.
    pub fn is_held(&self) -> bool {
        matches!(self.phase, Phase::Holding { .. })
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Instant {
        match self.phase {
            Phase::Asking { next, .. } => next,
            Phase::Waiting { until } => until,
            Phase::Holding {
                renew,
                taken,
                announced,
            } => match ANNOUNCE.get(announced) {
                Some(after) => renew.min(taken + *after),
                None => renew,
            },
        }
    }

    /// Somebody at `other` says that it has the address.
    pub fn handle_claim(&mut self, other: Mac, now: Instant) -> Option<Action> {
        if other == self.mac {
            return None;
        }
        let waits = Phase::Waiting { until: now + WAIT };
        match self.phase {
            _ if self.has_lapsed(now) => {
                self.phase = waits;
                None
            }
            Phase::Holding { .. } if other > self.mac => Some(Action::Announce),
            Phase::Holding { .. } => {
                self.phase = waits;
                Some(Action::Release)
            }
            Phase::Asking { .. } | Phase::Waiting { .. } => {
                self.phase = waits;
                None
            }
        }
    }

    /// What is due; ask again until there is nothing.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Action> {
        if now < self.poll_timeout() {
            return None;
        }
        let (phase, action) = match self.phase {
            // We slept: the kernel has taken it away, and another may have it.
            _ if self.has_lapsed(now) => (Phase::Asking { sent: 0, next: now }, None),
            Phase::Waiting { .. } => (Phase::Asking { sent: 0, next: now }, None),
            Phase::Asking { sent, .. } if sent < PROBES => (
                Phase::Asking {
                    sent: sent + 1,
                    next: now + PROBE,
                },
                Some(Action::Probe),
            ),
            Phase::Asking { .. } => (held(now + RENEW, now, 0), Some(Action::Hold)),
            Phase::Holding {
                renew,
                taken,
                announced,
            } if now >= renew => (held(now + RENEW, taken, announced), Some(Action::Hold)),
            Phase::Holding {
                renew,
                taken,
                announced,
            } => (held(renew, taken, announced + 1), Some(Action::Announce)),
        };
        self.phase = phase;
        action.or_else(|| self.handle_timeout(now))
    }

    fn has_lapsed(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Holding { renew, .. } if now >= renew + (LIFETIME - RENEW))
    }
}

fn held(renew: Instant, taken: Instant, announced: usize) -> Phase {
    Phase::Holding {
        renew,
        taken,
        announced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Mac = [2, 0, 0, 0, 0, 5];
    const LOWER: Mac = [2, 0, 0, 0, 0, 4];
    const HIGHER: Mac = [2, 0, 0, 0, 0, 6];

    /// What is done until `end`, with milliseconds from the start.
    fn until(claim: &mut Claim, start: Instant, end: u64) -> Vec<(u64, Action)> {
        let mut done = Vec::new();
        loop {
            let now = claim.poll_timeout();
            let at = now.duration_since(start).as_millis() as u64;
            if at > end {
                return done;
            }
            while let Some(action) = claim.handle_timeout(now) {
                done.push((at, action));
            }
        }
    }

    #[test]
    fn free_address_is_asked_for_taken_announced_and_renewed() {
        use Action::{Announce, Hold, Probe};
        let start = Instant::now();
        let mut claim = Claim::new(US, true, start);
        let expected = [
            (0, Probe),
            (100, Probe),
            (200, Probe),
            (300, Hold),
            (300, Announce),
            (550, Announce),
            (800, Hold),
            (1300, Hold),
            (1300, Announce),
            (1800, Hold),
        ];
        assert_eq!(until(&mut claim, start, 1900), expected);
    }

    #[test]
    fn address_that_somebody_has_is_not_taken_until_it_is_free() {
        let start = Instant::now();
        let mut claim = Claim::new(US, true, start);
        until(&mut claim, start, 100);
        assert_eq!(claim.handle_claim(HIGHER, start + PROBE), None);
        let done = until(&mut claim, start, 1000);
        assert_eq!(done.first(), Some(&(600, Action::Probe)));
        assert!(done.contains(&(900, Action::Hold)));
    }

    #[test]
    fn of_two_holders_the_lower_hardware_address_stays() {
        let start = Instant::now();
        let mut claim = Claim::new(US, true, start);
        until(&mut claim, start, 400);
        assert!(claim.is_held());
        assert_eq!(claim.handle_claim(US, start), None, "an echo of ours");
        assert_eq!(claim.handle_claim(HIGHER, start), Some(Action::Announce));
        assert_eq!(claim.handle_claim(LOWER, start + LIFETIME), Some(Action::Release));
        assert!(!claim.is_held());
    }

    #[test]
    fn who_slept_for_longer_than_the_kernel_keeps_it_asks_again() {
        let start = Instant::now();
        let mut claim = Claim::new(US, true, start);
        until(&mut claim, start, 1300);
        let awake = start + Duration::from_secs(60);
        assert_eq!(claim.handle_timeout(awake), Some(Action::Probe));
        assert!(!claim.is_held());
    }

    #[test]
    fn where_nobody_can_be_asked_the_former_holders_time_is_waited_for() {
        let start = Instant::now();
        let mut claim = Claim::new(US, false, start);
        assert_eq!(until(&mut claim, start, 1999), []);
        assert_eq!(until(&mut claim, start, 2000)[0], (2000, Action::Hold));
    }
}
