//! What the host asks of membership, and what it hears back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ipnet::IpNet;
use meshnode_crypto::{
    GrantChain, GrantError, LaneKeyProof, MeshId, Name, NodeId, Serial, SigningKey, TokenError, UnixMillis,
};

use crate::admission::decide::Refusal;
use crate::own::OwnChainError;
use crate::ports::StoreItem;
use crate::record::AnnouncedPrefix;
use crate::record::serving::Serving;

/// One moment on both clocks: the wall clock, which may jump, and the monotonic one, which does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// What signed times are compared with.
    pub wall: UnixMillis,
    /// What tells whether the wall clock jumped.
    pub monotonic: Instant,
}

/// Intervals of membership; the defaults are those of the design.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often an unchanged record is signed afresh.
    pub refresh: Duration,
    /// Shortest time between two records of ours.
    pub publish: Duration,
    /// Gossip's interval; `None`: by the number of members (1 s up to 100, then members / 100 s, at most 5 s).
    pub gossip: Option<Duration>,
    /// How long gossip remembers a dead row.
    pub gossip_grace: Duration,
    /// How long changes wait for others before the peer cache is saved.
    pub cache_debounce: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            refresh: Duration::from_secs(3600),
            publish: Duration::from_secs(1),
            gossip: None,
            gossip_grace: Duration::from_secs(120),
            cache_debounce: Duration::from_secs(2),
        }
    }
}

/// What membership starts with.
#[derive(Clone, Debug)]
pub struct MembershipConfig {
    /// Which mesh.
    pub mesh: MeshId,
    /// This node's identity.
    pub signing_key: SigningKey,
    /// What lets it in.
    pub chain: GrantChain,
    /// Most members, this node included.
    pub max_members: usize,
    /// The mesh's authority, on a founder that keeps it at hand.
    pub authority: Option<SigningKey>,
    /// Where to look for members beside those in the cache.
    pub seeds: Vec<SocketAddr>,
    /// Records that came with the enrolment; empty at a later start.
    pub first_records: Vec<Bytes>,
    /// This node's software version, as shown to others.
    pub version: String,
    /// Intervals.
    pub timing: Timing,
    /// Fresh randomness.
    pub entropy: [u8; 32],
}

/// Members where nothing else is configured.
pub const DEFAULT_MAX_MEMBERS: usize = 1000;

/// What this node wants to say of itself; membership adds observed endpoints, signs and refreshes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The name it goes by; a name bound in the grant wins.
    pub name: Name,
    /// Advertised and local addresses, best first.
    pub endpoints: Vec<SocketAddr>,
    /// What it serves.
    pub prefixes: Vec<AnnouncedPrefix>,
    /// How.
    pub serving: Serving,
    /// Its lane keys, lane 0 first.
    pub lanes: Vec<LaneKeyProof>,
    /// Which set of lane keys.
    pub epoch: u32,
    /// Bits for abilities.
    pub capabilities: u64,
}

/// A token to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteRequest {
    /// What the joiner may serve.
    pub serve: Vec<IpNet>,
    /// What the joiner may grant on; empty: it cannot invite.
    pub delegate: Vec<IpNet>,
    /// The name that it gets, if it may not choose.
    pub name: Option<Name>,
    /// How many nodes it lets in; 0: any number, by any member with the right.
    pub uses: u32,
    /// How long it can be used.
    pub lifetime: Duration,
    /// Where to ask, each `host:port`.
    pub seeds: Vec<String>,
}

/// A node's grant to be replaced by a wider or narrower one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRequest {
    /// Whose.
    pub node: NodeId,
    /// What it may serve from now on.
    pub serve: Vec<IpNet>,
    /// What it may grant on; `None`: as before.
    pub delegate: Option<Vec<IpNet>>,
}

/// A grant that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantOutcome {
    /// When it ends.
    pub not_after: UnixMillis,
    /// Whether the node has it; if not it is offered again when the node connects.
    pub delivered: bool,
}

/// What a joiner asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolRequest {
    /// The name that it would like.
    pub name: Name,
    /// The prefixes that it wants to serve; empty: all that the token allows.
    pub serve: Vec<IpNet>,
}

/// What a joiner got.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// The mesh that it is in now.
    pub mesh: MeshId,
    /// What lets it in.
    pub chain: GrantChain,
    /// Records of members, to begin with.
    pub first_records: Vec<Bytes>,
}

/// Why one seed did not let us in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeedProblem {
    /// Nothing came back.
    #[error("did not answer: it is down, not a meshnode, or a firewall drops UDP to this port")]
    Silent,
    /// It answered, but not as a meshnode.
    #[error("answered, but is not a meshnode: {0}")]
    NotAMeshnode(String),
    /// It is a member of something else.
    #[error("is a meshnode of another mesh")]
    OtherMesh,
    /// It could not prove to be a member.
    #[error("could not prove that it is a member of this mesh: {0}")]
    NotAMember(GrantError),
    /// It said no.
    #[error("refused: {text}")]
    Refused {
        /// A stable word.
        code: String,
        /// What, why, what to do.
        text: String,
    },
    /// The connection ended on the way.
    #[error("the connection broke off: {0}")]
    Broken(String),
}

