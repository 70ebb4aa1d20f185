//! Which one-use tokens were used, by whom, and what they got.
//!
//! An entry is durable before its grant is signed. So after a crash between the two, and for a joiner that
//! lost our answer, the same joiner gets the very same grant, and nobody else gets any.

use meshnode_crypto::{Grant, NodeId, Serial, UnixMillis};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Most entries: protects the state directory.
pub const MAX_ENTRIES: usize = 10_000;
/// How long an entry outlives its token, for clocks that go back.
pub const KEPT_AFTER_EXPIRY: Duration = Duration::from_secs(30 * 24 * 3600);

const FORMAT: u8 = 1;

/// One use of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// Which token.
    pub token: Serial,
    /// Who came with it.
    pub joiner: NodeId,
    /// What to sign, then and again.
    pub grant: Grant,
    /// When the token ends.
    pub token_not_after: UnixMillis,
}

/// The bytes are no ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the list of used tokens does not decode; without it a used token could be used again")]
pub struct LedgerDamaged;

/// All uses known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    uses: Vec<Use>,
}

impl Ledger {
    /// Reads what [`Ledger::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Ledger, LedgerDamaged> {
        match bytes.split_first() {
            Some((&FORMAT, body)) => match postcard::take_from_bytes(body) {
                Ok((uses, [])) => Ok(Ledger { uses }),
                _ => Err(LedgerDamaged),
            },
            _ => Err(LedgerDamaged),
        }
    }

    /// For the store.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_extend(&self.uses, vec![FORMAT])
            .expect("postcard fails only on types without a length; ours have one")
    }

    /// What `joiner` got for this token.
    pub fn of(&self, token: &Serial, joiner: &NodeId) -> Option<&Use> {
        self.uses
            .iter()
            .find(|entry| entry.token == *token && entry.joiner == *joiner)
    }

    /// Who used this token.
    pub fn users(&self, token: &Serial) -> Vec<NodeId> {
        self.uses
            .iter()
            .filter(|entry| entry.token == *token)
            .map(|entry| entry.joiner)
            .collect()
    }

    /// Adds a use: then make [`Ledger::to_bytes`] durable, then sign.
    pub fn add(&mut self, entry: Use) {
        self.uses.push(entry);
    }

    /// Takes a use back that could not be made durable.
    pub fn remove(&mut self, token: &Serial, joiner: &NodeId) {
        self.uses
            .retain(|entry| entry.token != *token || entry.joiner != *joiner);
    }

    /// Drops uses of tokens that have long expired.
    pub fn prune(&mut self, now: UnixMillis) {
        self.uses
            .retain(|entry| now <= entry.token_not_after + KEPT_AFTER_EXPIRY);
    }

    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        self.uses.len() >= MAX_ENTRIES
    }

    /// The uses, oldest first.
    pub fn uses(&self) -> &[Use] {
        &self.uses
    }
}
