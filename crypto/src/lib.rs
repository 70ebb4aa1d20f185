//! What the mesh trusts, and why: identities, grants, tokens, revocations, lane keys.
//!
//! ```text
//! authority key ─signs─► grant ─► grant ─► … ─► node key ─signs─► records, lane keys, tokens
//!  (the mesh's identity)  └──── a GrantChain ───┘
//! ```
//!
//! Everything here is pure: time and entropy are arguments, bytes go in and verified types come out.
//! The one exception is [`secret`], which writes and reads key files when it is told to.
//!
//! Two rules hold for every signed thing:
//! - the signature covers a purpose ([`Context`]) and the mesh, so nothing signed for one use or one
//!   mesh passes for another ([`envelope`]);
//! - what is verified is the bytes that arrived, consumed to their end; nothing is encoded again.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

pub mod address;
pub mod envelope;
pub mod error;
pub mod grant;
pub mod identity;
pub mod lane_key;
pub mod name;
pub mod prefix;
pub mod revocation;
pub mod secret;
pub mod time;
pub mod token;

mod hex;
mod wire;

pub use address::{client_prefix_v6, mesh_address, mesh_prefix};
pub use envelope::{Context, Sealed, Signature};
pub use error::{
    GrantError, KeyError, NameError, PrefixError, RevocationError, SecretError, SignatureError, TokenError,
};
pub use grant::{DEFAULT_CLIENT_RANGE, Grant, GrantChain, Serial, SignedGrant, VerifiedChain};
pub use identity::{MeshId, NodeId, PublicKey, SigningKey};
pub use lane_key::{LaneKey, LaneKeyProof, WgPublicKey};
pub use name::Name;
pub use prefix::{PrefixSet, covers};
pub use revocation::{Revocation, RevocationTarget, SignedRevocation};
pub use secret::{read_secret, write_secret};
pub use time::UnixMillis;
pub use token::{SignedToken, Token, TokenBody, TokenSpec, VerifiedToken};
