//! Revocations: whom they reach, and whose count.

use meshnode_crypto::{
    Grant, MeshId, Revocation, RevocationError, RevocationTarget, Serial, SignedRevocation, VerifiedChain,
};

use crate::mesh::{AUTHORITY, DAY, NOW, chain, chain_of, grant, key, mesh};

fn of_node(issuer: u8, target: u8, descendants: bool) -> Revocation {
    of(
        issuer,
        RevocationTarget::Node(key(target).public_key()),
        descendants,
    )
}

fn of(issuer: u8, target: RevocationTarget, descendants: bool) -> Revocation {
    let revocation = Revocation {
        target,
        descendants,
        issuer: key(issuer).public_key(),
        issued_at: NOW,
        until: NOW + DAY,
    };
    let signed = revocation.sign(&key(issuer), &mesh()).unwrap();
    assert_eq!(signed.verify(&mesh()), Ok(revocation.clone()));
    revocation
}

fn verified(subjects: &[u8]) -> VerifiedChain {
    chain(subjects).verify(&mesh(), NOW).unwrap()
}

#[test]
fn the_authority_and_every_ancestor_may_revoke() {
    let chain = verified(&[1, 2, 3]);
    for issuer in [AUTHORITY, 1, 2] {
        assert!(of_node(issuer, 3, false).hits(&chain), "{issuer}");
    }
}

#[test]
fn nobody_else_may_revoke() {
    let chain = verified(&[1, 2, 3]);
    for issuer in [3, 4] {
        assert!(!of_node(issuer, 3, true).hits(&chain), "{issuer} is no ancestor");
    }
    for (issuer, target) in [(2, 1), (3, 1), (3, 2), (2, 2), (1, 1)] {
        assert!(
            !of_node(issuer, target, true).hits(&chain),
            "{issuer} revoked its elder {target}"
        );
    }
}

#[test]
fn descendants_go_only_when_it_says_so() {
    let chain = verified(&[1, 2, 3]);
    assert!(of_node(AUTHORITY, 1, true).hits(&chain));
    assert!(of_node(1, 2, true).hits(&chain));
    assert!(!of_node(AUTHORITY, 1, false).hits(&chain));
    assert!(of_node(AUTHORITY, 1, false).hits(&verified(&[1])));
}

#[test]
fn others_in_the_mesh_stay() {
    assert!(!of_node(AUTHORITY, 2, true).hits(&verified(&[1, 3])));
    assert!(
        !of_node(1, 2, true).hits(&verified(&[4, 2])),
        "in that chain 1 is no ancestor"
    );
}

#[test]
fn a_revoked_token_puts_out_those_who_came_by_it_only_when_it_says_so() {
    let came_by = |token: u8, issuer, subject| Grant {
        token: Some(Serial([token; 16])),
        ..grant(issuer, subject)
    };
    let chain = chain_of(&[grant(0, 1), came_by(7, 1, 2), came_by(8, 2, 3)])
        .verify(&mesh(), NOW)
        .unwrap();
    let target = |token| RevocationTarget::Token(Serial([token; 16]));
    for token in [7, 8] {
        assert!(of(1, target(token), true).hits(&chain), "token {token}");
        assert!(!of(1, target(token), false).hits(&chain), "token {token}");
    }
    assert!(
        !of(2, target(7), true).hits(&chain),
        "2 came by it, it is no ancestor"
    );
    assert!(!of(1, target(9), true).hits(&chain));
}

#[test]
fn a_token_is_ended_by_its_issuer_and_its_ancestors() {
    let (serial, issuer) = (Serial([7; 16]), verified(&[1, 2]));
    let target = RevocationTarget::Token(serial);
    for revoker in [AUTHORITY, 1, 2] {
        assert!(of(revoker, target, false).hits_token(&serial, &issuer));
        assert!(!of(revoker, target, false).hits_token(&Serial([8; 16]), &issuer));
    }
    assert!(!of(3, target, false).hits_token(&serial, &issuer));
}

#[test]
fn the_authority_itself_cannot_be_revoked() {
    let revocation = Revocation {
        issuer: key(AUTHORITY).public_key(),
        ..of_node(1, 2, true)
    };
    let suicide = Revocation {
        target: RevocationTarget::Node(*mesh().authority()),
        ..revocation
    };
    assert_eq!(
        suicide.sign(&key(AUTHORITY), &mesh()),
        Err(RevocationError::Authority)
    );
}

#[test]
fn a_revocation_of_another_mesh_is_refused() {
    let other = MeshId::new(key(9).public_key());
    let signed = of_node(1, 2, true).sign(&key(1), &other).unwrap();
    assert_eq!(signed.verify(&mesh()), Err(RevocationError::BadSignature));
}

#[test]
fn nobody_signs_a_revocation_for_another() {
    let refusal = of_node(1, 2, true).sign(&key(3), &mesh()).unwrap_err();
    assert!(matches!(refusal, RevocationError::NotTheIssuer { .. }));
}

#[test]
fn a_revocation_is_kept_until_its_target_would_have_expired() {
    let revocation = of_node(1, 2, true);
    assert!(!revocation.is_over(NOW + DAY) && revocation.is_over(NOW + 2 * DAY));
}

#[test]
fn ids_tell_revocations_apart() {
    let signed = |target| of_node(1, target, true).sign(&key(1), &mesh()).unwrap();
    assert_eq!(signed(2).id(), signed(2).id());
    assert_ne!(signed(2).id(), signed(3).id());
}

#[test]
fn a_long_revocation_is_refused_before_it_is_read() {
    assert!(SignedRevocation::from_bytes(&[1; 512]).is_ok());
    assert!(SignedRevocation::from_bytes(&[1; 513]).is_err());
    assert!(
        SignedRevocation::from_bytes(&[])
            .unwrap()
            .verify(&mesh())
            .is_err()
    );
}
