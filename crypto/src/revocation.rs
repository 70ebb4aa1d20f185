//! Revocations: a grant's or token's end before its time.
//!
//! A revocation is only a statement of its issuer. Whether that issuer had the right depends on the chain
//! that it is held against: [`Revocation::hits`]. So it can be stored and passed on by everybody, before
//! and after its target is known.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::envelope::{Context, Sealed};
use crate::error::RevocationError;
use crate::grant::{Grant, Serial, VerifiedChain};
use crate::identity::{MeshId, NodeId, PublicKey, SigningKey};
use crate::time::UnixMillis;
use crate::wire;

/// Most bytes of a signed revocation; those we make have about 160.
pub const MAX_REVOCATION_BYTES: usize = 512;

const FORMAT: u8 = 1;

/// What is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RevocationTarget {
    /// A node; with descendants also every node that it let in, directly or not.
    Node(NodeId),
    /// A token: it admits nobody any more; with descendants every node that came by it is out too, and
    /// whom these let in.
    Token(Serial),
}

/// A statement that a target is out. On the wire: format byte ‖ postcard in this order ‖ signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// What is revoked.
    pub target: RevocationTarget,
    /// Also what descends from it.
    pub descendants: bool,
    /// Who says so.
    pub issuer: PublicKey,
    /// When.
    pub issued_at: UnixMillis,
    /// When the target would have expired by itself; kept until then.
    pub until: UnixMillis,
}

impl Revocation {
    /// Signs this revocation with its issuer's key.
    pub fn sign(&self, key: &SigningKey, mesh: &MeshId) -> Result<SignedRevocation, RevocationError> {
        if key.public_key() != self.issuer {
            return Err(RevocationError::NotTheIssuer {
                issuer: self.issuer,
                signer: key.public_key(),
            });
        }
        self.check(mesh)?;
        let bytes = Sealed::seal(wire::encode(FORMAT, self), key, Context::Revocation, mesh);
        Ok(SignedRevocation { bytes })
    }

    /// Whether this puts the subject of `chain` out.
    ///
    /// The issuer must be the authority or an ancestor of the target in that very chain. The target is the
    /// subject, or with `descendants` any node it descends from.
    pub fn hits(&self, chain: &VerifiedChain) -> bool {
        let subject = chain.subject();
        chain.links().enumerate().any(|(index, link)| {
            let reaches = self.descendants || link.subject == *subject;
            reaches && self.names(link) && chain.issuers()[..=index].contains(&self.issuer)
        })
    }

    /// Whether this ends the token `serial` of the issuer whose chain is given, so that it admits nobody.
    /// The token's issuer may revoke it, and so may the issuer's ancestors.
    pub fn hits_token(&self, serial: &Serial, issuer_chain: &VerifiedChain) -> bool {
        let by_right =
            self.issuer == *issuer_chain.subject() || issuer_chain.issuers().contains(&self.issuer);
        by_right && self.target == RevocationTarget::Token(*serial)
    }

    /// Whether its target has expired by itself, so that nobody needs to keep it.
    pub fn is_over(&self, now: UnixMillis) -> bool {
        now > self.until
    }

    /// Whether `link` is the one by which the target came in. A token alone says nothing about those who
    /// have already come by it.
    fn names(&self, link: &Grant) -> bool {
        match self.target {
            RevocationTarget::Node(node) => link.subject == node,
            RevocationTarget::Token(serial) => self.descendants && link.token == Some(serial),
        }
    }

    fn check(&self, mesh: &MeshId) -> Result<(), RevocationError> {
        if self.target == RevocationTarget::Node(*mesh.authority()) {
            return Err(RevocationError::Authority);
        }
        if self.until < self.issued_at {
            return Err(RevocationError::Malformed {
                reason: "it ends before it begins",
            });
        }
        Ok(())
    }
}

/// A revocation as it travels and is stored: body ‖ signature, exactly as received.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SignedRevocation {
    #[serde(serialize_with = "wire::serialize_bytes")]
    #[serde(deserialize_with = "wire::bounded_bytes::<MAX_REVOCATION_BYTES, _>")]
    bytes: Vec<u8>,
}

impl SignedRevocation {
    /// Takes bytes as they came; nothing is checked but their number.
    pub fn from_bytes(bytes: &[u8]) -> Result<SignedRevocation, RevocationError> {
        if bytes.len() > MAX_REVOCATION_BYTES {
            return Err(RevocationError::Malformed {
                reason: "it is longer than any revocation",
            });
        }
        Ok(SignedRevocation {
            bytes: bytes.to_vec(),
        })
    }

    /// The bytes as they came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Checks that the issuer it names signed it for this mesh. Not whether that issuer has the right:
    /// see [`Revocation::hits`].
    pub fn verify(&self, mesh: &MeshId) -> Result<Revocation, RevocationError> {
        let sealed = Sealed::split(&self.bytes).ok_or(RevocationError::Malformed {
            reason: "it is shorter than a signature",
        })?;
        let revocation: Revocation =
            wire::decode(FORMAT, sealed.body).map_err(|reason| RevocationError::Malformed { reason })?;
        sealed
            .verify(&revocation.issuer, Context::Revocation, mesh)
            .map_err(|_| RevocationError::BadSignature)?;
        revocation.check(mesh)?;
        Ok(revocation)
    }

    /// A name for these bytes: the first half of their SHA-256.
    pub fn id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        id.copy_from_slice(&Sha256::digest(&self.bytes)[..16]);
        id
    }
}

impl fmt::Debug for SignedRevocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedRevocation({})", crate::hex::encode(&self.id()))
    }
}
