use std::collections::BTreeSet;
use std::time::Duration;

use meshnode_crypto::{Grant, GrantChain, LaneKey, Name};
use proptest::prelude::*;

use super::*;
use crate::gossip::guard::{Authenticity, Value, Vouch};
use crate::record::{RecordBody, authenticate};
use crate::testing::{
    Clock, HOUR, YEAR, authority, body, chain_by, directory, founder_chain, grant, key, mesh, node, record,
    revocation,
};

const ZERO: Duration = Duration::ZERO;
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn events(directory: &mut Directory) -> Vec<DirectoryEvent> {
    std::iter::from_fn(|| directory.poll_event()).collect()
}

fn shown(directory: &Directory, now: Now) -> BTreeSet<NodeId> {
    directory.view(now).nodes.into_keys().collect()
}

fn signed(n: u8, chain: GrantChain, after: Duration, change: impl FnOnce(&mut RecordBody)) -> Vec<u8> {
    let mut body = body(n, chain, after);
    change(&mut body);
    body.sign(&key(n), &mesh()).unwrap()
}

fn changed(n: u8, after: Duration, change: impl FnOnce(&mut RecordBody)) -> Vec<u8> {
    signed(n, founder_chain(n), after, change)
}

#[test]
fn what_a_record_changes_is_told() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    let mut take = |bytes: &[u8]| directory.handle_record(bytes, clock.at(HOUR)).unwrap().change;
    let first = record(1, ZERO);
    assert_eq!(take(&first), Change::New);
    assert_eq!(take(&first), Change::Unchanged);
    assert_eq!(take(&record(1, MINUTE)), Change::Refreshed);
    assert_eq!(take(&first), Change::Older);
    assert_eq!(
        take(&changed(1, 2 * MINUTE, |body| body.epoch = 2)),
        Change::Newer
    );
}

#[test]
fn an_old_record_replayed_changes_nothing() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    directory
        .handle_record(&changed(1, MINUTE, |body| body.epoch = 9), clock.at(HOUR))
        .unwrap();
    let before = directory.view(clock.at(HOUR));
    directory.handle_record(&record(1, ZERO), clock.at(HOUR)).unwrap();
    assert_eq!(directory.view(clock.at(HOUR)), before);
}

#[test]
fn one_identity_on_two_machines_is_told_and_one_record_stays() {
    let clock = Clock::new();
    let (a, b) = (record(1, ZERO), changed(1, ZERO, |body| body.epoch = 2));
    let kept = |order: [&Vec<u8>; 2]| {
        let mut directory = directory(&clock);
        for bytes in order {
            directory.handle_record(bytes, clock.start()).unwrap();
        }
        assert!(events(&mut directory).contains(&DirectoryEvent::Conflict { node: node(1) }));
        directory.view(clock.start()).nodes[&node(1)].epoch
    };
    assert_eq!(kept([&a, &b]), kept([&b, &a]));
}

#[test]
fn our_own_record_from_elsewhere_is_told() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    let ours = |after, epoch| changed(0, after, |body| body.epoch = epoch);
    directory.handle_record(&ours(ZERO, 1), clock.at(HOUR)).unwrap();
    let restored = DirectoryEvent::OwnSeen {
        sequence: body(0, founder_chain(0), ZERO).sequence,
    };
    assert_eq!(events(&mut directory), [restored]);
    directory.set_own(authenticate(&ours(MINUTE, 2), &mesh()).unwrap());
    directory.handle_record(&ours(MINUTE, 2), clock.at(HOUR)).unwrap();
    directory.handle_record(&ours(ZERO, 1), clock.at(HOUR)).unwrap();
    assert_eq!(events(&mut directory), []);
    directory
        .handle_record(&ours(2 * MINUTE, 3), clock.at(HOUR))
        .unwrap();
    let events = events(&mut directory);
    assert!(events.contains(&DirectoryEvent::Conflict { node: node(0) }));
    assert!(matches!(events[0], DirectoryEvent::OwnSeen { .. }));
    assert_eq!(directory.view(clock.at(HOUR)).own.unwrap().epoch, 2);
}

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
fn a_departed_node_stays_gone_until_it_says_otherwise() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    directory.handle_record(&record(1, ZERO), clock.start()).unwrap();
    directory
        .handle_record(&changed(1, MINUTE, |body| body.departed = true), clock.at(MINUTE))
        .unwrap();
    directory
        .handle_record(&record(1, ZERO), clock.at(MINUTE))
        .unwrap();
    assert!(shown(&directory, clock.at(MINUTE)).is_empty());
    directory.handle_timeout(clock.at(30 * DAY));
    assert_eq!(
        directory.records().count(),
        1,
        "its departure is still given to others"
    );
    directory
        .handle_record(&record(1, 30 * DAY), clock.at(30 * DAY))
        .unwrap();
    assert_eq!(shown(&directory, clock.at(30 * DAY)).len(), 1);
}

