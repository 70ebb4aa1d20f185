//! The directory as others meet it: what records change, who is shown, and in any order the same.

mod mesh;
mod order;
mod time;
mod trust;

use std::collections::BTreeSet;
use std::time::Duration;

use meshnode_crypto::{Grant, GrantChain, LaneKey, Name};

use super::*;
use crate::gossip::guard::{Authenticity, RowId, Value, Vouch};
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
fn our_own_record_from_a_clock_far_ahead_binds_us_to_nothing() {
    let clock = Clock::new();
    let mut directory = directory(&clock);
    directory
        .handle_record(&changed(0, 9000 * HOUR, |_| ()), clock.start())
        .unwrap();
    assert_eq!(events(&mut directory), []);
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
