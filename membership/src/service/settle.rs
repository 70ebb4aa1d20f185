//! After each batch of events: publish what is due, pass news on, replace what others hold copies of.
//!
//! Copies (the view, the pool's book, gossip's voucher) are replaced at once after a quiet time and
//! otherwise coalesced: a thousand records that come in a second do not make a thousand views.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshnode_crypto::{NodeId, mesh_address};
use rand::seq::IteratorRandom;
use tokio::sync::oneshot;

use super::actor::{Actor, Done};
use crate::api::{MembershipEvent, MembershipStats, Now};
use crate::cache::{CachedPeer, PeerCache};
use crate::carrier::Book;
use crate::directory::DirectoryEvent;
use crate::gossip::dissemination::Values;
use crate::gossip::guard::{RECORD_KEY, encode_value, revocation_key};
use crate::message::{MAX_MESSAGE, Message, encode};
use crate::ports::StoreItem;
use crate::record::VerifiedRecord;
use crate::view::View;

/// Shortest time between two views, and between two batches of news.
const COALESCE: Duration = Duration::from_millis(50);
/// Meshes up to this size are told of our own changes member by member, connected or not.
const SMALL_MESH: usize = 24;
/// Connected members that one piece of news is passed on to.
const FAN_OUT: usize = 8;
/// How long a node that showed a good chain may take to send its record.
const VOUCHED: Duration = Duration::from_secs(600);
/// How often seeds are dialled while nobody is connected.
const SEED_PAUSE: Duration = Duration::from_secs(5);
/// Shortest time between two saves of a cache in which nothing but ages changed.
const CACHE_REFRESH: Duration = Duration::from_secs(300);
/// How often a full table is spoken of.
const FULL_PAUSE: Duration = Duration::from_secs(60);

/// What is to be settled.
#[derive(Default)]
pub(super) struct Settling {
    seen_version: u64,
    book_stale: bool,
    last_copies: Option<Instant>,
    news: BTreeMap<NodeId, NodeId>,
    revocations: Vec<(Vec<u8>, Option<NodeId>)>,
    revocations_unsaved: bool,
    chain_unsaved: bool,
    last_seeds: Option<Instant>,
    peers: Unsaved,
    last_full: Option<Instant>,
}

#[derive(Default)]
struct Unsaved {
    since: Option<Instant>,
    last: Option<Instant>,
    version: u64,
}

impl Settling {
    pub(super) fn book_changed(&mut self) {
        self.book_stale = true;
    }

    pub(super) fn peers_changed(&mut self) {
        self.peers.since.get_or_insert_with(super::actor::monotonic);
    }

    pub(super) fn chain_changed(&mut self) {
        self.chain_unsaved = true;
    }

    pub(super) fn pass_on_record(&mut self, node: NodeId, from: NodeId) {
        self.news.insert(node, from);
        self.peers_changed();
    }

    pub(super) fn pass_on_revocation(&mut self, bytes: Vec<u8>, from: Option<NodeId>) {
        self.revocations.push((bytes, from));
        self.revocations_unsaved = true;
    }
}

impl Actor {
    pub(super) async fn settle(&mut self) {
        let now = self.now();
        self.handle_directory_events();
        self.publish(now).await;
        self.pass_on_revocations();
        self.replace_copies(now);
        if std::mem::take(&mut self.settling.chain_unsaved) {
            let chain = self.own.chain().0.to_bytes();
            self.keeper.save(StoreItem::Chain, chain).await;
        }
        if self.settling.revocations_unsaved {
            // A failure was reported, and is tried again with the next revocation.
            let _ = self.save_revocations().await;
        }
        self.save_peers_if_due(now).await;
    }

