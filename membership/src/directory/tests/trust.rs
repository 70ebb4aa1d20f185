//! Revocations, forgeries and stolen keys.

use super::*;

#[test]
fn revoked_node_cannot_rejoin() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    directory.handle_record(&record(1, ZERO), clock.start()).unwrap();
    assert_eq!(
        directory.handle_revocation(&revocation(1, false), clock.start()),
        Ok(true)
    );
    assert_eq!(
        directory.handle_revocation(&revocation(1, false), clock.start()),
        Ok(false)
    );
    assert!(shown(&directory, clock.start()).is_empty());
    assert!(events(&mut directory).contains(&DirectoryEvent::Revoked { node: node(1) }));
    let later = directory.handle_record(&record(1, MINUTE), clock.at(MINUTE));
    assert_eq!(later, Err(RejectReason::Revoked));
    assert_eq!(
        directory.view(clock.at(MINUTE)).rejected[&node(1).to_string()].reason,
        "revoked"
    );
}

#[test]
fn a_node_that_was_away_learns_of_a_revocation_whichever_comes_first() {
    let clock = Clock::new();
    let mut away = directory(&clock);
    away.handle_revocation(&revocation(1, false), clock.start())
        .unwrap();
    assert_eq!(
        away.handle_record(&record(1, ZERO), clock.start()),
        Err(RejectReason::Revoked)
    );
    let mut there = directory(&clock);
    there.handle_record(&record(1, ZERO), clock.start()).unwrap();
    there
        .handle_revocation(&revocation(1, false), clock.start())
        .unwrap();
    let given: Vec<Vec<u8>> = there.revocations().map(|(_, bytes)| bytes.to_vec()).collect();
    assert_eq!(given, [revocation(1, false)]);
    assert_eq!(shown(&away, clock.start()), shown(&there, clock.start()));
}

#[test]
fn descendants_go_only_when_the_revocation_says_so() {
    let clock = Clock::new();
    for (descendants, left) in [(false, vec![node(2)]), (true, vec![])] {
        let mut directory = directory(&clock);
        directory.handle_record(&record(1, ZERO), clock.start()).unwrap();
        directory
            .handle_record(&signed(2, chain_by(1, 2), ZERO, |_| ()), clock.start())
            .unwrap();
        directory
            .handle_revocation(&revocation(1, descendants), clock.start())
            .unwrap();
        assert_eq!(shown(&directory, clock.start()), left.into_iter().collect());
    }
}

#[test]
fn an_older_record_by_another_chain_does_not_bring_a_revoked_node_back() {
    let clock = Clock::new();
    let (direct, invited) = (record(2, ZERO), signed(2, chain_by(1, 2), MINUTE, |_| ()));
    for order in [[&direct, &invited], [&invited, &direct]] {
        let mut directory = directory(&clock);
        directory
            .handle_revocation(&revocation(1, true), clock.start())
            .unwrap();
        for bytes in order {
            let _ = directory.handle_record(bytes, clock.at(MINUTE));
        }
        assert!(shown(&directory, clock.at(MINUTE)).is_empty());
        assert_eq!(
            directory.handle_record(&invited, clock.at(MINUTE)),
            Err(RejectReason::Revoked)
        );
        directory
            .handle_record(&record(2, 2 * MINUTE), clock.at(2 * MINUTE))
            .unwrap();
        assert_eq!(shown(&directory, clock.at(2 * MINUTE)), [node(2)].into());
    }
}

