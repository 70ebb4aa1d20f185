//! From bytes to the table.

use std::cmp::Ordering;

use meshnode_crypto::NodeId;
use sha2::{Digest, Sha256};

use super::{Accepted, Change, Directory, DirectoryEvent, Entry, MAX_HELD, Origin};
use crate::api::Now;
use crate::record::{RejectReason, Rejection, VerifiedRecord, authenticate};

impl Directory {
    pub(super) fn take(&mut self, bytes: &[u8], now: Now, origin: Origin) -> Result<Accepted, RejectReason> {
        let hash: [u8; 32] = Sha256::digest(bytes).into();
        let known = self.node_with(&hash);
        if let Some(node) = known.filter(|node| !self.entries.get(node).is_some_and(|entry| entry.revoked)) {
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

    pub(super) fn merge(
        &mut self,
        record: VerifiedRecord,
        now: Now,
        origin: Origin,
    ) -> Result<Accepted, RejectReason> {
        let node = record.node;
        if node == self.config.self_id {
            return Ok(Accepted {
                node,
                change: self.see_own(&record, now),
            });
        }
        let change = self.compare(&record);
        if matches!(change, Change::Older) {
            return Ok(Accepted { node, change });
        }
        if self.revocations.hit(&record.chain) {
            self.bury(record, now);
            return Err(RejectReason::Revoked);
        }
        if origin == Origin::Peer && !record.body.departed && change != Change::Conflict {
            self.clock.arrived(node, record.body.issued_at, now);
            self.check_clock(now);
        }
        let taken = if record.due() > now.wall {
            Err(self.hold(record, now))
        } else {
            self.insert(record, change, now)
        };
        // Who has no place here has no say about clocks either.
        if !self.entries.contains_key(&node) && !self.held.contains_key(&node) {
            self.clock.forget(&node);
        }
        taken.map(|change| Accepted { node, change })
    }

    pub(super) fn compare(&self, record: &VerifiedRecord) -> Change {
        let Some(known) = self.entries.get(&record.node).map(|entry| &entry.record) else {
            return Change::New;
        };
        match record.body.sequence.cmp(&known.body.sequence) {
            Ordering::Less => Change::Older,
            Ordering::Equal if record.hash == known.hash => Change::Unchanged,
            Ordering::Equal => Change::Conflict,
            Ordering::Greater if says_the_same(record, known) => Change::Refreshed,
            Ordering::Greater => Change::Newer,
        }
    }

    pub(super) fn insert(
        &mut self,
        record: VerifiedRecord,
        change: Change,
        now: Now,
    ) -> Result<Change, RejectReason> {
        let node = record.node;
        if change == Change::Conflict && self.note_rival(&record) == Change::Unchanged {
            return Ok(Change::Unchanged);
        }
        // A clock that runs ahead sees everything expired.
        let in_time = match record.check_time(now.wall) {
            Err(_) if self.skew.is_some_and(|skew| skew < 0) => Ok(change),
            checked => checked.map(|()| change),
        };
        // An expired one is a hint where to dial, until it is marked so.
        if self.wins(&record) && matches!(in_time, Ok(_) | Err(RejectReason::Expired)) {
            self.make_room(&node, now)?;
            if record.body.departed {
                self.clock.forget(&node);
            }
            let rival = self
                .entries
                .get(&node)
                .filter(|_| change == Change::Conflict)
                .map(|entry| entry.record.hash);
            self.entries.insert(
                node,
                Entry {
                    record,
                    revoked: false,
                    expired: false,
                    rival,
                },
            );
            self.version += 1;
        }
        in_time
    }

    // Each pair of records with one sequence is news once.
    fn note_rival(&mut self, record: &VerifiedRecord) -> Change {
        let Some(entry) = self.entries.get_mut(&record.node) else {
            return Change::Conflict;
        };
        if entry.rival == Some(record.hash) {
            return Change::Unchanged;
        }
        entry.rival = Some(record.hash);
        self.emit(DirectoryEvent::Conflict { node: record.node });
        Change::Conflict
    }

    fn wins(&self, record: &VerifiedRecord) -> bool {
        let known = self.entries.get(&record.node);
        known.is_none_or(|entry| record.supersedes(&entry.record))
    }

    // Not in any view, but in the way of older records of the same node.
    fn bury(&mut self, record: VerifiedRecord, now: Now) {
        let node = record.node;
        let fits = self.entries.contains_key(&node) || !self.is_full();
        if record.due() > now.wall || !fits || !self.wins(&record) {
            return;
        }
        self.clock.forget(&node);
        let buried = Entry {
            record,
            revoked: true,
            expired: false,
            rival: None,
        };
        if self
            .entries
            .insert(node, buried)
            .is_some_and(|entry| !entry.revoked)
        {
            self.version += 1;
            self.emit(DirectoryEvent::Revoked { node });
        }
    }

    // A record of ours that somebody else has: from an earlier life, or from another machine.
    pub(super) fn see_own(&mut self, record: &VerifiedRecord, now: Now) -> Change {
        // Made by a clock far ahead of everybody's: nobody takes it, so it binds us to nothing.
        if record.due() > now.wall.max(self.members_time().unwrap_or_default()) {
            return Change::Older;
        }
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
    pub(super) fn hold(&mut self, record: VerifiedRecord, now: Now) -> RejectReason {
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

    // Who is certainly gone makes room: a record that is over a day old cannot come back, nor a revoked one.
    pub(super) fn make_room(&mut self, node: &NodeId, now: Now) -> Result<(), RejectReason> {
        if self.entries.contains_key(node) || !self.is_full() {
            return Ok(());
        }
        let departed = |entry: &Entry| {
            entry.record.body.departed && self.skew.is_none() && now.wall > entry.record.expires()
        };
        let gone = |entry: &&Entry| entry.revoked || entry.expired || departed(entry);
        let oldest = self.entries.values().filter(gone);
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

    pub(super) fn node_with(&self, hash: &[u8; 32]) -> Option<NodeId> {
        let mut records = self.entries.values().map(|entry| &entry.record).chain(&self.own);
        records
            .find(|record| record.hash == *hash)
            .map(|record| record.node)
    }

    pub(super) fn note(&mut self, rejection: &Rejection, now: Now) {
        let (source, name) = match &rejection.signer {
            Some((node, name)) => (node.to_string(), Some(name.to_string())),
            None => ("unsigned".to_owned(), None),
        };
        if self
            .rejected
            .note(&source, rejection.reason.as_str(), name, now.wall)
        {
            self.version += 1;
        }
    }

    fn is_full(&self) -> bool {
        self.entries.len() + 1 >= self.config.max_members
    }
}

fn says_the_same(a: &VerifiedRecord, b: &VerifiedRecord) -> bool {
    let mut later = a.body.clone();
    later.sequence = b.body.sequence;
    later.issued_at = b.body.issued_at;
    later == b.body
}
