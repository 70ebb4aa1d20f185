//! The verified directory: what this node believes of all others.
//!
//! ```text
//! bytes ─authenticate─► ours? ─► revoked? ─► from the future? ─► newer than what we have? ─► table
//!           │            │          │             │ held back until due      │
//!        rejected     OwnSeen    rejected       rejected                 Older, Conflict
//! ```
//!
//! The table is a join: of each node the record with the highest sequence (then the lowest hash), and every
//! revocation, whatever order they came in and however often. What depends on time is decided when a view
//! is made. Being in the table is not being in the view: departed nodes stay until their grant ends, so
//! that an old record cannot bring them back; expired ones stay as hints where to dial.
//!
//! When our clock is unsure (see [`clock`]) expiry removes nobody: who was in the view stays there.

mod clock;
mod compose;
mod names;
mod rejected;
mod revocations;
mod voucher;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv6Addr;

use bytes::Bytes;
use ipnet::Ipv4Net;
use meshnode_crypto::{MeshId, Name, NodeId, Serial, UnixMillis, VerifiedChain};
use sha2::{Digest, Sha256};

use crate::api::Now;
use crate::record::{RejectReason, Rejection, VALIDITY, VerifiedRecord, authenticate};
use crate::view::View;

pub use clock::MAX_SKEW;
pub use voucher::Voucher;

use clock::ClockCheck;
use rejected::Rejected;
use revocations::Revocations;

// Records from the future, one a node: protects memory from members with a wrong clock or worse.
const MAX_HELD: usize = 64;
// Events that nobody takes out are of no use to anybody.
const MAX_EVENTS: usize = 1024;

/// What a directory is of.
#[derive(Clone, Copy, Debug)]
pub struct DirectoryConfig {
    /// Which mesh.
    pub mesh: MeshId,
    /// Whose directory.
    pub self_id: NodeId,
    /// Most members, ourselves, departed and expired ones included.
    pub max_members: usize,
}

/// What a record changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The first record of its node.
    New,
    /// It says something new.
    Newer,
    /// It says the same as before, later.
    Refreshed,
    /// These very bytes were known.
    Unchanged,
    /// A newer one was known.
    Older,
    /// Another one with the same sequence was known; the one with the lower hash stays.
    Conflict,
}

impl Change {
    /// Whether others should be told at once.
    pub fn is_news(&self) -> bool {
        matches!(self, Change::New | Change::Newer | Change::Conflict)
    }
}

/// A record that was taken, or was not needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Whose it is.
    pub node: NodeId,
    /// What it changed.
    pub change: Change,
}

/// Something that the shell or people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryEvent {
    /// Two records of one node with one sequence, or one of ours that we never made: one identity runs on
    /// two machines.
    Conflict {
        /// Whose identity.
        node: NodeId,
    },
    /// A record of ours is about with this sequence, at or above our last: publish above it.
    OwnSeen {
        /// Its sequence.
        sequence: u64,
    },
    /// A node is out by revocation; it may be ourselves.
    Revoked {
        /// Who.
        node: NodeId,
    },
    /// A node's record or grant ran out.
    Expired {
        /// Whose.
        node: NodeId,
    },
    /// The members' clock minus ours in milliseconds, when it became or ceased to be too much.
    ClockSkew(Option<i64>),
    /// A new node found no room.
    TableFull {
        /// Which.
        node: NodeId,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Peer,
    Disk,
}

#[derive(Debug)]
struct Entry {
    record: VerifiedRecord,
    // Set only while our clock is trusted, so that a wrong one removes nobody.
    expired: bool,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Directory {
    config: DirectoryConfig,
    entries: BTreeMap<NodeId, Entry>,
    own: Option<VerifiedRecord>,
    own_since: UnixMillis,
    held: BTreeMap<NodeId, VerifiedRecord>,
    revocations: Revocations,
    clock: ClockCheck,
    skew: Option<i64>,
    rejected: Rejected,
    events: VecDeque<DirectoryEvent>,
    version: u64,
}

impl Directory {
    /// An empty directory.
    pub fn new(config: DirectoryConfig, now: Now) -> Self {
        Directory {
            config,
            entries: BTreeMap::new(),
            own: None,
            own_since: UnixMillis(u64::MAX),
            held: BTreeMap::new(),
            revocations: Revocations::default(),
            clock: ClockCheck::new(now.monotonic),
            skew: None,
            rejected: Rejected::default(),
            events: VecDeque::new(),
            version: 0,
        }
    }