    fn handle_directory_events(&mut self) {
        while let Some(event) = self.directory.poll_event() {
            match event {
                DirectoryEvent::OwnSeen { sequence } => self.own.seen(sequence),
                DirectoryEvent::Conflict { node } => {
                    tracing::warn!(node = %node.short(), "one identity on two machines: its records contradict each other");
                    self.say(MembershipEvent::Conflict { node });
                }
                DirectoryEvent::Revoked { node } => {
                    tracing::info!(node = %node.short(), "node revoked");
                    self.say(MembershipEvent::Revoked { node });
                }
                DirectoryEvent::Expired { node } => tracing::info!(node = %node.short(), "record expired"),
                DirectoryEvent::ClockSkew(millis) => {
                    tracing::warn!(
                        ?millis,
                        "this node's clock and the members' differ by more than ten minutes"
                    );
                    self.say(MembershipEvent::ClockSkew { millis });
                }
                DirectoryEvent::TableFull { .. } => self.say_full(self.now()),
            }
        }
    }

    /// Says, once a minute, that members find no room.
    pub(super) fn say_full(&mut self, now: Now) {
        let last = self.settling.last_full;
        if last.is_some_and(|last| now.monotonic.duration_since(last) < FULL_PAUSE) {
            return;
        }
        self.settling.last_full = Some(now.monotonic);
        let capacity = self.directory.capacity();
        tracing::warn!(capacity, "the mesh is full: nodes beyond the limit are refused");
        self.say(MembershipEvent::TableFull { capacity });
    }

    async fn publish(&mut self, now: Now) {
        match self.own.handle_timeout(now, self.directory.members_time()) {
            Some(Ok(record)) => {
                self.counter.sequence = record.body.sequence;
                self.keeper.save_counter(self.counter).await;
                self.directory.set_own(record.clone());
                self.publish_values();
                self.tell_everybody(&record);
            }
            Some(Err(error)) => tracing::warn!(%error, "this node's record cannot be published"),
            None => {}
        }
    }

    fn publish_values(&self) {
        let mut values = Values::new();
        if let Some(own) = self.own.published() {
            values.insert(RECORD_KEY.to_owned(), encode_value(&own.bytes));
        }
        for (id, revocation) in self.directory.revocations() {
            values.insert(revocation_key(&id), encode_value(revocation));
        }
        self.out.gossip.publish(Arc::new(values));
    }

    fn tell_everybody(&mut self, record: &VerifiedRecord) {
        let message = Message::Records(vec![record.bytes.to_vec()]);
        if !self.goodbyes.is_empty() {
            return self.deliver_goodbye(message);
        }
        for node in self.audience() {
            self.out.carrier.send(node, message.clone());
        }
    }

    // Who is told of our own changes: all who are connected, in a small mesh everybody.
    fn audience(&self) -> BTreeSet<NodeId> {
        let mut audience: BTreeSet<NodeId> = self.out.carrier.connected().into_iter().collect();
        if self.directory.members().take(SMALL_MESH + 1).count() <= SMALL_MESH {
            audience.extend(self.directory.members().map(|record| record.node));
        }
        audience
    }

    /// Publishes at once; `answer` when all who are connected know, or cannot be told.
    pub(super) fn say_goodbye(&mut self, answer: oneshot::Sender<()>) {
        if self.own.published().is_none() {
            answer.send(()).unwrap_or_default();
            return;
        }
        // Also when nothing changed: whoever waits is to be answered.
        self.own.seen(0);
        self.goodbyes.push(answer);
    }

    fn deliver_goodbye(&mut self, message: Message) {
        let waiting = std::mem::take(&mut self.goodbyes);
        let carrier = &self.out.carrier;
        let connected = carrier.connected();
        for node in self.audience().iter().filter(|node| !connected.contains(node)) {
            carrier.send(*node, message.clone());
        }
        let deliveries: Vec<_> = connected
            .into_iter()
            .map(|node| carrier.deliver(node, message.clone()))
            .collect();
        self.jobs.spawn(async move {
            futures_util::future::join_all(deliveries).await;
            for answer in waiting {
                answer.send(()).unwrap_or_default();
            }
            Done::Nothing
        });
    }

    fn pass_on_revocations(&mut self) {
        let revocations = std::mem::take(&mut self.settling.revocations);
        if revocations.is_empty() {
            return;
        }
        self.publish_values();
        let audience = self.audience();
        for (bytes, from) in revocations {
            for node in audience.iter().filter(|node| Some(**node) != from) {
                self.out
                    .carrier
                    .send(*node, Message::Revocations(vec![bytes.clone()]));
            }
        }
        // Whoever it hits is cut off now, not when the next view is due.
        self.settling.last_copies = None;
    }

