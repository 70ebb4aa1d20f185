//! Records: what a node signs about itself.
//!
//! ```text
//! format 1 │ postcard body │ ed25519 signature (64)
//!          └ fixed fields, the grant chain, then tagged fields
//! ```
//!
//! The signature is by the chain's last subject and covers format and body as sent; bytes are never
//! encoded again, so what is stored and passed on is what was signed. New fields go into `tags`: unknown
//! ones are kept with the bytes and ignored, those from 0x8000 on mean "refuse me if you do not know me".
//!
//! [`authenticate`] checks all that is true at any time; [`VerifiedRecord::check_time`] what depends on
//! now; [`verify_record`] does both.

pub mod serving;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;
use meshnode_crypto::{
    Context, GrantChain, GrantError, LaneKeyProof, MeshId, Name, NodeId, Sealed, SigningKey, UnixMillis,
    VerifiedChain, WgPublicKey, mesh_address,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use serving::{SERVING_TAG, Serving};

/// Longest record, in bytes.
pub const MAX_RECORD: usize = 16 * 1024;
/// Most endpoints of a record.
pub const MAX_ENDPOINTS: usize = 16;
/// Most prefixes of a record.
pub const MAX_PREFIXES: usize = 500;
/// Most lanes of a record.
pub const MAX_LANES: usize = 8;
/// Longest version text, in bytes.
pub const MAX_VERSION: usize = 64;
/// How long a record counts after it was issued; past that it only hints where to dial.
pub const VALIDITY: Duration = Duration::from_secs(24 * 3600);
/// How far ahead of now a record may be; one further ahead is held back.
pub const MAX_AHEAD: Duration = Duration::from_secs(3600);

const FORMAT: u8 = 1;
const FIRST_CRITICAL_TAG: u16 = 0x8000;

/// A prefix that a node serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AnnouncedPrefix {
    /// Without host bits.
    pub prefix: IpNet,
    /// The highest wins where several nodes serve one prefix.
    pub priority: u16,
}

/// What a record says. On the wire: postcard in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordBody {
    /// How many times the node has started.
    pub generation: u64,
    /// Orders the records of a node; about the unix time in milliseconds.
    pub sequence: u64,
    /// When it was signed.
    pub issued_at: UnixMillis,
    /// What the node calls itself.
    pub name: Name,
    /// Where to dial, best first.
    pub endpoints: Vec<SocketAddr>,
    /// What the node serves.
    pub prefixes: Vec<AnnouncedPrefix>,
    /// Counts the sets of lane keys of this start.
    pub epoch: u32,
    /// The WireGuard key of each lane, lane 0 first; none only if departed.
    pub lanes: Vec<LaneKeyProof>,
    /// The node has left for good.
    pub departed: bool,
    /// Bits for abilities that peers may use.
    pub capabilities: u64,
    /// The node's software version.
    pub version: String,
    /// Why the node may say all this.
    pub chain: GrantChain,
    /// Further fields by tag.
    pub tags: BTreeMap<u16, Vec<u8>>,
}

/// A record that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// What others would refuse.
    #[error("the record would be refused by all members: {0}")]
    Refused(RejectReason),
    /// The key is not the one that the chain ends in.
    #[error("the record's grant chain ends in another node's key")]
    NotTheSubject,
}

impl RecordBody {
    /// Signs the record; refuses what [`authenticate`] would refuse.
    pub fn sign(&self, key: &SigningKey, mesh: &MeshId) -> Result<Vec<u8>, RecordError> {
        let body = postcard::to_extend(self, vec![FORMAT])
            .expect("postcard fails only on types without a length; ours have one");
        let bytes = Sealed::seal(body, key, Context::Record, mesh);
        let record = authenticate(&bytes, mesh).map_err(|rejection| match rejection.reason {
            RejectReason::BadSignature => RecordError::NotTheSubject,
            reason => RecordError::Refused(reason),
        })?;
        if record.node == key.public_key() {
            Ok(bytes)
        } else {
            Err(RecordError::NotTheSubject)
        }
    }
}