    /// Takes a record that a peer sent, whoever it is by.
    pub fn handle_record(&mut self, bytes: &[u8], now: Now) -> Result<Accepted, RejectReason> {
        self.take(bytes, now, Origin::Peer)
    }

    /// Takes a record from our own disk: a hint where to dial, and a member again if still valid. It is no
    /// evidence about clocks, and not counted when it is too old.
    pub fn restore_record(&mut self, bytes: &[u8], now: Now) -> Result<Accepted, RejectReason> {
        self.take(bytes, now, Origin::Disk)
    }

    /// Takes our own record as just published, for the view and for those who ask.
    pub fn set_own(&mut self, record: VerifiedRecord) {
        self.own_since = self.own_since.min(record.body.issued_at);
        self.own = Some(record);
        self.version += 1;
    }

    /// Takes a revocation; `Ok(false)` if it was known. It is applied to all, also to records yet to come.
    pub fn handle_revocation(&mut self, bytes: &[u8], now: Now) -> Result<bool, RejectReason> {
        let known = self.known_issuers();
        let trusted = self.trusted_wall(now);
        match self.revocations.insert(bytes, &self.config.mesh, &known, trusted) {
            Ok(None) => Ok(false),
            Ok(Some(_)) => {
                self.version += 1;
                self.apply_revocations(now);
                Ok(true)
            }
            Err(reason) => {
                self.rejected.note("revocation", reason.as_str(), None, now.wall);
                Err(reason)
            }
        }
    }

    /// Counts a refusal that happened elsewhere, as in the gossip guard. `source`: whatever is known of it.
    pub fn note_rejected(&mut self, source: &str, reason: &'static str, now: Now) {
        self.rejected.note(source, reason, None, now.wall);
        self.version += 1;
    }

    /// Merges held records that are due, lets old ones expire, drops what nobody needs any more.
    pub fn handle_timeout(&mut self, now: Now) {
        self.check_clock(now);
        self.merge_due(now);
        if self.skew.is_none() {
            self.expire(now.wall);
        }
    }

