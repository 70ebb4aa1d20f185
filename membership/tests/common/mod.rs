//! A small mesh vocabulary for the cluster tests: nodes with grants, views compared, time moved by hand.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipnet::IpNet;
use meshnode_crypto::{
    Context, Grant, GrantChain, LaneKey, MeshId, Name, NodeId, Sealed, Serial, SigningKey, UnixMillis,
};
use meshnode_membership::api::{Announcement, MembershipConfig, Timing};
use meshnode_membership::ports::{Store, StoreItem, WallClock};
use meshnode_membership::record::AnnouncedPrefix;
use meshnode_membership::service::Membership;
use meshnode_membership::simulation::{SimGossip, SimNetwork};
use meshnode_membership::view::View;
use tokio::time::{Instant, sleep, timeout};

pub const DAY: Duration = Duration::from_secs(24 * 3600);
/// Where all test clocks start: 2026-11-21.
pub const START: UnixMillis = UnixMillis(1_795_219_200_000);

/// Wall time that follows tokio's clock, with an offset that can be set wrong.
#[derive(Debug)]
pub struct TestClock {
    begun: Instant,
    pub offset: Mutex<i64>,
}

impl TestClock {
    pub fn new(begun: Instant) -> Arc<Self> {
        Arc::new(TestClock {
            begun,
            offset: Mutex::new(0),
        })
    }
}

impl WallClock for TestClock {
    fn now(&self) -> UnixMillis {
        let offset = *self.offset.lock().unwrap();
        let now = START + self.begun.elapsed();
        UnixMillis(now.0.saturating_add_signed(offset))
    }
}

/// A disk that survives restarts, and can fail.
#[derive(Debug, Default)]
pub struct MemoryStore {
    items: Mutex<BTreeMap<StoreItem, Vec<u8>>>,
    pub broken: Mutex<bool>,
}

impl Store for MemoryStore {
    fn load(&self, item: StoreItem) -> io::Result<Option<Vec<u8>>> {
        Ok(self.items.lock().unwrap().get(&item).cloned())
    }

    fn save(&self, item: StoreItem, bytes: &[u8]) -> io::Result<()> {
        if *self.broken.lock().unwrap() {
            return Err(io::Error::other("no space left on device"));
        }
        self.items.lock().unwrap().insert(item, bytes.to_vec());
        Ok(())
    }
}

/// An authority, and node 0 that founded the mesh and let all the others in.
pub struct Mesh {
    pub id: MeshId,
    pub authority: SigningKey,
    pub begun: Instant,
    pub max_members: usize,
    /// Whether everybody may serve everything in 10.0.0.0/8.
    pub wide_grants: bool,
    /// How long grants last from the start on, where that matters; the founder's lasts a year.
    pub grant_life: Option<Duration>,
    root: GrantChain,
}

/// A node's identity, its place on disk, and its process while it runs.
pub struct Node {
    pub number: u16,
    pub key: SigningKey,
    pub chain: GrantChain,
    pub store: Arc<MemoryStore>,
    pub clock: Arc<TestClock>,
    pub starts: u32,
    pub process: Option<Membership>,
}

pub fn key(number: u16) -> SigningKey {
    let mut seed = [7; 32];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    SigningKey::from_seed(seed)
}

pub fn prefix(number: u16) -> IpNet {
    let [high, low] = number.to_be_bytes();
    format!("10.{high}.{low}.0/24").parse().unwrap()
}

fn everything() -> Vec<IpNet> {
    vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]
}

impl Mesh {
    pub fn new() -> Self {
        Mesh::of(1)
    }

    /// The mesh of another authority.
    pub fn of(authority: u8) -> Self {
        let authority = SigningKey::from_seed([authority; 32]);
        let id = MeshId::new(authority.public_key());
        let founder = Grant {
            delegate: everything(),
            ..grant(&authority, &key(0), 0)
        };
        let root = GrantChain::from(founder.sign(&authority, &id).unwrap());
        Mesh {
            id,
            authority,
            begun: Instant::now(),
            max_members: 1000,
            wide_grants: false,
            grant_life: None,
            root,
        }
    }

    pub fn chain(&self, number: u16) -> GrantChain {
        match number {
            0 => self.root.clone(),
            _ => {
                let mut grant = grant(&key(0), &key(number), number);
                if self.wide_grants {
                    grant.serve = vec!["10.0.0.0/8".parse().unwrap()];
                }
                if let Some(life) = self.grant_life {
                    (grant.not_before, grant.not_after) = (START, START + life);
                }
                self.root.extend(grant.sign(&key(0), &self.id).unwrap())
            }
        }
    }

    /// A node that is not running yet.
    pub fn node(&self, number: u16) -> Node {
        Node {
            number,
            key: key(number),
            chain: self.chain(number),
            store: Arc::default(),
            clock: TestClock::new(self.begun),
            starts: 0,
            process: None,
        }
    }

    pub fn config(&self, node: &Node) -> MembershipConfig {
        let mut entropy = [node.starts as u8; 32];
        entropy[..2].copy_from_slice(&node.number.to_be_bytes());
        MembershipConfig {
            mesh: self.id,
            signing_key: node.key.clone(),
            chain: node.chain.clone(),
            max_members: self.max_members,
            authority: (node.number == 0).then(|| self.authority.clone()),
            seeds: Vec::new(),
            first_records: Vec::new(),
            version: "test".to_owned(),
            timing: Timing::default(),
            entropy,
        }
    }

