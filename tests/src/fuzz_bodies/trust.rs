//! Tokens, grant chains and revocations.
//!
//! Bytes are tried as they are, and also as the body of something rightly signed: else nearly every input
//! would end at the signature, and what stands behind it would never be tried.

use std::sync::LazyLock;
use std::time::Duration;

use ipnet::IpNet;
use meshnode_crypto::{
    Context, Grant, GrantChain, MeshId, Revocation, RevocationTarget, Sealed, Serial, SignedGrant,
    SignedRevocation, SignedToken, SigningKey, Token, TokenSpec, UnixMillis, VerifiedChain,
};

pub(super) const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);

/// What the node delegates; all that it signs must stay inside.
static DELEGATED: LazyLock<[IpNet; 2]> = LazyLock::new(|| ["10.0.0.0/8", "fd00::/8"].map(net));

/// Any bytes as a token's text, as its public part and as the body of a signed one.
pub fn token(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(token) = Token::parse(text)
    {
        assert_eq!(token.to_text().as_str(), text.trim(), "a token has one spelling");
    }
    if let Ok(received) = SignedToken::from_bytes(data) {
        assert_eq!(received.as_bytes(), data);
        check_token(&received);
    }
    let signed = Sealed::seal(data.to_vec(), &key(1), Context::Token, &mesh());
    if let Ok(received) = SignedToken::from_bytes(&signed) {
        check_token(&received);
    }
}

fn check_token(received: &SignedToken) {
    let Ok(token) = received.verify(NOW) else { return };
    assert!(token.not_after() >= NOW && token.seeds().len() <= 16);
    for prefix in token.serve().iter().chain(token.delegate()) {
        assert!(
            token.issuer_chain().may_delegate(prefix),
            "{prefix} is not the issuer's to give"
        );
    }
}

/// Any bytes as a chain, as the first link of one, and as the second.
pub fn grant_chain(data: &[u8]) {
    if let Ok(chain) = GrantChain::from_bytes(data) {
        check_chain(&chain);
    }
    let link = |issuer| {
        SignedGrant::from_bytes(&Sealed::seal(
            data.to_vec(),
            &key(issuer),
            Context::Grant,
            &mesh(),
        ))
    };
    if let (Ok(first), Ok(second)) = (link(0), link(1)) {
        check_chain(&GrantChain::from(first));
        let chain = GrantChain::from(root()).extend(second);
        if let Some(verified) = check_chain(&chain) {
            let granted = verified.serve().iter().chain(verified.delegate());
            assert!({ granted }.all(|prefix| DELEGATED.iter().any(|wide| wide.contains(prefix))));
        }
    }
}

fn check_chain(chain: &GrantChain) -> Option<VerifiedChain> {
    let verified = chain.verify(&mesh(), NOW).ok()?;
    assert!((1..=8).contains(&verified.issuers().len()));
    assert_eq!(&verified.issuers()[0], mesh().authority());
    assert!(verified.not_before() <= NOW && NOW <= verified.not_after());
    assert!(verified.serve().len() <= 500 && verified.delegate().len() <= 500);
    assert!(
        verified
            .serve()
            .iter()
            .all(|prefix| verified.allows(prefix) && prefix.trunc() == *prefix)
    );
    assert_eq!(GrantChain::from_bytes(&chain.to_bytes()).as_ref(), Ok(chain));
    Some(verified)
}

/// Any bytes as a revocation, and as the body of a signed one.
pub fn revocation(data: &[u8]) {
    let signed = Sealed::seal(data.to_vec(), &key(1), Context::Revocation, &mesh());
    for bytes in [data, &signed] {
        if let Ok(received) = SignedRevocation::from_bytes(bytes)
            && let Ok(revocation) = received.verify(&mesh())
        {
            assert_ne!(revocation.target, RevocationTarget::Node(*mesh().authority()));
            assert!(
                !revocation.hits(&verified_root()),
                "node 1 is nobody's ancestor here"
            );
        }
    }
}

pub(super) fn token_seeds() -> Vec<Vec<u8>> {
    let spec = TokenSpec {
        mesh: mesh(),
        seeds: vec![
            "gw.example.net:51820".to_owned(),
            "[2001:db8::1]:51820".to_owned(),
        ],
        serve: vec![net("10.2.0.0/16"), net("fd00:2::/64")],
        delegate: vec![net("10.2.0.0/16")],
        name: "hk".parse().ok(),
        uses: 1,
        not_after: NOW + DAY,
    };
    let token =
        Token::issue(spec, &key(1), &GrantChain::from(root()), [7; 32]).expect("the node may issue this");
    let public = token.public().as_bytes().to_vec();
    vec![token.to_text().as_bytes().to_vec(), unsigned(&public), public]
}

