//! Chains: who may let in whom, for how long.

use meshnode_crypto::{GrantChain, GrantError, MeshId, PublicKey, Serial, UnixMillis};

use crate::mesh::{DAY, NOW, chain, chain_of, forge, grant, key, mesh, net, nets, sign};

#[test]
fn chains_of_one_to_eight_links_hold() {
    for length in 1..=8 {
        let subjects: Vec<u8> = (1..=length).collect();
        let verified = chain(&subjects).verify(&mesh(), NOW).unwrap();
        assert_eq!(*verified.subject(), key(length).public_key());
        let issuers: Vec<PublicKey> = (0..length).map(|number| key(number).public_key()).collect();
        assert_eq!(verified.issuers(), issuers);
    }
}

#[test]
fn a_chain_of_nine_links_is_refused() {
    let nine = chain(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(
        nine.verify(&mesh(), NOW),
        Err(GrantError::TooManyLinks { links: 9 })
    );
    assert!(GrantChain::from_bytes(&nine.to_bytes()).is_err());
}

#[test]
fn the_last_of_eight_may_not_invite_a_ninth() {
    let eight = chain(&[1, 2, 3, 4, 5, 6, 7, 8]).verify(&mesh(), NOW).unwrap();
    assert!(!eight.may_invite());
    assert_eq!(
        eight.check_invitation(&[], &[]),
        Err(GrantError::TooManyLinks { links: 9 })
    );
    assert!(
        chain(&[1, 2, 3, 4, 5, 6, 7])
            .verify(&mesh(), NOW)
            .unwrap()
            .may_invite()
    );
}

#[test]
fn an_empty_chain_is_refused() {
    let empty = GrantChain::new(vec![]);
    assert_eq!(empty.verify(&mesh(), NOW), Err(GrantError::Empty));
    assert_eq!(GrantChain::from_bytes(&empty.to_bytes()), Err(GrantError::Empty));
}

#[test]
fn a_chain_survives_its_bytes() {
    let long = chain(&[1, 2, 3]);
    assert_eq!(GrantChain::from_bytes(&long.to_bytes()), Ok(long));
}

#[test]
fn bytes_behind_a_chain_are_refused() {
    let mut bytes = chain(&[1, 2]).to_bytes();
    bytes.push(0);
    assert!(matches!(
        GrantChain::from_bytes(&bytes),
        Err(GrantError::Malformed { .. })
    ));
}

#[test]
fn any_link_that_expired_ends_the_chain() {
    for expired in 0..3 {
        let mut grants = [grant(0, 1), grant(1, 2), grant(2, 3)];
        grants[expired].not_after = NOW - DAY / 2;
        let chain = chain_of(&grants);
        let expired = GrantError::Expired {
            not_after: NOW - DAY / 2,
        };
        assert_eq!(chain.verify(&mesh(), NOW), Err(expired));
        assert!(
            chain.verify_at_any_time(&mesh()).is_ok(),
            "an expired chain still hints"
        );
    }
}

#[test]
fn any_link_that_has_not_begun_delays_the_chain() {
    for late in 0..3 {
        let mut grants = [grant(0, 1), grant(1, 2), grant(2, 3)];
        grants[late].not_before = NOW + DAY;
        let refusal = Err(GrantError::NotYetValid {
            not_before: NOW + DAY,
        });
        assert_eq!(chain_of(&grants).verify(&mesh(), NOW), refusal);
    }
}

#[test]
fn a_chain_is_valid_in_its_first_and_last_moment_and_not_beyond() {
    let mut only = grant(0, 1);
    (only.not_before, only.not_after) = (UnixMillis(1_000), UnixMillis(2_000));
    let chain = chain_of(&[only]);
    let holds_at = |millis| chain.verify(&mesh(), UnixMillis(millis)).is_ok();
    assert_eq!(
        [999, 1_000, 2_000, 2_001].map(holds_at),
        [false, true, true, false]
    );
}

#[test]
fn the_whole_is_as_long_as_its_shortest_link() {
    let mut grants = [grant(0, 1), grant(1, 2)];
    (grants[0].not_before, grants[0].not_after) = (NOW - 3 * DAY, NOW + 5 * DAY);
    (grants[1].not_before, grants[1].not_after) = (NOW - 2 * DAY, NOW + 9 * DAY);
    let verified = chain_of(&grants).verify(&mesh(), NOW).unwrap();
    assert_eq!(
        (verified.not_before(), verified.not_after()),
        (NOW - 2 * DAY, NOW + 5 * DAY)
    );
    assert_eq!(verified.issued(), NOW - 2 * DAY);
}

#[test]
fn a_chain_of_another_mesh_is_refused() {
    let other = MeshId::new(key(9).public_key());
    let refusal = GrantError::WrongMesh {
        expected: key(9).public_key(),
        found: key(0).public_key(),
    };
    assert_eq!(chain(&[1, 2]).verify(&other, NOW), Err(refusal));
}

#[test]
fn a_link_signed_for_another_mesh_is_refused() {
    // The same authority key cannot help: the mesh is in what is signed.
    let other = MeshId::new(key(9).public_key());
    let link = grant(1, 2).sign(&key(1), &other).unwrap();
    let refusal = Err(GrantError::BadSignature { link: 2 });
    assert_eq!(chain(&[1]).extend(link).verify(&mesh(), NOW), refusal);
}

#[test]
fn links_in_another_order_are_refused() {
    let links = chain(&[1, 2, 3]).links().to_vec();
    for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let chain = GrantChain::new(order.map(|index: usize| links[index].clone()).to_vec());
        let refusal = chain.verify(&mesh(), NOW).unwrap_err();
        let order_noticed = matches!(
            refusal,
            GrantError::BrokenChain { .. } | GrantError::WrongMesh { .. }
        );
        assert!(order_noticed, "{order:?}: {refusal}");
    }
}