#[test]
fn an_expired_record_is_only_a_hint_where_to_dial() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    for n in 1..4 {
        directory.handle_record(&record(n, ZERO), clock.start()).unwrap();
    }
    let end = directory.poll_timeout().unwrap();
    assert_eq!(end, clock.at(DAY + Duration::from_millis(1)).wall);
    directory.handle_timeout(clock.at(DAY + Duration::from_millis(1)));
    assert!(shown(&directory, clock.at(DAY + MINUTE)).is_empty());
    assert_eq!(directory.members().count(), 3);
    assert_eq!(directory.records().count(), 0);
    assert!(events(&mut directory).contains(&DirectoryEvent::Expired { node: node(1) }));
    directory
        .handle_record(&record(1, DAY), clock.at(DAY + MINUTE))
        .unwrap();
    assert_eq!(shown(&directory, clock.at(DAY + MINUTE)), [node(1)].into());
}

#[test]
fn records_from_disk_are_members_or_hints_and_accuse_nobody() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    let now = clock.at(3 * DAY);
    assert_eq!(
        directory.restore_record(&record(1, ZERO), now),
        Err(RejectReason::Expired)
    );
    directory.restore_record(&record(2, 3 * DAY - HOUR), now).unwrap();
    assert_eq!(shown(&directory, now), [node(2)].into());
    assert_eq!(directory.members().count(), 2);
    assert_eq!(directory.clock_skew(now), None);
    assert!(directory.rejected_totals().is_empty());
}

#[test]
fn a_grants_end_removes_the_node() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    let grant = Grant {
        not_after: clock.at(2 * HOUR).wall,
        ..grant(&authority(), 1, &[])
    };
    let chain = GrantChain::from(grant.sign(&authority(), &mesh()).unwrap());
    directory
        .handle_record(&signed(1, chain, ZERO, |_| ()), clock.start())
        .unwrap();
    directory.handle_timeout(clock.at(2 * HOUR));
    assert_eq!(directory.members().count(), 1);
    directory.handle_timeout(clock.at(2 * HOUR + MINUTE));
    assert_eq!(directory.members().count(), 0);
}

#[test]
fn a_record_from_the_future_is_held_back_and_merged_when_due() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    directory.handle_record(&record(1, ZERO), clock.start()).unwrap();
    let ahead = changed(1, 3 * HOUR, |body| body.epoch = 7);
    assert_eq!(
        directory.handle_record(&ahead, clock.start()),
        Err(RejectReason::FromTheFuture)
    );
    assert_eq!(directory.view(clock.start()).nodes[&node(1)].epoch, 1);
    assert_eq!(directory.poll_timeout(), Some(clock.at(2 * HOUR).wall));
    directory.handle_timeout(clock.at(2 * HOUR));
    assert_eq!(directory.view(clock.at(2 * HOUR)).nodes[&node(1)].epoch, 7);
}

#[test]
fn a_member_that_sends_the_highest_sequence_bricks_nobody_not_even_itself() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    let insane = changed(1, ZERO, |body| body.sequence = u64::MAX);
    assert_eq!(
        directory.handle_record(&insane, clock.start()),
        Err(RejectReason::FromTheFuture)
    );
    directory.handle_record(&record(1, ZERO), clock.start()).unwrap();
    directory.handle_record(&record(2, ZERO), clock.start()).unwrap();
    directory.handle_timeout(clock.at(HOUR));
    assert_eq!(shown(&directory, clock.at(HOUR)).len(), 2);
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
fn of_two_nodes_with_one_client_pool_the_lower_identity_keeps_it() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    for n in [1, 2] {
        let grant = Grant {
            client_pool: Some("100.96.7.0/24".parse().unwrap()),
            ..grant(&authority(), n, &[])
        };
        let chain = GrantChain::from(grant.sign(&authority(), &mesh()).unwrap());
        directory
            .handle_record(&signed(n, chain, ZERO, |_| ()), clock.start())
            .unwrap();
    }
    let view = directory.view(clock.start());
    let holders: Vec<_> = view
        .nodes
        .values()
        .filter(|node| node.client_pool.is_some())
        .map(|node| node.id)
        .collect();
    assert_eq!(holders, [node(1).min(node(2))]);
}

