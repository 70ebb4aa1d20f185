//! A network of members without sockets, for tests and simulations: the same decisions, links that can be
//! cut, and either real gossip or a seeded broadcast beneath.
//!
//! Run it under a paused tokio clock. What is said here is checked by receivers as on a real network, so a
//! hostile member is one whose messages are written by hand ([`SimNetwork::say`]).

mod wire;

pub use wire::SimWire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, ready};
use meshnode_crypto::NodeId;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use crate::carrier::{Book, Carrier, CarrierEvent, CarrierStats, RequestError};
use crate::gossip::dissemination::GossipEvent;
use crate::gossip::sim::Broadcast;
use crate::message::{Answer, Message, Request};
use crate::service::start::{Wired, Wiring};

/// A link that nothing used for this long is gone, as an idle QUIC connection is.
const IDLE: Duration = Duration::from_secs(30);
/// How long a message waits for its sender to be recognised as a member.
const RECOGNITION: Duration = Duration::from_secs(2);

/// What spreads values in a simulated network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimGossip {
    /// Chitchat itself, which draws from its own random source.
    Chitchat,
    /// A broadcast with seeded delays: the same seed gives the same run.
    Broadcast,
}

/// Something said by hand.
#[derive(Clone, Debug)]
pub enum SimMessage {
    /// Chitchat's bytes.
    Gossip(Vec<u8>),
    /// Signed records.
    Records(Vec<Vec<u8>>),
    /// Signed revocations.
    Revocations(Vec<Vec<u8>>),
    /// A claim where the receiver is seen.
    Observed(SocketAddr),
    /// A grant chain for the receiver.
    Grant(Vec<u8>),
}

/// The network. Cheap to clone; the clones are one network.
#[derive(Clone)]
pub struct SimNetwork {
    shared: Arc<Mutex<Shared>>,
    gossip: SimGossip,
}

struct Shared {
    rng: ChaCha8Rng,
    latency: (Duration, Duration),
    loss: f64,
    nodes: BTreeMap<NodeId, Node>,
    // Nodes in different groups do not hear each other; who is in none is in group 0.
    groups: BTreeMap<NodeId, u32>,
    links: BTreeMap<(NodeId, NodeId), Instant>,
}

struct Node {
    events: mpsc::Sender<CarrierEvent>,
    gossip_events: mpsc::Sender<GossipEvent>,
    book: Arc<Book>,
    hello: Bytes,
    stats: CarrierStats,
    life: u64,
}

impl SimNetwork {
    /// An empty network with 1 to 30 ms one way and no loss.
    pub fn new(seed: u64, gossip: SimGossip) -> Self {
        let shared = Shared {
            rng: ChaCha8Rng::seed_from_u64(seed),
            latency: (Duration::from_millis(1), Duration::from_millis(30)),
            loss: 0.0,
            nodes: BTreeMap::new(),
            groups: BTreeMap::new(),
            links: BTreeMap::new(),
        };
        SimNetwork {
            shared: Arc::new(Mutex::new(shared)),
            gossip,
        }
    }

    /// Puts nodes into a group of their own: only nodes of one group hear each other.
    pub fn part(&self, nodes: &[NodeId], group: u32) {
        let mut shared = self.lock();
        for node in nodes {
            shared.groups.insert(*node, group);
        }
        let groups = shared.groups.clone();
        let group = |node: &NodeId| groups.get(node).copied().unwrap_or(0);
        shared.links.retain(|(a, b), _| group(a) == group(b));
    }

    /// Everybody hears everybody again.
    pub fn heal(&self) {
        self.lock().groups.clear();
    }

    /// Loses this share of all messages, 0 to 1.
    pub fn set_loss(&self, loss: f64) {
        self.lock().loss = loss;
    }

    /// Takes a node off the network without a word, as a crash does. It may be attached again.
    pub fn crash(&self, node: &NodeId) {
        let mut shared = self.lock();
        shared.nodes.remove(node);
        shared.links.retain(|(a, b), _| a != node && b != node);
    }

    /// Says something as `from`, whose process need not know.
    pub fn say(&self, from: NodeId, to: NodeId, message: SimMessage) {
        let message = match message {
            SimMessage::Gossip(bytes) => Message::Gossip(bytes.into()),
            SimMessage::Records(records) => Message::Records(records),
            SimMessage::Revocations(revocations) => Message::Revocations(revocations),
            SimMessage::Observed(address) => Message::Observed(address),
            SimMessage::Grant(chain) => Message::Grant(chain.into()),
        };
        self.send(from, to, message);
    }