#[test]
fn revocations_by_invented_keys_do_not_crowd_out_the_authoritys() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    let mut refused = 0;
    for n in 0..300_u64 {
        let issuer = meshnode_crypto::SigningKey::from_seed(
            [[7; 24].as_slice(), &n.to_le_bytes()]
                .concat()
                .try_into()
                .unwrap(),
        );
        let revocation = meshnode_crypto::Revocation {
            target: meshnode_crypto::RevocationTarget::Node(node(1)),
            descendants: false,
            issuer: issuer.public_key(),
            issued_at: clock.start().wall,
            until: clock.at(YEAR).wall,
        };
        let bytes = revocation.sign(&issuer, &mesh()).unwrap();
        refused += usize::from(
            directory
                .handle_revocation(bytes.as_bytes(), clock.start())
                .is_err(),
        );
    }
    assert_eq!(refused, 300 - 256);
    directory.handle_record(&record(1, ZERO), clock.start()).unwrap();
    assert_eq!(shown(&directory, clock.start()).len(), 1);
    assert_eq!(
        directory.handle_revocation(&revocation(1, false), clock.start()),
        Ok(true)
    );
    assert!(shown(&directory, clock.start()).is_empty());
}

#[test]
fn the_voucher_knows_members_and_forgeries() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    let (one, two) = (record(1, ZERO), record(2, ZERO));
    directory.handle_record(&one, clock.start()).unwrap();
    directory
        .handle_revocation(&revocation(3, false), clock.start())
        .unwrap();
    let address = |n| meshnode_crypto::mesh_address(&mesh(), &node(n));
    let mut voucher = directory.voucher();
    let row = |n| RowId {
        address: address(n),
        generation: 0,
    };
    assert!(voucher.admits(&row(1), false) && !voucher.admits(&row(2), false));
    assert!(voucher.admits(&row(2), true));
    let mut judge = |n, bytes: &[u8]| voucher.judge(address(n), Value::Record(bytes));
    assert_eq!(judge(1, &one), Authenticity::Known);
    assert_eq!(judge(2, &one), Authenticity::Forged);
    assert_eq!(judge(2, &two), Authenticity::Good);
    assert_eq!(judge(1, &two), Authenticity::Forged);
    assert_eq!(judge(3, &record(3, ZERO)), Authenticity::Unwelcome);
    let known = revocation(3, false);
    let id = directory.revocations().next().unwrap().0;
    assert_eq!(
        voucher.judge(address(1), Value::Revocation(id, &known)),
        Authenticity::Known
    );
    assert_eq!(
        voucher.judge(address(1), Value::Revocation([0; 16], &known)),
        Authenticity::Forged
    );
}

#[test]
fn refusals_name_their_signer_and_reason() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    let mut flipped = record(1, ZERO);
    *flipped.last_mut().unwrap() ^= 1;
    assert!(directory.handle_record(&flipped, clock.start()).is_err());
    let stale = directory.handle_record(&record(2, ZERO), clock.at(2 * YEAR));
    assert!(stale.is_err() || directory.clock_skew(clock.at(2 * YEAR)).is_some());
    assert_eq!(directory.rejected_totals().get("bad_signature"), Some(&1));
    assert_eq!(
        directory.view(clock.start()).rejected["unsigned"].reason,
        "bad_signature"
    );
}

#[test]
fn of_two_nodes_with_one_wireguard_key_the_lower_identity_keeps_it() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    let shared = LaneKey::from_seed([77; 32]);
    for n in [1, 2] {
        let proof = shared.prove(&mesh(), &node(n), 0);
        directory
            .handle_record(&changed(n, ZERO, |body| body.lanes = vec![proof]), clock.start())
            .unwrap();
    }
    let (winner, loser) = (node(1).min(node(2)), node(1).max(node(2)));
    let view = directory.view(clock.start());
    assert_eq!(view.nodes.into_keys().collect::<Vec<_>>(), [winner]);
    assert_eq!(view.rejected[&loser.to_string()].reason, "lane_key_taken");
}

#[test]
fn a_revocation_does_not_run_out_by_a_wrong_clock() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    for n in 1..4 {
        directory.handle_record(&record(n, ZERO), clock.start()).unwrap();
    }
    let mut wrong = clock.at(MINUTE);
    wrong.wall = wrong.wall + 10 * YEAR;
    assert_eq!(
        directory.handle_revocation(&revocation(1, false), wrong),
        Ok(true)
    );
    directory.handle_timeout(wrong);
    assert_eq!(directory.revocations().count(), 1);
    assert_eq!(shown(&directory, wrong).len(), 2);
}
