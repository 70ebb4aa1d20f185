//! Path MTU discovery by probes (DPLPMTUD, RFC 8899), one machine for each path.
//!
//! ```text
//!   Base ─ arrived ─► Searching ─ nothing left to try ─► Complete
//!    │ ▲                ▲                                 │    │
//!  lost│ arrived        └────────── raise, 600 s ─────────┘    │
//!    ▼ │                                                       │
//!   Error          Base ◄────────── black hole ────────────────┘
//! ```
//!
//! Sizes are those of inner packets. Every probe is a pair: a large packet, and behind it a small one, the control. The peer
//! answers both shortly, so that only the way there is measured. A large one is missing for its size only when its control
//! was answered; and how many such misses in a row make a verdict adapts to how many controls are lost. So a lossy path, or
//! a dead one, is not mistaken for a narrow one. What ICMP says plays no part.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// The smallest inner MTU: what IPv6 demands of every link (RFC 8200 §5). The BASE_PLPMTU of RFC 8899.
pub const FLOOR: u16 = 1_280;

/// What certainly fits every underlay whole: IPv6's minimum without our headers.
pub const SURELY_WHOLE: u16 = 1_200;

/// Largest inner packet whose sealed form is a UDP datagram.
pub const CEILING: u16 = 65_475;

/// Bytes that sealing and the headers of UDP and IPv4 add to an inner packet.
pub const OVERHEAD_V4: u16 = 60;

/// The same over IPv6.
pub const OVERHEAD_V6: u16 = 80;

/// MTUs that links really have, Ethernet's first.
const ETHERNET: u16 = 1_500;
const COMMON: [u16; 17] = [
    1_380, 1_400, 1_420, 1_440, 1_446, 1_460, 1_480, 1_492, 1_500, 2_000, 4_352, 8_500, 8_896, 9_000, 9_001,
    9_216, 16_384,
];

/// Beyond the common sizes it is searched this finely.
const COARSE: u16 = 32;

/// Busy paths are confirmed this often, so that one that shrinks is noticed.
const CONFIRM: Duration = Duration::from_millis(500);

/// PMTU_RAISE_TIMER (RFC 8899 §5.1.1).
pub const RAISE: Duration = Duration::from_secs(600);

/// A path that does not even carry the floor is tried again this often.
const RETRY: Duration = Duration::from_secs(5);

/// PROBE_TIMER: at least, at most, and while no round trip is known.
const PATIENCE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(1);
const FIRST_PATIENCE: Duration = Duration::from_millis(300);

/// Misses in a row that make a verdict about a new size (MAX_PROBES), and about one that worked.
const MISSES_NEW: u32 = 3;
const MISSES_KNOWN: u32 = 4;
const MISSES_MOST: u32 = 16;

/// So improbable a row of misses is under the measured loss.
const IMPROBABLE: f64 = 1e-4;

/// Probes whose answers still count when they come late.
const REMEMBERED: usize = 16;

/// A way to a peer, and what bounds the search on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Where the peer is; `None` while nobody knows.
    pub to: Option<SocketAddr>,
    /// Largest outer packet that our own links take.
    pub link: u16,
    /// Largest inner packet wanted.
    pub most: u16,
    /// Bytes in front of the sealed packet: a relay's header.
    pub in_front: u16,
}

impl Path {
    /// What is added to an inner packet on its way.
    fn overhead(self) -> u16 {
        let sealed = match self.to {
            Some(SocketAddr::V4(_)) => OVERHEAD_V4,
            Some(SocketAddr::V6(_)) | None => OVERHEAD_V6,
        };
        sealed + self.in_front
    }

    fn most(self) -> u16 {
        let fits = self.link.saturating_sub(self.overhead()).min(CEILING);
        fits.min(self.most).max(FLOOR)
    }

    /// What certainly travels whole.
    fn surely_whole(self) -> u16 {
        SURELY_WHOLE - self.in_front
    }

    fn ethernet(self) -> u16 {
        (ETHERNET - self.overhead()).min(self.most())
    }
}

/// Where the machine stands (RFC 8899 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Whether the floor arrives is not known.
    Base,
    /// The floor arrives; more is tried.
    Searching,
    /// The largest size is known.
    Complete,
    /// Not even the floor arrives in one piece.
    Error,
}

/// What to send: an inner packet of `size` bytes numbered `sequence`, and a small one numbered one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Number of the large packet.
    pub sequence: u32,
    /// Its size.
    pub size: u16,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    ask: Ask,
    sent: Instant,
    /// Whether the control was answered.
    control: bool,
}

