//! Lane keys: WireGuard keys whose owner is proved.
//!
//! A WireGuard key can only agree, not sign, so anybody could publish another's as his own. So a lane key
//! is an ed25519 key; the WireGuard key is the same point in Montgomery form, and the ed25519 form signs
//! (mesh, node, lane). Both have one secret: the clamped first half of SHA-512(seed) (RFC 8032 §5.1.5).

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use curve25519_dalek::scalar::clamp_integer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::envelope::{Context, Signature};
use crate::error::{KeyError, SignatureError};
use crate::identity::{MeshId, NodeId, PublicKey, SigningKey};
use crate::wire;

/// The secret of one lane, made afresh at every start. Overwritten when dropped, never shown.
#[derive(Clone)]
pub struct LaneKey {
    key: SigningKey,
}

impl LaneKey {
    /// The key of 32 random bytes.
    pub fn from_seed(seed: [u8; 32]) -> LaneKey {
        LaneKey {
            key: SigningKey::from_seed(seed),
        }
    }

    /// The X25519 scalar (RFC 7748 §5), clamped.
    pub fn wireguard_private(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(clamp_integer(*self.key.scalar_bytes()))
    }

    /// What peers know the lane by.
    pub fn wireguard_public(&self) -> WgPublicKey {
        let point = self.key.public_key().to_montgomery();
        WgPublicKey(point.expect("a clamped multiple of the base point is in the prime-order group"))
    }

    /// The statement that this lane key is lane `lane` of `node`.
    pub fn prove(&self, mesh: &MeshId, node: &NodeId, lane: u8) -> LaneKeyProof {
        LaneKeyProof {
            ed25519: self.key.public_key(),
            signature: self.key.sign(Context::LaneKey, mesh, &proof_body(node, lane)),
        }
    }
}

impl fmt::Debug for LaneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LaneKey(of {})", self.wireguard_public())
    }
}

/// A lane key as a record publishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LaneKeyProof {
    /// The lane key in ed25519 form.
    pub ed25519: PublicKey,
    /// By that key, over node ‖ lane.
    pub signature: Signature,
}

impl LaneKeyProof {
    /// The WireGuard key, if its owner says that it is lane `lane` of `node`.
    pub fn verify(&self, mesh: &MeshId, node: &NodeId, lane: u8) -> Result<WgPublicKey, SignatureError> {
        self.ed25519
            .verify(Context::LaneKey, mesh, &proof_body(node, lane), &self.signature)?;
        self.ed25519
            .to_montgomery()
            .map(WgPublicKey)
            .ok_or(SignatureError)
    }
}

/// A WireGuard (X25519) public key. Shown in base64, as `wg` does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WgPublicKey([u8; 32]);

impl WgPublicKey {
    /// Any 32 bytes: every u-coordinate is one (RFC 7748 §5).
    pub fn from_bytes(bytes: [u8; 32]) -> WgPublicKey {
        WgPublicKey(bytes)
    }

    /// The public half of a private key (clamped here, if it was not).
    pub fn of_private(private: &[u8; 32]) -> WgPublicKey {
        WgPublicKey(curve25519_dalek::MontgomeryPoint::mul_base_clamped(*private).to_bytes())
    }

    /// The u-coordinate, least significant byte first.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for WgPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for WgPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for WgPublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<WgPublicKey, KeyError> {
        let bytes = STANDARD.decode(text).map_err(|_| KeyError::NotBase64)?;
        bytes.try_into().map(WgPublicKey).map_err(|_| KeyError::NotBase64)
    }
}

impl Serialize for WgPublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        wire::serialize_id(self, &self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for WgPublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        wire::deserialize_id(deserializer, |bytes: [u8; 32]| Ok(WgPublicKey(bytes)))
    }
}

fn proof_body(node: &NodeId, lane: u8) -> Vec<u8> {
    [node.as_bytes().as_slice(), &[lane]].concat()
}
