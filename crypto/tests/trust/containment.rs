//! Nobody grants more than it was delegated, however the prefixes lie.

use ipnet::IpNet;
use meshnode_crypto::{Grant, GrantError};
use proptest::prelude::*;

use crate::mesh::{NOW, chain_of, grant, mesh, nets};

fn pair(delegated: &[&str], serve: &[&str], delegate: &[&str]) -> [Grant; 2] {
    let (mut first, mut second) = (grant(0, 1), grant(1, 2));
    first.delegate = nets(delegated);
    (second.serve, second.delegate) = (nets(serve), nets(delegate));
    [first, second]
}

#[test]
fn what_is_served_lies_inside_what_the_issuer_delegates() {
    let inside = pair(&["10.0.0.0/8", "fd00::/8"], &["10.3.0.0/16", "fd00:3::/64"], &[]);
    assert!(chain_of(&inside).verify(&mesh(), NOW).is_ok());
    for outside in ["11.0.0.0/16", "0.0.0.0/0", "8.0.0.0/7", "fe00::/16"] {
        let refusal = chain_of(&pair(&["10.0.0.0/8", "fd00::/8"], &[outside], &[])).verify(&mesh(), NOW);
        let prefix = outside.parse().unwrap();
        assert_eq!(refusal, Err(GrantError::ServeOutsideDelegate { prefix }));
    }
}

#[test]
fn what_is_delegated_lies_inside_what_the_issuer_delegates() {
    let inside = pair(&["10.0.0.0/8"], &[], &["10.3.0.0/16"]);
    assert!(chain_of(&inside).verify(&mesh(), NOW).is_ok());
    let refusal = chain_of(&pair(&["10.0.0.0/8"], &[], &["10.3.0.0/16", "::/0"])).verify(&mesh(), NOW);
    let prefix = "::/0".parse().unwrap();
    assert_eq!(refusal, Err(GrantError::DelegateOutsideDelegate { prefix }));
}

#[test]
fn serving_a_prefix_does_not_delegate_it() {
    let mut grants = pair(&["10.0.0.0/8"], &["10.0.0.0/8"], &["10.3.0.0/16"]).to_vec();
    let mut third = grant(2, 3);
    (third.serve, third.delegate) = (nets(&["10.4.0.0/16"]), vec![]);
    grants.push(third);
    let prefix = "10.4.0.0/16".parse().unwrap();
    let refusal = chain_of(&grants).verify(&mesh(), NOW);
    assert_eq!(refusal, Err(GrantError::ServeOutsideDelegate { prefix }));
}

#[test]
fn two_delegated_halves_allow_the_whole() {
    let halves = pair(&["10.0.0.0/9", "10.128.0.0/9"], &["10.0.0.0/8"], &[]);
    let verified = chain_of(&halves).verify(&mesh(), NOW).unwrap();
    assert!(verified.allows(&"10.0.0.0/8".parse().unwrap()));
}

/// Prefixes in a space of 256 addresses.
fn small_prefix() -> impl Strategy<Value = IpNet> {
    (any::<u8>(), 24_u8..=30).prop_map(|(host, length)| {
        IpNet::new(std::net::Ipv4Addr::new(10, 0, 0, host).into(), length)
            .unwrap()
            .trunc()
    })
}

fn small_list() -> impl Strategy<Value = Vec<IpNet>> {
    prop::collection::vec(small_prefix(), 0..4)
}

/// The same rule, address by address.
fn holds_naively(grants: &[Grant]) -> bool {
    let inside = |list: &[IpNet], allowed: &[IpNet]| {
        let addresses = list.iter().flat_map(|prefix| prefix.subnets(32).unwrap());
        addresses
            .into_iter()
            .all(|one| allowed.iter().any(|wide| wide.contains(&one)))
    };
    grants.windows(2).all(|pair| {
        let allowed = &pair[0].delegate;
        !allowed.is_empty() && inside(&pair[1].serve, allowed) && inside(&pair[1].delegate, allowed)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_chain_holds_exactly_if_every_single_address_was_delegated(
        lists in prop::collection::vec((small_list(), small_list()), 1..4)
    ) {
        let grants: Vec<Grant> = lists.into_iter().zip(0_u8..).map(|((serve, delegate), issuer)| {
            Grant { serve, delegate, ..grant(issuer, issuer + 1) }
        }).collect();
        let verified = chain_of(&grants).verify(&mesh(), NOW);
        prop_assert_eq!(verified.is_ok(), holds_naively(&grants), "{:?}", verified);
    }

    #[test]
    fn what_a_verified_chain_says_it_may_grant_is_accepted_from_it(
        delegated in small_list(), serve in small_list(), delegate in small_list()
    ) {
        let mut first = grant(0, 1);
        first.delegate = delegated;
        let verified = chain_of(std::slice::from_ref(&first)).verify(&mesh(), NOW).unwrap();
        let promised = verified.check_invitation(&serve, &delegate);
        let accepted = chain_of(&[first, Grant { serve, delegate, ..grant(1, 2) }]).verify(&mesh(), NOW);
        prop_assert_eq!(promised.err(), accepted.err());
    }
}