/// A join that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnrolError {
    /// The token itself is no good.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// There is nobody to ask.
    #[error("no seed to ask: give one as an argument, as host:port of any live member")]
    NoSeeds,
    /// Every seed failed, each in its own way.
    #[error("no seed let this node in:{}", list(.0))]
    Seeds(Vec<(SocketAddr, SeedProblem)>),
    /// What came back is not a good grant for us.
    #[error("the seed gave a grant that does not hold: {0}")]
    Grant(GrantError),
}

fn list(problems: &[(SocketAddr, SeedProblem)]) -> String {
    problems
        .iter()
        .map(|(seed, problem)| format!("\n  {seed} {problem}"))
        .collect()
}

/// Membership that could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Our own grant does not hold, or is another node's.
    #[error("this node's grant cannot be used: {0}")]
    Chain(#[from] OwnChainError),
    /// The start counter could not be made durable: starting twice with one would confuse everybody.
    #[error("cannot keep {item:?} in the state directory: {source}")]
    Store {
        /// What.
        item: StoreItem,
        /// Why.
        source: std::io::Error,
    },
}

/// A token that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum InviteError {
    /// This node may not, or may not that much.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Our clock and the members' differ.
    #[error("the clock differs from the members' by {seconds} s; set it right (NTP), then invite")]
    ClockUnsure {
        /// Theirs minus ours.
        seconds: i64,
    },
    /// The token could not be made durable.
    #[error("cannot keep the token in the state directory: {0}")]
    Store(std::io::Error),
    /// Membership has ended.
    #[error("membership has stopped; see the log")]
    Stopped,
}

/// A grant that could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantFailure {
    /// Nobody of that identity is known.
    #[error("no member {} is known here; see `meshnode peers`", .0.short())]
    UnknownNode(NodeId),
    /// This node may not, or may not that much.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What was asked for is not a sound grant.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// Membership has ended.
    #[error("membership has stopped; see the log")]
    Stopped,
}

/// A revocation that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// Only the authority or an ancestor may revoke.
    #[error(
        "this node did not let {} in, neither directly nor through others; revoke where it was invited, or where the authority key is",
        .0.short()
    )]
    NotAnAncestor(NodeId),
    /// The token was issued elsewhere.
    #[error("token {0} was not issued here; revoke it where it was issued, or where the authority key is")]
    NotTheIssuer(Serial),
    /// Nobody of that identity is known.
    #[error("no member {} is known here; see `meshnode peers`", .0.short())]
    UnknownNode(NodeId),
    /// It cannot be signed.
    #[error(transparent)]
    Revocation(#[from] meshnode_crypto::RevocationError),
    /// It could not be made durable; it was sent nevertheless.
    #[error("the revocation was sent, but could not be kept in the state directory: {0}")]
    Store(std::io::Error),
    /// Membership has ended.
    #[error("membership has stopped; see the log")]
    Stopped,
}

/// Figures of membership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembershipStats {
    /// Refused records, revocations and messages by reason.
    pub gossip_rejected: BTreeMap<&'static str, u64>,
    /// Bytes of the digest that goes with every gossip message.
    pub digest_bytes: u64,
    /// Gossip sent, in bytes.
    pub gossip_bytes_sent: u64,
    /// Gossip received, in bytes.
    pub gossip_bytes_received: u64,
    /// Open connections.
    pub quic_connections: usize,
    /// Other members in the view.
    pub members_known: usize,
    /// Of these, those that gossip shows as live.
    pub members_live: usize,
    /// When our own grant ends.
    pub grant_not_after: Option<UnixMillis>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipEvent {
    /// A node appeared in the view.
    Joined {
        /// Who.
        node: NodeId,
        /// Its name as shown.
        name: String,
    },
    /// A node left, or its record expired.
    Left {
        /// Who.
        node: NodeId,
        /// Its name as shown.
        name: String,
    },
    /// A node was revoked; it may be we.
    Revoked {
        /// Who.
        node: NodeId,
    },
    /// Two records of one node with one sequence: one identity runs on two machines.
    Conflict {
        /// Whose identity.
        node: NodeId,
    },
    /// Our clock and the members' differ by more than ten minutes; `None`: no longer.
    ClockSkew {
        /// Theirs minus ours, in milliseconds.
        millis: Option<i64>,
    },
    /// A node was refused because the table is full.
    TableFull {
        /// Most members that fit.
        capacity: usize,
    },
    /// Something could not be kept; we go on from memory.
    StoreFailed {
        /// What.
        item: StoreItem,
        /// Why.
        error: String,
    },
    /// Our grant was renewed or replaced.
    GrantReplaced {
        /// When the new one ends.
        not_after: UnixMillis,
    },
}
