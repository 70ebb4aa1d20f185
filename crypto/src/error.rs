//! Every way in which something here is refused. A message says what is wrong and what to do about it.

use std::io;
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net};
use thiserror::Error;

use crate::identity::PublicKey;
use crate::time::UnixMillis;

/// Bytes or text that are not a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The text has another length or other characters.
    #[error("a key is written as 64 hexadecimal digits; copy it whole")]
    NotHex,
    /// The text is not 32 bytes of base64.
    #[error("a WireGuard key is written as 44 characters of base64; copy it whole")]
    NotBase64,
    /// y is not below the field's prime (RFC 8032 §5.1.3).
    #[error("the key is not canonical: another spelling of the same key exists, so it is refused")]
    NonCanonical,
    /// No point has this y.
    #[error("these bytes are not a point of the curve, so no key has them")]
    NotOnCurve,
    /// The point has small order: anybody can sign for it.
    #[error("the key is weak (of small order): anybody could sign for it")]
    Weak,
    /// The DER is of another algorithm or damaged.
    #[error("the peer's key is not a raw ed25519 key (RFC 8410), so it cannot be a node's")]
    NotEd25519,
}

/// The signature is not of this key over these bytes for this purpose and mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the signature does not fit: the content was changed, or another key, purpose or mesh signed it")]
pub struct SignatureError;

/// Text that is not a node's name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing there.
    #[error("a name needs at least one character")]
    Empty,
    /// Longer than 63 bytes.
    #[error("a name has at most 63 characters, this one has {length}; choose a shorter one with --name")]
    TooLong {
        /// Bytes of the text.
        length: usize,
    },
    /// A character that names cannot have.
    #[error("the name {name:?} has the character {character:?}; use only letters, digits, '-' and '.'")]
    Character {
        /// The text.
        name: String,
        /// The first that does not fit.
        character: char,
    },
    /// A part between dots is empty or has a hyphen at an end.
    #[error(
        "the name {name:?} has a '-' or '.' where a letter or digit must stand (first, last, or around '.')"
    )]
    Ends {
        /// The text.
        name: String,
    },
}

/// A prefix or a list of them that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PrefixError {
    /// Not an address, a slash and a length.
    #[error("{text:?} is not a prefix; write an address and a length, as in 10.1.0.0/16 or fd00:1::/64")]
    Malformed {
        /// What was given.
        text: String,
    },
    /// Bits are set beyond the length.
    #[error("{given} has host bits set; did you mean {corrected}?")]
    HostBits {
        /// As given.
        given: IpNet,
        /// The same with these bits cleared.
        corrected: IpNet,
    },
    /// More than [`MAX_PREFIXES`](crate::prefix::MAX_PREFIXES).
    #[error("{count} prefixes are too many, at most 500 go into one list; join neighbours into wider ones")]
    TooMany {
        /// How many there are.
        count: usize,
    },
}

/// A grant or chain that cannot be made or is not believed. `link` counts from 1 at the authority.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GrantError {
    /// A chain without links.
    #[error("the grant chain is empty; the node must be invited again")]
    Empty,
    /// More links than [`MAX_LINKS`](crate::grant::MAX_LINKS).
    #[error(
        "the grant chain has {links} links, at most 8 are allowed; invite from a node nearer to the founder"
    )]
    TooManyLinks {
        /// How many there are.
        links: usize,
    },
    /// More bytes than [`MAX_CHAIN_BYTES`](crate::grant::MAX_CHAIN_BYTES).
    #[error("the grant chain has {bytes} bytes, at most 8192 are allowed; grant fewer or wider prefixes")]
    TooLong {
        /// How many there are.
        bytes: usize,
    },
    /// Does not decode.
    #[error("a grant is malformed: {reason}")]
    Malformed {
        /// What does not fit.
        reason: &'static str,
    },
    /// The first link is not by this mesh's authority.
    #[error("the grant is of another mesh: its authority is {}, not {}", found.short(), expected.short())]
    WrongMesh {
        /// This mesh's authority.
        expected: PublicKey,
        /// Who issued the first link.
        found: PublicKey,
    },
    /// A link's issuer is not the subject of the link before.
    #[error("link {link} of the grant chain was not issued by the subject of the link before it")]
    BrokenChain {
        /// Which.
        link: usize,
    },
    /// One key is granted to twice in a chain.
    #[error("{} stands twice in the grant chain: a node cannot descend from itself", key.short())]
    Loop {
        /// Whose.
        key: PublicKey,
    },
    /// Two links have one serial.
    #[error("link {link} of the grant chain repeats the serial of another link")]
    RepeatedSerial {
        /// The later one.
        link: usize,
    },
    /// A signature is not the issuer's.
    #[error("link {link} of the grant chain is not signed by its issuer, or was changed after signing")]
    BadSignature {
        /// Which.
        link: usize,
    },
    /// Signing with a key that is not the issuer's.
    #[error("the grant names {} as its issuer, but {} would sign it", issuer.short(), signer.short())]
    NotTheIssuer {
        /// In the grant.
        issuer: PublicKey,
        /// The key at hand.
        signer: PublicKey,
    },
    /// A prefix or a list of them that cannot be granted.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// A prefix to announce lies outside what the issuer may pass on.
    #[error("{prefix} lies outside what the issuer may delegate; ask a node that delegates it")]
    ServeOutsideDelegate {
        /// Which.
        prefix: IpNet,
    },
    /// A prefix to pass on lies outside what the issuer may pass on.
    #[error("{prefix} cannot be delegated further: it lies outside what the issuer may delegate")]
    DelegateOutsideDelegate {
        /// Which.
        prefix: IpNet,
    },
    /// A prefix to announce lies inside addresses that the mesh itself hands out.
    #[error(
        "{prefix} lies inside {reserved}, which the mesh gives to its nodes and clients; serve other addresses"
    )]
    ServeInsideMesh {
        /// Which.
        prefix: IpNet,
        /// The mesh's own /48 or the range of its clients.
        reserved: IpNet,
    },
    /// The issuer delegates nothing.
    #[error("{} may not invite: its own grant delegates nothing (it was invited without --inviter)", issuer.short())]
    MayNotInvite {
        /// Who issued nevertheless.
        issuer: PublicKey,
    },
    /// Only the first link sets the range of the clients.
    #[error("link {link} of the grant chain sets a client range; only the authority may")]
    ClientRangeNotRoot {
        /// Which.
        link: usize,
    },
    /// A client pool that is no /24, or not in the mesh's range.
    #[error("the client pool {pool} is not a /24 inside the mesh's client range {range}")]
    ClientPool {
        /// As granted.
        pool: Ipv4Net,
        /// The mesh's.
        range: Ipv4Net,
    },
    /// It ends before it begins.
    #[error("a grant ends ({not_after}) before it begins ({not_before})")]
    NeverValid {
        /// First moment.
        not_before: UnixMillis,
        /// Last moment.
        not_after: UnixMillis,
    },
    /// Some link has ended.
    #[error("the grant expired at {not_after}; the node must be invited again, or its clock is wrong")]
    Expired {
        /// The earliest end of all links.
        not_after: UnixMillis,
    },
    /// Some link has not begun.
    #[error("the grant is valid from {not_before} on, which is still to come; is the clock right?")]
    NotYetValid {
        /// The latest beginning of all links.
        not_before: UnixMillis,
    },
}

