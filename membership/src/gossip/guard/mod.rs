//! The guard in front of chitchat: walks a message's bytes before chitchat decodes them.
//!
//! Chitchat trusts whoever reaches it: a message of 32 kB can unfold to hundreds of megabytes, any
//! member can write any row, and a forged update about the receiver itself makes it panic later. So
//! nothing reaches it but messages that passed here: bounded, naming only members of this mesh, never
//! knowing more about us than we do, and with values signed by the node whose row they stand in.
//!
//! Rows of addresses that are no known member, and that no signed record in the same message vouches
//! for, are cut out of the digest rather than refused: after a healed partition an honest neighbour
//! knows many members that we do not, and its records arrive with the same messages. So invented
//! members never take a row, however many are sent.
//!
//! The signed values found are handed to the caller, for the directory. They are authentic, not
//! necessarily fresh or acceptable: who carries an old record is not to blame for it.
//!
//! Layout (chitchat 0.11.2, protocol V0): magic u16, version u8, type u8; SYN = digest, cluster name;
//! SYN-ACK = digest, delta; ACK = delta; all integers little-endian.

mod delta;
mod digest;
mod reader;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ipnet::Ipv6Net;

use delta::DeltaWalk;
use digest::Digest;
use reader::Reader;

/// Longest message taken, in bytes.
pub const MAX_MESSAGE: usize = 128 * 1024;
/// Most blocks of a delta.
pub const MAX_BLOCKS: usize = 32;
/// Longest that all blocks of one delta may unfold to, in bytes.
pub const MAX_UNFOLDED: usize = 1024 * 1024;
/// Most values of a message that have to be looked at: more than fit unless they repeat.
pub const MAX_NEWS: usize = 512;
/// Heartbeats and versions above this are invented; ours begin at start counter × 2³².
pub const MAX_COUNTER: u64 = 1 << 60;
/// Generations above this are invented: one is used up per recovery from poisoning.
pub const MAX_GENERATION: u64 = 1 << 32;
/// The key under which a node's row carries its signed record.
pub const RECORD_KEY: &str = "record";
/// What the keys of revocations begin with; the identifier follows in 32 lower hex digits.
pub const REVOCATION_PREFIX: &str = "revocation/";

const MAGIC: u16 = 45_139;
const SYN: u8 = 0;
const SYN_ACK: u8 = 1;
const ACK: u8 = 2;
const BAD_CLUSTER: u8 = 3;

/// A row of chitchat's state: whose, and which incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId {
    /// Mesh address of the node.
    pub address: Ipv6Addr,
    /// Chitchat's generation; 0 unless the node had to recover from poisoning.
    pub generation: u64,
}

/// Our own row as it stands now: nobody can know better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnRow {
    /// Identity of our row.
    pub id: RowId,
    /// Its heartbeat.
    pub heartbeat: u64,
    /// Its highest version.
    pub max_version: u64,
}

/// What stays the same from message to message.
#[derive(Clone, Debug)]
pub struct GuardConfig {
    /// Chitchat's cluster name.
    pub cluster: String,
    /// The mesh's /48.
    pub prefix: Ipv6Net,
    /// The one port that every row's address carries.
    pub port: u16,
    /// Most rows of a digest or a delta: what our table holds.
    pub max_rows: usize,
}

/// A decoded value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// The row's node's signed record.
    Record(&'a [u8]),
    /// A signed revocation under its identifier; any member may carry any.
    Revocation([u8; 16], &'a [u8]),
}

/// What the guard has to ask about members and signatures.
pub trait Vouch {
    /// Whether this row may stand in the table. `vouched`: a record of its node that was not known before
    /// stands in the same message. Not asked about our own row; one of another generation of ours is asked about.
    fn admits(&mut self, row: &RowId, vouched: bool) -> bool;

    /// What the value is worth: a record must be signed by the node with this very mesh address, a
    /// revocation by its issuer. Age does not matter here.
    fn judge(&mut self, address: Ipv6Addr, value: Value<'_>) -> Authenticity;
}

/// What a value in somebody's row is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authenticity {
    /// Signed as it must be, and not seen before: handed on, and a record makes its row welcome.
    Good,
    /// Signed as it must be, and known already.
    Known,
    /// Signed by its node, but nothing that we want: let through for others, and otherwise ignored.
    Unwelcome,
    /// Not signed by whom it must be; nobody honest passes it on.
    Forged,
}

/// Why a message is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Longer than [`MAX_MESSAGE`].
    #[error("message over {MAX_MESSAGE} bytes")]
    TooLong,
    /// Not chitchat's V0 encoding, or bytes left over.
    #[error("not a chitchat V0 message")]
    Malformed,
    /// A SYN for another cluster.
    #[error("message of another cluster")]
    OtherCluster,
    /// More rows than the table has room for.
    #[error("more rows than the mesh may have members")]
    TooManyRows,
    /// More than [`MAX_BLOCKS`] blocks.
    #[error("delta of more than {MAX_BLOCKS} blocks")]
    TooManyBlocks,
    /// Blocks that do not decompress, or unfold past [`MAX_UNFOLDED`].
    #[error("delta does not unfold within its bound")]
    Expands,
    /// A row whose identity is no address of this mesh with the fixed port.
    #[error("row with an identity outside this mesh")]
    ForeignId,
    /// One row twice.
    #[error("a row is given twice")]
    DuplicateRow,
    /// A heartbeat, version or generation out of any honest range, or versions that fall.
    #[error("counters of a row are impossible")]
    BadCounter,
    /// A key that is neither a record nor a revocation, or a deletion that nobody makes.
    #[error("key or deletion that no member writes")]
    BadKey,
    /// A value without a good signature of its row's node.
    #[error("value without its node's signature")]
    BadValue,
    /// More new values than [`MAX_NEWS`].
    #[error("over {MAX_NEWS} new values in one message")]
    TooManyValues,
    /// Our own row, with more than we ever wrote. May be second-hand: we were restored from a backup, or
    /// a third node was lied to.
    #[error("our own row is ahead of us (heartbeat {heartbeat}, version {max_version})")]
    OwnRowAhead {
        /// The heartbeat claimed.
        heartbeat: u64,
        /// The highest version claimed.
        max_version: u64,
    },
}