/// Why a record or revocation is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum RejectReason {
    /// Does not decode, or a field is out of its range.
    #[error("it does not decode or a field is out of range")]
    Malformed,
    /// Over [`MAX_RECORD`] bytes.
    #[error("it is too large")]
    TooLarge,
    /// A format or a critical field of a newer version.
    #[error("it needs a newer meshnode to be understood")]
    TooNew,
    /// Not signed by the node, or changed since.
    #[error("its signature is not good")]
    BadSignature,
    /// The grant chain starts from another authority.
    #[error("its grant is of another mesh")]
    WrongMesh,
    /// The grant has ended.
    #[error("its grant has expired")]
    GrantExpired,
    /// The grant has not begun.
    #[error("its grant is not valid yet")]
    GrantNotYetValid,
    /// The grant chain does not hold.
    #[error("its grant chain is not valid")]
    GrantInvalid,
    /// A prefix that the grant does not allow.
    #[error("it serves a prefix outside its grant")]
    PrefixOutsideGrant,
    /// A lane key whose owner does not say that it is this node's.
    #[error("it shows a WireGuard key without proof")]
    LaneKeyUnproven,
    /// A lane key that a node with a lower identity shows too.
    #[error("its WireGuard key is also another node's")]
    LaneKeyTaken,
    /// Older than [`VALIDITY`].
    #[error("it is over a day old")]
    Expired,
    /// More than [`MAX_AHEAD`] ahead of now; held back until then.
    #[error("it is from the future; is a clock wrong?")]
    FromTheFuture,
    /// The node is revoked.
    #[error("its node is revoked")]
    Revoked,
    /// No room for one more node, record or revocation.
    #[error("the table is full")]
    TableFull,
}

impl RejectReason {
    /// The metric label.
    pub fn as_str(&self) -> &'static str {
        match self {
            RejectReason::Malformed => "malformed",
            RejectReason::TooLarge => "too_large",
            RejectReason::TooNew => "too_new",
            RejectReason::BadSignature => "bad_signature",
            RejectReason::WrongMesh => "wrong_mesh",
            RejectReason::GrantExpired => "grant_expired",
            RejectReason::GrantNotYetValid => "grant_not_yet_valid",
            RejectReason::GrantInvalid => "grant_invalid",
            RejectReason::PrefixOutsideGrant => "prefix_outside_grant",
            RejectReason::LaneKeyUnproven => "lane_key_unproven",
            RejectReason::LaneKeyTaken => "lane_key_taken",
            RejectReason::Expired => "expired",
            RejectReason::FromTheFuture => "from_the_future",
            RejectReason::Revoked => "revoked",
            RejectReason::TableFull => "table_full",
        }
    }
}

/// A refused record, and whose it is where that much is certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Why.
    pub reason: RejectReason,
    /// Who signed it; `None` when no signature held.
    pub signer: Option<(NodeId, Name)>,
}

impl From<RejectReason> for Rejection {
    fn from(reason: RejectReason) -> Self {
        Rejection { reason, signer: None }
    }
}

/// A record that its node signed, with a chain of this mesh that allows all it says.
#[derive(Clone, Debug)]
pub struct VerifiedRecord {
    /// As received.
    pub bytes: Bytes,
    /// What it says.
    pub body: RecordBody,
    /// Whose it is: the chain's last subject.
    pub node: NodeId,
    /// Derived from mesh and node, never taken from a peer.
    pub mesh_address: Ipv6Addr,
    /// Its grants.
    pub chain: VerifiedChain,
    /// WireGuard keys of its lanes.
    pub wireguard: Vec<WgPublicKey>,
    /// How it serves its prefixes.
    pub serving: Serving,
    /// SHA-256 of the bytes.
    pub hash: [u8; 32],
}

impl VerifiedRecord {
    /// Whether its chain holds at `now` and it is neither too old nor too far ahead. A departed record is
    /// never too old.
    pub fn check_time(&self, now: UnixMillis) -> Result<(), RejectReason> {
        self.chain.check_time(now).map_err(|error| grant_reason(&error))?;
        if self.due() > now {
            return Err(RejectReason::FromTheFuture);
        }
        if !self.body.departed && now > self.expires() {
            Err(RejectReason::Expired)
        } else {
            Ok(())
        }
    }

    /// Whether its time or its grant's has run out at `now`; a departed record's only with its grant.
    pub fn is_over(&self, now: UnixMillis) -> bool {
        now > self.chain.not_after() || (!self.body.departed && now > self.expires())
    }

    /// When it stops to count.
    pub fn expires(&self) -> UnixMillis {
        self.body.issued_at + VALIDITY
    }

    /// From when on it may be merged: [`MAX_AHEAD`] before the times that it names, and not before its grant.
    pub fn due(&self) -> UnixMillis {
        let named = self.body.issued_at.max(UnixMillis(self.body.sequence));
        self.chain.not_before().max(named - MAX_AHEAD)
    }

    /// Whether this record replaces `other` of the same node: the higher sequence, then the lower hash.
    pub fn supersedes(&self, other: &VerifiedRecord) -> bool {
        let rank = |record: &VerifiedRecord| (record.body.sequence, std::cmp::Reverse(record.hash));
        rank(self) > rank(other)
    }
}