pub(super) fn grant_chain_seeds() -> Vec<Vec<u8>> {
    let second = sign(&leaf(), 1);
    let bodies = [&root(), &second].map(|link| unsigned(link.as_bytes()));
    let chains = [GrantChain::from(root()), GrantChain::from(root()).extend(second)];
    bodies
        .into_iter()
        .chain(chains.iter().map(GrantChain::to_bytes))
        .collect()
}

pub(super) fn revocation_seeds() -> Vec<Vec<u8>> {
    let targets = [
        RevocationTarget::Node(key(2).public_key()),
        RevocationTarget::Token(Serial([9; 16])),
    ];
    let signed = targets.map(|target| {
        let issuer = key(1).public_key();
        let revocation = Revocation {
            target,
            descendants: true,
            issuer,
            issued_at: NOW,
            until: NOW + DAY,
        };
        let signed = revocation
            .sign(&key(1), &mesh())
            .expect("the issuer signs for itself");
        signed.as_bytes().to_vec()
    });
    signed
        .iter()
        .map(|bytes| unsigned(bytes))
        .chain(signed.iter().cloned())
        .collect()
}

/// The body without its signature.
pub(super) fn unsigned(signed: &[u8]) -> Vec<u8> {
    Sealed::split(signed)
        .map(|sealed| sealed.body.to_vec())
        .unwrap_or_default()
}

fn verified_root() -> VerifiedChain {
    GrantChain::from(root())
        .verify(&mesh(), NOW)
        .expect("the authority let node 1 in")
}

pub(super) fn root() -> SignedGrant {
    static ROOT: LazyLock<SignedGrant> = LazyLock::new(|| sign(&grant(0, 1, &*DELEGATED), 0));
    ROOT.clone()
}

/// A grant with every field set.
pub(super) fn leaf() -> Grant {
    Grant {
        serve: vec![net("10.2.0.0/16"), net("fd00:2::/64")],
        name: "hk".parse().ok(),
        client_pool: "100.96.3.0/24".parse().ok(),
        token: Some(Serial([5; 16])),
        ..grant(1, 2, &[net("10.2.0.0/16")])
    }
}

fn grant(issuer: u8, subject: u8, delegate: &[IpNet]) -> Grant {
    Grant {
        issuer: key(issuer).public_key(),
        subject: key(subject).public_key(),
        serve: vec![],
        delegate: delegate.to_vec(),
        name: None,
        not_before: NOW - DAY,
        not_after: NOW + 365 * DAY,
        serial: Serial([subject; 16]),
        client_pool: None,
        client_range: None,
        token: None,
    }
}

pub(super) fn sign(grant: &Grant, issuer: u8) -> SignedGrant {
    grant.sign(&key(issuer), &mesh()).expect("the grant is sound")
}

pub(super) fn mesh() -> MeshId {
    static MESH: LazyLock<MeshId> = LazyLock::new(|| MeshId::new(key(0).public_key()));
    *MESH
}

pub(super) fn key(number: u8) -> SigningKey {
    static KEYS: LazyLock<[SigningKey; 3]> =
        LazyLock::new(|| [0, 1, 2].map(|seed| SigningKey::from_seed([seed; 32])));
    KEYS[usize::from(number)].clone()
}

pub(super) fn net(text: &str) -> IpNet {
    text.parse().expect("the prefix is written out here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_believed() {
        let tokens = token_seeds();
        assert!(Token::parse(std::str::from_utf8(&tokens[0]).expect("text")).is_ok());
        assert!(SignedToken::from_bytes(&tokens[2]).is_ok_and(|token| token.verify(NOW).is_ok()));
        for chain in &grant_chain_seeds()[2..] {
            assert!(GrantChain::from_bytes(chain).is_ok_and(|chain| check_chain(&chain).is_some()));
        }
        for bytes in &revocation_seeds()[2..] {
            assert!(SignedRevocation::from_bytes(bytes).is_ok_and(|signed| signed.verify(&mesh()).is_ok()));
        }
    }
}