    /// When copies that were held back for others are due; `None`: none are.
    pub(super) fn copies_due(&self) -> Option<Instant> {
        let due = self.settling.last_copies? + COALESCE;
        self.are_copies_stale().then_some(due)
    }

    fn are_copies_stale(&self) -> bool {
        self.directory.version() != self.settling.seen_version || self.settling.book_stale
    }

    fn replace_copies(&mut self, now: Now) {
        let is_soon = |last: Instant| now.monotonic.duration_since(last) < COALESCE;
        if !self.are_copies_stale() || self.settling.last_copies.is_some_and(is_soon) {
            return;
        }
        self.settling.last_copies = Some(now.monotonic);
        self.settling.book_stale = false;
        self.replace_book();
        self.out.gossip.set_voucher(self.directory.voucher());
        if self.directory.version() != self.settling.seen_version {
            self.settling.seen_version = self.directory.version();
            self.settling.peers_changed();
            self.replace_view(now);
        }
        self.pass_on_news();
    }

    fn replace_book(&mut self) {
        let directory = &self.directory;
        self.vouched.retain(|node, vouched| {
            directory.record(node).is_none() && !directory.is_revoked(&vouched.chain)
        });
        let mut book: Book = self
            .directory
            .members()
            .filter(|record| !self.directory.is_revoked(&record.chain))
            .map(|record| (record.node, self.addresses(record)))
            .collect();
        for node in self.vouched.keys() {
            book.insert(*node, self.good.get(node).cloned().unwrap_or_default());
        }
        let route = |node: &NodeId| (mesh_address(&self.identity.mesh, node), *node);
        self.out.routes.store(Arc::new(book.keys().map(route).collect()));
        self.out.carrier.set_book(Arc::new(book));
    }

    // Confirmed addresses first, then what the node says itself.
    fn addresses(&self, record: &VerifiedRecord) -> Vec<SocketAddr> {
        let mut addresses = self.good.get(&record.node).cloned().unwrap_or_default();
        let announced = record
            .body
            .endpoints
            .iter()
            .filter(|endpoint| !addresses.contains(endpoint));
        let announced: Vec<_> = announced.copied().collect();
        addresses.extend(announced);
        addresses
    }

    fn replace_view(&mut self, now: Now) {
        let view = self.directory.view(now);
        let before = self.out.view.send_replace(Arc::new(view));
        let after = self.out.view.borrow().clone();
        self.say_who_came_and_went(&before, &after);
    }

    fn say_who_came_and_went(&self, before: &View, after: &View) {
        for (node, seen) in after
            .nodes
            .iter()
            .filter(|(node, _)| !before.nodes.contains_key(node))
        {
            tracing::info!(node = %node.short(), name = %seen.name, "node joined");
            self.say(MembershipEvent::Joined {
                node: *node,
                name: seen.name.clone(),
            });
        }
        for (node, seen) in before
            .nodes
            .iter()
            .filter(|(node, _)| !after.nodes.contains_key(node))
        {
            tracing::info!(node = %node.short(), name = %seen.name, "node left");
            self.say(MembershipEvent::Left {
                node: *node,
                name: seen.name.clone(),
            });
        }
    }

    // Each piece of news to a few who are connected, never back to whom it came from.
    fn pass_on_news(&mut self) {
        let news = std::mem::take(&mut self.settling.news);
        if news.is_empty() {
            return;
        }
        let connected = self.out.carrier.connected();
        let mut parcels: BTreeMap<NodeId, Vec<Vec<u8>>> = BTreeMap::new();
        for (node, from) in news {
            let Some(record) = self.directory.record(&node) else {
                continue;
            };
            let others = connected
                .iter()
                .filter(|other| **other != from && **other != node);
            for other in others.sample(&mut self.rng, FAN_OUT) {
                parcels.entry(*other).or_default().push(record.bytes.to_vec());
            }
        }
        for (node, records) in parcels {
            for records in in_messages(records) {
                self.out.carrier.send(node, Message::Records(records));
            }
        }
    }

