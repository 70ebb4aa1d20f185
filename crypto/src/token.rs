//! Tokens: invitations that authorise admission, and nothing after it.
//!
//! ```text
//! text:    "mesh1_" ‖ base64url( length u16 ‖ invitation seed 32 ‖ public part ‖ checksum 4 )
//! public:  format byte ‖ postcard(TokenBody) ‖ issuer's signature
//! ```
//!
//! The public part crosses the wire; the seed never does. The joiner proves that it holds the seed by
//! signing what only this TLS connection and this joiner's key share ([`Token::prove`]), so a seed that
//! relays the request cannot put another key in, and a proof is worth nothing on another connection.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::envelope::{Context, Sealed, Signature};
use crate::error::{GrantError, TokenError};
use crate::grant::{GrantChain, Serial, VerifiedChain};
use crate::identity::{MeshId, NodeId, PublicKey, SigningKey};
use crate::name::Name;
use crate::prefix::{self, MAX_PREFIXES};
use crate::time::UnixMillis;
use crate::wire;

mod text;

/// Most seeds in a token.
pub const MAX_SEEDS: usize = 16;

/// Most characters of a token, and so also the bound of everything in it.
pub const MAX_TOKEN_TEXT: usize = 16 * 1024;

/// Most bytes of the public part: what is left of the text in base64, less seed, length and checksum.
pub const MAX_TOKEN_BYTES: usize = MAX_TOKEN_TEXT / 4 * 3 - 64;

/// Longest `host:port`: a DNS name, a colon and five digits.
const MAX_SEED_LEN: usize = 253 + 6;

const FORMAT: u8 = 1;

/// What a token says. On the wire: postcard in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenBody {
    /// The mesh it leads to.
    pub mesh: MeshId,
    /// Why its issuer may invite.
    pub issuer_chain: GrantChain,
    /// Where to ask, each `host:port`.
    #[serde(deserialize_with = "wire::bounded_list::<MAX_SEEDS, _, _>")]
    pub seeds: Vec<String>,
    /// What it is called, in lists and revocations.
    pub serial: Serial,
    /// Prefixes that the joiner may be granted.
    #[serde(deserialize_with = "wire::bounded_list::<MAX_PREFIXES, _, _>")]
    pub serve: Vec<IpNet>,
    /// Prefixes that the joiner may grant on; empty: it will not invite.
    #[serde(deserialize_with = "wire::bounded_list::<MAX_PREFIXES, _, _>")]
    pub delegate: Vec<IpNet>,
    /// The name that the joiner gets, if it may not choose.
    pub name: Option<Name>,
    /// How many nodes it lets in; 0: any number, admitted by any member with the right.
    pub uses: u32,
    /// Last moment, by the admitting member's clock.
    pub not_after: UnixMillis,
    /// The public half of the invitation secret.
    pub invitation: PublicKey,
}

/// What the issuer decides about a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSpec {
    /// The mesh of the issuer.
    pub mesh: MeshId,
    /// Where to ask, each `host:port`.
    pub seeds: Vec<String>,
    /// See [`TokenBody::serve`].
    pub serve: Vec<IpNet>,
    /// See [`TokenBody::delegate`].
    pub delegate: Vec<IpNet>,
    /// See [`TokenBody::name`].
    pub name: Option<Name>,
    /// See [`TokenBody::uses`].
    pub uses: u32,
    /// See [`TokenBody::not_after`].
    pub not_after: UnixMillis,
}

/// The part of a token that crosses the wire, exactly as received.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedToken {
    bytes: Vec<u8>,
    serial: Serial,
}

impl SignedToken {
    /// Takes bytes that decode; nothing is believed yet.
    pub fn from_bytes(bytes: &[u8]) -> Result<SignedToken, TokenError> {
        let (body, _) = open(bytes)?;
        Ok(SignedToken {
            bytes: bytes.to_vec(),
            serial: body.serial,
        })
    }

    /// The bytes as they came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the token is called.
    pub fn serial(&self) -> Serial {
        self.serial
    }

    /// What the token says, believed by nobody yet: enough to know whom to dial.
    pub fn read_unverified(&self) -> Result<TokenBody, TokenError> {
        open(&self.bytes).map(|(body, _)| body)
    }

