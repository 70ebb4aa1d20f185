//! What a signature covers, and how signed bytes travel.
//!
//! ```text
//! signed bytes:  "meshnode v1 " ‖ purpose ‖ 0x00 ‖ mesh (32) ‖ body
//! on the wire:   body ‖ signature (64)
//! ```
//!
//! The purpose and the mesh are not sent: the receiver knows which it expects, so a grant can never be
//! read as a token, nor a record of one mesh be shown to another.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::SignatureError;
use crate::hex;
use crate::identity::{MeshId, PublicKey, SigningKey};

/// What a signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Context {
    /// A grant, by its issuer.
    Grant,
    /// A token's public part, by its issuer.
    Token,
    /// A revocation, by the authority or an ancestor of its target.
    Revocation,
    /// A node's record, by the node.
    Record,
    /// A lane key's proof that its owner belongs to a node, by the lane key.
    LaneKey,
    /// The proof of an invitation, by the token's invitation key.
    Invitation,
    /// A node's own cache of peers on its disk, by the node.
    Cache,
}

impl Context {
    /// The purpose as it is signed.
    pub fn name(self) -> &'static str {
        match self {
            Context::Grant => "grant",
            Context::Token => "token",
            Context::Revocation => "revocation",
            Context::Record => "record",
            Context::LaneKey => "lane key",
            Context::Invitation => "invitation",
            Context::Cache => "cache",
        }
    }
}

/// An ed25519 signature (RFC 8032), not yet checked against anything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature([u8; Signature::LEN]);

impl Signature {
    /// Bytes of a signature.
    pub const LEN: usize = 64;

    /// R ‖ S as they came; whether they are canonical is found when they are verified.
    pub fn from_bytes(bytes: &[u8; Signature::LEN]) -> Signature {
        Signature(*bytes)
    }

    /// R ‖ S.
    pub fn as_bytes(&self) -> &[u8; Signature::LEN] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({}…)", hex::encode(&self.0[..4]))
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        halves(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (r, s) = <([u8; 32], [u8; 32])>::deserialize(deserializer)?;
        let mut bytes = [0; Signature::LEN];
        bytes[..32].copy_from_slice(&r);
        bytes[32..].copy_from_slice(&s);
        Ok(Signature(bytes))
    }
}

/// `body ‖ signature` taken apart; borrowed from the bytes as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// What was signed, exactly as sent.
    pub body: &'a [u8],
    /// The last 64 bytes.
    pub signature: Signature,
}

impl<'a> Sealed<'a> {
    /// Signs `body` and puts the signature behind it.
    pub fn seal(body: Vec<u8>, key: &SigningKey, context: Context, mesh: &MeshId) -> Vec<u8> {
        let signature = key.sign(context, mesh, &body);
        let mut bytes = body;
        bytes.extend_from_slice(signature.as_bytes());
        bytes
    }

    /// The last 64 bytes are the signature, all before is the body; `None` when there is no body.
    pub fn split(bytes: &'a [u8]) -> Option<Sealed<'a>> {
        let (body, signature) = bytes.split_last_chunk::<{ Signature::LEN }>()?;
        (!body.is_empty()).then_some(Sealed {
            body,
            signature: Signature(*signature),
        })
    }

    /// Checks that `signer` signed this body for this purpose in this mesh.
    pub fn verify(
        &self,
        signer: &PublicKey,
        context: Context,
        mesh: &MeshId,
    ) -> Result<&'a [u8], SignatureError> {
        signer
            .verify(context, mesh, self.body, &self.signature)
            .map(|()| self.body)
    }
}

/// The bytes that are signed for `body`.
pub(crate) fn signed_bytes(context: Context, mesh: &MeshId, body: &[u8]) -> Vec<u8> {
    let purpose = context.name().as_bytes();
    [
        b"meshnode v1 ".as_slice(),
        purpose,
        &[0],
        mesh.authority().as_bytes().as_slice(),
        body,
    ]
    .concat()
}

fn halves(bytes: &[u8; Signature::LEN]) -> ([u8; 32], [u8; 32]) {
    let mut halves = ([0; 32], [0; 32]);
    halves.0.copy_from_slice(&bytes[..32]);
    halves.1.copy_from_slice(&bytes[32..]);
    halves
}
