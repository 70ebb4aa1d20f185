//! Every revocation known, kept until its target would have expired by itself.
//!
//! Anybody can sign a revocation with a key of his own making; it hits nobody, but would fill the table.
//! So those of the authority and of members have room of their own, and all others share a little: theirs
//! may be a member that we have not heard of yet.

use std::collections::{BTreeMap, BTreeSet};

use meshnode_crypto::{
    MeshId, NodeId, Revocation, RevocationTarget, Serial, SignedRevocation, UnixMillis, VerifiedChain,
};

use crate::record::RejectReason;

// Most revocations of one member.
const MAX_PER_ISSUER: usize = 512;
// Most revocations by the authority; and most by all members together.
const MAX_KNOWN: usize = 4096;
// Most revocations by keys that are no known member's.
const MAX_UNKNOWN: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Revocations {
    stored: BTreeMap<[u8; 16], (SignedRevocation, Revocation)>,
}

impl Revocations {
    /// The revocation, if it is new and good; `None` if it is known.
    pub(super) fn insert(
        &mut self,
        bytes: &[u8],
        mesh: &MeshId,
        members: &BTreeSet<NodeId>,
        now: UnixMillis,
    ) -> Result<Option<Revocation>, RejectReason> {
        let signed = SignedRevocation::from_bytes(bytes).map_err(|_| RejectReason::TooLarge)?;
        if self.stored.contains_key(&signed.id()) {
            return Ok(None);
        }
        let revocation = signed.verify(mesh).map_err(reason)?;
        if revocation.is_over(now) {
            return Err(RejectReason::Expired);
        }
        if !self.has_room(&revocation.issuer, mesh, members) {
            return Err(RejectReason::TableFull);
        }
        self.stored.insert(signed.id(), (signed, revocation.clone()));
        Ok(Some(revocation))
    }

    pub(super) fn contains(&self, id: &[u8; 16]) -> bool {
        self.stored.contains_key(id)
    }

    pub(super) fn hit(&self, chain: &VerifiedChain) -> bool {
        self.stored.values().any(|(_, revocation)| revocation.hits(chain))
    }

    pub(super) fn hit_token(&self, serial: &Serial, issuer: &VerifiedChain) -> bool {
        self.stored
            .values()
            .any(|(_, revocation)| revocation.hits_token(serial, issuer))
    }

    /// Whether `node` would be out again at once if the subject of `admitter` let it in.
    pub(super) fn bars(&self, node: &NodeId, admitter: &VerifiedChain) -> bool {
        self.stored.values().any(|(_, revocation)| {
            let by_right =
                revocation.issuer == *admitter.subject() || admitter.issuers().contains(&revocation.issuer);
            by_right && revocation.target == RevocationTarget::Node(*node)
        })
    }

    pub(super) fn expire(&mut self, now: UnixMillis) {
        self.stored.retain(|_, (_, revocation)| !revocation.is_over(now));
    }

    pub(super) fn next_end(&self) -> Option<UnixMillis> {
        self.stored.values().map(|(_, revocation)| revocation.until).min()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&SignedRevocation, &Revocation)> {
        self.stored
            .values()
            .map(|(signed, revocation)| (signed, revocation))
    }

    fn has_room(&self, issuer: &NodeId, mesh: &MeshId, members: &BTreeSet<NodeId>) -> bool {
        let count =
            |of: &dyn Fn(&NodeId) -> bool| self.iter().filter(|(_, stored)| of(&stored.issuer)).count();
        if issuer == mesh.authority() {
            return count(&|key| key == issuer) < MAX_KNOWN;
        }
        let is_member = |key: &NodeId| key != mesh.authority() && members.contains(key);
        if !is_member(issuer) {
            return count(&|key| key != mesh.authority() && !is_member(key)) < MAX_UNKNOWN;
        }
        count(&|key| key == issuer) < MAX_PER_ISSUER && count(&is_member) < MAX_KNOWN
    }
}

fn reason(error: meshnode_crypto::RevocationError) -> RejectReason {
    match error {
        meshnode_crypto::RevocationError::BadSignature => RejectReason::BadSignature,
        _ => RejectReason::Malformed,
    }
}
