//! Whom we called: addresses that answer our QUIC are expected, all others but members are strangers.
//!
//! Pure. Answering a stranger does not make it expected, or one spoofed packet, answered by Retry,
//! would open the members' queue to a flood from that address.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long an address stays known after its last packet. Longer than QUIC's idle timeout.
const MEMORY: Duration = Duration::from_secs(60);

/// Most addresses that we called.
const MAX_CALLED: usize = 4_096;

/// Most strangers; the limiter lets in fewer than this within [`MEMORY`].
const MAX_STRANGERS: usize = 16_384;

/// Strangers' datagrams let in each second, from all of them together.
const STRANGERS_RATE: u32 = 200;

/// Strangers' datagrams let in at once: a few handshakes.
const STRANGERS_BURST: u32 = 128;

/// How often a full table looks for entries to forget: a flood must not make each packet a sweep.
const SWEEP: Duration = Duration::from_secs(1);

/// Addresses by who spoke first.
#[derive(Debug)]
pub(crate) struct Contacts {
    called: Seen,
    strangers: Seen,
}

impl Contacts {
    pub(crate) fn new(now: Instant) -> Contacts {
        Contacts {
            called: Seen::new(MAX_CALLED, now),
            strangers: Seen::new(MAX_STRANGERS, now),
        }
    }

    /// We send to `address`.
    pub(crate) fn handle_sent(&mut self, address: SocketAddr, now: Instant) {
        if self.called.is_fresh(address, now) || !self.strangers.is_fresh(address, now) {
            self.called.remember(address, now);
        }
    }

    /// A stranger's datagram was let in.
    pub(crate) fn handle_stranger(&mut self, address: SocketAddr, now: Instant) {
        self.strangers.remember(address, now);
    }

    /// Whether we called `address` lately.
    pub(crate) fn called(&self, address: SocketAddr, now: Instant) -> bool {
        self.called.is_fresh(address, now)
    }
}

/// A bounded table of addresses and when they were last seen.
#[derive(Debug)]
struct Seen {
    addresses: BTreeMap<SocketAddr, Instant>,
    cap: usize,
    swept: Instant,
}

impl Seen {
    fn new(cap: usize, now: Instant) -> Seen {
        Seen {
            addresses: BTreeMap::new(),
            cap,
            swept: now,
        }
    }

    fn is_fresh(&self, address: SocketAddr, now: Instant) -> bool {
        self.addresses
            .get(&address)
            .is_some_and(|seen| now.saturating_duration_since(*seen) < MEMORY)
    }

    fn remember(&mut self, address: SocketAddr, now: Instant) {
        if self.addresses.len() >= self.cap && now.saturating_duration_since(self.swept) >= SWEEP {
            self.addresses
                .retain(|_, seen| now.saturating_duration_since(*seen) < MEMORY);
            self.swept = now;
        }
        if self.addresses.len() < self.cap || self.addresses.contains_key(&address) {
            self.addresses.insert(address, now);
        }
    }
}

/// Lets strangers' datagrams in at a bounded rate.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    tokens: f64,
    refilled: Instant,
}

impl TokenBucket {
    pub(crate) fn full(now: Instant) -> TokenBucket {
        TokenBucket {
            tokens: f64::from(STRANGERS_BURST),
            refilled: now,
        }
    }

    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.tokens = (self.tokens + elapsed * f64::from(STRANGERS_RATE)).min(f64::from(STRANGERS_BURST));
        self.refilled = now;
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin")]
        Instant::now()
    }

    #[test]
    fn address_that_we_called_is_expected_for_a_while() {
        let now = start();
        let mut contacts = Contacts::new(now);
        contacts.handle_sent(address(1), now);
        assert!(contacts.called(address(1), now + MEMORY / 2));
        assert!(!contacts.called(address(1), now + MEMORY));
        assert!(!contacts.called(address(2), now));
    }

    #[test]
    fn answering_a_stranger_does_not_make_it_expected() {
        let now = start();
        let mut contacts = Contacts::new(now);
        contacts.handle_stranger(address(1), now);
        contacts.handle_sent(address(1), now);
        assert!(!contacts.called(address(1), now));
    }

    #[test]
    fn called_address_that_is_called_again_stays_expected() {
        let now = start();
        let mut contacts = Contacts::new(now);
        contacts.handle_sent(address(1), now);
        contacts.handle_stranger(address(1), now);
        contacts.handle_sent(address(1), now + MEMORY / 2);
        assert!(contacts.called(address(1), now + MEMORY));
    }

    #[test]
    fn tables_are_bounded_and_forget_the_old_first() {
        let now = start();
        let mut contacts = Contacts::new(now);
        for port in 0..u16::MAX {
            contacts.handle_sent(address(port), now);
            contacts.handle_stranger(address(port), now);
        }
        assert_eq!(contacts.called.addresses.len(), MAX_CALLED);
        assert_eq!(contacts.strangers.addresses.len(), MAX_STRANGERS);
        contacts.handle_sent(SocketAddr::from(([192, 0, 2, 2], 7)), now + MEMORY);
        assert_eq!(contacts.called.addresses.len(), 1);
    }

    #[test]
    fn bucket_grants_its_burst_and_then_its_rate() {
        let now = start();
        let mut bucket = TokenBucket::full(now);
        let burst = (0..1_000).filter(|_| bucket.take(now)).count();
        assert_eq!(burst, STRANGERS_BURST as usize);
        let later = now + Duration::from_millis(100);
        let refilled = (0..1_000).filter(|_| bucket.take(later)).count();
        assert_eq!(refilled, STRANGERS_RATE as usize / 10);
    }
}