    /// Checks signature, issuer's chain, containment and expiry. The mesh is the token's own: the caller
    /// compares it with the one it is in.
    pub fn verify(&self, now: UnixMillis) -> Result<VerifiedToken, TokenError> {
        let token = self.verify_at_any_time()?;
        token.issuer_chain.check_time(now)?;
        if now > token.body.not_after {
            return Err(TokenError::Expired {
                not_after: token.body.not_after,
            });
        }
        Ok(token)
    }

    fn verify_at_any_time(&self) -> Result<VerifiedToken, TokenError> {
        let (body, sealed) = open(&self.bytes)?;
        let issuer_chain = body.issuer_chain.verify_at_any_time(&body.mesh)?;
        sealed
            .verify(issuer_chain.subject(), Context::Token, &body.mesh)
            .map_err(|_| TokenError::BadSignature)?;
        issuer_chain.check_invitation(&body.serve, &body.delegate)?;
        Ok(VerifiedToken { body, issuer_chain })
    }
}

impl fmt::Debug for SignedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedToken({})", self.serial)
    }
}

impl Serialize for SignedToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        wire::serialize_bytes(&self.bytes, serializer)
    }
}

impl<'de> Deserialize<'de> for SignedToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = wire::bounded_bytes::<MAX_TOKEN_BYTES, _>(deserializer)?;
        SignedToken::from_bytes(&bytes).map_err(serde::de::Error::custom)
    }
}

/// An invitation with its secret. Never shown but by [`Token::to_text`].
#[derive(Clone)]
pub struct Token {
    public: SignedToken,
    invitation_key: SigningKey,
}

impl Token {
    /// Makes a token. `issuer` is the key that `chain` ends in; `entropy` is 32 fresh random bytes, which
    /// give the serial and the secret.
    pub fn issue(
        spec: TokenSpec,
        issuer: &SigningKey,
        chain: &GrantChain,
        entropy: [u8; 32],
    ) -> Result<Token, TokenError> {
        let entropy = Zeroizing::new(entropy);
        let invitation_key = SigningKey::from_seed(derive("invitation key", &entropy));
        let serial = Serial(first_16(&derive("token serial", &entropy)));
        let mesh = spec.mesh;
        if *chain.verify_at_any_time(&mesh)?.subject() != issuer.public_key() {
            return Err(TokenError::NotTheIssuer);
        }
        chain.check_room(&spec.serve, &spec.delegate)?;
        let body = body_of(spec, chain.clone(), serial, invitation_key.public_key());
        check_shape(&body)?;
        let bytes = Sealed::seal(wire::encode(FORMAT, &body), issuer, Context::Token, &mesh);
        let public = SignedToken::from_bytes(&bytes)?;
        public.verify_at_any_time()?;
        Ok(Token {
            public,
            invitation_key,
        })
    }

    /// The part to send.
    pub fn public(&self) -> &SignedToken {
        &self.public
    }

    /// Proves to the admitting member that the joiner holds this token. `exporter`: 32 bytes exported from
    /// the TLS connection (RFC 8446 §7.5); `joiner`: the key to be let in, which made that connection.
    pub fn prove(&self, exporter: &[u8; 32], joiner: &NodeId) -> Signature {
        let mesh = open(&self.public.bytes).map(|(body, _)| body.mesh);
        let mesh = mesh.expect("a SignedToken is only made from bytes that decode");
        let claim = proof_body(self.public.serial, exporter, joiner);
        self.invitation_key.sign(Context::Invitation, &mesh, &claim)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, secret)", self.public.serial)
    }
}

/// A token that its issuer may have issued and that has not expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    body: TokenBody,
    issuer_chain: VerifiedChain,
}

impl VerifiedToken {
    /// The mesh it leads to.
    pub fn mesh(&self) -> &MeshId {
        &self.body.mesh
    }

    /// Who issued it, and admits if [`VerifiedToken::uses`] is not 0.
    pub fn issuer(&self) -> &PublicKey {
        self.issuer_chain.subject()
    }

    /// Why the issuer may invite.
    pub fn issuer_chain(&self) -> &VerifiedChain {
        &self.issuer_chain
    }