    /// The wall time at which [`Self::handle_timeout`] has something to do. Call it at least every minute
    /// besides: the wall clock may jump.
    pub fn poll_timeout(&self) -> Option<UnixMillis> {
        let held = self.held.values().map(VerifiedRecord::due);
        let current = self
            .entries
            .values()
            .filter(|entry| !entry.expired && !entry.record.body.departed);
        let ages = current.map(|entry| entry.record.expires());
        let grants = self.entries.values().map(|entry| entry.record.chain.not_after());
        let ends = ages.chain(grants).chain(self.revocations.next_end());
        held.chain(ends.map(|end| UnixMillis(end.0.saturating_add(1))))
            .min()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<DirectoryEvent> {
        self.events.pop_front()
    }

    /// Changes whenever the view may have changed.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The view at `now`.
    pub fn view(&self, now: Now) -> View {
        compose::view(self, now)
    }

    /// Every record to give to others, ours first: of members, also departed ones, but no expired ones.
    pub fn records(&self) -> impl Iterator<Item = &Bytes> {
        let others = self
            .entries
            .values()
            .filter(|entry| !entry.expired)
            .map(|entry| &entry.record.bytes);
        self.own.iter().map(|record| &record.bytes).chain(others)
    }

    /// Every revocation, signed, with its identifier.
    pub fn revocations(&self) -> impl Iterator<Item = ([u8; 16], &[u8])> {
        self.revocations
            .iter()
            .map(|(signed, _)| (signed.id(), signed.as_bytes()))
    }

    /// All other nodes that have not departed, also those whose record has expired: whom one may dial.
    pub fn members(&self) -> impl Iterator<Item = &VerifiedRecord> {
        self.entries
            .values()
            .map(|entry| &entry.record)
            .filter(|record| !record.body.departed)
    }

    /// The record of a node, ours too, whatever its state.
    pub fn record(&self, node: &NodeId) -> Option<&VerifiedRecord> {
        if *node == self.config.self_id {
            return self.own.as_ref();
        }
        self.entries.get(node).map(|entry| &entry.record)
    }

    /// Whose mesh address this is.
    pub fn node_at(&self, address: Ipv6Addr) -> Option<NodeId> {
        self.entries
            .values()
            .find(|entry| entry.record.mesh_address == address)
            .map(|entry| entry.record.node)
    }

    /// Whether this chain lets its subject take part now: it holds and nobody revoked it.
    pub fn admits(&self, chain: &VerifiedChain, now: Now) -> bool {
        let in_time = self.check_clock_free(chain, now);
        in_time && !self.revocations.hit(chain)
    }

    /// Whether a revocation puts this chain's subject out.
    pub fn is_revoked(&self, chain: &VerifiedChain) -> bool {
        self.revocations.hit(chain)
    }

    /// Whether a revocation ends a token.
    pub fn is_token_revoked(&self, serial: &Serial, issuer: &VerifiedChain) -> bool {
        self.revocations.hit_token(serial, issuer)
    }

    /// Whether a revocation would put `node` out again if the subject of `admitter` let it in.
    pub fn is_barred(&self, node: &NodeId, admitter: &VerifiedChain) -> bool {
        self.revocations.bars(node, admitter)
    }

    /// Whether a record with these bytes or this revocation is known already.
    pub fn knows(&self, bytes: &[u8]) -> bool {
        let hash: [u8; 32] = Sha256::digest(bytes).into();
        self.node_with(&hash).is_some()
    }

    /// Whether a revocation with this identifier is known.
    pub fn knows_revocation(&self, id: &[u8; 16]) -> bool {
        self.revocations.contains(id)
    }

    /// Whether there is room for `node`.
    pub fn has_room_for(&self, node: &NodeId) -> bool {
        self.entries.contains_key(node) || self.entries.len() + 1 < self.config.max_members
    }

    /// Most members that fit.
    pub fn capacity(&self) -> usize {
        self.config.max_members
    }

    /// The members' clock minus ours in milliseconds, if it is more than [`MAX_SKEW`].
    pub fn clock_skew(&self, now: Now) -> Option<i64> {
        self.clock.skew(now)
    }

    /// A time that is past for sure: the median of when the records known were signed. Tells a node whose
    /// clock was lost how late it is at least.
    pub fn members_time(&self) -> Option<UnixMillis> {
        let mut times: Vec<_> = self.members().map(|record| record.body.issued_at).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }

    /// The client pools that any known node holds, also those that have left.
    pub fn client_pools(&self) -> BTreeMap<Ipv4Net, NodeId> {
        let records = self.entries.values().map(|entry| &entry.record).chain(&self.own);
        records
            .filter_map(|record| Some((record.chain.client_pool()?, record.node)))
            .collect()
    }

    /// The node whose grant binds this name.
    pub fn holder_of(&self, name: &Name) -> Option<NodeId> {
        let mut records = self.members().chain(&self.own);
        records
            .find(|record| record.chain.name() == Some(name))
            .map(|record| record.node)
    }

    /// Refusals by reason, since the start.
    pub fn rejected_totals(&self) -> &BTreeMap<&'static str, u64> {
        self.rejected.totals()
    }

    fn take(&mut self, bytes: &[u8], now: Now, origin: Origin) -> Result<Accepted, RejectReason> {
        let hash: [u8; 32] = Sha256::digest(bytes).into();
        if let Some(node) = self.node_with(&hash) {
            return Ok(Accepted {
                node,
                change: Change::Unchanged,
            });
        }
        let outcome = match authenticate(bytes, &self.config.mesh) {
            Ok(record) => {
                let signer = Some((record.node, record.body.name.clone()));
                self.merge(record, now, origin)
                    .map_err(|reason| Rejection { reason, signer })
            }
            Err(rejection) => Err(rejection),
        };
        outcome.map_err(|rejection| {
            if origin == Origin::Peer {
                self.note(&rejection, now);
            }
            rejection.reason
        })
    }