#[test]
fn a_missing_middle_link_breaks_the_chain() {
    let links = chain(&[1, 2, 3]).links().to_vec();
    let gap = GrantChain::new(vec![links[0].clone(), links[2].clone()]);
    assert_eq!(gap.verify(&mesh(), NOW), Err(GrantError::BrokenChain { link: 2 }));
}

#[test]
fn a_link_signed_by_somebody_else_is_refused() {
    let link = forge(&grant(1, 2), 5);
    let refusal = Err(GrantError::BadSignature { link: 2 });
    assert_eq!(chain(&[1]).extend(link).verify(&mesh(), NOW), refusal);
}

#[test]
fn an_honest_signer_refuses_to_sign_for_another() {
    let refusal = grant(1, 2).sign(&key(5), &mesh()).unwrap_err();
    assert!(matches!(refusal, GrantError::NotTheIssuer { .. }));
}

#[test]
fn nobody_descends_from_itself() {
    for (grants, twice) in [
        (vec![grant(0, 1), grant(1, 2), grant(2, 1)], 1),
        (vec![grant(0, 1), grant(1, 1)], 1),
        (vec![grant(0, 1), grant(1, 0)], 0),
        (vec![grant(0, 0)], 0),
    ] {
        let refusal = Err(GrantError::Loop {
            key: key(twice).public_key(),
        });
        assert_eq!(chain_of(&grants).verify(&mesh(), NOW), refusal);
    }
}

#[test]
fn serials_are_unique_in_a_chain() {
    let mut second = grant(1, 2);
    second.serial = Serial([1; 16]);
    let refusal = Err(GrantError::RepeatedSerial { link: 2 });
    assert_eq!(chain_of(&[grant(0, 1), second]).verify(&mesh(), NOW), refusal);
}

#[test]
fn who_delegates_nothing_cannot_invite() {
    let mut first = grant(0, 1);
    first.delegate.clear();
    let mut second = grant(1, 2);
    (second.serve, second.delegate) = (vec![], vec![]);
    let refusal = GrantError::MayNotInvite {
        issuer: key(1).public_key(),
    };
    let lone = chain_of(std::slice::from_ref(&first))
        .verify(&mesh(), NOW)
        .unwrap();
    assert!(!lone.may_invite() && !lone.may_delegate(&net("10.0.0.0/8")));
    assert_eq!(lone.check_invitation(&[], &[]), Err(refusal.clone()));
    assert_eq!(chain_of(&[first, second]).verify(&mesh(), NOW), Err(refusal));
}

#[test]
fn a_node_that_serves_nothing_is_a_member_all_the_same() {
    let mut second = grant(1, 2);
    (second.serve, second.delegate) = (vec![], vec![]);
    let verified = chain_of(&[grant(0, 1), second]).verify(&mesh(), NOW).unwrap();
    assert!(!verified.allows(&net("10.0.0.0/8")));
}

#[test]
fn chains_of_more_than_8_kib_are_refused() {
    let wide = |issuer, subject| {
        let mut grant = grant(issuer, subject);
        grant.serve = (0..400_u32)
            .map(|i| net(&format!("10.{}.{}.0/24", i / 256, i % 256)))
            .collect();
        grant
    };
    let grants = [wide(0, 1), wide(1, 2), wide(2, 3), wide(3, 4)];
    assert!(chain_of(&grants[..3]).verify(&mesh(), NOW).is_ok());
    let long = chain_of(&grants);
    assert!(matches!(
        long.verify(&mesh(), NOW),
        Err(GrantError::TooLong { .. })
    ));
    assert!(matches!(
        GrantChain::from_bytes(&long.to_bytes()),
        Err(GrantError::TooLong { .. })
    ));
}

#[test]
fn tokens_of_all_links_are_known() {
    let mut grants = [grant(0, 1), grant(1, 2), grant(2, 3)];
    grants[1].token = Some(Serial([0xa; 16]));
    grants[2].token = Some(Serial([0xb; 16]));
    let verified = chain_of(&grants).verify(&mesh(), NOW).unwrap();
    assert_eq!(verified.tokens(), [Serial([0xa; 16]), Serial([0xb; 16])]);
    assert_eq!(verified.token(), Some(Serial([0xb; 16])));
}

#[test]
fn a_grant_for_a_name_and_prefixes_says_so() {
    let mut second = grant(1, 2);
    second.name = Some("hk".parse().unwrap());
    second.serve = nets(&["172.31.0.0/16", "fd00:31::/64"]);
    let verified = chain(&[1]).extend(sign(&second, 1)).verify(&mesh(), NOW).unwrap();
    assert_eq!(verified.name().unwrap().as_str(), "hk");
    assert_eq!(verified.serve(), nets(&["172.31.0.0/16", "fd00:31::/64"]));
    assert!(verified.allows(&net("172.31.5.0/24")) && !verified.allows(&net("172.16.0.0/12")));
    assert_eq!(verified.serial(), Serial([2; 16]));
}
