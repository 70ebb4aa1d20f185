//! Who is who: ed25519 keys of nodes, of the authority and of everything else that signs.

use std::fmt;
use std::str::FromStr;

use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::traits::IsIdentity;
use ed25519_dalek::{Signer, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::envelope::{Context, Signature, signed_bytes};
use crate::error::{KeyError, SignatureError};
use crate::{hex, wire};

/// `SEQUENCE { SEQUENCE { OID 1.3.101.112 } BIT STRING }` up to the key (RFC 8410 §4).
const SPKI_HEAD: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// `SEQUENCE { INTEGER 0, SEQUENCE { OID 1.3.101.112 }, OCTET STRING { OCTET STRING` up to the seed (RFC 8410 §7).
const PKCS8_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// An ed25519 public key, known to be canonical, on the curve and not of small order.
///
/// Shown as 64 hex digits; the same text is its form in JSON, the 32 bytes its form on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// A node is its key.
pub type NodeId = PublicKey;

impl PublicKey {
    /// Takes 32 bytes as a key if they are one that cannot be confused with another (RFC 8032 §5.1.3).
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<PublicKey, KeyError> {
        if !is_canonical(bytes) {
            return Err(KeyError::NonCanonical);
        }
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotOnCurve)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        Ok(PublicKey(*bytes))
    }

    /// The compressed point.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 8 hex digits, for logs and tables.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }

    /// The key of an X.509 `SubjectPublicKeyInfo` (RFC 8410 §4), as TLS raw public keys carry it (RFC 7250).
    pub fn from_spki(der: &[u8]) -> Result<PublicKey, KeyError> {
        let key = der
            .strip_prefix(&SPKI_HEAD)
            .and_then(|key| <&[u8; 32]>::try_from(key).ok());
        PublicKey::from_bytes(key.ok_or(KeyError::NotEd25519)?)
    }

    /// The inverse of [`PublicKey::from_spki`].
    pub fn to_spki(&self) -> [u8; 44] {
        let mut der = [0; 44];
        der[..12].copy_from_slice(&SPKI_HEAD);
        der[12..].copy_from_slice(&self.0);
        der
    }

    /// Checks that the owner of this key signed `body` for this purpose in this mesh.
    ///
    /// Strict: R and S must be canonical and R not of small order, so one body has one signature.
    pub fn verify(
        &self,
        context: Context,
        mesh: &MeshId,
        body: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        let signature = ed25519_dalek::Signature::from_bytes(signature.as_bytes());
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| SignatureError)?;
        key.verify_strict(&signed_bytes(context, mesh, body), &signature)
            .map_err(|_| SignatureError)
    }

    /// The WireGuard (X25519) key of the same secret; `None` for a point outside the prime-order group,
    /// which no honestly made key is.
    pub(crate) fn to_montgomery(self) -> Option<[u8; 32]> {
        let point = CompressedEdwardsY(self.0).decompress()?;
        (point.is_torsion_free() && !point.is_identity()).then(|| point.to_montgomery().to_bytes())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<PublicKey, KeyError> {
        PublicKey::from_bytes(&hex::decode(text).ok_or(KeyError::NotHex)?)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        wire::serialize_id(self, &self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        wire::deserialize_id(deserializer, |bytes: [u8; 32]| PublicKey::from_bytes(&bytes))
    }
}

/// A mesh is its authority's public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MeshId(PublicKey);

impl MeshId {
    /// The mesh whose authority holds this key.
    pub fn new(authority: PublicKey) -> MeshId {
        MeshId(authority)
    }

    /// The key that every grant chain of this mesh starts from.
    pub fn authority(&self) -> &PublicKey {
        &self.0
    }

    /// The first 8 hex digits, for logs and tables.
    pub fn short(&self) -> String {
        self.0.short()
    }
}

impl From<PublicKey> for MeshId {
    fn from(authority: PublicKey) -> MeshId {
        MeshId(authority)
    }
}

impl fmt::Display for MeshId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for MeshId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mesh {}", self.short())
    }
}

impl FromStr for MeshId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<MeshId, KeyError> {
        text.parse().map(MeshId)
    }
}

/// An ed25519 private key. Overwritten when dropped, never shown.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key of 32 random bytes (RFC 8032 §5.1.5).
    pub fn from_seed(seed: [u8; 32]) -> SigningKey {
        let seed = Zeroizing::new(seed);
        SigningKey(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// The half that others may know.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `body` for one purpose in one mesh.
    pub fn sign(&self, context: Context, mesh: &MeshId, body: &[u8]) -> Signature {
        Signature::from_bytes(&self.0.sign(&signed_bytes(context, mesh, body)).to_bytes())
    }

    /// The 32 bytes to store.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// PKCS #8 version 1 (RFC 8410 §7), as TLS libraries load it.
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        let mut der = Zeroizing::new(Vec::with_capacity(PKCS8_HEAD.len() + 32));
        der.extend_from_slice(&PKCS8_HEAD);
        der.extend_from_slice(self.0.as_bytes());
        der
    }

    /// The first half of SHA-512(seed): the ed25519 secret scalar before clamping.
    pub(crate) fn scalar_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_scalar_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.public_key().short())
    }
}

/// Whether y, the low 255 bits, is below p = 2^255 − 19.
fn is_canonical(bytes: &[u8; 32]) -> bool {
    let high_ones = bytes[31] & 0x7f == 0x7f && bytes[1..31].iter().all(|byte| *byte == 0xff);
    !(high_ones && bytes[0] >= 0xed)
}