    fn merge(&mut self, record: VerifiedRecord, now: Now, origin: Origin) -> Result<Accepted, RejectReason> {
        let node = record.node;
        if node == self.config.self_id {
            return Ok(Accepted {
                node,
                change: self.see_own(&record),
            });
        }
        if self.revocations.hit(&record.chain) {
            return Err(RejectReason::Revoked);
        }
        let change = self.compare(&record);
        if matches!(change, Change::Older) {
            return Ok(Accepted { node, change });
        }
        if origin == Origin::Peer && !record.body.departed && change != Change::Conflict {
            self.clock.arrived(node, record.body.issued_at, now);
            self.check_clock(now);
        }
        let from_when = record.due().max(record.chain.not_before());
        if from_when > now.wall {
            return Err(self.hold(record, now));
        }
        self.insert(record, change, now)
            .map(|()| Accepted { node, change })
    }

    fn compare(&self, record: &VerifiedRecord) -> Change {
        let Some(known) = self.entries.get(&record.node).map(|entry| &entry.record) else {
            return Change::New;
        };
        match record.body.sequence.cmp(&known.body.sequence) {
            std::cmp::Ordering::Less => Change::Older,
            std::cmp::Ordering::Equal if record.hash == known.hash => Change::Unchanged,
            std::cmp::Ordering::Equal => Change::Conflict,
            std::cmp::Ordering::Greater if says_the_same(record, known) => Change::Refreshed,
            std::cmp::Ordering::Greater => Change::Newer,
        }
    }

    fn insert(&mut self, record: VerifiedRecord, change: Change, now: Now) -> Result<(), RejectReason> {
        let node = record.node;
        if change == Change::Conflict {
            self.emit(DirectoryEvent::Conflict { node });
        }
        let wins = self
            .entries
            .get(&node)
            .is_none_or(|entry| record.supersedes(&entry.record));
        // A clock that runs ahead sees everything expired.
        let in_time = match record.check_time(now.wall) {
            Err(_) if self.skew.is_some_and(|skew| skew < 0) => Ok(()),
            checked => checked,
        };
        let expired = matches!(in_time, Err(RejectReason::Expired));
        if wins && (expired || in_time.is_ok()) {
            self.make_room(&node, now)?;
            self.entries.insert(node, Entry { record, expired });
            self.version += 1;
        }
        in_time
    }

    // A record of ours that somebody else has: from an earlier life, or from another machine.
    fn see_own(&mut self, record: &VerifiedRecord) -> Change {
        let Some(own) = &self.own else {
            self.emit(DirectoryEvent::OwnSeen {
                sequence: record.body.sequence,
            });
            return Change::Older;
        };
        if record.hash == own.hash {
            return Change::Unchanged;
        }
        if record.body.sequence < own.body.sequence {
            return Change::Older;
        }
        let elsewhere = record.body.sequence == own.body.sequence || record.body.issued_at > self.own_since;
        self.emit(DirectoryEvent::OwnSeen {
            sequence: record.body.sequence,
        });
        if elsewhere {
            self.emit(DirectoryEvent::Conflict {
                node: self.config.self_id,
            });
        }
        Change::Conflict
    }

    // Of several from one node the one that is due first stays, whatever order they come in.
    fn hold(&mut self, record: VerifiedRecord, now: Now) -> RejectReason {
        let reason = match record.check_time(now.wall) {
            Err(reason) => reason,
            Ok(()) => RejectReason::FromTheFuture,
        };
        let known = self.held.get(&record.node);
        let fits = known.map_or(self.held.len() < MAX_HELD, |held| record.due() < held.due());
        if fits {
            self.held.insert(record.node, record);
        }
        reason
    }

    fn merge_due(&mut self, now: Now) {
        let is_due = |record: &VerifiedRecord| record.due().max(record.chain.not_before()) <= now.wall;
        let due: Vec<NodeId> = self
            .held
            .iter()
            .filter(|(_, record)| is_due(record))
            .map(|(node, _)| *node)
            .collect();
        for node in due {
            if let Some(record) = self.held.remove(&node) {
                let signer = Some((node, record.body.name.clone()));
                // Not fresh any more, so no evidence about clocks.
                if let Err(reason) = self.merge(record, now, Origin::Disk) {
                    self.note(&Rejection { reason, signer }, now);
                }
            }
        }
    }

