use super::*;
use crate::record::serving::{PrefixOptions, Serving};
use crate::record::verify_record;
use crate::testing::{
    Clock, HOUR, authority, chain_by, founder_chain, grant, key, lane, mesh, net, node, prefix,
};

const SECOND: Duration = Duration::from_secs(1);

fn own_with(persisted_sequence: u64) -> OwnRecord {
    let config = OwnConfig {
        mesh: mesh(),
        key: key(1),
        version: "0.1.0".into(),
        generation: 3,
        persisted_sequence,
        timing: Timing::default(),
    };
    let mut own = OwnRecord::new(config, founder_chain(1)).unwrap();
    own.announce(announcement());
    own
}

fn announcement() -> Announcement {
    Announcement {
        name: "gw".parse().unwrap(),
        endpoints: vec!["203.0.113.1:51820".parse().unwrap()],
        prefixes: vec![AnnouncedPrefix {
            prefix: prefix(1),
            priority: 5,
        }],
        lanes: vec![lane(1, 0).prove(&mesh(), &node(1), 0)],
        epoch: 1,
        capabilities: 0,
        serving: Serving::default(),
    }
}

fn publish(own: &mut OwnRecord, now: Now) -> VerifiedRecord {
    own.handle_timeout(now, None).unwrap().unwrap()
}

#[test]
fn the_first_record_goes_out_as_soon_as_there_is_something_to_say() {
    let clock = Clock::new();
    let mut own = own_with(0);
    let record = publish(&mut own, clock.start());
    assert!(verify_record(&record.bytes, &mesh(), clock.start().wall).is_ok());
    assert_eq!(
        (record.body.generation, record.body.sequence),
        (3, clock.start().wall.0)
    );
    assert!(own.handle_timeout(clock.start(), None).is_none());
}

#[test]
fn nothing_goes_out_before_anything_is_announced() {
    let config = OwnConfig {
        mesh: mesh(),
        key: key(1),
        version: "0.1.0".into(),
        generation: 1,
        persisted_sequence: 0,
        timing: Timing::default(),
    };
    let mut own = OwnRecord::new(config, founder_chain(1)).unwrap();
    assert!(own.handle_timeout(Clock::new().start(), None).is_none());
    own.announce(Announcement {
        lanes: vec![],
        ..announcement()
    });
    assert!(
        own.handle_timeout(Clock::new().start(), None).is_none(),
        "no lane keys yet"
    );
    assert_eq!(own.poll_timeout(), None);
}

#[test]
fn a_change_goes_out_at_once_but_at_most_one_a_second() {
    let clock = Clock::new();
    let mut own = own_with(0);
    publish(&mut own, clock.start());
    let mut wanted = announcement();
    wanted.epoch = 2;
    own.announce(wanted.clone());
    assert!(own.handle_timeout(clock.at(SECOND / 2), None).is_none());
    assert_eq!(own.poll_timeout(), Some(clock.at(SECOND).monotonic));
    assert_eq!(publish(&mut own, clock.at(SECOND)).body.epoch, 2);
    wanted.epoch = 3;
    own.announce(wanted);
    assert_eq!(publish(&mut own, clock.at(9 * SECOND)).body.epoch, 3);
}

#[test]
fn what_moves_traffic_does_not_wait_for_the_second_but_in_bursts() {
    let clock = Clock::new();
    let mut own = own_with(0);
    publish(&mut own, clock.start());
    let mut wanted = announcement();
    for change in 1..BURST {
        wanted.serving.draining = !wanted.serving.draining;
        own.announce(wanted.clone());
        let record = publish(&mut own, clock.at(change * SECOND / 100));
        assert_eq!(record.serving.draining, wanted.serving.draining);
    }
    wanted.serving.draining = !wanted.serving.draining;
    own.announce(wanted.clone());
    assert!(
        own.handle_timeout(clock.at(SECOND / 2), None).is_none(),
        "too many"
    );
    publish(&mut own, clock.at(SECOND + SECOND / 100));
    wanted.serving.prefixes.insert(
        prefix(1),
        PrefixOptions {
            not_served: true,
            ..PrefixOptions::default()
        },
    );
    own.announce(wanted);
    let record = publish(&mut own, clock.at(9 * SECOND));
    assert!(record.serving.of(&prefix(1)).not_served);
}

#[test]
fn an_unchanged_record_is_refreshed_every_hour() {
    let clock = Clock::new();
    let mut own = own_with(0);
    publish(&mut own, clock.start());
    own.announce(announcement());
    assert_eq!(own.poll_timeout(), Some(clock.at(HOUR).monotonic));
    assert!(own.handle_timeout(clock.at(HOUR - SECOND), None).is_none());
    assert_eq!(
        publish(&mut own, clock.at(HOUR)).body.issued_at,
        clock.at(HOUR).wall
    );
}

