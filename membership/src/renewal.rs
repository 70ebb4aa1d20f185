//! Renewal: grants that go on without anybody looking after them.
//!
//! At two thirds of its grant's life a node asks a member that may grant what it has, its issuer first,
//! for a new grant with the same content and a later end. Refused or unanswered it asks another, less and
//! less often, until the end.

#[cfg(test)]
mod tests;

use std::time::Duration;

use ipnet::IpNet;
use meshnode_crypto::{Grant, NodeId, PublicKey, Serial, UnixMillis, VerifiedChain, prefix};

use crate::admission::decide::{
    Admitter, CLOCK_MARGIN, GRANT_LIFE, Refusal, check_clock, check_loop, life_end,
};
use crate::api::Now;
use crate::directory::Directory;

/// The wait after the first round of refusals; it doubles up to [`MAX_WAIT`].
pub const FIRST_WAIT: Duration = Duration::from_secs(60);
/// The longest wait between two rounds.
pub const MAX_WAIT: Duration = Duration::from_secs(6 * 3600);

/// When and whom to ask for a new grant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    rounds: u32,
    not_before: UnixMillis,
}

impl Renewal {
    /// Nothing tried yet.
    pub fn new() -> Self {
        Renewal::default()
    }

    /// When to ask next.
    pub fn poll_timeout(&self, chain: &VerifiedChain) -> UnixMillis {
        due(chain).max(self.not_before)
    }

    /// Whom to ask now, best first; empty while nothing is due. Call [`Self::failed`] when none gave.
    pub fn handle_timeout(&self, chain: &VerifiedChain, directory: &Directory, now: Now) -> Vec<NodeId> {
        if now.wall < self.poll_timeout(chain) {
            return Vec::new();
        }
        candidates(chain, directory, now)
    }

    /// Nobody renewed the grant in this round.
    pub fn failed(&mut self, now: UnixMillis) {
        let wait = FIRST_WAIT.saturating_mul(1 << self.rounds.min(16)).min(MAX_WAIT);
        self.rounds += 1;
        self.not_before = now + wait;
    }

    /// A new grant is in use.
    pub fn renewed(&mut self) {
        *self = Renewal::default();
    }
}

/// Two thirds of the life of a grant; of the whole chain, where an ancestor's ends before.
pub fn due(chain: &VerifiedChain) -> UnixMillis {
    let life = chain.not_after().saturating_since(chain.issued());
    chain.issued() + life * 2 / 3
}

/// Members in the view that could renew this chain, its issuer first, then those that end last.
pub fn candidates(chain: &VerifiedChain, directory: &Directory, now: Now) -> Vec<NodeId> {
    let view = directory.view(now);
    let issuer = chain.issuers().last().copied();
    let could = |node: &NodeId| {
        let record = directory.record(node);
        record.is_some_and(|record| check_content(&record.chain, chain, now.wall).is_ok())
    };
    let mut able: Vec<_> = view.nodes.values().filter(|node| could(&node.id)).collect();
    able.sort_by_key(|node| {
        (
            Some(node.id) != issuer,
            std::cmp::Reverse(node.grant_not_after),
            node.id,
        )
    });
    able.into_iter().map(|node| node.id).collect()
}

/// The grant that renews `asker`'s, to be signed by this node and put behind its chain. Content, name,
/// client pool and token stay; `serial`: 16 fresh random bytes.
pub fn decide_renewal(
    asker: &VerifiedChain,
    admitter: &Admitter<'_>,
    now: Now,
    serial: Serial,
) -> Result<Grant, Refusal> {
    check_clock(admitter, now)?;
    asker.check_time(now.wall)?;
    let directory = admitter.directory;
    if directory.is_revoked(asker) || directory.is_barred(asker.subject(), admitter.chain) {
        return Err(Refusal::NodeRevoked);
    }
    check_content(admitter.chain, asker, now.wall)?;
    Ok(successor(asker, admitter, now, serial))
}

/// A grant with other prefixes in place of `current`, at the wish of this node's operator: wider or
/// narrower, but never more than this node delegates. `delegate`: `None` leaves it as it is.
pub fn decide_regrant(
    current: &VerifiedChain,
    serve: &[IpNet],
    delegate: Option<&[IpNet]>,
    admitter: &Admitter<'_>,
    now: Now,
    serial: Serial,
) -> Result<Grant, Refusal> {
    check_clock(admitter, now)?;
    if admitter.directory.is_revoked(current)
        || admitter.directory.is_barred(current.subject(), admitter.chain)
    {
        return Err(Refusal::NodeRevoked);
    }
    check_loop(current.subject(), admitter.chain)?;
    let serve = prefix::normalise(serve.to_vec())?;
    let delegate = prefix::normalise(delegate.unwrap_or(current.delegate()).to_vec())?;
    admitter.chain.check_invitation(&serve, &delegate)?;
    Ok(Grant {
        serve,
        delegate,
        ..successor(current, admitter, now, serial)
    })
}

/// The grant that the authority itself gives in place of `current`, where its key is at hand: the founder
/// needs nobody to renew it. Put behind no chain. Content stays, as does the mesh's client range.
pub fn renew_by_authority(
    current: &VerifiedChain,
    authority: &PublicKey,
    now: UnixMillis,
    serial: Serial,
) -> Grant {
    let life = current.links().last().map_or(GRANT_LIFE, |leaf| {
        leaf.not_after.saturating_since(leaf.not_before)
    });
    Grant {
        issuer: *authority,
        subject: *current.subject(),
        serve: current.serve().to_vec(),
        delegate: current.delegate().to_vec(),
        name: current.name().cloned(),
        not_before: now - CLOCK_MARGIN,
        not_after: now + life.max(GRANT_LIFE),
        serial,
        client_pool: current.client_pool(),
        client_range: current.client_range(),
        token: current.token(),
    }
}

fn successor(current: &VerifiedChain, admitter: &Admitter<'_>, now: Now, serial: Serial) -> Grant {
    Grant {
        issuer: *admitter.chain.subject(),
        subject: *current.subject(),
        serve: current.serve().to_vec(),
        delegate: current.delegate().to_vec(),
        name: current.name().cloned(),
        not_before: now.wall - CLOCK_MARGIN,
        not_after: life_end(admitter.chain, now.wall),
        serial,
        client_pool: current.client_pool(),
        client_range: None,
        token: current.token(),
    }
}

// Whether a chain through `giver` would hold, and hold longer.
fn check_content(giver: &VerifiedChain, asker: &VerifiedChain, now: UnixMillis) -> Result<(), Refusal> {
    giver.check_invitation(asker.serve(), asker.delegate())?;
    check_loop(asker.subject(), giver)?;
    if life_end(giver, now) <= asker.not_after() {
        return Err(Refusal::NoGain {
            not_after: giver.not_after(),
        });
    }
    Ok(())
}