    /// Where to ask.
    pub fn seeds(&self) -> &[String] {
        &self.body.seeds
    }

    /// What it is called.
    pub fn serial(&self) -> Serial {
        self.body.serial
    }

    /// Prefixes that the joiner may be granted.
    pub fn serve(&self) -> &[IpNet] {
        &self.body.serve
    }

    /// Prefixes that the joiner may grant on.
    pub fn delegate(&self) -> &[IpNet] {
        &self.body.delegate
    }

    /// The name that the joiner gets, if it may not choose.
    pub fn name(&self) -> Option<&Name> {
        self.body.name.as_ref()
    }

    /// How many nodes it lets in; 0: any number.
    pub fn uses(&self) -> u32 {
        self.body.uses
    }

    /// Whether any member with the right may admit, any number of nodes.
    pub fn is_fleet(&self) -> bool {
        self.body.uses == 0
    }

    /// Last moment.
    pub fn not_after(&self) -> UnixMillis {
        self.body.not_after
    }

    /// All that it says.
    pub fn body(&self) -> &TokenBody {
        &self.body
    }

    /// Checks what [`Token::prove`] made, with the exporter and the peer's key as seen on this end.
    pub fn check_proof(
        &self,
        exporter: &[u8; 32],
        joiner: &NodeId,
        proof: &Signature,
    ) -> Result<(), TokenError> {
        let claim = proof_body(self.body.serial, exporter, joiner);
        self.body
            .invitation
            .verify(Context::Invitation, &self.body.mesh, &claim, proof)
            .map_err(|_| TokenError::BadProof)
    }
}

/// The body with a sound shape, and what remains to be verified.
fn open(bytes: &[u8]) -> Result<(TokenBody, Sealed<'_>), TokenError> {
    if bytes.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::Malformed {
            reason: "it is longer than any token",
        });
    }
    let sealed = Sealed::split(bytes).ok_or(TokenError::Malformed {
        reason: "it is shorter than a signature",
    })?;
    let body = wire::decode(FORMAT, sealed.body).map_err(|reason| TokenError::Malformed { reason })?;
    check_shape(&body)?;
    Ok((body, sealed))
}

fn check_shape(body: &TokenBody) -> Result<(), TokenError> {
    if body.seeds.len() > MAX_SEEDS {
        return Err(TokenError::TooManySeeds {
            count: body.seeds.len(),
        });
    }
    if let Some(seed) = body.seeds.iter().find(|seed| !is_host_and_port(seed)) {
        return Err(TokenError::Seed {
            seed: seed.chars().take(MAX_SEED_LEN).collect(),
        });
    }
    for list in [&body.serve, &body.delegate] {
        prefix::check_list(list).map_err(GrantError::from)?;
    }
    Ok(())
}

/// `host:port` without anything that a terminal or resolver could stumble over.
fn is_host_and_port(seed: &str) -> bool {
    let Some((host, port)) = seed.rsplit_once(':') else {
        return false;
    };
    let host_fits = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic());
    host_fits && seed.len() <= MAX_SEED_LEN && port.parse::<u16>().is_ok_and(|port| port != 0)
}

fn body_of(spec: TokenSpec, issuer_chain: GrantChain, serial: Serial, invitation: PublicKey) -> TokenBody {
    TokenBody {
        mesh: spec.mesh,
        issuer_chain,
        seeds: spec.seeds,
        serial,
        serve: spec.serve,
        delegate: spec.delegate,
        name: spec.name,
        uses: spec.uses,
        not_after: spec.not_after,
        invitation,
    }
}

fn proof_body(serial: Serial, exporter: &[u8; 32], joiner: &NodeId) -> Vec<u8> {
    [serial.0.as_slice(), exporter, joiner.as_bytes()].concat()
}

/// One of several independent values from one entropy.
fn derive(purpose: &str, entropy: &[u8; 32]) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"meshnode ")
        .chain_update(purpose)
        .chain_update(entropy)
        .finalize()
        .into()
}

fn first_16(bytes: &[u8; 32]) -> [u8; 16] {
    let mut first = [0; 16];
    first.copy_from_slice(&bytes[..16]);
    first
}