#[test]
fn a_sequence_is_above_the_persisted_and_the_seen_one() {
    let clock = Clock::new();
    let ahead = clock.at(HOUR / 2).wall.0;
    let mut own = own_with(ahead);
    assert_eq!(publish(&mut own, clock.start()).body.sequence, ahead + 1);
    own.seen(ahead + 50);
    assert_eq!(publish(&mut own, clock.at(SECOND)).body.sequence, ahead + 51);
}

#[test]
fn a_sequence_made_by_a_clock_years_ahead_bricks_nobody() {
    let clock = Clock::new();
    let mut own = own_with(u64::MAX);
    let record = publish(&mut own, clock.start());
    assert!(verify_record(&record.bytes, &mesh(), clock.start().wall).is_ok());
    own.seen(clock.at(9000 * HOUR).wall.0);
    let record = publish(&mut own, clock.at(SECOND));
    assert!(verify_record(&record.bytes, &mesh(), clock.at(SECOND).wall).is_ok());
}

#[test]
fn a_clock_that_was_lost_does_not_take_the_sequence_back() {
    let clock = Clock::new();
    let members = clock.start().wall;
    let mut own = own_with(members.0 + 5);
    let lost = Now {
        wall: UnixMillis(1_000),
        ..clock.start()
    };
    let record = own.handle_timeout(lost, Some(members)).unwrap().unwrap();
    assert_eq!(record.body.sequence, members.0 + 6);
}

#[test]
fn observed_endpoints_follow_our_own_and_their_order_is_no_news() {
    let clock = Clock::new();
    let mut own = own_with(0);
    let seen: Vec<SocketAddr> = ["198.51.100.1:7", "198.51.100.2:7"]
        .map(|text| text.parse().unwrap())
        .into();
    own.observe(seen.clone());
    let record = publish(&mut own, clock.start());
    assert_eq!(record.body.endpoints[1..], seen);
    own.observe(seen.into_iter().rev().collect());
    assert_eq!(own.poll_timeout(), Some(clock.at(HOUR).monotonic));
}

#[test]
fn many_own_endpoints_leave_room_for_observed_ones() {
    let clock = Clock::new();
    let mut own = own_with(0);
    let mut wanted = announcement();
    wanted.endpoints = (1..100)
        .map(|n| format!("203.0.113.{n}:51820").parse().unwrap())
        .collect();
    wanted
        .endpoints
        .push("[::ffff:203.0.113.1]:51820".parse().unwrap());
    own.announce(wanted);
    own.observe(vec!["198.51.100.1:7".parse().unwrap()]);
    let endpoints = publish(&mut own, clock.start()).body.endpoints;
    assert_eq!(endpoints.len(), MAX_ENDPOINTS);
    assert_eq!(endpoints[15], "198.51.100.1:7".parse().unwrap());
}

#[test]
fn prefixes_outside_the_grant_are_left_out_and_told() {
    let clock = Clock::new();
    let mut own = own_with(0);
    let outside = AnnouncedPrefix {
        prefix: net("192.168.0.0/16"),
        priority: 1,
    };
    let mut wanted = announcement();
    wanted.prefixes.push(outside);
    wanted.prefixes.push(AnnouncedPrefix {
        prefix: prefix(1),
        priority: 9,
    });
    own.announce(wanted);
    let record = publish(&mut own, clock.start());
    assert_eq!(
        record.body.prefixes,
        [AnnouncedPrefix {
            prefix: prefix(1),
            priority: 9
        }]
    );
    assert_eq!(own.outside_grant(), [outside]);
}

#[test]
fn a_new_grant_is_published_and_anothers_is_refused() {
    let clock = Clock::new();
    let mut own = own_with(0);
    publish(&mut own, clock.start());
    assert!(matches!(
        own.replace_chain(chain_by(1, 2)),
        Err(OwnChainError::OtherNode { .. })
    ));
    assert_eq!(own.poll_timeout(), Some(clock.at(HOUR).monotonic));
    let bound = meshnode_crypto::Grant {
        name: Some("bound".parse().unwrap()),
        ..grant(&authority(), 1, &[])
    };
    own.replace_chain(GrantChain::from(bound.sign(&authority(), &mesh()).unwrap()))
        .unwrap();
    assert_eq!(publish(&mut own, clock.at(SECOND)).body.name.as_str(), "bound");
}

#[test]
fn withdrawing_serves_nothing_and_departing_is_final() {
    let clock = Clock::new();
    let mut own = own_with(0);
    publish(&mut own, clock.start());
    own.withdraw();
    let withdrawn = publish(&mut own, clock.at(SECOND)).body;
    assert!(withdrawn.prefixes.is_empty() && !withdrawn.departed);
    own.depart();
    own.withdraw();
    assert!(publish(&mut own, clock.at(2 * SECOND)).body.departed);
}
