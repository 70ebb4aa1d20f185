//! One member: its directory, its own record, its choice of routes and its lane, without the shells around them.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ipnet::IpNet;
use meshnode_crypto::{Grant, GrantChain, MeshId, NodeId, Serial, SigningKey, UnixMillis};
use meshnode_membership::api::Now;

use super::fabric::{Cargo, Number};
use super::life::Life;

/// Wall time at the beginning of every world.
const WALL: u64 = 1_800_000_000_000;

/// Cargo that a frozen member's socket holds for it.
const HELD: usize = 256;

/// What every grant of a simulated mesh allows.
const ALL: &str = "10.0.0.0/8";

/// Who a member is, whether it runs or not.
pub struct Member {
    /// Its number.
    pub number: Number,
    /// Where its one UDP port is.
    pub address: SocketAddr,
    /// What it should serve, with priorities.
    pub prefixes: Vec<(IpNet, u16)>,
    /// Whether its operator drains it.
    pub draining: bool,
    /// What it runs on; none: it crashed, left, or never came.
    pub life: Option<Life>,
    frozen: bool,
    starts: u64,
    sequence: u64,
    held: VecDeque<Cargo>,
    cache: Vec<Bytes>,
}

impl Member {
    /// A member that has not started yet.
    pub fn new(number: Number) -> Member {
        Member {
            number,
            address: home(number),
            prefixes: vec![(prefix(number), 100)],
            draining: false,
            life: None,
            frozen: false,
            starts: 0,
            sequence: 0,
            held: VecDeque::new(),
            cache: Vec::new(),
        }
    }

    /// Starts it, with what it knew when it stopped.
    pub fn start(&mut self, start: Instant, now: Instant) {
        self.starts += 1;
        self.frozen = false;
        self.held.clear();
        let mut life = Life::new(self, self.starts, self.sequence, start, now);
        for record in &self.cache {
            life.restore(record, now);
        }
        self.life = Some(life);
    }

    /// It is gone, without a word; the next start finds its state directory.
    pub fn crash(&mut self) {
        if let Some(life) = self.life.take() {
            self.sequence = life.sequence();
            self.cache = life.records();
        }
        (self.frozen, self.draining) = (false, false);
    }

    /// Stops it in the middle of whatever it does, or lets it go on.
    pub fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen && self.life.is_some();
    }

    /// Whether it runs: started and not frozen.
    pub fn is_awake(&self) -> bool {
        self.life.is_some() && !self.frozen
    }

    /// What it runs on, if it does.
    pub fn awake(&mut self) -> Option<&mut Life> {
        if self.frozen { None } else { self.life.as_mut() }
    }

    /// Takes what arrives, or lets its socket hold it.
    pub fn handle_cargo(&mut self, cargo: Cargo, now: Instant) {
        if self.frozen {
            if self.held.len() < HELD {
                self.held.push_back(cargo);
            }
        } else if let Some(life) = &mut self.life {
            life.handle_cargo(cargo, now);
        }
    }

    /// What its socket held while it was frozen. A lane takes its timers before its sockets once it is late.
    pub fn release(&mut self, now: Instant) {
        let Some(life) = self.life.as_mut().filter(|_| !self.frozen) else {
            return;
        };
        while let Some(cargo) = self.held.pop_front() {
            life.handle_cargo(cargo, now);
        }
    }
}

/// Its address before it ever roamed.
pub fn home(number: Number) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, number as u8 + 1], 51820))
}

/// The prefix that a member serves by itself.
pub fn prefix(number: Number) -> IpNet {
    IpNet::new(IpAddr::from([10, number as u8, 0, 0]), 16).expect("16 bits are a prefix length")
}

/// An address behind a member, inside [`prefix`].
pub fn host(number: Number) -> IpAddr {
    IpAddr::from([10, number as u8, 0, 9])
}

/// A member's identity.
pub fn id(number: Number) -> NodeId {
    key(number).public_key()
}

/// A moment of the world on both clocks.
pub fn moment(start: Instant, now: Instant) -> Now {
    Now {
        wall: UnixMillis(WALL) + now.saturating_duration_since(start),
        monotonic: now,
    }
}

pub(super) fn key(number: Number) -> SigningKey {
    SigningKey::from_seed([number as u8 + 1; 32])
}

fn authority() -> SigningKey {
    SigningKey::from_seed([255; 32])
}

pub(super) fn mesh() -> MeshId {
    MeshId::new(authority().public_key())
}

/// authority → member, for everything.
pub(super) fn chain(number: Number) -> GrantChain {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let grant = Grant {
        issuer: authority().public_key(),
        subject: id(number),
        serve: vec![ALL.parse().expect("a prefix")],
        delegate: vec![],
        name: None,
        not_before: UnixMillis(WALL) - YEAR,
        not_after: UnixMillis(WALL) + YEAR,
        serial: Serial([number as u8; 16]),
        client_pool: None,
        client_range: None,
        token: None,
    };
    GrantChain::from(
        grant
            .sign(&authority(), &mesh())
            .expect("the authority may grant everything"),
    )
}
