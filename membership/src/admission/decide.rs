//! Whether a joiner is let in, by whom, and with what grant.
//!
//! Pure: the caller has verified the token (by its own clock) and the proof, makes the ledger entry durable,
//! signs the grant with this node's key and puts it behind this node's chain.
//!
//! A token with a use limit is decided by its issuer alone, for only the issuer knows who used it; a fleet
//! token by any member whose own grant delegates what it grants.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use meshnode_crypto::{
    DEFAULT_CLIENT_RANGE, Grant, GrantError, Name, NodeId, Serial, TokenError, UnixMillis, VerifiedChain,
    VerifiedToken, prefix,
};
use sha2::{Digest, Sha256};

use super::ledger::{Ledger, Use};
use crate::api::Now;
use crate::directory::Directory;

/// How long a grant lasts, unless its issuer's ends before.
pub const GRANT_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long before now a grant begins: the joiner's clock may be behind ours.
pub const CLOCK_MARGIN: Duration = Duration::from_secs(600);

/// What the joiner asks for, its key proved by the connection and the token by its secret.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Verified by our clock.
    pub token: &'a VerifiedToken,
    /// Whose key is to be let in.
    pub joiner: NodeId,
    /// The name that it would like.
    pub name: &'a Name,
    /// What it wants to serve; empty: all that the token allows.
    pub serve: &'a [IpNet],
    /// Another member handed it on to us, and nobody hands it on a second time.
    pub forwarded: bool,
}

/// This node, as far as it matters for letting others in.
#[derive(Clone, Copy, Debug)]
pub struct Admitter<'a> {
    /// Our own chain, valid now.
    pub chain: &'a VerifiedChain,
    /// Who is in the mesh, and who was put out of it.
    pub directory: &'a Directory,
    /// Uses of the tokens that we issued.
    pub ledger: &'a Ledger,
}

/// A member that may decide instead of us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Where it may be reached.
    pub endpoints: Vec<SocketAddr>,
}

/// What to do about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Let it in: make the ledger entry durable if there is one, then sign.
    Admit {
        /// What to sign.
        grant: Box<Grant>,
        /// The use to record first; `None` for fleet tokens.
        record: Option<Box<Use>>,
    },
    /// The same joiner again: sign the same grant.
    Again(Box<Grant>),
    /// Hand the request to the first of these that answers; the token's issuer comes first.
    Forward(Vec<Candidate>),
}

/// Why a joiner is not let in, or a grant not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The token does not hold, or its time is over by our clock.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token is for another mesh.
    #[error("the token is for another mesh ({wanted}) than this member's ({ours})")]
    OtherMesh {
        /// The token's.
        wanted: String,
        /// Ours.
        ours: String,
    },
    /// Our clock and the members' differ.
    #[error(
        "the admitting member's clock differs from the others' by {seconds} s, so it cannot tell what has expired; set its clock right (NTP)"
    )]
    ClockUnsure {
        /// Theirs minus ours.
        seconds: i64,
    },
    /// All its uses are used up.
    #[error("the token was used up by {}; make a new one with `meshnode invite`", .by.join(", "))]
    UsedUp {
        /// The nodes, by name or short identity.
        by: Vec<String>,
    },
    /// The token, or its issuer, was revoked.
    #[error("the token was revoked; ask for a new one from a member")]
    TokenRevoked,
    /// The joiner's key was revoked.
    #[error("this node's key was revoked; it can only come back with a new key (empty its state directory)")]
    NodeRevoked,
    /// A prefix that the token does not allow.
    #[error("{prefix} is not among the prefixes that the token allows ({}); ask for a token with --cidr {prefix}", list(.allowed))]
    WiderThanToken {
        /// Which.
        prefix: IpNet,
        /// What it allows.
        allowed: Vec<IpNet>,
    },
    /// Not a good prefix.
    #[error(transparent)]
    Prefix(#[from] meshnode_crypto::PrefixError),
    /// The issuer must decide, but is not known here.
    #[error(
        "the token was issued by node {}, which alone can admit with it and is not in the mesh now; start it, or ask another member for a token",
        .issuer.short()
    )]
    IssuerUnknown {
        /// Who.
        issuer: NodeId,
    },
    /// The issuer must decide, but did not answer.
    #[error(
        "the token was issued by {name}, which alone can admit with it and does not answer; start it, or ask another member for a token"
    )]
    IssuerDown {
        /// Its name.
        name: String,
    },
    /// Nobody here may grant it.
    #[error("no member known here may grant what this token promises; ask its issuer for a new one")]
    NobodyMay,
    /// The name belongs to another node by its grant.
    #[error("the name {name} belongs to node {}; ask for a token with another --name", .holder.short())]
    NameTaken {
        /// Which.
        name: Name,
        /// Whose.
        holder: NodeId,
    },
    /// The mesh has as many members as this node can hold.
    #[error("the mesh is full: {capacity} members is the limit here")]
    TableFull {
        /// How many fit.
        capacity: usize,
    },
    /// Too many one-use tokens were used in a short time.
    #[error("too many tokens of this member were used lately; use a fleet token (--uses 0)")]
    LedgerFull,
    /// What we would sign would not hold.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// A renewal that would not last longer.
    #[error("this member's own grant ends at {not_after}, not after the one to be renewed")]
    NoGain {
        /// When ours ends.
        not_after: UnixMillis,
    },
    /// The use could not be made durable, and an undurable use could be used twice.
    #[error("the admitting member cannot write its state directory: {error}")]
    Store {
        /// Why.
        error: String,
    },
}