/// A token that cannot be made, read or believed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// No `mesh1_` in front.
    #[error("this is not a token; a token begins with mesh1_ (see `meshnode invite`)")]
    NotAToken,
    /// A `mesh` token of another version.
    #[error("this is a token of version {version}, this meshnode reads version 1; update meshnode")]
    UnknownVersion {
        /// The digits after `mesh`.
        version: String,
    },
    /// Characters are missing at the end.
    #[error("the token is truncated: {found} of {expected} characters are there; copy it whole")]
    Truncated {
        /// Characters given.
        found: usize,
        /// Characters there should be, as far as known.
        expected: usize,
    },
    /// Characters follow the end.
    #[error("{extra} characters follow the token's end; copy the token alone")]
    Trailing {
        /// How many.
        extra: usize,
    },
    /// A character that tokens do not have.
    #[error("the token has a character that no token has at position {position}; copy it again")]
    Character {
        /// Counted from 1.
        position: usize,
    },
    /// The checksum does not fit.
    #[error("the token is damaged (its checksum does not fit); copy it again")]
    Damaged,
    /// Too long to be a token.
    #[error("{characters} characters are too many for a token (at most 16384); copy the token alone")]
    TooLong {
        /// How many.
        characters: usize,
    },
    /// Does not decode though its checksum fits.
    #[error("the token is malformed: {reason}")]
    Malformed {
        /// What does not fit.
        reason: &'static str,
    },
    /// Not by the issuer it names.
    #[error("the token is not signed by its issuer, or was changed after signing")]
    BadSignature,
    /// Its time is over.
    #[error("the token expired at {not_after}; ask for a new one (`meshnode invite`)")]
    Expired {
        /// The end.
        not_after: UnixMillis,
    },
    /// Its issuer's grant, or what it asks of it.
    #[error("the token's issuer may not issue it: {0}")]
    Grant(#[from] GrantError),
    /// Issuing with a key that is not the chain's subject.
    #[error("a token is issued with the key of the node that its grant chain ends in")]
    NotTheIssuer,
    /// Not `host:port`.
    #[error("{seed:?} is not a seed; write host:port, as in gw.example.net:51820 or [2001:db8::1]:51820")]
    Seed {
        /// As given.
        seed: String,
    },
    /// More than [`MAX_SEEDS`](crate::token::MAX_SEEDS).
    #[error("{count} seeds are too many for a token, at most 16 fit; leave some out")]
    TooManySeeds {
        /// How many.
        count: usize,
    },
    /// The proof was made with another secret, for another connection or for another key.
    #[error("the joiner did not prove that it holds the token's secret on this connection")]
    BadProof,
}

/// A revocation that cannot be made or is not believed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RevocationError {
    /// Does not decode.
    #[error("the revocation is malformed: {reason}")]
    Malformed {
        /// What does not fit.
        reason: &'static str,
    },
    /// Not by the issuer it names, or for another mesh.
    #[error("the revocation is not signed by its issuer for this mesh, or was changed after signing")]
    BadSignature,
    /// Signing with another key.
    #[error("the revocation names {} as its issuer, but {} would sign it", issuer.short(), signer.short())]
    NotTheIssuer {
        /// In the revocation.
        issuer: PublicKey,
        /// The key at hand.
        signer: PublicKey,
    },
    /// The mesh's identity cannot be revoked.
    #[error("the authority cannot be revoked: it is the mesh; make a new mesh with `meshnode init`")]
    Authority,
}

/// A key file that cannot be read or written.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The system said no.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others than the owner may read or write it.
    #[error("{} can be read or changed by others (mode {mode:04o}); run: chmod 600 '{}'", path.display(), path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// The permission bits.
        mode: u32,
    },
    /// Larger than any key file.
    #[error("{} has {bytes} bytes, too many for a key file; is it the right file?", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Not a file.
    #[error("{} is not a regular file; is it the right path?", path.display())]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
}