    /// Dials the seeds while nobody is connected.
    pub(super) fn look_for_seeds(&mut self, now: Now) {
        let is_soon = |last: Instant| now.monotonic.duration_since(last) < SEED_PAUSE;
        if self.settling.last_seeds.is_some_and(is_soon) || !self.out.carrier.connected().is_empty() {
            return;
        }
        self.settling.last_seeds = Some(now.monotonic);
        for seed in &self.identity.seeds {
            self.out.carrier.dial_seed(*seed);
        }
    }

    pub(super) fn forget_stale(&mut self, now: Now) {
        let before = self.vouched.len();
        self.vouched
            .retain(|_, vouched| now.monotonic.duration_since(vouched.since) < VOUCHED);
        if self.vouched.len() != before {
            self.settling.book_changed();
        }
        let directory = &self.directory;
        self.good.retain(|node, _| directory.record(node).is_some());
        self.ledger.prune(now.wall);
    }

    pub(super) fn update_stats(&self) {
        let carrier = self.out.carrier.stats();
        let gossip = self.out.gossip.stats();
        let mut rejected = self.directory.rejected_totals().clone();
        rejected.retain(|_, count| *count > 0);
        self.out.stats.store(Arc::new(MembershipStats {
            gossip_rejected: rejected,
            digest_bytes: gossip.digest_bytes,
            gossip_bytes_sent: carrier.gossip_sent,
            gossip_bytes_received: carrier.gossip_received,
            quic_connections: carrier.connections,
            members_known: self.out.view.borrow().nodes.len(),
            members_live: self.out.gossip.live().len(),
            grant_not_after: Some(self.own.chain().1.not_after()),
        }));
    }

    pub(super) async fn save_revocations(&mut self) -> io::Result<()> {
        self.settling.revocations_unsaved = false;
        let all: Vec<Vec<u8>> = self
            .directory
            .revocations()
            .map(|(_, bytes)| bytes.to_vec())
            .collect();
        self.keeper.try_save(StoreItem::Revocations, encode(&all)).await
    }

    async fn save_peers_if_due(&mut self, now: Now) {
        let peers = &self.settling.peers;
        let Some(since) = peers.since else { return };
        let who = self.directory.version();
        let debounced = now.monotonic.duration_since(since) >= self.cache_debounce();
        let rested = peers
            .last
            .is_none_or(|last| now.monotonic.duration_since(last) >= CACHE_REFRESH);
        if debounced && (rested || peers.version != who) {
            self.settling.peers = Unsaved {
                since: None,
                last: Some(now.monotonic),
                version: who,
            };
            self.save_peers().await;
        }
    }

    // What a crash may forget is small as long as saving is cheap.
    fn cache_debounce(&self) -> Duration {
        let debounce = self.identity.timing.cache_debounce;
        match self.directory.members().nth(SMALL_MESH) {
            None => debounce / 20,
            Some(_) => debounce,
        }
    }

    pub(super) async fn save_peers(&mut self) {
        let peer = |record: &VerifiedRecord| CachedPeer {
            record: record.bytes.to_vec(),
            good: self.good.get(&record.node).cloned().unwrap_or_default(),
        };
        let peers = self.directory.members().map(peer).collect();
        let cache = PeerCache {
            saved_at: self.now().wall,
            peers,
        };
        let bytes = cache.to_bytes(&self.identity.key, &self.identity.mesh);
        self.keeper.save(StoreItem::Peers, bytes).await;
    }
}

// As many records to a message as one holds.
fn in_messages(records: Vec<Vec<u8>>) -> Vec<Vec<Vec<u8>>> {
    let mut messages: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut room = 0;
    for record in records {
        let size = record.len() + 4;
        if size > room {
            messages.push(Vec::new());
            room = MAX_MESSAGE - 16;
        }
        room -= size;
        if let Some(last) = messages.last_mut() {
            last.push(record);
        }
    }
    messages
}
