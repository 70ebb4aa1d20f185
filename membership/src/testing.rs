//! A mesh made of small numbers, for tests: node `n` has the key of seed `[n; 32]`.

use std::time::{Duration, Instant};

use ipnet::IpNet;
use meshnode_crypto::{
    Grant, GrantChain, LaneKey, MeshId, Name, NodeId, Revocation, RevocationTarget, Serial, SigningKey,
    UnixMillis,
};

use crate::api::Now;
use crate::directory::{Directory, DirectoryConfig};
use crate::record::{AnnouncedPrefix, RecordBody};

pub(crate) const START: u64 = 1_800_000_000_000;
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const AUTHORITY: u8 = 200;

pub(crate) fn key(n: u8) -> SigningKey {
    SigningKey::from_seed([n; 32])
}

pub(crate) fn node(n: u8) -> NodeId {
    key(n).public_key()
}

pub(crate) fn mesh() -> MeshId {
    MeshId::new(node(AUTHORITY))
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// The prefix of node `n`.
pub(crate) fn prefix(n: u8) -> IpNet {
    net(&format!("10.{n}.0.0/16"))
}

pub(crate) fn authority() -> SigningKey {
    key(AUTHORITY)
}

/// One instant to count from, and moments after it on both clocks.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    epoch: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    pub(crate) fn new() -> Self {
        Clock {
            epoch: Instant::now(),
        }
    }

    pub(crate) fn at(&self, after: Duration) -> Now {
        Now {
            wall: UnixMillis(START) + after,
            monotonic: self.epoch + after,
        }
    }

    pub(crate) fn start(&self) -> Now {
        self.at(Duration::ZERO)
    }
}

/// A grant of `issuer` to node `n`, which a test may change before it is signed.
pub(crate) fn grant(issuer: &SigningKey, n: u8, delegate: &[IpNet]) -> Grant {
    Grant {
        issuer: issuer.public_key(),
        subject: node(n),
        serve: vec![prefix(n)],
        delegate: delegate.to_vec(),
        name: None,
        not_before: UnixMillis(START) - HOUR,
        not_after: UnixMillis(START) + YEAR,
        serial: Serial([n; 16]),
        client_pool: None,
        client_range: None,
        token: None,
    }
}

/// authority → n; may invite for all of 10.0.0.0/8.
pub(crate) fn founder_chain(n: u8) -> GrantChain {
    let grant = grant(&authority(), n, &[net("10.0.0.0/8")]);
    GrantChain::from(grant.sign(&authority(), &mesh()).unwrap())
}

/// authority → by → n; may not invite.
pub(crate) fn chain_by(by: u8, n: u8) -> GrantChain {
    founder_chain(by).extend(grant(&key(by), n, &[]).sign(&key(by), &mesh()).unwrap())
}

pub(crate) fn lane(n: u8, lane: u8) -> LaneKey {
    LaneKey::from_seed([n ^ (lane << 5) ^ 0x80; 32])
}

/// What node `n` says with this chain, `after` the start.
pub(crate) fn body(n: u8, chain: GrantChain, after: Duration) -> RecordBody {
    RecordBody {
        generation: 1,
        sequence: (UnixMillis(START) + after).0,
        issued_at: UnixMillis(START) + after,
        name: Name::parse(&format!("node-{n}")).unwrap(),
        endpoints: vec![format!("203.0.113.{n}:51820").parse().unwrap()],
        prefixes: vec![AnnouncedPrefix {
            prefix: prefix(n),
            priority: 10,
        }],
        epoch: 1,
        lanes: vec![lane(n, 0).prove(&mesh(), &node(n), 0)],
        departed: false,
        capabilities: 0,
        version: "0.1.0".into(),
        chain,
        tags: Default::default(),
    }
}

/// A record of a node that the authority let in.
pub(crate) fn record(n: u8, after: Duration) -> Vec<u8> {
    body(n, founder_chain(n), after).sign(&key(n), &mesh()).unwrap()
}

/// A revocation of node `n` by the authority.
pub(crate) fn revocation(n: u8, descendants: bool) -> Vec<u8> {
    let revocation = Revocation {
        target: RevocationTarget::Node(node(n)),
        descendants,
        issuer: node(AUTHORITY),
        issued_at: UnixMillis(START),
        until: UnixMillis(START) + YEAR,
    };
    revocation
        .sign(&authority(), &mesh())
        .unwrap()
        .as_bytes()
        .to_vec()
}

/// The directory of node 0.
pub(crate) fn directory(clock: &Clock) -> Directory {
    let config = DirectoryConfig {
        mesh: mesh(),
        self_id: node(0),
        max_members: 100,
    };
    Directory::new(config, clock.start())
}
