//! The network between members: one link for each ordered pair, which delays, loses, reorders or carries nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A member's number in its world.
pub type Number = usize;

/// One way from a member to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Whether it carries anything.
    pub up: bool,
    /// Least time under way.
    pub delay: Duration,
    /// Up to so much more, each datagram for itself, so that some overtake others.
    pub jitter: Duration,
    /// Share of datagrams lost, 0 to 1.
    pub loss: f64,
}

impl Default for Link {
    fn default() -> Link {
        Link {
            up: true,
            delay: Duration::from_millis(5),
            jitter: Duration::from_millis(2),
            loss: 0.0,
        }
    }
}

/// What is under way.
#[derive(Clone, Debug)]
pub enum Cargo {
    /// A UDP datagram of the data plane.
    Datagram {
        /// As the receiver sees it.
        from: SocketAddr,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// Signed records, in place of QUIC and gossip.
    Records(Vec<Bytes>),
}

/// All links, and what is on them.
pub struct Fabric {
    rng: ChaCha8Rng,
    links: BTreeMap<(Number, Number), Link>,
    addresses: BTreeMap<SocketAddr, Number>,
    flights: BTreeMap<(Instant, u64), (Number, Cargo)>,
    sent: u64,
}

impl Fabric {
    /// Nobody is on it.
    pub fn new(seed: u64) -> Fabric {
        Fabric {
            rng: ChaCha8Rng::seed_from_u64(seed),
            links: BTreeMap::new(),
            addresses: BTreeMap::new(),
            flights: BTreeMap::new(),
            sent: 0,
        }
    }

    /// Puts a member at an address; it is no longer at any other.
    pub fn place(&mut self, member: Number, address: SocketAddr) {
        self.addresses.retain(|_, at| *at != member);
        self.addresses.insert(address, member);
    }

    /// The way from one member to another.
    pub fn link(&self, from: Number, to: Number) -> Link {
        self.links.get(&(from, to)).copied().unwrap_or_default()
    }

    /// Changes the way from one member to another.
    pub fn set_link(&mut self, from: Number, to: Number, link: Link) {
        self.links.insert((from, to), link);
    }

    /// Whether both ways between two members carry.
    pub fn joins(&self, a: Number, b: Number) -> bool {
        self.link(a, b).up && self.link(b, a).up
    }

    /// Sends a datagram to an address: lost where nobody is, or where the link loses it.
    pub fn send(&mut self, from: Number, source: SocketAddr, to: SocketAddr, payload: Vec<u8>, now: Instant) {
        let Some(to) = self.addresses.get(&to).copied() else {
            return;
        };
        let link = self.link(from, to);
        if link.up && !self.rng.random_bool(link.loss) {
            let cargo = Cargo::Datagram {
                from: source,
                payload,
            };
            self.launch(to, link, cargo, now);
        }
    }

    /// Tells a member of records, where a connection can stand.
    pub fn tell(&mut self, from: Number, to: Number, records: Vec<Bytes>, now: Instant) {
        if self.joins(from, to) {
            self.launch(to, self.link(from, to), Cargo::Records(records), now);
        }
    }

    fn launch(&mut self, to: Number, link: Link, cargo: Cargo, now: Instant) {
        let jitter = self.rng.random_range(0..=link.jitter.as_micros() as u64);
        let arrives = now + link.delay + Duration::from_micros(jitter);
        self.sent += 1;
        self.flights.insert((arrives, self.sent), (to, cargo));
    }

    /// When the next one arrives.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.flights.keys().next().map(|(at, _)| *at)
    }

    /// What has arrived by now, and where.
    pub fn arrived(&mut self, now: Instant) -> Option<(Number, Cargo)> {
        let first = self.flights.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n], 51820))
    }

    fn count(fabric: &mut Fabric, sends: usize) -> usize {
        let now = Instant::now();
        for _ in 0..sends {
            fabric.send(0, at(1), at(2), vec![4], now);
        }
        std::iter::from_fn(|| fabric.arrived(now + Duration::from_secs(1))).count()
    }

    #[test]
    fn a_link_that_is_down_carries_nothing_and_one_that_loses_half_carries_half() {
        let mut fabric = Fabric::new(1);
        fabric.place(1, at(2));
        assert_eq!(count(&mut fabric, 100), 100);
        fabric.set_link(
            0,
            1,
            Link {
                up: false,
                ..Link::default()
            },
        );
        assert_eq!(count(&mut fabric, 100), 0);
        fabric.set_link(
            0,
            1,
            Link {
                loss: 0.5,
                ..Link::default()
            },
        );
        assert!((300..700).contains(&count(&mut fabric, 1000)));
    }

    #[test]
    fn who_moved_is_no_longer_where_it_was() {
        let mut fabric = Fabric::new(1);
        fabric.place(1, at(2));
        fabric.place(1, at(9));
        assert_eq!(count(&mut fabric, 10), 0);
    }
}