#[test]
fn a_name_bound_in_a_grant_is_shown_plain() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    let bound = Grant {
        name: Some(Name::parse("gw").unwrap()),
        ..grant(&authority(), 1, &[])
    };
    let chain = GrantChain::from(bound.sign(&authority(), &mesh()).unwrap());
    directory
        .handle_record(&signed(1, chain, ZERO, |_| ()), clock.start())
        .unwrap();
    directory
        .handle_record(
            &changed(2, ZERO, |body| body.name = Name::parse("gw").unwrap()),
            clock.start(),
        )
        .unwrap();
    let view = directory.view(clock.start());
    assert_eq!(view.nodes[&node(1)].name, "gw");
    assert_eq!(
        view.nodes[&node(2)].name,
        format!("gw-{}", &node(2).to_string()[..4])
    );
    assert_eq!(directory.holder_of(&Name::parse("gw").unwrap()), Some(node(1)));
}

#[test]
fn a_full_table_refuses_new_nodes_and_still_updates_known_ones() {
    let clock = Clock::new();
    let config = DirectoryConfig {
        mesh: mesh(),
        self_id: node(0),
        max_members: 4,
    };
    let mut directory = Directory::new(config, clock.start());
    for n in 1..4 {
        directory.handle_record(&record(n, ZERO), clock.start()).unwrap();
    }
    assert_eq!(
        directory.handle_record(&record(4, ZERO), clock.start()),
        Err(RejectReason::TableFull)
    );
    assert!(events(&mut directory).contains(&DirectoryEvent::TableFull { node: node(4) }));
    assert_eq!(directory.rejected_totals()["table_full"], 1);
    directory
        .handle_record(&record(3, MINUTE), clock.at(MINUTE))
        .unwrap();
    assert!(!directory.has_room_for(&node(4)) && directory.has_room_for(&node(3)));
    for n in 1..3 {
        directory.handle_record(&record(n, DAY), clock.at(DAY)).unwrap();
    }
    let later = clock.at(DAY + HOUR);
    directory.handle_timeout(later);
    directory.handle_record(&record(4, DAY + HOUR), later).unwrap();
    assert_eq!(shown(&directory, later), [node(1), node(2), node(4)].into());
}

#[test]
fn a_clock_ten_years_ahead_removes_nobody_and_says_so() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    for n in 1..4 {
        directory.handle_record(&record(n, ZERO), clock.start()).unwrap();
    }
    let mut wrong = clock.at(MINUTE);
    wrong.wall = wrong.wall + 10 * YEAR;
    directory.handle_timeout(wrong);
    let view = directory.view(wrong);
    assert_eq!(view.nodes.len(), 3);
    assert!(view.clock_skew.unwrap() < 0);
    assert!(matches!(
        events(&mut directory)[..],
        [DirectoryEvent::ClockSkew(Some(_))]
    ));
    directory.handle_record(&record(4, MINUTE), wrong).unwrap();
    assert_eq!(directory.view(wrong).nodes.len(), 4);
    directory.handle_timeout(clock.at(2 * MINUTE));
    assert_eq!(directory.view(clock.at(2 * MINUTE)).nodes.len(), 4);
    assert_eq!(events(&mut directory), [DirectoryEvent::ClockSkew(None)]);
}

#[test]
fn who_expired_before_a_clock_went_wrong_does_not_come_back_by_it() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    directory.handle_record(&record(1, ZERO), clock.start()).unwrap();
    for n in 2..5 {
        directory.handle_record(&record(n, DAY), clock.at(DAY)).unwrap();
    }
    directory.handle_timeout(clock.at(DAY + HOUR));
    let mut wrong = clock.at(DAY + 2 * HOUR);
    wrong.wall = wrong.wall + YEAR;
    directory.handle_timeout(wrong);
    assert_eq!(shown(&directory, wrong), [node(2), node(3), node(4)].into());
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
    assert!(voucher.is_member(address(1)) && !voucher.is_member(address(2)));
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

#[derive(Clone)]
enum Input {
    Record(Vec<u8>),
    Revocation(Vec<u8>),
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Input::Record(bytes) => {
                let body = authenticate(bytes, &mesh()).unwrap().body;
                let links = body.chain.links().len();
                write!(
                    f,
                    "{} at {} links {links} epoch {}",
                    body.name, body.issued_at, body.epoch
                )
            }
            Input::Revocation(bytes) => {
                let signed = meshnode_crypto::SignedRevocation::from_bytes(bytes).unwrap();
                write!(f, "{:?}", signed.verify(&mesh()).unwrap())
            }
        }
    }
}

