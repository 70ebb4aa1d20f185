//! A world of members: time, what passes between them, and what arrives behind them.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::fabric::{Fabric, Number};
use super::member::{Member, host};

/// How often a member compares all records with another, in place of gossip.
const GOSSIP: Duration = Duration::from_secs(1);

/// A packet that came out behind a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Which one, as [`World::inject`] numbered it.
    pub packet: u32,
    /// Behind whom.
    pub at: Number,
    /// When, since the world's beginning.
    pub after: Duration,
}

/// See the module documentation.
pub struct World {
    /// Its beginning.
    pub start: Instant,
    /// The present.
    pub now: Instant,
    /// What lies between members.
    pub fabric: Fabric,
    /// All that ever were.
    pub members: Vec<Member>,
    /// What came out since somebody last looked.
    pub arrivals: Vec<Arrival>,
    rng: ChaCha8Rng,
    gossip: Instant,
    packets: u32,
}

impl World {
    /// Members that all run and know the first one.
    pub fn new(members: usize, seed: u64) -> World {
        let start = Instant::now();
        let mut world = World {
            start,
            now: start,
            fabric: Fabric::new(seed),
            members: (0..members).map(Member::new).collect(),
            arrivals: vec![],
            rng: ChaCha8Rng::seed_from_u64(!seed),
            gossip: start,
            packets: 0,
        };
        for number in 0..members {
            world.fabric.place(number, world.members[number].address);
            world.start(number);
        }
        world
    }

    /// Starts a member, which then asks one that runs for what it knows.
    pub fn start(&mut self, number: Number) {
        self.members[number].start(self.start, self.now);
        self.settle(number);
        let running: Vec<_> = self.others_awake(number);
        if let Some(seed) = self.pick(&running) {
            self.exchange(number, seed);
        }
    }

    /// Members that run and can be reached from this one, both ways.
    pub fn others_awake(&self, number: Number) -> Vec<Number> {
        (0..self.members.len())
            .filter(|n| *n != number && self.members[*n].is_awake() && self.fabric.joins(number, *n))
            .collect()
    }

    /// One of several, at random.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        match from.len() {
            0 => None,
            n => Some(from[self.rng.random_range(0..n)]),
        }
    }

    /// Says to a member what its operator wants of it now.
    pub fn announce(&mut self, number: Number) {
        let (member, now) = (&mut self.members[number], self.now);
        if let Some(mut life) = member.life.take() {
            life.announce(member, now);
            member.life = Some(life);
        }
        self.settle(number);
    }

    /// Moves a member to another address; its process sees it at once.
    pub fn roam(&mut self, number: Number, address: SocketAddr) {
        self.members[number].address = address;
        self.fabric.place(number, address);
        self.announce(number);
    }

    /// Lets a frozen member go on.
    pub fn thaw(&mut self, number: Number) {
        self.members[number].freeze(false);
        if let Some(life) = self.members[number].awake() {
            life.turn(self.now);
        }
        self.members[number].release(self.now);
        self.settle(number);
    }

    /// Sends a packet from behind one member to an address, and returns its number.
    pub fn inject(&mut self, from: Number, to: IpAddr) -> u32 {
        self.packets += 1;
        let mut packet = packet(host(from), to, self.packets);
        if let Some(life) = self.members[from].awake() {
            life.outbound(&mut packet, self.now);
        }
        self.settle(from);
        self.packets
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let timers = self.members.iter().filter(|m| m.is_awake());
            let timers = timers
                .filter_map(|m| m.life.as_ref())
                .map(super::life::Life::poll_timeout);
            let next = timers
                .chain(self.fabric.next_arrival())
                .chain([self.gossip])
                .min();
            let Some(next) = next.filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            self.step();
        }
        self.now = end;
    }

    fn step(&mut self) {
        while let Some((to, cargo)) = self.fabric.arrived(self.now) {
            self.members[to].handle_cargo(cargo, self.now);
            self.settle(to);
        }
        if self.gossip <= self.now {
            self.gossip = self.now + GOSSIP;
            self.compare_records();
        }
        for number in 0..self.members.len() {
            let now = self.now;
            let due = self.members[number]
                .awake()
                .is_some_and(|life| life.poll_timeout() <= now);
            if due {
                self.settle(number);
            }
        }
    }

    /// Each member exchanges all records with one other that it knows.
    fn compare_records(&mut self) {
        for number in 0..self.members.len() {
            let known: Vec<SocketAddr> = match self.members[number].awake() {
                Some(life) => life.contacts().collect(),
                None => continue,
            };
            let known: Vec<Number> = known.iter().filter_map(|a| self.at(*a)).collect();
            if let Some(other) = self.pick(&known) {
                self.exchange(number, other);
            }
        }
    }

    /// Both tell each other all they know.
    fn exchange(&mut self, a: Number, b: Number) {
        for (from, to) in [(a, b), (b, a)] {
            if let Some(life) = self.members[from].awake() {
                let records = life.records();
                self.fabric.tell(from, to, records, self.now);
            }
        }
    }

    fn at(&self, address: SocketAddr) -> Option<Number> {
        self.members.iter().position(|m| m.address == address)
    }

    /// What one wake-up of a member does: its timers, and what they and its input brought forth.
    fn settle(&mut self, number: Number) {
        let (now, address) = (self.now, self.members[number].address);
        let Some(life) = self.members[number].awake() else {
            return;
        };
        life.turn(now);
        let datagrams: Vec<_> = life
            .send
            .iter()
            .map(|(to, bytes)| (to.remote, bytes.to_vec()))
            .collect();
        life.send.clear();
        let delivered: Vec<u32> = life.write.packets().filter_map(packet_number).collect();
        life.write.clear();
        let news = std::mem::take(&mut life.news);
        let contacts: Vec<SocketAddr> = life.contacts().collect();
        for (to, payload) in datagrams {
            self.fabric.send(number, address, to, payload, now);
        }
        let after = now - self.start;
        self.arrivals.extend(delivered.into_iter().map(|packet| Arrival {
            packet,
            at: number,
            after,
        }));
        self.spread(number, news, &contacts);
    }

    fn spread(&mut self, from: Number, news: Vec<Bytes>, contacts: &[SocketAddr]) {
        if news.is_empty() {
            return;
        }
        for to in contacts {
            if let Some(to) = self.at(*to) {
                self.fabric.tell(from, to, news.clone(), self.now);
            }
        }
    }
}

/// A UDP packet that carries a number.
fn packet(from: IpAddr, to: IpAddr, number: u32) -> Vec<u8> {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (from, to) else {
        return vec![];
    };
    let builder = etherparse::PacketBuilder::ipv4(from.octets(), to.octets(), 64).udp(4000, 5000);
    let mut bytes = Vec::new();
    builder
        .write(&mut bytes, &number.to_be_bytes())
        .expect("a vector takes everything");
    bytes
}

fn packet_number(packet: &[u8]) -> Option<u32> {
    packet.last_chunk().map(|number| u32::from_be_bytes(*number))
}
