//! The cast: one authority, any number of nodes, and grants between them.

use std::time::Duration;

use ipnet::IpNet;
use meshnode_crypto::{
    Context, Grant, GrantChain, MeshId, Sealed, Serial, SignedGrant, SigningKey, Token, TokenSpec, UnixMillis,
};

/// A moment at which everything made here is valid.
pub(crate) const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// The authority's key; every other number is a node's.
pub(crate) const AUTHORITY: u8 = 0;

pub(crate) fn key(number: u8) -> SigningKey {
    SigningKey::from_seed([number; 32])
}

pub(crate) fn mesh() -> MeshId {
    MeshId::new(key(AUTHORITY).public_key())
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

pub(crate) fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| net(text)).collect()
}

/// A grant that delegates everything, from one number to another.
pub(crate) fn grant(issuer: u8, subject: u8) -> Grant {
    Grant {
        issuer: key(issuer).public_key(),
        subject: key(subject).public_key(),
        serve: nets(&["10.0.0.0/8"]),
        delegate: nets(&["0.0.0.0/0", "::/0"]),
        name: None,
        not_before: NOW - DAY,
        not_after: NOW + 365 * DAY,
        serial: Serial([subject; 16]),
        client_pool: None,
        client_range: None,
        token: None,
    }
}

pub(crate) fn sign(grant: &Grant, issuer: u8) -> SignedGrant {
    grant.sign(&key(issuer), &mesh()).unwrap()
}

/// Signed without the checks that an honest signer makes.
pub(crate) fn forge(grant: &Grant, issuer: u8) -> SignedGrant {
    let body = postcard::to_extend(grant, vec![1]).unwrap();
    SignedGrant::from_bytes(&Sealed::seal(body, &key(issuer), Context::Grant, &mesh())).unwrap()
}

/// authority → first → second → …, each delegating everything.
pub(crate) fn chain(subjects: &[u8]) -> GrantChain {
    chain_of(
        &subjects
            .iter()
            .scan(AUTHORITY, |issuer, subject| {
                Some(grant(std::mem::replace(issuer, *subject), *subject))
            })
            .collect::<Vec<_>>(),
    )
}

/// The chain of these grants, each signed by the issuer that it names (a number below 64).
pub(crate) fn chain_of(grants: &[Grant]) -> GrantChain {
    GrantChain::new(
        grants
            .iter()
            .map(|grant| forge(grant, number_of(grant)))
            .collect(),
    )
}

fn number_of(grant: &Grant) -> u8 {
    (0..64)
        .find(|number| key(*number).public_key() == grant.issuer)
        .unwrap()
}

/// What node 1 invites with, unless the test says otherwise.
pub(crate) fn spec() -> TokenSpec {
    TokenSpec {
        mesh: mesh(),
        seeds: vec![
            "gw.example.net:51820".to_owned(),
            "[2001:db8::1]:51820".to_owned(),
        ],
        serve: nets(&["10.2.0.0/16"]),
        delegate: vec![],
        name: None,
        uses: 1,
        not_after: NOW + DAY,
    }
}

/// A token of node 1, which the authority let in.
pub(crate) fn token() -> Token {
    Token::issue(spec(), &key(1), &chain(&[1]), [7; 32]).unwrap()
}