/// The discovery on one path.
#[derive(Debug)]
pub struct PathMtu {
    path: Path,
    state: State,
    /// Nothing has failed on this path yet: what Ethernet carries is taken for granted meanwhile.
    fresh: bool,
    /// Largest size that arrived; 0 before any did.
    confirmed: u16,
    /// Smallest size that is known not to arrive, or one that is not wanted.
    failed: u16,
    under_way: Option<Pair>,
    sent: VecDeque<Pair>,
    next_sequence: u32,
    misses: u32,
    /// Pairs in a row of which nothing came back.
    silences: u32,
    /// Share of controls that were lost, smoothed.
    loss: f64,
    rtt: Option<Duration>,
    /// When the next pair may leave.
    due: Instant,
    raise: Instant,
}

impl PathMtu {
    /// A path of which nothing is known.
    pub fn new(path: Path, now: Instant) -> PathMtu {
        PathMtu {
            path,
            state: State::Base,
            fresh: true,
            confirmed: 0,
            failed: path.most() + 1,
            under_way: None,
            sent: VecDeque::with_capacity(REMEMBERED),
            next_sequence: 0,
            misses: 0,
            silences: 0,
            loss: 0.0,
            rtt: None,
            due: now,
            raise: now + RAISE,
        }
    }

    /// Where the machine stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Largest inner packet that the path is used for; [`SURELY_WHOLE`] if not even [`FLOOR`] arrives. IPv6 packets up to
    /// the floor must pass then too, in fragments.
    pub fn mtu(&self) -> u16 {
        if self.state == State::Error {
            return self.path.surely_whole();
        }
        let ethernet = self.path.ethernet();
        if self.fresh && ethernet < self.failed {
            return self.confirmed.max(ethernet);
        }
        self.confirmed.max(FLOOR)
    }

    /// Largest inner packet that must arrive in one piece; a larger one may be fragmented outside.
    pub fn whole(&self) -> u16 {
        self.confirmed.max(self.path.surely_whole())
    }

    /// The path as it is now. If it is another one, everything begins anew.
    pub fn set_path(&mut self, path: Path, now: Instant) {
        if self.path != path {
            let next_sequence = self.next_sequence;
            *self = PathMtu::new(path, now);
            self.next_sequence = next_sequence;
        }
    }

    /// We slept: what is under way proves nothing.
    pub fn handle_stall(&mut self, now: Instant) {
        self.under_way = None;
        self.due = now;
    }

    /// When [`PathMtu::handle_timeout`] has something to do. `busy`: the path carries data.
    pub fn poll_timeout(&self, busy: bool) -> Instant {
        match (self.under_way, self.state) {
            (Some(pair), _) => pair.sent + self.patience(),
            (None, State::Complete | State::Error) if busy => self.due.min(self.raise),
            (None, State::Complete | State::Error) => self.raise,
            (None, _) => self.due,
        }
    }

    /// Judges what is under way, and says what to send now.
    pub fn handle_timeout(&mut self, busy: bool, now: Instant) -> Option<Ask> {
        if !busy && self.state == State::Complete {
            // What just begins to carry data is confirmed when it goes on to.
            self.due = now + CONFIRM;
        }
        if self.poll_timeout(busy) > now {
            return None;
        }
        if let Some(pair) = self.under_way.take() {
            self.judge(pair, now);
        }
        if self.raise <= now {
            self.raise = now + RAISE;
            self.search_again(now);
        }
        if self.poll_timeout(busy) > now {
            return None;
        }
        Some(self.ask(now))
    }

    /// A probe of this path was answered. Returns whether [`PathMtu::mtu`] or [`PathMtu::whole`] may have changed.
    pub fn handle_answer(&mut self, sequence: u32, now: Instant) -> bool {
        let of = |pair: &Pair| pair.ask.sequence == sequence || pair.ask.sequence.wrapping_add(1) == sequence;
        let Some(pair) = self.sent.iter_mut().find(|pair| of(pair)) else {
            return false;
        };
        let elapsed = now.saturating_duration_since(pair.sent);
        self.rtt = Some(self.rtt.map_or(elapsed, |rtt| (rtt * 7 + elapsed) / 8));
        let ask = pair.ask;
        if ask.sequence != sequence {
            pair.control = true;
            return false;
        }
        self.silences = 0;
        if self.under_way.is_some_and(|under_way| under_way.ask == ask) {
            self.under_way = None;
            self.note_control(true);
        }
        self.arrived(ask.size, now)
    }