    fn expire(&mut self, now: UnixMillis) {
        let mut ended = Vec::new();
        for (node, entry) in &mut self.entries {
            let in_time = entry.record.check_time(now);
            if in_time.is_err() && !entry.expired {
                entry.expired = true;
                ended.push(*node);
            }
        }
        self.entries
            .retain(|_, entry| now <= entry.record.chain.not_after());
        self.version += ended.len() as u64;
        for node in ended {
            if !self.entries.contains_key(&node) {
                self.clock.forget(&node);
            }
            self.emit(DirectoryEvent::Expired { node });
        }
        self.revocations.expire(now);
    }

    // Who is certainly gone makes room: a record that is over a day old cannot come back.
    fn make_room(&mut self, node: &NodeId, now: Now) -> Result<(), RejectReason> {
        if self.has_room_for(node) {
            return Ok(());
        }
        let gone = |entry: &Entry| entry.expired || entry.record.body.departed;
        let is_old = |entry: &Entry| self.skew.is_none() && now.wall > entry.record.body.issued_at + VALIDITY;
        let oldest = self.entries.values().filter(|entry| gone(entry) && is_old(entry));
        match oldest.min_by_key(|entry| (entry.record.body.issued_at, entry.record.node)) {
            Some(entry) => {
                let oldest = entry.record.node;
                self.entries.remove(&oldest);
                self.clock.forget(&oldest);
                Ok(())
            }
            None => {
                self.emit(DirectoryEvent::TableFull { node: *node });
                Err(RejectReason::TableFull)
            }
        }
    }

    fn apply_revocations(&mut self, now: Now) {
        let revocations = &self.revocations;
        let out: Vec<_> = self
            .entries
            .extract_if(.., |_, entry| revocations.hit(&entry.record.chain))
            .collect();
        self.held.retain(|_, record| !revocations.hit(&record.chain));
        let own = self.own.as_ref().is_some_and(|own| revocations.hit(&own.chain));
        for (node, entry) in out {
            self.clock.forget(&node);
            let signer = Some((node, entry.record.body.name));
            self.note(
                &Rejection {
                    reason: RejectReason::Revoked,
                    signer,
                },
                now,
            );
            self.emit(DirectoryEvent::Revoked { node });
        }
        if own {
            self.emit(DirectoryEvent::Revoked {
                node: self.config.self_id,
            });
        }
    }

    fn check_clock(&mut self, now: Now) {
        let skew = self.clock.skew(now);
        if skew.is_some() != self.skew.is_some() {
            self.emit(DirectoryEvent::ClockSkew(skew));
            self.version += 1;
        }
        self.skew = skew;
    }

    fn check_clock_free(&self, chain: &VerifiedChain, now: Now) -> bool {
        chain.check_time(now.wall).is_ok() || self.clock.skew(now).is_some()
    }

    // With an unsure clock nothing is over.
    fn trusted_wall(&self, now: Now) -> UnixMillis {
        if self.clock.skew(now).is_some() {
            UnixMillis(0)
        } else {
            now.wall
        }
    }

    // Whoever may have let somebody in.
    fn known_issuers(&self) -> BTreeSet<NodeId> {
        let records = self.entries.values().map(|entry| &entry.record).chain(&self.own);
        records
            .flat_map(|record| record.chain.issuers().iter().copied().chain([record.node]))
            .collect()
    }

    fn node_with(&self, hash: &[u8; 32]) -> Option<NodeId> {
        let mut records = self.entries.values().map(|entry| &entry.record).chain(&self.own);
        records
            .find(|record| record.hash == *hash)
            .map(|record| record.node)
    }

    fn note(&mut self, rejection: &Rejection, now: Now) {
        let (source, name) = match &rejection.signer {
            Some((node, name)) => (node.to_string(), Some(name.to_string())),
            None => ("unsigned".to_owned(), None),
        };
        self.rejected
            .note(&source, rejection.reason.as_str(), name, now.wall);
        self.version += 1;
    }

    fn emit(&mut self, event: DirectoryEvent) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

fn says_the_same(a: &VerifiedRecord, b: &VerifiedRecord) -> bool {
    let mut later = a.body.clone();
    later.sequence = b.body.sequence;
    later.issued_at = b.body.issued_at;
    later == b.body
}
