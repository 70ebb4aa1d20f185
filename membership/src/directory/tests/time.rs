//! Expiry, departures, records from the future, and clocks that go wrong.

use super::*;

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