impl Violation {
    /// The metric label.
    pub fn as_str(&self) -> &'static str {
        match self {
            Violation::TooLong => "gossip_too_long",
            Violation::Malformed => "gossip_malformed",
            Violation::OtherCluster => "gossip_other_cluster",
            Violation::TooManyRows => "gossip_too_many_rows",
            Violation::TooManyBlocks => "gossip_too_many_blocks",
            Violation::Expands => "gossip_expands",
            Violation::ForeignId => "gossip_foreign_id",
            Violation::DuplicateRow => "gossip_duplicate_row",
            Violation::BadCounter => "gossip_bad_counter",
            Violation::BadKey => "gossip_bad_key",
            Violation::BadValue => "gossip_bad_value",
            Violation::TooManyValues => "gossip_too_many_values",
            Violation::OwnRowAhead { .. } => "gossip_own_row_ahead",
        }
    }

    /// Whether no honest node sends such a message, so that the sender is to be quarantined.
    pub fn blames_sender(&self) -> bool {
        !matches!(
            self,
            Violation::OwnRowAhead { .. } | Violation::TooManyRows | Violation::OtherCluster
        )
    }
}

/// A message that may go on to chitchat.
#[derive(Debug)]
pub struct Inspected<'a> {
    /// What to decode: the message itself, or a copy without the rows of strangers.
    pub message: Cow<'a, [u8]>,
    /// Signed records found, with the mesh address of their node.
    pub records: Vec<(Ipv6Addr, Vec<u8>)>,
    /// Signed revocations found.
    pub revocations: Vec<Vec<u8>>,
    /// Rows cut out because nobody vouches for them.
    pub stripped: usize,
    // Revocations looked at already: every member carries the same ones.
    judged: BTreeMap<[u8; 16], Vec<u8>>,
}

/// The gossip value of signed bytes: base64 without padding.
pub fn encode_value(bytes: &[u8]) -> String {
    STANDARD_NO_PAD.encode(bytes)
}

/// The signed bytes of a gossip value; `None` when it is not canonical base64.
pub fn decode_value(value: &str) -> Option<Vec<u8>> {
    STANDARD_NO_PAD.decode(value).ok()
}

/// The key of a revocation's gossip value.
pub fn revocation_key(id: &[u8; 16]) -> String {
    format!("{REVOCATION_PREFIX}{:032x}", u128::from_be_bytes(*id))
}

/// Walks a whole message. Bounded in time by its length and [`MAX_UNFOLDED`], whatever it holds.
pub fn inspect<'a>(
    message: &'a [u8],
    config: &GuardConfig,
    own: &OwnRow,
    vouch: &mut impl Vouch,
) -> Result<Inspected<'a>, Violation> {
    if message.len() > MAX_MESSAGE {
        return Err(Violation::TooLong);
    }
    let mut reader = Reader::new(message);
    if reader.u16()? != MAGIC || reader.u8()? != 0 {
        return Err(Violation::Malformed);
    }
    let kind = reader.u8()?;
    let mut inspected = Inspected {
        message: Cow::Borrowed(message),
        records: Vec::new(),
        revocations: Vec::new(),
        stripped: 0,
        judged: BTreeMap::new(),
    };
    let digest = match kind {
        SYN | SYN_ACK => Some((Digest::read(&mut reader, config, own)?, reader.rest())),
        _ => None,
    };
    match kind {
        SYN if reader.string()? != config.cluster => return Err(Violation::OtherCluster),
        SYN | BAD_CLUSTER => {}
        SYN_ACK | ACK => DeltaWalk { config, own }.walk(&mut reader, vouch, &mut inspected)?,
        _ => return Err(Violation::Malformed),
    }
    if !reader.is_empty() {
        return Err(Violation::Malformed);
    }
    if let Some((digest, tail)) = digest {
        digest.strip(own, vouch, tail, &mut inspected);
    }
    Ok(inspected)
}
