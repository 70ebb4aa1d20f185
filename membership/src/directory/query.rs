//! What others ask the directory.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use bytes::Bytes;
use ipnet::Ipv4Net;
use meshnode_crypto::{Name, NodeId, Serial, UnixMillis, VerifiedChain};
use sha2::{Digest, Sha256};

use super::{Directory, Entry};
use crate::api::Now;
use crate::record::VerifiedRecord;

impl Directory {
    /// Every record to give to others, ours first: of members, also departed ones, but no expired ones.
    pub fn records(&self) -> impl Iterator<Item = &Bytes> {
        let others = self
            .present()
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
        self.present()
            .map(|entry| &entry.record)
            .filter(|record| !record.body.departed)
    }

    /// The record of a node, ours too; also an expired or departed one, but none of a revoked node.
    pub fn record(&self, node: &NodeId) -> Option<&VerifiedRecord> {
        if *node == self.config.self_id {
            return self.own.as_ref();
        }
        self.entries
            .get(node)
            .filter(|entry| !entry.revoked)
            .map(|entry| &entry.record)
    }

    /// Whose mesh address this is.
    pub fn node_at(&self, address: Ipv6Addr) -> Option<NodeId> {
        self.present()
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

    /// Whether there is room for `node`; who is revoked or expired makes room.
    pub fn has_room_for(&self, node: &NodeId) -> bool {
        let staying = self.present().filter(|entry| !entry.expired).count();
        self.entries.contains_key(node) || staying + 1 < self.config.max_members
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

    pub(super) fn present(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| !entry.revoked)
    }
}
