//! From a chain that somebody sent to one that is believed.
//!
//! Link by link from the authority: is it by the subject of the link before, is it signed, does it stay
//! inside what that subject may delegate? Time comes last, so that an expired chain is known to have been
//! good once ([`GrantChain::verify_at_any_time`]).

use ipnet::{IpNet, Ipv4Net};

use super::{DEFAULT_CLIENT_RANGE, Grant, GrantChain, MAX_LINKS, Serial, SignedGrant};
use crate::address::mesh_prefix;
use crate::envelope::Context;
use crate::error::GrantError;
use crate::identity::{MeshId, PublicKey};
use crate::name::Name;
use crate::prefix::PrefixSet;
use crate::time::UnixMillis;

impl GrantChain {
    /// Checks everything, also that every link is valid at `now`.
    pub fn verify(&self, mesh: &MeshId, now: UnixMillis) -> Result<VerifiedChain, GrantError> {
        let chain = self.verify_at_any_time(mesh)?;
        chain.check_time(now)?;
        Ok(chain)
    }

    /// Checks everything but time: an expired record still hints where to dial.
    pub fn verify_at_any_time(&self, mesh: &MeshId) -> Result<VerifiedChain, GrantError> {
        self.check_size()?;
        let mut links: Vec<Grant> = Vec::with_capacity(self.0.len());
        for signed in &self.0 {
            let next = verify_link(signed, &links, mesh)?;
            links.push(next);
        }
        VerifiedChain::new(links, mesh)
    }
}

/// A chain that holds in its mesh. What it says is about its last link's subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedChain {
    /// All links but the last.
    ancestors: Vec<Grant>,
    leaf: Grant,
    issuers: Vec<PublicKey>,
    tokens: Vec<Serial>,
    serve: PrefixSet,
    delegate: PrefixSet,
    reserved: [IpNet; 2],
}

impl VerifiedChain {
    fn new(mut links: Vec<Grant>, mesh: &MeshId) -> Result<VerifiedChain, GrantError> {
        let leaf = links.pop().ok_or(GrantError::Empty)?;
        let all = || links.iter().chain([&leaf]);
        Ok(VerifiedChain {
            issuers: all().map(|link| link.issuer).collect(),
            tokens: all().filter_map(|link| link.token).collect(),
            serve: PrefixSet::new(&leaf.serve),
            delegate: PrefixSet::new(&leaf.delegate),
            reserved: reserved(mesh, links.first().unwrap_or(&leaf)),
            ancestors: links,
            leaf,
        })
    }

    /// The node that the chain lets in.
    pub fn subject(&self) -> &PublicKey {
        &self.leaf.subject
    }

    /// Prefixes that the subject may announce, as granted.
    pub fn serve(&self) -> &[IpNet] {
        &self.leaf.serve
    }

    /// Prefixes within which the subject may grant, as granted.
    pub fn delegate(&self) -> &[IpNet] {
        &self.leaf.delegate
    }

    /// The name that the subject must have, if the grant binds one.
    pub fn name(&self) -> Option<&Name> {
        self.leaf.name.as_ref()
    }

    /// First moment of the whole chain.
    pub fn not_before(&self) -> UnixMillis {
        self.links()
            .map(|link| link.not_before)
            .fold(UnixMillis(0), UnixMillis::max)
    }

    /// Last moment of the whole chain.
    pub fn not_after(&self) -> UnixMillis {
        self.links()
            .map(|link| link.not_after)
            .fold(UnixMillis(u64::MAX), UnixMillis::min)
    }

    /// When the last link begins; of two chains of one node the later one is the renewal.
    pub fn issued(&self) -> UnixMillis {
        self.leaf.not_before
    }

    /// The last link's serial.
    pub fn serial(&self) -> Serial {
        self.leaf.serial
    }

    /// The /24 for the subject's stock WireGuard clients.
    pub fn client_pool(&self) -> Option<Ipv4Net> {
        self.leaf.client_pool
    }

    /// The client range that the authority set, if it did; else it is [`DEFAULT_CLIENT_RANGE`].
    pub fn client_range(&self) -> Option<Ipv4Net> {
        self.root().client_range
    }

    /// Who issued each link, the authority first.
    pub fn issuers(&self) -> &[PublicKey] {
        &self.issuers
    }

    /// The tokens by which the subject and its ancestors came, the authority's end first.
    pub fn tokens(&self) -> &[Serial] {
        &self.tokens
    }

    /// The token by which the subject itself came.
    pub fn token(&self) -> Option<Serial> {
        self.leaf.token
    }

    /// The links, the authority's first.
    pub fn links(&self) -> impl DoubleEndedIterator<Item = &Grant> {
        self.ancestors.iter().chain([&self.leaf])
    }

    /// Whether the subject may announce `prefix`: granted, and not one of the mesh's own addresses.
    pub fn allows(&self, prefix: &IpNet) -> bool {
        self.serve.covers(prefix) && !self.reserved.iter().any(|own| own.contains(prefix))
    }

    /// Whether the subject may let others in: it delegates something and the chain has room.
    pub fn may_invite(&self) -> bool {
        !self.leaf.delegate.is_empty() && self.issuers.len() < MAX_LINKS
    }

