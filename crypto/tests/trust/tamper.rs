//! Every bit counts: whatever is changed, cut or appended, nothing signed is believed any more.

use meshnode_crypto::{
    Grant, GrantChain, LaneKey, LaneKeyProof, Revocation, RevocationTarget, Serial, SignedRevocation,
    SignedToken, Token,
};

use crate::mesh::{DAY, NOW, chain_of, grant, key, mesh, nets, token};

/// `bytes` with each of its bits flipped in turn.
fn flipped(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..bytes.len() * 8).map(|bit| {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        (bit, changed)
    })
}

/// Changed, cut and extended bytes; all of them must be refused.
fn assert_only_the_original_holds(bytes: &[u8], holds: impl Fn(&[u8]) -> bool) {
    assert!(holds(bytes));
    for (bit, changed) in flipped(bytes) {
        assert!(
            !holds(&changed),
            "bit {} of byte {} may be flipped",
            bit % 8,
            bit / 8
        );
    }
    for length in 0..bytes.len() {
        assert!(!holds(&bytes[..length]), "the first {length} bytes are enough");
    }
    for extra in [0, 1, 0x7f, 0x80, 0xff] {
        assert!(!holds(&[bytes, &[extra]].concat()), "{extra:#x} may be appended");
    }
}

/// A chain with every field set.
fn full_chain() -> GrantChain {
    let root = Grant {
        client_range: Some("100.96.0.0/12".parse().unwrap()),
        ..grant(0, 1)
    };
    let leaf = Grant {
        serve: nets(&["10.1.0.0/16", "fd00:1::/64"]),
        delegate: nets(&["10.1.0.0/16"]),
        name: Some("gw".parse().unwrap()),
        client_pool: Some("100.96.3.0/24".parse().unwrap()),
        token: Some(Serial([5; 16])),
        ..grant(1, 2)
    };
    chain_of(&[root, leaf])
}

#[test]
fn a_changed_grant_chain_is_refused() {
    let holds = |bytes: &[u8]| {
        GrantChain::from_bytes(bytes).is_ok_and(|chain| chain.verify_at_any_time(&mesh()).is_ok())
    };
    assert_only_the_original_holds(&full_chain().to_bytes(), holds);
}

#[test]
fn a_changed_public_token_is_refused() {
    let holds = |bytes: &[u8]| SignedToken::from_bytes(bytes).is_ok_and(|token| token.verify(NOW).is_ok());
    assert_only_the_original_holds(token().public().as_bytes(), holds);
}

#[test]
fn a_changed_token_text_is_refused() {
    let text = token().to_text();
    let holds = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok_and(|text| Token::parse(text).is_ok());
    assert_only_the_original_holds(text.as_bytes(), holds);
}

#[test]
fn a_changed_revocation_is_refused() {
    let revocation = Revocation {
        target: RevocationTarget::Node(key(2).public_key()),
        descendants: true,
        issuer: key(1).public_key(),
        issued_at: NOW,
        until: NOW + DAY,
    };
    let signed = revocation.sign(&key(1), &mesh()).unwrap();
    let holds = |bytes: &[u8]| SignedRevocation::from_bytes(bytes).is_ok_and(|r| r.verify(&mesh()).is_ok());
    assert_only_the_original_holds(signed.as_bytes(), holds);
}

#[test]
fn a_changed_lane_key_proof_is_refused() {
    let node = key(1).public_key();
    let proof = LaneKey::from_seed([9; 32]).prove(&mesh(), &node, 0);
    let holds = |bytes: &[u8]| match postcard::take_from_bytes::<LaneKeyProof>(bytes) {
        Ok((proof, [])) => proof.verify(&mesh(), &node, 0).is_ok(),
        _ => false,
    };
    assert_only_the_original_holds(&postcard::to_allocvec(&proof).unwrap(), holds);
}

#[test]
fn a_changed_proof_of_invitation_is_refused() {
    let (token, joiner, exporter) = (token(), key(2).public_key(), [3; 32]);
    let verified = token.public().verify(NOW).unwrap();
    let proof = token.prove(&exporter, &joiner);
    let holds = |bytes: &[u8]| match postcard::take_from_bytes(bytes) {
        Ok((proof, [])) => verified.check_proof(&exporter, &joiner, &proof).is_ok(),
        _ => false,
    };
    assert_only_the_original_holds(&postcard::to_allocvec(&proof).unwrap(), holds);
}
