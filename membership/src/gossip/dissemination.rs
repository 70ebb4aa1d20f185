//! The seam between the membership actor and what spreads its values: chitchat, or a simulated broadcast.
//!
//! Whatever spreads them, a value counts by its own signature: what arrives is a hint for the directory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;

use bytes::Bytes;

use super::guard::Violation;
use crate::directory::Voucher;

/// What one node says of itself: gossip keys and values.
pub(crate) type Values = BTreeMap<String, String>;

/// Spreads our values and finds those of others. Nothing here waits.
pub(crate) trait Dissemination: Send + Sync + 'static {
    /// Replaces all that we say.
    fn publish(&self, values: Arc<Values>);

    /// Replaces what is known of members and their signatures.
    fn set_voucher(&self, voucher: Voucher);

    /// Takes a message that a member sent.
    fn receive(&self, from: Ipv6Addr, message: Bytes);

    /// Talks to a member that it does not know of, or lost.
    fn introduce(&self, member: Ipv6Addr);

    /// Members that were heard of lately, directly or through others.
    fn live(&self) -> Arc<BTreeSet<Ipv6Addr>>;

    /// Figures.
    fn stats(&self) -> GossipStats;
}

/// Figures of a dissemination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GossipStats {
    /// Size of the digest sent last: what every message costs at least.
    pub(crate) digest_bytes: u64,
    /// Rows, ours and those of the dead included.
    pub(crate) rows: u64,
    /// Messages that came faster than they could be taken.
    pub(crate) overrun: u64,
    /// Times that gossip had to be started again.
    pub(crate) restarts: u64,
}

/// What a dissemination tells the actor.
#[derive(Debug)]
pub(crate) enum GossipEvent {
    /// Signed values in a message that passed the guard.
    Found {
        records: Vec<Vec<u8>>,
        revocations: Vec<Vec<u8>>,
    },
    /// A message that did not pass.
    Refused { from: Ipv6Addr, violation: Violation },
    /// The table of rows is full; members beyond it are not gossiped about.
    TableFull,
}