    /// Starts `node`; `knows`: nodes whose records it begins with, as after an enrolment.
    pub async fn start(&self, network: &SimNetwork, node: &mut Node, knows: &[&Node]) {
        node.starts += 1;
        let mut config = self.config(node);
        config.first_records = knows.iter().map(|known| self.first_record(known)).collect();
        let process = Membership::start_in(network, config, node.store.clone(), node.clock.clone())
            .await
            .unwrap();
        process.announce(self.announcement(node));
        node.process = Some(process);
    }

    /// `count` running nodes that all know node 0 and nobody else.
    pub async fn start_all(&self, network: &SimNetwork, count: u16) -> Vec<Node> {
        let mut nodes: Vec<Node> = (0..count).map(|number| self.node(number)).collect();
        let (first, others) = nodes.split_at_mut(1);
        self.start(network, &mut first[0], &[]).await;
        for node in others {
            self.start(network, node, &[&first[0]]).await;
        }
        nodes
    }

    pub fn announcement(&self, node: &Node) -> Announcement {
        let mut seed = [node.starts as u8; 32];
        seed[..2].copy_from_slice(&node.number.to_be_bytes());
        let lane = LaneKey::from_seed(seed);
        Announcement {
            name: Name::parse(&format!("n{}", node.number)).unwrap(),
            endpoints: vec![format!("192.0.2.1:{}", 10_000 + node.number).parse().unwrap()],
            prefixes: vec![AnnouncedPrefix {
                prefix: prefix(node.number),
                priority: 100,
            }],
            lanes: vec![lane.prove(&self.id, &node.key.public_key(), 0)],
            epoch: node.starts,
            capabilities: 0,
            serving: Default::default(),
        }
    }

    // A record from an earlier time, as a seed would give it.
    fn first_record(&self, node: &Node) -> bytes::Bytes {
        record(self, node, START, |_| {}).into()
    }
}

/// A signed record of `node` at `at`, changed by `change` before it is signed.
pub fn record(
    mesh: &Mesh,
    node: &Node,
    at: UnixMillis,
    change: impl FnOnce(&mut meshnode_membership::record::RecordBody),
) -> Vec<u8> {
    let announced = mesh.announcement(node);
    let mut body = meshnode_membership::record::RecordBody {
        generation: 0,
        sequence: at.0 - 1000,
        issued_at: at,
        name: announced.name,
        endpoints: announced.endpoints,
        prefixes: announced.prefixes,
        epoch: 0,
        lanes: announced.lanes,
        departed: false,
        capabilities: 0,
        version: "test".to_owned(),
        chain: node.chain.clone(),
        tags: BTreeMap::new(),
    };
    change(&mut body);
    // Sealed by hand: a hostile client does not ask whether its record would be taken.
    let bytes = postcard::to_extend(&body, vec![1]).unwrap();
    Sealed::seal(bytes, &node.key, Context::Record, &mesh.id)
}

fn grant(issuer: &SigningKey, subject: &SigningKey, number: u16) -> Grant {
    let mut serial = [0; 16];
    serial[..2].copy_from_slice(&number.to_be_bytes());
    Grant {
        issuer: issuer.public_key(),
        subject: subject.public_key(),
        serve: vec![prefix(number)],
        delegate: Vec::new(),
        name: None,
        not_before: START - DAY,
        not_after: START + 365 * DAY,
        serial: Serial(serial),
        client_pool: None,
        client_range: None,
        token: None,
    }
}

impl Node {
    pub fn id(&self) -> NodeId {
        self.key.public_key()
    }

    pub fn process(&self) -> &Membership {
        self.process.as_ref().unwrap()
    }

    pub fn view(&self) -> Arc<View> {
        self.process().view().borrow().clone()
    }

    /// The nodes that this one sees, itself included.
    pub fn sees(&self) -> BTreeSet<NodeId> {
        let view = self.view();
        let own = view.own.iter().filter(|own| !own.departed).map(|own| own.id);
        view.nodes.keys().copied().chain(own).collect()
    }

    /// Ends the process without a word.
    pub fn crash(&mut self, network: &SimNetwork) {
        network.crash(&self.id());
        self.process = None;
    }
}

/// What a view says about the mesh, the same for everybody.
fn content(node: &Node) -> BTreeMap<NodeId, (u64, u32, Vec<IpNet>)> {
    let view = node.view();
    let all = view
        .nodes
        .values()
        .chain(view.own.iter().filter(|own| !own.departed));
    all.map(|seen| {
        (
            seen.id,
            (
                seen.sequence,
                seen.epoch,
                seen.prefixes.iter().map(|announced| announced.prefix).collect(),
            ),
        )
    })
    .collect()
}

/// Moves time until every running node sees exactly `expected` and all say the same about them.
pub async fn agree(nodes: &[&Node], expected: &BTreeSet<NodeId>, within: Duration) -> Duration {
    let begun = Instant::now();
    let agreed = async {
        loop {
            let first = content(nodes[0]);
            let complete = first.keys().copied().collect::<BTreeSet<_>>() == *expected;
            if complete && nodes.iter().all(|node| content(node) == first) {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    if timeout(within, agreed).await.is_err() {
        let seen: Vec<_> = nodes
            .iter()
            .map(|node| (node.number, node.sees().len()))
            .collect();
        panic!(
            "no agreement on {} nodes within {within:?}; seen: {seen:?}",
            expected.len()
        );
    }
    begun.elapsed()
}

pub fn ids<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> BTreeSet<NodeId> {
    nodes.into_iter().map(Node::id).collect()
}

pub fn refs(nodes: &[Node]) -> Vec<&Node> {
    nodes.iter().collect()
}

pub fn chitchat_network(seed: u64) -> SimNetwork {
    SimNetwork::new(seed, SimGossip::Chitchat)
}

/// Set RUST_LOG=debug to see what happens.
pub fn logs() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_test_writer()
        .try_init();
}
