//! Tokens: what they admit, to whom, and who may issue them.

use meshnode_crypto::{GrantError, MeshId, SignedToken, SigningKey, Token, TokenError, TokenSpec};

use crate::mesh::{DAY, NOW, chain, chain_of, grant, key, mesh, net, nets, spec, token};

fn issue(spec: TokenSpec) -> Result<Token, TokenError> {
    Token::issue(spec, &key(1), &chain(&[1]), [7; 32])
}

#[test]
fn a_token_says_what_its_issuer_decided() {
    let spec = TokenSpec {
        delegate: nets(&["10.2.0.0/16"]),
        name: Some("hk".parse().unwrap()),
        uses: 3,
        ..spec()
    };
    let verified = issue(spec.clone()).unwrap().public().verify(NOW).unwrap();
    assert_eq!(*verified.mesh(), mesh());
    assert_eq!(*verified.issuer(), key(1).public_key());
    assert_eq!(verified.seeds(), spec.seeds);
    assert_eq!(
        (verified.serve(), verified.delegate()),
        (&spec.serve[..], &spec.delegate[..])
    );
    assert_eq!((verified.name(), verified.uses()), (spec.name.as_ref(), 3));
    assert_eq!(verified.not_after(), NOW + DAY);
    assert!(!verified.is_fleet());
    assert!(
        issue(TokenSpec { uses: 0, ..spec })
            .unwrap()
            .public()
            .verify(NOW)
            .unwrap()
            .is_fleet()
    );
}

#[test]
fn the_public_part_survives_the_wire() {
    let token = token();
    let bytes = postcard::to_allocvec(token.public()).unwrap();
    let received: SignedToken = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(received, *token.public());
    assert!(received.verify(NOW).is_ok());
}

#[test]
fn every_token_has_its_own_serial_and_secret() {
    let (one, two) = (
        token(),
        Token::issue(spec(), &key(1), &chain(&[1]), [8; 32]).unwrap(),
    );
    assert_ne!(one.public().serial(), two.public().serial());
    let invitation = |token: &Token| token.public().read_unverified().unwrap().invitation;
    assert_ne!(invitation(&one), invitation(&two));
}

#[test]
fn an_expired_token_says_when_it_ended() {
    let refusal = token().public().verify(NOW + 2 * DAY);
    assert_eq!(refusal, Err(TokenError::Expired { not_after: NOW + DAY }));
    assert!(refusal.unwrap_err().to_string().contains("2027-01-16T08:00:00Z"));
    assert!(
        token().public().verify(NOW + DAY).is_ok(),
        "the last moment counts"
    );
}

#[test]
fn a_token_ends_with_its_issuers_grant() {
    let mut root = grant(0, 1);
    root.not_after = NOW + DAY;
    let token = Token::issue(
        TokenSpec {
            not_after: NOW + 9 * DAY,
            ..spec()
        },
        &key(1),
        &chain_of(&[root]),
        [7; 32],
    );
    let refusal = token.unwrap().public().verify(NOW + 2 * DAY);
    assert_eq!(
        refusal,
        Err(TokenError::Grant(GrantError::Expired { not_after: NOW + DAY }))
    );
}

#[test]
fn a_token_wider_than_its_issuer_is_refused() {
    let mut root = grant(0, 1);
    root.delegate = nets(&["10.0.0.0/8"]);
    let narrow = chain_of(&[root]);
    let issue = |spec| Token::issue(spec, &key(1), &narrow, [7; 32]).unwrap_err();
    let serve = issue(TokenSpec {
        serve: nets(&["11.0.0.0/16"]),
        ..spec()
    });
    assert_eq!(
        serve,
        TokenError::Grant(GrantError::ServeOutsideDelegate {
            prefix: net("11.0.0.0/16")
        })
    );
    let delegate = issue(TokenSpec {
        delegate: nets(&["::/0"]),
        ..spec()
    });
    assert_eq!(
        delegate,
        TokenError::Grant(GrantError::DelegateOutsideDelegate { prefix: net("::/0") })
    );
}

#[test]
fn a_node_that_may_not_invite_cannot_issue() {
    let mut root = grant(0, 1);
    root.delegate.clear();
    let refusal = Token::issue(spec(), &key(1), &chain_of(&[root]), [7; 32]).unwrap_err();
    assert_eq!(
        refusal,
        TokenError::Grant(GrantError::MayNotInvite {
            issuer: key(1).public_key()
        })
    );
}

#[test]
fn only_the_end_of_the_chain_issues() {
    let refusal = Token::issue(spec(), &key(2), &chain(&[1]), [7; 32]).unwrap_err();
    assert_eq!(refusal, TokenError::NotTheIssuer);
}

