//! What this node says of itself, and when.
//!
//! Desired state comes in (the announcement, observed endpoints, the grant chain), a signed record goes
//! out: at once on a change, but at most one a second, and otherwise every hour. What moves others' traffic (a
//! prefix, how it is served) does not wait for that second, until a few changes have come at once.
//!
//! A sequence never goes back: above the last one persisted, above the highest of ours that anybody has
//! shown us, and at least the time. A sequence that lies further ahead of now than others accept was made
//! by a wrong clock; everybody holds it back, so it binds us no more than them.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use meshnode_crypto::{GrantChain, GrantError, MeshId, NodeId, SigningKey, UnixMillis, VerifiedChain};

use crate::api::{Announcement, Now, Timing};
use crate::record::serving::SERVING_TAG;
use crate::record::{
    AnnouncedPrefix, MAX_AHEAD, MAX_ENDPOINTS, MAX_LANES, MAX_PREFIXES, MAX_VERSION, RecordBody, RecordError,
    VerifiedRecord, authenticate, is_dialable,
};

/// Records that may follow each other at once when others must move their traffic.
const BURST: u32 = 4;

/// What does not change while the node runs.
#[derive(Debug)]
pub struct OwnConfig {
    /// Which mesh.
    pub mesh: MeshId,
    /// This node's identity.
    pub key: SigningKey,
    /// Its software version.
    pub version: String,
    /// How many times it has started, this time included.
    pub generation: u64,
    /// The sequence last persisted.
    pub persisted_sequence: u64,
    /// Refresh and rate.
    pub timing: Timing,
}

