use std::time::Duration;

use meshnode_crypto::GrantChain;

use super::*;
use crate::admission::ledger::Ledger;
use crate::testing::{
    Clock, HOUR, YEAR, authority, body, chain_by, directory, founder_chain, grant, key, mesh, net, node,
    prefix, record, revocation,
};

const SERIAL: Serial = Serial([42; 16]);

// authority → n with this end; may grant all of 10.0.0.0/8.
fn founder_until(n: u8, not_after: UnixMillis) -> GrantChain {
    let grant = Grant {
        not_after,
        ..grant(&authority(), n, &[net("10.0.0.0/8")])
    };
    GrantChain::from(grant.sign(&authority(), &mesh()).unwrap())
}

fn verified(chain: &GrantChain) -> VerifiedChain {
    chain.verify_at_any_time(&mesh()).unwrap()
}

fn join(directory: &mut Directory, n: u8, chain: GrantChain, after: Duration, now: Now) {
    let bytes = body(n, chain, after).sign(&key(n), &mesh()).unwrap();
    directory.handle_record(&bytes, now).unwrap();
}

fn decide(asker: &GrantChain, giver: &GrantChain, directory: &Directory, now: Now) -> Result<Grant, Refusal> {
    let chain = verified(giver);
    let ledger = Ledger::default();
    let admitter = Admitter {
        chain: &chain,
        directory,
        ledger: &ledger,
    };
    decide_renewal(&verified(asker), &admitter, now, SERIAL)
}

#[test]
fn a_grant_is_renewed_from_two_thirds_of_its_life_on() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    let late = clock.at(YEAR * 2 / 3);
    join(
        &mut directory,
        1,
        founder_until(1, clock.at(3 * YEAR).wall),
        YEAR * 2 / 3,
        late,
    );
    let chain = verified(&chain_by(1, 2));
    let renewal = Renewal::new();
    assert_eq!(renewal.handle_timeout(&chain, &directory, clock.at(YEAR / 2)), []);
    assert_eq!(renewal.handle_timeout(&chain, &directory, late), [node(1)]);
}

#[test]
fn the_issuer_is_asked_first_and_only_who_could_give() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    let (after, late) = (YEAR * 2 / 3, clock.at(YEAR * 2 / 3));
    for n in [1, 3, 4] {
        join(
            &mut directory,
            n,
            founder_until(n, clock.at((1 + u32::from(n)) * YEAR).wall),
            after,
            late,
        );
    }
    join(&mut directory, 5, chain_by(1, 5), after, late);
    assert_eq!(
        candidates(&verified(&chain_by(3, 2)), &directory, late),
        [node(3), node(4), node(1)]
    );
}

#[test]
fn a_round_without_success_is_repeated_later_and_later() {
    let clock = Clock::new();
    let chain = verified(&chain_by(1, 2));
    let mut renewal = Renewal::new();
    let mut now = due(&chain);
    let mut waits = Vec::new();
    for _ in 0..20 {
        renewal.failed(now);
        waits.push(renewal.poll_timeout(&chain).saturating_since(now));
        now = renewal.poll_timeout(&chain);
    }
    assert_eq!(
        (waits[0], waits[1], waits[19]),
        (FIRST_WAIT, 2 * FIRST_WAIT, MAX_WAIT)
    );
    renewal.renewed();
    assert_eq!(renewal.poll_timeout(&chain), due(&chain));
    assert!(now > clock.start().wall);
}

#[test]
fn a_renewed_grant_says_the_same_for_longer() {
    let clock = Clock::new();
    let directory = directory(&clock);
    let now = clock.at(YEAR * 2 / 3);
    let (asker, giver) = (chain_by(1, 2), founder_until(3, clock.at(3 * YEAR).wall));
    let grant = decide(&asker, &giver, &directory, now).unwrap();
    let renewed = verified(&giver.extend(grant.sign(&key(3), &mesh()).unwrap()));
    let old = verified(&asker);
    assert!(renewed.not_after() > old.not_after());
    assert_eq!(
        (renewed.serve(), renewed.delegate(), renewed.subject()),
        (old.serve(), old.delegate(), old.subject())
    );
}

#[test]
fn a_giver_that_ends_no_later_gives_nothing() {
    let clock = Clock::new();
    let directory = directory(&clock);
    let refusal = decide(&chain_by(1, 2), &founder_chain(3), &directory, clock.start()).unwrap_err();
    assert_eq!(refusal.code(), "no_gain");
}

#[test]
fn revoked_expired_and_ancestral_askers_are_refused() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    let giver = founder_until(3, clock.at(3 * YEAR).wall);
    let expired = decide(&chain_by(1, 2), &giver, &directory, clock.at(YEAR + HOUR)).unwrap_err();
    assert_eq!(expired.code(), "bad_grant");
    let below = decide(&founder_chain(1), &chain_by(1, 3), &directory, clock.start()).unwrap_err();
    assert_eq!(below.code(), "bad_grant");
    directory
        .handle_revocation(&revocation(2, false), clock.start())
        .unwrap();
    assert_eq!(
        decide(&chain_by(1, 2), &giver, &directory, clock.start()),
        Err(Refusal::NodeRevoked)
    );
}

#[test]
fn a_wrong_clock_renews_nobody() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    directory
        .handle_record(&record(1, Duration::ZERO), clock.start())
        .unwrap();
    let mut now = clock.start();
    now.wall = now.wall - 2 * HOUR;
    let giver = founder_until(3, clock.at(3 * YEAR).wall);
    assert_eq!(
        decide(&chain_by(1, 2), &giver, &directory, now)
            .unwrap_err()
            .code(),
        "clock_unsure"
    );
}

#[test]
fn an_operator_widens_a_grant_within_what_the_node_delegates() {
    let clock = Clock::new();
    let directory = directory(&clock);
    let chain = verified(&founder_chain(3));
    let ledger = Ledger::default();
    let admitter = Admitter {
        chain: &chain,
        directory: &directory,
        ledger: &ledger,
    };
    let current = verified(&chain_by(1, 2));
    let regrant = |serve: &[IpNet]| decide_regrant(&current, serve, None, &admitter, clock.start(), SERIAL);
    let wider = regrant(&[prefix(7), prefix(2)]).unwrap();
    assert_eq!(wider.serve, [prefix(2), prefix(7)]);
    assert!(wider.delegate.is_empty());
    assert_eq!(regrant(&[net("192.168.0.0/16")]).unwrap_err().code(), "bad_grant");
    assert_eq!(regrant(&[net("10.7.1.1/16")]).unwrap_err().code(), "bad_prefix");
}

#[test]
fn the_authority_renews_the_founder_with_its_client_range() {
    let clock = Clock::new();
    let range = Some("100.112.0.0/16".parse().unwrap());
    let founder = Grant {
        client_range: range,
        ..grant(&authority(), 1, &[net("10.0.0.0/8")])
    };
    let current = verified(&GrantChain::from(founder.sign(&authority(), &mesh()).unwrap()));
    let now = clock.at(YEAR * 2 / 3).wall;
    let renewed = renew_by_authority(&current, &authority().public_key(), now, SERIAL);
    let renewed = GrantChain::from(renewed.sign(&authority(), &mesh()).unwrap())
        .verify(&mesh(), now)
        .unwrap();
    assert!(renewed.not_after() > current.not_after());
    assert_eq!(
        (renewed.client_range(), renewed.delegate()),
        (range, current.delegate())
    );
}
