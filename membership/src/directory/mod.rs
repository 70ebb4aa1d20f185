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
//! Revoked ones stay too, unseen: a record decides by its sequence first, and then whether it may.
//!
//! When our clock is unsure (see [`clock`]) expiry removes nobody: who was in the view stays there.

mod clock;
mod compose;
mod lifecycle;
mod merge;
mod names;
mod query;
mod rejected;
mod revocations;
#[cfg(test)]
mod tests;
mod voucher;

use std::collections::{BTreeMap, VecDeque};

use meshnode_crypto::{MeshId, NodeId, UnixMillis};

use crate::api::Now;
use crate::record::{RejectReason, VerifiedRecord};
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
    // Kept nevertheless, so that no older record by another chain takes its place.
    revoked: bool,
    // Set only while our clock is trusted, so that a wrong one removes nobody.
    expired: bool,
    // The last record seen with the same sequence and other bytes.
    rival: Option<[u8; 32]>,
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
        if self.rejected.note(source, reason, None, now.wall) {
            self.version += 1;
        }
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
        let held = self.held.values().map(VerifiedRecord::due).min();
        if self.skew.is_some() {
            return held;
        }
        let counted = self
            .entries
            .values()
            .filter(|entry| !entry.expired && !entry.revoked);
        let ages = counted
            .filter(|entry| !entry.record.body.departed)
            .map(|entry| entry.record.expires());
        let grants = self.entries.values().map(|entry| entry.record.chain.not_after());
        let end = ages.chain(grants).chain(self.revocations.next_end()).min();
        let over = end.map(|end| UnixMillis(end.0.saturating_add(1)));
        held.into_iter().chain(over).min()
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
}