impl Refusal {
    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Token(TokenError::Expired { .. }) => "token_expired",
            Refusal::Token(TokenError::BadProof) => "bad_proof",
            Refusal::Token(_) => "bad_token",
            Refusal::OtherMesh { .. } => "other_mesh",
            Refusal::ClockUnsure { .. } => "clock_unsure",
            Refusal::UsedUp { .. } => "used_up",
            Refusal::TokenRevoked => "token_revoked",
            Refusal::NodeRevoked => "node_revoked",
            Refusal::WiderThanToken { .. } => "wider_than_token",
            Refusal::Prefix(_) => "bad_prefix",
            Refusal::IssuerUnknown { .. } => "issuer_unknown",
            Refusal::IssuerDown { .. } => "issuer_down",
            Refusal::NobodyMay => "nobody_may",
            Refusal::NameTaken { .. } => "name_taken",
            Refusal::TableFull { .. } => "table_full",
            Refusal::LedgerFull => "ledger_full",
            Refusal::Grant(_) => "bad_grant",
            Refusal::NoGain { .. } => "no_gain",
            Refusal::Store { .. } => "store",
        }
    }
}

fn list(prefixes: &[IpNet]) -> String {
    if prefixes.is_empty() {
        return "none".to_owned();
    }
    prefixes
        .iter()
        .map(IpNet::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Decides. `serial`: 16 fresh random bytes for the grant.
pub fn decide(
    request: &Request<'_>,
    admitter: &Admitter<'_>,
    now: Now,
    serial: Serial,
) -> Result<Decision, Refusal> {
    check_clock(admitter, now)?;
    check_revoked(request, admitter)?;
    if let Some(decision) = forward(request, admitter, now)? {
        return Ok(decision);
    }
    let token = request.token;
    if !token.is_fleet() {
        if let Some(entry) = admitter.ledger.of(&token.serial(), &request.joiner) {
            return Ok(Decision::Again(Box::new(entry.grant.clone())));
        }
        check_uses(request, admitter)?;
    }
    let serve = serve(request)?;
    admitter.chain.check_invitation(&serve, token.delegate())?;
    check_loop(&request.joiner, admitter.chain)?;
    check_member(request, admitter)?;
    let grant = Grant {
        issuer: *admitter.chain.subject(),
        subject: request.joiner,
        serve,
        delegate: token.delegate().to_vec(),
        name: token.name().cloned(),
        not_before: now.wall - CLOCK_MARGIN,
        not_after: life_end(admitter.chain, now.wall),
        serial,
        client_pool: client_pool(&request.joiner, admitter),
        client_range: None,
        token: Some(token.serial()),
    };
    let record = (!token.is_fleet()).then(|| {
        Box::new(Use {
            token: token.serial(),
            joiner: request.joiner,
            grant: grant.clone(),
            token_not_after: token.not_after(),
        })
    });
    Ok(Decision::Admit {
        grant: Box::new(grant),
        record,
    })
}

/// When a grant issued now by the subject of `chain` ends.
pub fn life_end(chain: &VerifiedChain, now: UnixMillis) -> UnixMillis {
    (now + GRANT_LIFE).min(chain.not_after())
}

/// Refuses while our clock is unsure.
pub fn check_clock(admitter: &Admitter<'_>, now: Now) -> Result<(), Refusal> {
    match admitter.directory.clock_skew(now) {
        Some(skew) => Err(Refusal::ClockUnsure { seconds: skew / 1000 }),
        None => Ok(()),
    }
}

fn check_revoked(request: &Request<'_>, admitter: &Admitter<'_>) -> Result<(), Refusal> {
    let (token, directory) = (request.token, admitter.directory);
    if directory.is_revoked(token.issuer_chain())
        || directory.is_token_revoked(&token.serial(), token.issuer_chain())
    {
        return Err(Refusal::TokenRevoked);
    }
    if directory.is_barred(&request.joiner, admitter.chain) {
        return Err(Refusal::NodeRevoked);
    }
    Ok(())
}

/// Refuses to let in whom we descend from: no chain may lead through a node to itself.
pub fn check_loop(subject: &NodeId, admitter: &VerifiedChain) -> Result<(), Refusal> {
    if admitter.subject() == subject || admitter.issuers().contains(subject) {
        return Err(GrantError::Loop { key: *subject }.into());
    }
    Ok(())
}

// `None`: the decision is ours.
fn forward(request: &Request<'_>, admitter: &Admitter<'_>, now: Now) -> Result<Option<Decision>, Refusal> {
    let token = request.token;
    let issuer = *token.issuer();
    if issuer == *admitter.chain.subject() {
        return Ok(None);
    }
    if token.is_fleet()
        && admitter
            .chain
            .check_invitation(token.serve(), token.delegate())
            .is_ok()
    {
        return Ok(None);
    }
    let view = admitter.directory.view(now);
    let may = |candidate: &NodeId| {
        let record = admitter.directory.record(candidate);
        record.is_some_and(|record| {
            record
                .chain
                .check_invitation(token.serve(), token.delegate())
                .is_ok()
        })
    };
    let mut candidates: Vec<&crate::view::NodeView> = view
        .nodes
        .values()
        .filter(|node| node.id == issuer || (token.is_fleet() && may(&node.id)))
        .collect();
    candidates.sort_by_key(|node| (node.id != issuer, node.id));
    if candidates.is_empty() || request.forwarded {
        return Err(if token.is_fleet() {
            Refusal::NobodyMay
        } else {
            Refusal::IssuerUnknown { issuer }
        });
    }
    let candidate = |node: &&crate::view::NodeView| Candidate {
        node: node.id,
        name: node.name.clone(),
        endpoints: node.endpoints.clone(),
    };
    Ok(Some(Decision::Forward(
        candidates.iter().map(candidate).collect(),
    )))
}

fn check_uses(request: &Request<'_>, admitter: &Admitter<'_>) -> Result<(), Refusal> {
    let users = admitter.ledger.users(&request.token.serial());
    if users.len() >= request.token.uses() as usize {
        return Err(Refusal::UsedUp {
            by: users.iter().map(|node| label(node, admitter.directory)).collect(),
        });
    }
    if admitter.ledger.is_full() {
        Err(Refusal::LedgerFull)
    } else {
        Ok(())
    }
}

fn label(node: &NodeId, directory: &Directory) -> String {
    match directory.record(node) {
        Some(record) => format!("{} ({})", record.body.name, node.short()),
        None => node.short(),
    }
}

fn serve(request: &Request<'_>) -> Result<Vec<IpNet>, Refusal> {
    let allowed = request.token.serve();
    if request.serve.is_empty() {
        return Ok(allowed.to_vec());
    }
    let wanted = prefix::normalise(request.serve.to_vec())?;
    match prefix::first_outside(allowed, &wanted) {
        Some(prefix) => Err(Refusal::WiderThanToken {
            prefix,
            allowed: allowed.to_vec(),
        }),
        None => Ok(wanted),
    }
}

fn check_member(request: &Request<'_>, admitter: &Admitter<'_>) -> Result<(), Refusal> {
    let directory = admitter.directory;
    if let Some(name) = request.token.name() {
        match directory.holder_of(name) {
            Some(holder) if holder != request.joiner => {
                return Err(Refusal::NameTaken {
                    name: name.clone(),
                    holder,
                });
            }
            _ => {}
        }
    }
    if directory.has_room_for(&request.joiner) {
        Ok(())
    } else {
        Err(Refusal::TableFull {
            capacity: directory.capacity(),
        })
    }
}

/// A /24 for the joiner's clients that nobody known has: the search starts where its key points, so that
/// members that admit at the same time rarely choose the same.
pub fn client_pool(joiner: &NodeId, admitter: &Admitter<'_>) -> Option<Ipv4Net> {
    let mut taken = admitter.directory.client_pools();
    taken.extend(
        admitter
            .chain
            .client_pool()
            .map(|pool| (pool, *admitter.chain.subject())),
    );
    let granted = admitter.ledger.uses().iter();
    taken.extend(granted.filter_map(|entry| Some((entry.grant.client_pool?, entry.joiner))));
    let range = admitter.chain.client_range().unwrap_or(DEFAULT_CLIENT_RANGE);
    free_pool(joiner, range, &taken)
}

fn free_pool(joiner: &NodeId, range: Ipv4Net, taken: &BTreeMap<Ipv4Net, NodeId>) -> Option<Ipv4Net> {
    if let Some((pool, _)) = taken
        .iter()
        .find(|(pool, holder)| *holder == joiner && range.contains(*pool))
    {
        return Some(*pool);
    }
    let count = 1_u32.checked_shl(24_u32.checked_sub(u32::from(range.prefix_len()))?)?;
    let hash: [u8; 32] = Sha256::digest(joiner.as_bytes()).into();
    let start = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) % count;
    let base = u32::from(range.network());
    (0..count)
        .map(|step| base + ((start + step) % count) * 256)
        .filter_map(|address| Ipv4Net::new(address.into(), 24).ok())
        .find(|pool| !taken.contains_key(pool))
}