    /// Gossip bytes that `node` has sent so far.
    pub fn gossip_sent(&self, node: &NodeId) -> u64 {
        self.lock()
            .nodes
            .get(node)
            .map_or(0, |node| node.stats.gossip_sent)
    }

    /// Plugs a node in.
    pub(crate) fn attach(&self, wiring: Wiring) -> Wired {
        let node = wiring.node;
        let life = {
            let mut shared = self.lock();
            let life = shared.rng.random();
            let plugged = Node {
                events: wiring.carrier_events.clone(),
                gossip_events: wiring.gossip_events.clone(),
                book: Arc::default(),
                hello: wiring.hello.clone(),
                stats: CarrierStats::default(),
                life,
            };
            shared.nodes.insert(node, plugged);
            life
        };
        let carrier: Arc<dyn Carrier> = Arc::new(SimCarrier {
            network: self.clone(),
            node,
            life,
        });
        let gossip = match self.gossip {
            SimGossip::Chitchat => wiring.chitchat(&carrier),
            SimGossip::Broadcast => Arc::new(Broadcast::start(self.clone(), &wiring)),
        };
        (carrier, gossip)
    }

    /// Whether `from` can be heard at `to` now.
    pub(crate) fn hears(&self, from: &NodeId, to: &NodeId) -> bool {
        let shared = self.lock();
        shared.nodes.contains_key(to) && shared.same_group(from, to)
    }

    /// Nodes that hear `node` now.
    pub(crate) fn listeners(&self, node: &NodeId) -> Vec<NodeId> {
        let shared = self.lock();
        let others = shared
            .nodes
            .keys()
            .filter(|other| *other != node && shared.same_group(node, other));
        others.copied().collect()
    }

    /// Where `to` hears of values, if it hears `from` now.
    pub(crate) fn gossip_events_of(&self, from: &NodeId, to: &NodeId) -> Option<mpsc::Sender<GossipEvent>> {
        let shared = self.lock();
        let listener = shared.nodes.get(to).filter(|_| shared.same_group(from, to))?;
        Some(listener.gossip_events.clone())
    }

    /// A delay from the network's own random source; `None`: the message is lost.
    pub(crate) fn delay(&self) -> Option<Duration> {
        let mut shared = self.lock();
        let ((least, most), loss) = (shared.latency, shared.loss);
        let lost = shared.rng.random_bool(loss);
        let delay = shared.rng.random_range(least..=most);
        (!lost).then_some(delay)
    }

    fn send(&self, from: NodeId, to: NodeId, message: Message) {
        let Some(delay) = self.delay() else { return };
        let network = self.clone();
        tokio::spawn(async move {
            sleep(delay).await;
            network.arrive(from, to, message).await;
        });
    }

    async fn arrive(&self, from: NodeId, to: NodeId, message: Message) -> bool {
        if !self.hears(&from, &to) || !self.recognise(&from, &to).await {
            return false;
        }
        self.link(from, to).await;
        let size = if let Message::Gossip(bytes) = &message {
            bytes.len() as u64
        } else {
            0
        };
        let Some(events) = self.events_of(&to, size) else {
            return false;
        };
        events.send(CarrierEvent::Message { from, message }).await.is_ok()
    }

    // A receiver that does not know the sender is shown its grants, and given time to check them.
    async fn recognise(&self, from: &NodeId, to: &NodeId) -> bool {
        let deadline = Instant::now() + RECOGNITION;
        let mut shown = false;
        while Instant::now() < deadline {
            let (known, hello, events) = {
                let shared = self.lock();
                let Some(receiver) = shared.nodes.get(to) else {
                    return false;
                };
                let hello = shared.nodes.get(from).map(|sender| sender.hello.clone());
                (receiver.book.contains_key(from), hello, receiver.events.clone())
            };
            if known {
                return true;
            }
            if let (false, Some(hello)) = (shown, hello) {
                let event = CarrierEvent::Message {
                    from: *from,
                    message: Message::Hello(hello),
                };
                shown = events.send(event).await.is_ok();
            }
            sleep(Duration::from_millis(20)).await;
        }
        false
    }

    async fn link(&self, from: NodeId, to: NodeId) {
        let fresh = {
            let mut shared = self.lock();
            let now = Instant::now();
            let last = shared.links.insert(pair(from, to), now);
            last.is_none_or(|last| now.duration_since(last) > IDLE)
        };
        if fresh {
            for (node, other, dialled) in [(from, to, true), (to, from, false)] {
                if let Some(events) = self.events_of(&node, 0) {
                    // A node that stopped meanwhile needs no link.
                    let _ = events
                        .send(CarrierEvent::Connected {
                            node: other,
                            remote: nowhere(),
                            dialled,
                        })
                        .await;
                }
            }
        }
    }