    /// Whether the subject may grant `prefix` to others.
    pub fn may_delegate(&self, prefix: &IpNet) -> bool {
        self.may_invite() && self.delegate.covers(prefix)
    }

    /// Whether the subject may let in a node that serves and delegates this; says what is too much.
    pub fn check_invitation(&self, serve: &[IpNet], delegate: &[IpNet]) -> Result<(), GrantError> {
        if self.issuers.len() >= MAX_LINKS {
            return Err(GrantError::TooManyLinks {
                links: self.issuers.len() + 1,
            });
        }
        check_inside(&self.leaf, serve, delegate)?;
        check_unreserved(serve, &self.reserved)
    }

    /// Whether every link is valid at `now`.
    pub fn check_time(&self, now: UnixMillis) -> Result<(), GrantError> {
        if now > self.not_after() {
            return Err(GrantError::Expired {
                not_after: self.not_after(),
            });
        }
        if now < self.not_before() {
            return Err(GrantError::NotYetValid {
                not_before: self.not_before(),
            });
        }
        Ok(())
    }

    fn root(&self) -> &Grant {
        self.ancestors.first().unwrap_or(&self.leaf)
    }
}

/// The grant of `signed`, which follows `before`.
fn verify_link(signed: &SignedGrant, before: &[Grant], mesh: &MeshId) -> Result<Grant, GrantError> {
    let link = before.len() + 1;
    let (grant, sealed) = signed.open()?;
    check_issuer(&grant, before, mesh)?;
    sealed
        .verify(&grant.issuer, Context::Grant, mesh)
        .map_err(|_| GrantError::BadSignature { link })?;
    check_uniqueness(&grant, before)?;
    check_clients(&grant, before)?;
    if let Some(issuer_grant) = before.last() {
        check_inside(issuer_grant, &grant.serve, &grant.delegate)?;
    }
    check_unreserved(&grant.serve, &reserved(mesh, before.first().unwrap_or(&grant)))?;
    Ok(grant)
}

fn check_issuer(grant: &Grant, before: &[Grant], mesh: &MeshId) -> Result<(), GrantError> {
    match before.last() {
        None if grant.issuer != *mesh.authority() => Err(GrantError::WrongMesh {
            expected: *mesh.authority(),
            found: grant.issuer,
        }),
        Some(last) if grant.issuer != last.subject => Err(GrantError::BrokenChain {
            link: before.len() + 1,
        }),
        _ => Ok(()),
    }
}

fn check_uniqueness(grant: &Grant, before: &[Grant]) -> Result<(), GrantError> {
    if grant.subject == grant.issuer || before.iter().any(|link| link.issuer == grant.subject) {
        return Err(GrantError::Loop { key: grant.subject });
    }
    if before.iter().any(|link| link.serial == grant.serial) {
        return Err(GrantError::RepeatedSerial {
            link: before.len() + 1,
        });
    }
    Ok(())
}

fn check_clients(grant: &Grant, before: &[Grant]) -> Result<(), GrantError> {
    if grant.client_range.is_some() && !before.is_empty() {
        return Err(GrantError::ClientRangeNotRoot {
            link: before.len() + 1,
        });
    }
    let range = client_range(before.first().unwrap_or(grant));
    match grant.client_pool {
        Some(pool) if pool.prefix_len() != 24 || !range.contains(&pool) => {
            Err(GrantError::ClientPool { pool, range })
        }
        _ => Ok(()),
    }
}

/// What `issuer` was granted must allow it to grant this.
fn check_inside(issuer: &Grant, serve: &[IpNet], delegate: &[IpNet]) -> Result<(), GrantError> {
    if issuer.delegate.is_empty() {
        return Err(GrantError::MayNotInvite {
            issuer: issuer.subject,
        });
    }
    let allowed = PrefixSet::new(&issuer.delegate);
    let outside = |list: &[IpNet]| list.iter().find(|prefix| !allowed.covers(prefix)).copied();
    if let Some(prefix) = outside(serve) {
        return Err(GrantError::ServeOutsideDelegate { prefix });
    }
    match outside(delegate) {
        Some(prefix) => Err(GrantError::DelegateOutsideDelegate { prefix }),
        None => Ok(()),
    }
}

/// Mesh addresses and client addresses follow from keys and pools: no prefix may draw them away.
fn check_unreserved(serve: &[IpNet], reserved: &[IpNet; 2]) -> Result<(), GrantError> {
    for prefix in serve {
        if let Some(own) = reserved.iter().find(|own| own.contains(prefix)) {
            return Err(GrantError::ServeInsideMesh {
                prefix: *prefix,
                reserved: *own,
            });
        }
    }
    Ok(())
}

fn reserved(mesh: &MeshId, root: &Grant) -> [IpNet; 2] {
    [IpNet::V6(mesh_prefix(mesh)), IpNet::V4(client_range(root))]
}

fn client_range(root: &Grant) -> Ipv4Net {
    root.client_range.unwrap_or(DEFAULT_CLIENT_RANGE)
}