    fn arrived(&mut self, size: u16, now: Instant) -> bool {
        self.misses = 0;
        match self.state {
            State::Complete => self.due = now + CONFIRM,
            State::Base | State::Searching | State::Error => self.due = now,
        }
        if size <= self.confirmed {
            return false;
        }
        self.confirmed = size;
        self.failed = self.failed.max(size + 1);
        if self.state != State::Complete {
            self.state = State::Searching;
            self.settle(now);
        }
        true
    }

    /// What a pair came to whose large packet was not answered in time.
    fn judge(&mut self, pair: Pair, now: Instant) {
        let control = self.sent.iter().any(|sent| sent.ask == pair.ask && sent.control);
        self.note_control(control);
        if !control {
            // Nothing comes back: that says nothing about sizes, and the path needs no load now.
            self.silences = (self.silences + 1).min(4);
            self.due = now + CONFIRM * (1 << self.silences) / 2;
            return;
        }
        self.silences = 0;
        self.misses += 1;
        self.due = now;
        let known = pair.ask.size <= self.confirmed;
        if self.misses >= self.verdict_after(known) {
            self.misses = 0;
            self.lost(pair.ask.size, now);
        }
    }

    fn verdict_after(&self, known: bool) -> u32 {
        let least = if known { MISSES_KNOWN } else { MISSES_NEW };
        if self.loss <= 0.0 {
            return least;
        }
        let row = (IMPROBABLE.ln() / self.loss.min(0.9).ln()).ceil() as u32;
        row.clamp(least, MISSES_MOST)
    }

    /// This size does not arrive.
    fn lost(&mut self, size: u16, now: Instant) {
        if size <= self.confirmed {
            // A black hole: the path is another one than before.
            self.fresh = false;
            self.confirmed = 0;
            self.failed = self.path.most() + 1;
            self.state = State::Base;
            return;
        }
        self.failed = self.failed.min(size);
        if size <= self.path.ethernet() {
            self.fresh = false;
        }
        match self.state {
            State::Base | State::Error => {
                self.state = State::Error;
                self.failed = self.path.most() + 1;
                self.due = now + RETRY;
                self.raise = now + RAISE;
            }
            State::Searching | State::Complete => self.settle(now),
        }
    }

    fn search_again(&mut self, now: Instant) {
        self.due = now;
        if self.state == State::Complete {
            self.failed = self.path.most() + 1;
            self.state = State::Searching;
            self.settle(now);
        }
    }

    /// The search ends when there is nothing left to try.
    fn settle(&mut self, now: Instant) {
        if self.candidate().is_none() {
            self.state = State::Complete;
            self.due = now + CONFIRM;
            self.raise = now + RAISE;
        }
    }

    /// What to try next: Ethernet, then all that is wanted, then common sizes, then any.
    fn candidate(&self) -> Option<u16> {
        let open = |size: &u16| *size > self.confirmed && *size < self.failed;
        let first = [self.path.ethernet(), self.path.most()];
        if let Some(size) = first.into_iter().find(open) {
            return Some(size);
        }
        let common = COMMON.map(|outer| outer - self.path.overhead());
        let count = common.iter().filter(|size| open(size)).count();
        let gap = self.failed - self.confirmed;
        let middle = || (gap > COARSE).then(|| self.confirmed + gap / 2);
        common.into_iter().filter(open).nth(count / 2).or_else(middle)
    }

    fn ask(&mut self, now: Instant) -> Ask {
        let size = match self.state {
            State::Base | State::Error => FLOOR,
            State::Searching => self.candidate().unwrap_or(self.confirmed),
            State::Complete => self.confirmed,
        };
        let ask = Ask {
            sequence: self.next_sequence,
            size,
        };
        self.next_sequence = self.next_sequence.wrapping_add(2);
        let pair = Pair {
            ask,
            sent: now,
            control: false,
        };
        if self.sent.len() == REMEMBERED {
            self.sent.pop_front();
        }
        self.sent.push_back(pair);
        self.under_way = Some(pair);
        ask
    }

    fn patience(&self) -> Duration {
        self.rtt.map_or(FIRST_PATIENCE, |rtt| {
            (rtt * 2 + Duration::from_millis(20)).clamp(*PATIENCE.start(), *PATIENCE.end())
        })
    }

    fn note_control(&mut self, answered: bool) {
        let lost = if answered { 0.0 } else { 1.0 };
        self.loss += (lost - self.loss) / 8.0;
        if self.loss < 0.01 {
            self.loss = 0.0;
        }
    }
}

#[cfg(test)]
#[path = "pmtu_tests.rs"]
mod tests;