    fn events_of(&self, node: &NodeId, gossip: u64) -> Option<mpsc::Sender<CarrierEvent>> {
        let mut shared = self.lock();
        let node = shared.nodes.get_mut(node)?;
        node.stats.gossip_received += gossip;
        Some(node.events.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn same_group(&self, a: &NodeId, b: &NodeId) -> bool {
        let group = |node: &NodeId| self.groups.get(node).copied().unwrap_or(0);
        group(a) == group(b)
    }

    fn is_linked(&self, a: NodeId, b: NodeId) -> bool {
        let used = self.links.get(&pair(a, b));
        used.is_some_and(|used| used.elapsed() <= IDLE) && self.same_group(&a, &b)
    }
}

struct SimCarrier {
    network: SimNetwork,
    node: NodeId,
    life: u64,
}

impl SimCarrier {
    fn with_node<T>(&self, work: impl FnOnce(&mut Node) -> T) -> Option<T> {
        let mut shared = self.network.lock();
        shared
            .nodes
            .get_mut(&self.node)
            .filter(|node| node.life == self.life)
            .map(work)
    }

    fn knows(&self, node: &NodeId) -> bool {
        self.with_node(|this| this.book.contains_key(node))
            .unwrap_or(false)
    }
}

impl Carrier for SimCarrier {
    fn send(&self, to: NodeId, message: Message) {
        let size = if let Message::Gossip(bytes) = &message {
            bytes.len() as u64
        } else {
            0
        };
        let known = self.with_node(|this| {
            this.stats.gossip_sent += size;
            this.book.contains_key(&to)
        });
        if known == Some(true) {
            self.network.send(self.node, to, message);
        }
    }

    fn deliver(&self, to: NodeId, message: Message) -> BoxFuture<'static, bool> {
        if !self.knows(&to) {
            return ready(false).boxed();
        }
        let (network, from, delay) = (self.network.clone(), self.node, self.network.delay());
        async move {
            sleep(delay.unwrap_or(Duration::from_secs(1))).await;
            network.arrive(from, to, message).await
        }
        .boxed()
    }

    fn request(&self, to: NodeId, request: Request) -> BoxFuture<'static, Result<Answer, RequestError>> {
        let (network, from) = (self.network.clone(), self.node);
        async move {
            if !network.hears(&from, &to) || !network.recognise(&from, &to).await {
                return Err(RequestError::Unreachable);
            }
            let (answer, answered) = oneshot::channel();
            let events = network.events_of(&to, 0).ok_or(RequestError::Unreachable)?;
            let sent = events
                .send(CarrierEvent::Request {
                    from,
                    request,
                    answer,
                })
                .await;
            sent.map_err(|_| RequestError::Unreachable)?;
            answered.await.map_err(|_| RequestError::TimedOut)
        }
        .boxed()
    }

    fn set_book(&self, book: Arc<Book>) {
        self.with_node(|this| this.book = book.clone());
        let node = self.node;
        let is_kept = |(a, b): &(NodeId, NodeId)| {
            (*a != node || book.contains_key(b)) && (*b != node || book.contains_key(a))
        };
        self.network.lock().links.retain(|pair, _| is_kept(pair));
    }

    // Strangers have no links here.
    fn refuse(&self, _: NodeId) {}

    fn set_hello(&self, chain: Bytes) {
        self.with_node(|this| this.hello = chain);
    }

    // Seeds are addresses, and this network has none: members are found by their records.
    fn dial_seed(&self, _: SocketAddr) {}

    fn connected(&self) -> Vec<NodeId> {
        let shared = self.network.lock();
        let mut others: BTreeSet<NodeId> = BTreeSet::new();
        for (a, b) in shared.links.keys() {
            if (*a == self.node || *b == self.node) && shared.is_linked(*a, *b) {
                others.insert(if *a == self.node { *b } else { *a });
            }
        }
        others.into_iter().collect()
    }

    fn stats(&self) -> CarrierStats {
        let connections = self.connected().len();
        self.with_node(|this| CarrierStats {
            connections,
            ..this.stats
        })
        .unwrap_or_default()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        if self.with_node(|_| ()).is_some() {
            self.network.crash(&self.node);
        }
        ready(()).boxed()
    }
}

fn pair(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}

// Simulated members have no underlay address.
fn nowhere() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 0))
}
