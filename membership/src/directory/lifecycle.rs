//! What time and revocations do to the table.

use std::collections::BTreeSet;

use meshnode_crypto::{NodeId, UnixMillis, VerifiedChain};

use super::{Directory, DirectoryEvent, MAX_EVENTS, Origin};
use crate::api::Now;
use crate::record::{RejectReason, Rejection, VerifiedRecord};

impl Directory {
    pub(super) fn merge_due(&mut self, now: Now) {
        let is_due = |record: &VerifiedRecord| record.due() <= now.wall;
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

    pub(super) fn expire(&mut self, now: UnixMillis) {
        let mut ended = Vec::new();
        for (node, entry) in &mut self.entries {
            if entry.record.is_over(now) && !entry.expired && !entry.revoked {
                entry.expired = true;
                ended.push(*node);
            }
        }
        let gone: Vec<NodeId> = self
            .entries
            .extract_if(.., |_, entry| now > entry.record.chain.not_after())
            .map(|(node, _)| node)
            .collect();
        gone.iter().for_each(|node| self.clock.forget(node));
        self.version += ended.len() as u64;
        for node in ended {
            self.emit(DirectoryEvent::Expired { node });
        }
        self.revocations.expire(now);
    }

    pub(super) fn apply_revocations(&mut self, now: Now) {
        let revocations = &self.revocations;
        let mut out = Vec::new();
        for (node, entry) in &mut self.entries {
            if !entry.revoked && revocations.hit(&entry.record.chain) {
                entry.revoked = true;
                out.push((*node, entry.record.body.name.clone()));
            }
        }
        self.held.retain(|_, record| !revocations.hit(&record.chain));
        let own = self.own.as_ref().is_some_and(|own| revocations.hit(&own.chain));
        for (node, name) in out {
            self.clock.forget(&node);
            self.note(
                &Rejection {
                    reason: RejectReason::Revoked,
                    signer: Some((node, name)),
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

    pub(super) fn check_clock(&mut self, now: Now) {
        let skew = self.clock.skew(now);
        if skew.is_some() != self.skew.is_some() {
            self.emit(DirectoryEvent::ClockSkew(skew));
            self.version += 1;
        }
        self.skew = skew;
    }

    pub(super) fn check_clock_free(&self, chain: &VerifiedChain, now: Now) -> bool {
        chain.check_time(now.wall).is_ok() || self.clock.skew(now).is_some()
    }

    // With an unsure clock nothing is over.
    pub(super) fn trusted_wall(&self, now: Now) -> UnixMillis {
        if self.clock.skew(now).is_some() {
            UnixMillis(0)
        } else {
            now.wall
        }
    }

    // Whoever may have let somebody in.
    pub(super) fn known_issuers(&self) -> BTreeSet<NodeId> {
        let records = self.present().map(|entry| &entry.record).chain(&self.own);
        records
            .flat_map(|record| record.chain.issuers().iter().copied().chain([record.node]))
            .collect()
    }

    pub(super) fn emit(&mut self, event: DirectoryEvent) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}