/// [`authenticate`], then [`VerifiedRecord::check_time`].
pub fn verify_record(bytes: &[u8], mesh: &MeshId, now: UnixMillis) -> Result<VerifiedRecord, RejectReason> {
    let record = authenticate(bytes, mesh).map_err(|rejection| rejection.reason)?;
    record.check_time(now)?;
    Ok(record)
}

/// Checks all of a record that does not depend on now.
pub fn authenticate(bytes: &[u8], mesh: &MeshId) -> Result<VerifiedRecord, Rejection> {
    if bytes.len() > MAX_RECORD {
        return Err(RejectReason::TooLarge.into());
    }
    let sealed = Sealed::split(bytes).ok_or(RejectReason::Malformed)?;
    let body = decode(sealed.body)?;
    let chain = body
        .chain
        .verify_at_any_time(mesh)
        .map_err(|error| grant_reason(&error))?;
    let node = *chain.subject();
    sealed
        .verify(&node, Context::Record, mesh)
        .map_err(|_| RejectReason::BadSignature)?;
    let by_signer = |reason| Rejection {
        reason,
        signer: Some((node, body.name.clone())),
    };
    check_shape(&body).map_err(by_signer)?;
    check_prefixes(&body, &chain).map_err(by_signer)?;
    let wireguard = check_lanes(&body, mesh, &node).map_err(by_signer)?;
    let serving = serving(&body).map_err(by_signer)?;
    Ok(VerifiedRecord {
        bytes: Bytes::copy_from_slice(bytes),
        node,
        mesh_address: mesh_address(mesh, &node),
        chain,
        wireguard,
        serving,
        hash: Sha256::digest(bytes).into(),
        body,
    })
}

fn decode(bytes: &[u8]) -> Result<RecordBody, RejectReason> {
    match bytes.split_first() {
        Some((&FORMAT, body)) => match postcard::take_from_bytes(body) {
            Ok((body, [])) => Ok(body),
            _ => Err(RejectReason::Malformed),
        },
        Some(_) => Err(RejectReason::TooNew),
        None => Err(RejectReason::Malformed),
    }
}

fn check_shape(body: &RecordBody) -> Result<(), RejectReason> {
    if body.tags.keys().any(|tag| *tag >= FIRST_CRITICAL_TAG) {
        return Err(RejectReason::TooNew);
    }
    let lanes = if body.departed {
        0..=MAX_LANES
    } else {
        1..=MAX_LANES
    };
    let fits = body.endpoints.len() <= MAX_ENDPOINTS
        && body.prefixes.len() <= MAX_PREFIXES
        && lanes.contains(&body.lanes.len())
        && body.version.len() <= MAX_VERSION
        && body.version.bytes().all(|byte| byte.is_ascii_graphic())
        && body.endpoints.iter().all(is_dialable);
    if fits {
        Ok(())
    } else {
        Err(RejectReason::Malformed)
    }
}

/// Whether packets can be sent to it at all.
pub(crate) fn is_dialable(endpoint: &SocketAddr) -> bool {
    let ip = endpoint.ip();
    endpoint.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && ip.to_canonical() == ip
}

fn check_prefixes(body: &RecordBody, chain: &VerifiedChain) -> Result<(), RejectReason> {
    let mut seen = BTreeSet::new();
    for AnnouncedPrefix { prefix, .. } in &body.prefixes {
        if prefix.trunc() != *prefix || !seen.insert(prefix) {
            return Err(RejectReason::Malformed);
        }
        if !chain.allows(prefix) {
            return Err(RejectReason::PrefixOutsideGrant);
        }
    }
    Ok(())
}

fn serving(body: &RecordBody) -> Result<Serving, RejectReason> {
    body.tags.get(&SERVING_TAG).map_or(Ok(Serving::default()), |tag| {
        Serving::from_tag(tag, &body.prefixes)
    })
}

fn check_lanes(body: &RecordBody, mesh: &MeshId, node: &NodeId) -> Result<Vec<WgPublicKey>, RejectReason> {
    let proven = (0_u8..)
        .zip(&body.lanes)
        .map(|(lane, proof)| proof.verify(mesh, node, lane));
    let keys = proven
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| RejectReason::LaneKeyUnproven)?;
    let distinct: BTreeSet<_> = keys.iter().collect();
    if distinct.len() == keys.len() {
        Ok(keys)
    } else {
        Err(RejectReason::LaneKeyTaken)
    }
}

fn grant_reason(error: &GrantError) -> RejectReason {
    match error {
        GrantError::WrongMesh { .. } => RejectReason::WrongMesh,
        GrantError::Expired { .. } => RejectReason::GrantExpired,
        GrantError::NotYetValid { .. } => RejectReason::GrantNotYetValid,
        _ => RejectReason::GrantInvalid,
    }
}