#[test]
fn a_chain_of_another_mesh_issues_nothing() {
    let other = MeshId::new(key(9).public_key());
    let refusal = issue(TokenSpec {
        mesh: other,
        ..spec()
    })
    .unwrap_err();
    assert!(matches!(refusal, TokenError::Grant(GrantError::WrongMesh { .. })));
}

#[test]
fn an_invitation_whose_grant_would_not_fit_is_not_issued() {
    let serve: Vec<_> = (0..440_u32).map(|i| net(&format!("fd00:{i:x}::/64"))).collect();
    let refusal = issue(TokenSpec {
        serve: serve.clone(),
        ..spec()
    })
    .unwrap_err();
    assert!(
        matches!(refusal, TokenError::Grant(GrantError::TooLong { .. })),
        "{refusal}"
    );
    assert!(
        issue(TokenSpec {
            serve: serve[..390].to_vec(),
            ..spec()
        })
        .is_ok()
    );
}

#[test]
fn the_largest_grant_that_was_promised_fits() {
    let serve: Vec<_> = (0..500_u32).map(|i| net(&format!("fd00:{i:x}::/64"))).collect();
    let most = (1..500)
        .rfind(|count| chain(&[1]).check_room(&serve[..*count], &[]).is_ok())
        .unwrap();
    let full = meshnode_crypto::Grant {
        serve: serve[..most].to_vec(),
        delegate: vec![],
        name: Some("n".repeat(63).parse().unwrap()),
        client_pool: Some("100.96.1.0/24".parse().unwrap()),
        token: Some(meshnode_crypto::Serial([9; 16])),
        not_after: meshnode_crypto::UnixMillis(u64::MAX),
        ..grant(1, 2)
    };
    let admitted = chain_of(&[grant(0, 1)]).extend(full.sign(&key(1), &mesh()).unwrap());
    assert!(admitted.verify(&mesh(), NOW).is_ok(), "{most} prefixes");
}

#[test]
fn seeds_are_hosts_with_ports() {
    for seed in [
        "",
        "gw",
        "gw:",
        ":51820",
        "gw:0",
        "gw:65536",
        "g w:1",
        "gw:51820\n",
        "gw:+51820x",
    ] {
        let refusal = issue(TokenSpec {
            seeds: vec![seed.to_owned()],
            ..spec()
        })
        .unwrap_err();
        assert_eq!(
            refusal,
            TokenError::Seed {
                seed: seed.to_owned()
            }
        );
    }
    let seeds = vec!["gw:51820".to_owned(); 17];
    assert_eq!(
        issue(TokenSpec { seeds, ..spec() }).unwrap_err(),
        TokenError::TooManySeeds { count: 17 }
    );
}

#[test]
fn the_proof_is_for_one_joiner_on_one_connection() {
    let (token, joiner, exporter) = (token(), key(2).public_key(), [3; 32]);
    let verified = token.public().verify(NOW).unwrap();
    let proof = token.prove(&exporter, &joiner);
    assert_eq!(verified.check_proof(&exporter, &joiner, &proof), Ok(()));
    let relayed = verified.check_proof(&exporter, &key(3).public_key(), &proof);
    assert_eq!(relayed, Err(TokenError::BadProof), "a relay put its own key in");
    let replayed = verified.check_proof(&[4; 32], &joiner, &proof);
    assert_eq!(replayed, Err(TokenError::BadProof), "on another connection");
}

#[test]
fn a_token_seen_on_the_wire_proves_nothing() {
    let seen = token();
    let verified = seen.public().verify(NOW).unwrap();
    let exporter = [3; 32];
    let another = Token::issue(spec(), &key(1), &chain(&[1]), [8; 32]).unwrap();
    let proof = another.prove(&exporter, &key(2).public_key());
    assert!(
        verified
            .check_proof(&exporter, &key(2).public_key(), &proof)
            .is_err()
    );
}

#[test]
fn a_token_whose_issuer_was_exchanged_is_refused() {
    let mut body = token().public().read_unverified().unwrap();
    body.issuer_chain = chain(&[2]);
    let forge = |signer: SigningKey| {
        let bytes = postcard::to_extend(&body, vec![1]).unwrap();
        let bytes = meshnode_crypto::Sealed::seal(bytes, &signer, meshnode_crypto::Context::Token, &mesh());
        SignedToken::from_bytes(&bytes).unwrap().verify(NOW)
    };
    assert_eq!(forge(key(1)), Err(TokenError::BadSignature));
    assert!(forge(key(2)).is_ok(), "node 2 may issue it itself");
}