fn input() -> impl Strategy<Value = Input> {
    let record =
        (1_u8..6, 0_u32..38, 0_u32..3, any::<bool>(), 0_u8..8).prop_map(|(n, hours, epoch, by, special)| {
            let chain = if by && n > 1 {
                chain_by(1, n)
            } else {
                founder_chain(n)
            };
            Input::Record(signed(n, chain, hours * HOUR, |body| {
                body.epoch = epoch;
                body.departed = special == 0;
                if special == 1 {
                    body.lanes = vec![LaneKey::from_seed([78; 32]).prove(&mesh(), &node(n), 0)];
                }
                if special == 2 {
                    body.name = Name::parse("same").unwrap();
                }
            }))
        });
    let revocation = (1_u8..6, any::<bool>()).prop_map(|(n, below)| Input::Revocation(revocation(n, below)));
    prop_oneof![6 => record, 1 => revocation]
}

fn view_of(inputs: &[Input], clock: &Clock) -> View {
    let now = clock.at(36 * HOUR);
    let mut directory = directory(clock);
    for input in inputs {
        let _ = match input {
            Input::Record(bytes) => directory.handle_record(bytes, now).map(drop),
            Input::Revocation(bytes) => directory.handle_revocation(bytes, now).map(drop),
        };
    }
    directory.handle_timeout(now);
    let mut view = directory.view(now);
    // How often something came is not part of what is known.
    view.version = 0;
    view.rejected.clear();
    view
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn same_records_in_any_order_and_multiplicity_give_the_same_view(
        (inputs, shuffled) in prop::collection::vec(input(), 1..14).prop_flat_map(|inputs| {
            let repeated = inputs.iter().chain(inputs.iter().step_by(2)).cloned().collect::<Vec<_>>();
            (Just(inputs), Just(repeated).prop_shuffle())
        })
    ) {
        let clock = Clock::new();
        prop_assert_eq!(view_of(&inputs, &clock), view_of(&shuffled, &clock));
    }

    #[test]
    fn garbage_is_refused_and_counted(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let clock = Clock::new();
        let mut directory = directory(&clock);
        prop_assert!(directory.handle_record(&bytes, clock.start()).is_err());
        prop_assert!(directory.handle_revocation(&bytes, clock.start()).is_err());
        prop_assert_eq!(directory.rejected_totals().values().sum::<u64>(), 2);
    }
}

#[test]
fn a_conflict_is_told_once_however_often_its_records_come() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    let (a, b) = (record(1, ZERO), changed(1, ZERO, |body| body.epoch = 2));
    let mut changes = Vec::new();
    for bytes in [&a, &b, &a, &b, &b, &a] {
        changes.push(directory.handle_record(bytes, clock.start()).unwrap().change);
    }
    assert_eq!(changes[..2], [Change::New, Change::Conflict]);
    assert!(changes[2..].iter().all(|change| *change == Change::Unchanged));
    assert_eq!(
        events(&mut directory),
        [DirectoryEvent::Conflict { node: node(1) }]
    );
}

#[test]
fn who_finds_no_room_has_no_say_about_clocks() {
    let clock = Clock::new();
    let config = DirectoryConfig {
        mesh: mesh(),
        self_id: node(0),
        max_members: 2,
    };
    let mut directory = Directory::new(config, clock.start());
    directory.handle_record(&record(1, ZERO), clock.start()).unwrap();
    for n in 2..9 {
        let ahead = HOUR - MINUTE;
        assert_eq!(
            directory.handle_record(&record(n, ahead), clock.start()),
            Err(RejectReason::TableFull)
        );
    }
    assert_eq!(directory.clock_skew(clock.start()), None);
}

#[test]
fn nothing_is_due_again_that_was_done() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    for n in 1..4 {
        directory.handle_record(&record(n, ZERO), clock.start()).unwrap();
    }
    directory
        .handle_record(&changed(4, ZERO, |body| body.departed = true), clock.start())
        .unwrap();
    directory
        .handle_revocation(&revocation(1, false), clock.start())
        .unwrap();
    let later = clock.at(3 * DAY);
    directory.handle_timeout(later);
    assert!(directory.poll_timeout().is_some_and(|due| due > later.wall));
    let mut wrong = clock.at(3 * DAY + MINUTE);
    wrong.wall = wrong.wall + 10 * YEAR;
    for n in 5..8 {
        directory.handle_record(&record(n, 3 * DAY), later).unwrap();
    }
    directory.handle_timeout(wrong);
    assert_eq!(directory.poll_timeout(), None);
}