/// A grant chain that this node cannot use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OwnChainError {
    /// It does not hold.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// It lets somebody else in.
    #[error("the grant is for node {}, but this node's key is {}", subject.short(), key.short())]
    OtherNode {
        /// Whom it lets in.
        subject: NodeId,
        /// Our key.
        key: NodeId,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Presence {
    Here,
    // Still a member, for others to move their traffic, but serving nothing.
    Withdrawn,
    Departed,
}

/// See the module documentation.
#[derive(Debug)]
pub struct OwnRecord {
    config: OwnConfig,
    chain: GrantChain,
    verified: VerifiedChain,
    wanted: Option<Announcement>,
    observed: Vec<SocketAddr>,
    presence: Presence,
    floor: u64,
    published: Option<VerifiedRecord>,
    last: Option<Instant>,
    // When the allowance for urgent changes is whole again.
    rested: Option<Instant>,
    again: bool,
}

impl OwnRecord {
    /// Publishes nothing until it knows what to announce. Fails when the chain is not ours.
    pub fn new(config: OwnConfig, chain: GrantChain) -> Result<Self, OwnChainError> {
        let verified = own_chain(&chain, &config)?;
        let floor = config.persisted_sequence;
        Ok(OwnRecord {
            config,
            chain,
            verified,
            wanted: None,
            observed: Vec::new(),
            presence: Presence::Here,
            floor,
            published: None,
            last: None,
            rested: None,
            again: false,
        })
    }

    /// Whose record this is.
    pub fn node(&self) -> NodeId {
        *self.verified.subject()
    }

    /// The grant chain in use.
    pub fn chain(&self) -> (&GrantChain, &VerifiedChain) {
        (&self.chain, &self.verified)
    }

    /// The record last published.
    pub fn published(&self) -> Option<&VerifiedRecord> {
        self.published.as_ref()
    }

    /// What to announce from now on.
    pub fn announce(&mut self, announcement: Announcement) {
        self.wanted = Some(announcement);
    }

    /// Where others see us. Their order alone is no change worth telling.
    pub fn observe(&mut self, endpoints: Vec<SocketAddr>) {
        let same =
            endpoints.len() == self.observed.len() && endpoints.iter().all(|one| self.observed.contains(one));
        if !same {
            self.observed = endpoints;
        }
    }

    /// A new grant; refused when it is not ours. What it does not allow is no longer announced.
    pub fn replace_chain(&mut self, chain: GrantChain) -> Result<(), OwnChainError> {
        self.verified = own_chain(&chain, &self.config)?;
        self.chain = chain;
        Ok(())
    }

    /// Announces no prefixes from now on: others move their traffic away.
    pub fn withdraw(&mut self) {
        self.presence = self.presence.max(Presence::Withdrawn);
    }

    /// Says that this node has left for good.
    pub fn depart(&mut self) {
        self.presence = Presence::Departed;
    }

    /// Somebody has a record of ours with this sequence that we did not make: publish above it.
    pub fn seen(&mut self, sequence: u64) {
        self.floor = self.floor.max(sequence);
        self.again = true;
    }

    /// Prefixes to be announced that the grant does not allow; they are left out.
    pub fn outside_grant(&self) -> Vec<AnnouncedPrefix> {
        let wanted = self.wanted.iter().flat_map(|wanted| &wanted.prefixes);
        wanted
            .filter(|announced| !self.verified.allows(&announced.prefix))
            .copied()
            .collect()
    }

    /// When [`Self::handle_timeout`] has something to publish; `None`: when something changes.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let (last, timing) = (self.last?, &self.config.timing);
        if !self.is_changed() {
            return Some(last + timing.refresh);
        }
        let usual = last + timing.publish;
        let allowed = self
            .rested?
            .checked_sub((BURST - 1) * timing.publish)
            .unwrap_or(last);
        Some(if self.is_urgent() {
            usual.min(allowed)
        } else {
            usual
        })
    }

    /// The record to publish now, if one is due. Persist its sequence, then send it.
    ///
    /// `members_time`: see [`crate::directory::Directory::members_time`].
    pub fn handle_timeout(
        &mut self,
        now: Now,
        members_time: Option<UnixMillis>,
    ) -> Option<Result<VerifiedRecord, RecordError>> {
        let has_lanes = self
            .wanted
            .as_ref()
            .is_some_and(|wanted| !wanted.lanes.is_empty());
        if !has_lanes && self.presence != Presence::Departed {
            return None;
        }
        if self.poll_timeout().is_some_and(|due| now.monotonic < due) {
            return None;
        }
        Some(self.publish(now, members_time))
    }

    fn publish(&mut self, now: Now, members_time: Option<UnixMillis>) -> Result<VerifiedRecord, RecordError> {
        self.last = Some(now.monotonic);
        self.rested =
            Some(self.rested.unwrap_or(now.monotonic).max(now.monotonic) + self.config.timing.publish);
        self.again = false;
        let sequence = self.next_sequence(now.wall.max(members_time.unwrap_or_default()));
        let body = RecordBody {
            sequence,
            issued_at: now.wall,
            ..self.body()
        };
        let bytes = body.sign(&self.config.key, &self.config.mesh)?;
        let record = authenticate(&bytes, &self.config.mesh)
            .map_err(|refused| RecordError::Refused(refused.reason))?;
        self.floor = sequence;
        self.published = Some(record.clone());
        Ok(record)
    }

    fn next_sequence(&self, now: UnixMillis) -> u64 {
        let acceptable = (now + MAX_AHEAD - Duration::from_secs(60)).0;
        let above = if self.floor < acceptable {
            self.floor + 1
        } else {
            0
        };
        above.max(now.0)
    }

    fn is_changed(&self) -> bool {
        let Some(published) = &self.published else {
            return true;
        };
        let (sequence, issued_at) = (published.body.sequence, published.body.issued_at);
        self.again
            || RecordBody {
                sequence,
                issued_at,
                ..self.body()
            } != published.body
    }

    /// Whether somebody, or traffic that goes wrong, waits for this change.
    fn is_urgent(&self) -> bool {
        let moving = |body: &RecordBody| (body.departed, body.prefixes.clone(), body.tags.clone());
        let differs = |published: &VerifiedRecord| moving(&published.body) != moving(&self.body());
        self.again || self.published.as_ref().is_some_and(differs)
    }

    // Sequence and time are the publisher's.
    fn body(&self) -> RecordBody {
        let wanted = self.wanted.as_ref();
        let here = self.presence == Presence::Here;
        let bound = self.verified.name().cloned();
        let prefixes = if here { self.prefixes() } else { Vec::new() };
        let serving = wanted.and_then(|wanted| wanted.serving.to_tag(&prefixes));
        RecordBody {
            generation: self.config.generation,
            sequence: 0,
            issued_at: UnixMillis(0),
            name: bound
                .or_else(|| wanted.map(|wanted| wanted.name.clone()))
                .unwrap_or_else(|| fallback(&self.node())),
            endpoints: self.endpoints(),
            prefixes,
            epoch: wanted.map_or(0, |wanted| wanted.epoch),
            lanes: wanted
                .map(|wanted| wanted.lanes.clone())
                .into_iter()
                .flatten()
                .take(MAX_LANES)
                .collect(),
            departed: self.presence == Presence::Departed,
            capabilities: wanted.map_or(0, |wanted| wanted.capabilities),
            version: printable(&self.config.version),
            chain: self.chain.clone(),
            tags: serving.map(|tag| (SERVING_TAG, tag)).into_iter().collect(),
        }
    }

    fn endpoints(&self) -> Vec<SocketAddr> {
        let own = self.wanted.iter().flat_map(|wanted| &wanted.endpoints);
        let room = MAX_ENDPOINTS.saturating_sub(self.observed.len());
        let mut endpoints: Vec<SocketAddr> = Vec::new();
        for endpoint in own.take(room).chain(&self.observed) {
            let endpoint = SocketAddr::new(endpoint.ip().to_canonical(), endpoint.port());
            if is_dialable(&endpoint) && !endpoints.contains(&endpoint) && endpoints.len() < MAX_ENDPOINTS {
                endpoints.push(endpoint);
            }
        }
        endpoints
    }

    fn prefixes(&self) -> Vec<AnnouncedPrefix> {
        let wanted = self.wanted.iter().flat_map(|wanted| &wanted.prefixes);
        let mut allowed: Vec<AnnouncedPrefix> = wanted
            .filter(|announced| {
                announced.prefix.trunc() == announced.prefix && self.verified.allows(&announced.prefix)
            })
            .copied()
            .collect();
        // Of one prefix twice the higher priority stays.
        allowed.sort_by_key(|announced| (announced.prefix, std::cmp::Reverse(announced.priority)));
        allowed.dedup_by_key(|announced| announced.prefix);
        allowed.truncate(MAX_PREFIXES);
        allowed
    }
}

fn own_chain(chain: &GrantChain, config: &OwnConfig) -> Result<VerifiedChain, OwnChainError> {
    let verified = chain.verify_at_any_time(&config.mesh)?;
    let key = config.key.public_key();
    if *verified.subject() == key {
        Ok(verified)
    } else {
        Err(OwnChainError::OtherNode {
            subject: *verified.subject(),
            key,
        })
    }
}

fn fallback(node: &NodeId) -> meshnode_crypto::Name {
    meshnode_crypto::Name::parse(&node.short()).expect("eight hex digits are a name")
}

fn printable(version: &str) -> String {
    version
        .chars()
        .filter(char::is_ascii_graphic)
        .take(MAX_VERSION)
        .collect()
}
