//! Grants: what lets a node in, and what it may do there.
//!
//! A grant is a signed statement of an issuer about a subject's key. `serve` is what the subject may
//! announce; `delegate` is what it may grant on to others, and who delegates nothing cannot invite.
//! A [`GrantChain`] leads from the mesh's authority to a node; [`GrantChain::verify`] turns it into a
//! [`VerifiedChain`], the only form in which the rest of the program asks it anything.

use std::fmt;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::envelope::{Context, Sealed};
use crate::error::GrantError;
use crate::identity::{MeshId, PublicKey, SigningKey};
use crate::name::Name;
use crate::prefix::{self, MAX_PREFIXES};
use crate::time::UnixMillis;
use crate::{hex, wire};

mod chain;
mod verify;

pub use chain::{GrantChain, MAX_CHAIN_BYTES, MAX_LINKS};
pub use verify::VerifiedChain;

/// Addresses of stock WireGuard clients where the authority named no others: part of the range that
/// carriers use inside themselves (RFC 6598), so it collides with few networks.
pub const DEFAULT_CLIENT_RANGE: Ipv4Net = Ipv4Net::new_assert(std::net::Ipv4Addr::new(100, 96, 0, 0), 12);

const FORMAT: u8 = 1;

/// A random number that names one grant or one token. Shown as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(pub [u8; 16]);

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Serial {
    type Err = SerialError;

    fn from_str(text: &str) -> Result<Serial, SerialError> {
        hex::decode(text).map(Serial).ok_or(SerialError)
    }
}

/// The text is not a serial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a serial is written as 32 hexadecimal digits; copy it whole")]
pub struct SerialError;

impl Serialize for Serial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        wire::serialize_id(self, &self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Serial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        wire::deserialize_id(deserializer, |bytes: [u8; 16]| Ok(Serial(bytes)))
    }
}

/// One statement, issuer to subject. On the wire: format byte ‖ postcard in this order ‖ signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Who grants; the authority in the first link of a chain.
    pub issuer: PublicKey,
    /// Whose key is let in.
    pub subject: PublicKey,
    /// Prefixes that the subject may announce.
    #[serde(deserialize_with = "wire::bounded_list::<MAX_PREFIXES, _, _>")]
    pub serve: Vec<IpNet>,
    /// Prefixes within which the subject may grant; empty: it cannot invite.
    #[serde(deserialize_with = "wire::bounded_list::<MAX_PREFIXES, _, _>")]
    pub delegate: Vec<IpNet>,
    /// The subject's name, if it may not choose.
    pub name: Option<Name>,
    /// First moment.
    pub not_before: UnixMillis,
    /// Last moment.
    pub not_after: UnixMillis,
    /// Unique; a renewal has a new one.
    pub serial: Serial,
    /// The /24 for the subject's stock WireGuard clients, inside the mesh's client range.
    pub client_pool: Option<Ipv4Net>,
    /// First link only: the mesh's client range; [`DEFAULT_CLIENT_RANGE`] if there is none.
    pub client_range: Option<Ipv4Net>,
    /// The token by which the subject came; kept by renewals, so that revoking the token can reach it.
    pub token: Option<Serial>,
}

impl Grant {
    /// Signs this grant, which must have a sound shape and name the signer as its issuer. Whether the
    /// issuer may grant this is found by [`GrantChain::verify`].
    pub fn sign(&self, key: &SigningKey, mesh: &MeshId) -> Result<SignedGrant, GrantError> {
        if key.public_key() != self.issuer {
            return Err(GrantError::NotTheIssuer {
                issuer: self.issuer,
                signer: key.public_key(),
            });
        }
        self.check_shape()?;
        let bytes = Sealed::seal(wire::encode(FORMAT, self), key, Context::Grant, mesh);
        if bytes.len() > MAX_CHAIN_BYTES {
            return Err(GrantError::TooLong { bytes: bytes.len() });
        }
        Ok(SignedGrant { bytes })
    }

    /// What must hold of a grant by itself.
    fn check_shape(&self) -> Result<(), GrantError> {
        prefix::check_list(&self.serve)?;
        prefix::check_list(&self.delegate)?;
        for net in self.client_pool.iter().chain(&self.client_range) {
            prefix::check(&IpNet::V4(*net))?;
        }
        if self.not_before > self.not_after {
            return Err(GrantError::NeverValid {
                not_before: self.not_before,
                not_after: self.not_after,
            });
        }
        Ok(())
    }
}

/// A grant as it travels: format byte ‖ body ‖ signature, exactly as received. Believed only through a chain.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SignedGrant {
    #[serde(serialize_with = "wire::serialize_bytes")]
    #[serde(deserialize_with = "wire::bounded_bytes::<MAX_CHAIN_BYTES, _>")]
    bytes: Vec<u8>,
}

impl SignedGrant {
    /// Takes bytes as they came; nothing is checked but their number.
    pub fn from_bytes(bytes: &[u8]) -> Result<SignedGrant, GrantError> {
        if bytes.len() > MAX_CHAIN_BYTES {
            return Err(GrantError::TooLong { bytes: bytes.len() });
        }
        Ok(SignedGrant {
            bytes: bytes.to_vec(),
        })
    }

    /// The bytes as they came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the grant says, believed by nobody yet: for messages, never for decisions.
    pub fn read_unverified(&self) -> Result<Grant, GrantError> {
        self.open().map(|(grant, _)| grant)
    }

    /// The grant with a sound shape, and what remains to be verified.
    fn open(&self) -> Result<(Grant, Sealed<'_>), GrantError> {
        let sealed = Sealed::split(&self.bytes).ok_or(GrantError::Malformed {
            reason: "it is shorter than a signature",
        })?;
        let grant: Grant =
            wire::decode(FORMAT, sealed.body).map_err(|reason| GrantError::Malformed { reason })?;
        grant.check_shape()?;
        Ok((grant, sealed))
    }
}

impl fmt::Debug for SignedGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedGrant({} bytes)", self.bytes.len())
    }
}
