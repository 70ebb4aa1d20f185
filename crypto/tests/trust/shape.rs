//! What a grant must be by itself, whoever signs it.

use ipnet::{IpNet, Ipv4Net};
use meshnode_crypto::{
    Context, Grant, GrantChain, GrantError, PrefixError, Sealed, SignedGrant, mesh_prefix,
};

use crate::mesh::{DAY, NOW, chain, chain_of, forge, grant, key, mesh, net, nets};

fn v4(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

/// The refusal of a root grant changed by `change`, by its receiver; the signer must refuse as well.
fn refusal(change: impl FnOnce(&mut Grant)) -> GrantError {
    let mut bad = grant(0, 1);
    change(&mut bad);
    assert!(bad.sign(&key(0), &mesh()).is_err(), "the signer let it pass");
    chain_of(&[bad]).verify(&mesh(), NOW).unwrap_err()
}

#[test]
fn host_bits_are_refused_with_the_corrected_prefix() {
    let expected = PrefixError::HostBits {
        given: net("10.1.2.3/16"),
        corrected: net("10.1.0.0/16"),
    };
    assert_eq!(
        refusal(|g| g.serve = nets(&["10.1.2.3/16"])),
        GrantError::Prefix(expected.clone())
    );
    assert_eq!(
        refusal(|g| g.delegate = nets(&["10.1.2.3/16"])),
        GrantError::Prefix(expected)
    );
    assert!(matches!(
        refusal(|g| g.client_pool = Some(v4("100.96.1.1/24"))),
        GrantError::Prefix(_)
    ));
    assert!(matches!(
        refusal(|g| g.client_range = Some(v4("100.97.0.0/12"))),
        GrantError::Prefix(_)
    ));
}

#[test]
fn a_list_of_501_prefixes_is_refused() {
    let many = |n: u32| {
        (0..n)
            .map(|i| net(&format!("10.{}.{}.0/24", i / 256, i % 256)))
            .collect()
    };
    refusal(|g| g.serve = many(501));
    refusal(|g| g.delegate = many(501));
    let mut full = grant(0, 1);
    full.serve = many(500);
    assert!(chain_of(&[full]).verify(&mesh(), NOW).is_ok());
}

#[test]
fn a_grant_that_ends_before_it_begins_is_refused() {
    assert!(matches!(
        refusal(|g| g.not_after = g.not_before - DAY),
        GrantError::NeverValid { .. }
    ));
}

#[test]
fn a_list_that_claims_a_million_entries_is_refused_without_room_for_them() {
    let body = postcard::to_extend(&grant(0, 1), vec![1]).unwrap();
    let at = 1 + 32 + 32;
    assert_eq!(body[at], 1, "the length of `serve` follows the two keys");
    let mut claim = body[..at].to_vec();
    claim.extend([0xff, 0xff, 0xff, 0xff, 0x0f]);
    claim.extend(&body[at + 1..]);
    let bytes = Sealed::seal(claim, &key(0), Context::Grant, &mesh());
    let chain = GrantChain::new(vec![SignedGrant::from_bytes(&bytes).unwrap()]);
    assert!(matches!(
        chain.verify(&mesh(), NOW),
        Err(GrantError::Malformed { .. })
    ));
}

#[test]
fn bytes_between_body_and_signature_are_refused() {
    let mut body = postcard::to_extend(&grant(0, 1), vec![1]).unwrap();
    body.push(0);
    let bytes = Sealed::seal(body, &key(0), Context::Grant, &mesh());
    let chain = GrantChain::new(vec![SignedGrant::from_bytes(&bytes).unwrap()]);
    assert_eq!(
        chain.verify(&mesh(), NOW),
        Err(GrantError::Malformed {
            reason: "bytes follow its end"
        })
    );
}

#[test]
fn a_grant_of_a_newer_format_is_refused_as_such() {
    let body = postcard::to_extend(&grant(0, 1), vec![2]).unwrap();
    let bytes = Sealed::seal(body, &key(0), Context::Grant, &mesh());
    let chain = GrantChain::new(vec![SignedGrant::from_bytes(&bytes).unwrap()]);
    assert!(
        chain
            .verify(&mesh(), NOW)
            .unwrap_err()
            .to_string()
            .contains("newer meshnode")
    );
}

#[test]
fn a_grant_is_not_read_from_something_signed_for_another_purpose() {
    let body = postcard::to_extend(&grant(0, 1), vec![1]).unwrap();
    for purpose in [
        Context::Token,
        Context::Record,
        Context::Revocation,
        Context::Cache,
        Context::LaneKey,
    ] {
        let bytes = Sealed::seal(body.clone(), &key(0), purpose, &mesh());
        let chain = GrantChain::new(vec![SignedGrant::from_bytes(&bytes).unwrap()]);
        assert_eq!(
            chain.verify(&mesh(), NOW),
            Err(GrantError::BadSignature { link: 1 }),
            "{purpose:?}"
        );
    }
}

#[test]
fn only_the_authority_sets_the_client_range() {
    let mut root = grant(0, 1);
    root.client_range = Some(v4("100.64.0.0/16"));
    let mut second = grant(1, 2);
    second.client_pool = Some(v4("100.64.7.0/24"));
    let verified = chain_of(&[root.clone(), second.clone()])
        .verify(&mesh(), NOW)
        .unwrap();
    assert_eq!(verified.client_range(), root.client_range);
    assert_eq!(verified.client_pool(), second.client_pool);
    second.client_range = Some(v4("100.64.0.0/16"));
    let refusal = chain_of(&[root, second]).verify(&mesh(), NOW);
    assert_eq!(refusal, Err(GrantError::ClientRangeNotRoot { link: 2 }));
}

#[test]
fn a_client_pool_is_a_24_in_the_range() {
    for pool in ["100.112.0.0/24", "10.0.0.0/24", "100.96.0.0/23", "100.96.0.0/25"] {
        let mut second = grant(1, 2);
        second.client_pool = Some(v4(pool));
        let refusal = chain(&[1]).extend(forge(&second, 1)).verify(&mesh(), NOW);
        assert!(matches!(refusal, Err(GrantError::ClientPool { .. })), "{pool}");
    }
}

#[test]
fn no_grant_draws_away_mesh_or_client_addresses() {
    let own = mesh_prefix(&mesh());
    let node = IpNet::new(own.addr().into(), 128).unwrap();
    for serve in [IpNet::V6(own), node, net("100.96.0.0/12"), net("100.97.5.0/24")] {
        let mut bad = grant(0, 1);
        bad.serve = vec![serve];
        let refusal = chain_of(&[bad]).verify(&mesh(), NOW);
        assert!(
            matches!(refusal, Err(GrantError::ServeInsideMesh { .. })),
            "{serve}"
        );
    }
    let mut all = grant(0, 1);
    all.serve = nets(&["0.0.0.0/0", "::/0"]);
    let verified = chain_of(&[all]).verify(&mesh(), NOW).unwrap();
    assert!(verified.allows(&net("0.0.0.0/0")) && verified.allows(&net("192.168.0.0/16")));
    assert!(!verified.allows(&node) && !verified.allows(&net("100.97.5.0/24")));
}
