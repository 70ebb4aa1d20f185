use super::*;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
    Instant::now()
}

fn up(now: Instant) -> Health {
    let mut health = Health::new(now);
    let change = health.handle_proof(false, now).unwrap();
    assert_eq!((change.from, change.to), (PathState::Connecting, PathState::Up));
    health
}

fn missing(count: u32, since: Instant) -> Evidence {
    Evidence {
        missing: Missing {
            count,
            since: Some(since),
            next: None,
            due: 50 * MS,
        },
        allowed: 3,
        quality: Quality::Good,
    }
}

fn quality(quality: Quality) -> Evidence {
    Evidence {
        allowed: 3,
        quality,
        ..Evidence::default()
    }
}

fn turned(change: Option<Change>) -> Option<(PathState, Cause)> {
    change.map(|change| (change.to, change.cause))
}

#[test]
fn enough_misses_for_long_enough_are_suspect_and_long_silence_is_down() {
    let start = start();
    let mut health = up(start);
    assert_eq!(health.handle_timeout(&missing(9, start), start + 249 * MS), None);
    assert_eq!(health.handle_timeout(&missing(2, start), start + S), None);
    let change = health.handle_timeout(&missing(3, start), start + SUSPECT);
    assert_eq!(turned(change), Some((PathState::Suspect, Cause::Silent)));
    assert_eq!(health.handle_timeout(&missing(9, start), start + 1499 * MS), None);
    let change = health.handle_timeout(&missing(9, start), start + DOWN);
    assert_eq!(turned(change), Some((PathState::Down, Cause::Silent)));
}

#[test]
fn one_broken_way_is_told_from_a_dead_peer() {
    let start = start();
    let mut health = up(start);
    health.handle_heard(start + 100 * MS);
    let change = health.handle_timeout(&missing(3, start), start + SUSPECT);
    assert_eq!(turned(change), Some((PathState::Suspect, Cause::NotAnswering)));
}

#[test]
fn a_path_that_failed_works_again_after_answers_in_a_row() {
    let start = start();
    let mut health = up(start);
    health.handle_timeout(&missing(3, start), start + SUSPECT);
    let later = start + S;
    assert_eq!(health.handle_proof(false, later), None);
    assert_eq!(health.handle_proof(false, later), None);
    health.handle_timeout(&missing(1, later), later);
    assert_eq!(health.handle_proof(false, later), None, "they are not in a row");
    assert_eq!(health.handle_proof(false, later), None);
    let change = health.handle_proof(false, later);
    assert_eq!(turned(change), Some((PathState::Up, Cause::Answered)));
}

#[test]
fn a_peer_that_stood_still_is_said_to_have() {
    let start = start();
    let mut health = up(start);
    health.handle_timeout(&missing(9, start), start + SUSPECT);
    health.handle_timeout(&missing(9, start), start + DOWN);
    let changes: Vec<_> = (0..3).map(|_| health.handle_proof(true, start + 9 * S)).collect();
    assert_eq!(turned(changes[2]), Some((PathState::Up, Cause::PeerStalled)));
}

#[test]
fn without_its_local_link_a_path_is_suspect_at_once_and_one_answer_elsewhere_is_enough() {
    let start = start();
    let mut health = up(start);
    let change = health.handle_local_loss(start + S);
    assert_eq!(turned(change), Some((PathState::Suspect, Cause::LocalLink)));
    assert_eq!(health.handle_local_loss(start + S), None);
    let change = health.handle_proof(false, start + S);
    assert_eq!(turned(change), Some((PathState::Up, Cause::Answered)));
    health.handle_local_loss(start + 2 * S);
    let change = health.handle_timeout(&missing(9, start + 2 * S), start + 4 * S);
    assert_eq!(turned(change), Some((PathState::Down, Cause::LocalLink)));
}

#[test]
fn a_poor_path_is_degraded_after_a_while_and_up_after_a_longer_one() {
    let start = start();
    let mut health = up(start);
    let poor = quality(Quality::Poor(Cause::Loss));
    let mut seen = vec![];
    for i in 0..400 {
        let now = start + i * 100 * MS;
        let evidence = match i {
            100..200 => poor,
            200..250 => quality(Quality::Fair),
            _ => quality(Quality::Good),
        };
        let change = health.handle_timeout(&evidence, now);
        seen.extend(change.map(|c| (i, c.to, c.cause)));
    }
    let wanted = [
        (130, PathState::Degraded, Cause::Loss),
        (350, PathState::Up, Cause::Answered),
    ];
    assert_eq!(seen, wanted);
}

#[test]
fn what_is_poor_now_and_then_is_not_degraded() {
    let start = start();
    let mut health = up(start);
    for i in 0..1000 {
        let poor = i % 25 < 24;
        let evidence = quality(if poor {
            Quality::Poor(Cause::RoundTrip)
        } else {
            Quality::Fair
        });
        assert_eq!(health.handle_timeout(&evidence, start + i * 100 * MS), None);
    }
}

#[test]
fn a_peer_that_never_answered_is_connecting_and_then_down() {
    let start = start();
    let mut health = Health::new(start);
    assert_eq!(
        health.handle_timeout(&missing(1, start), start + CONNECT / 2),
        None
    );
    health.handle_stall(start + CONNECT / 2);
    assert_eq!(health.handle_timeout(&missing(1, start), start + CONNECT), None);
    let change = health.handle_timeout(&missing(1, start), start + CONNECT * 3 / 2);
    assert_eq!(turned(change), Some((PathState::Down, Cause::NoHandshake)));
}

/// Everything that can happen to a path.
#[derive(Clone, Copy, Debug)]
enum Step {
    Proof(bool),
    Heard,
    Misses(u32, u64),
    Poor,
    LocalLoss,
    Stall,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<bool>().prop_map(Step::Proof),
        Just(Step::Heard),
        (0..9u32, 0..3000u64).prop_map(|(count, age)| Step::Misses(count, age)),
        Just(Step::Poor),
        Just(Step::LocalLoss),
        Just(Step::Stall),
    ]
}

fn take(health: &mut Health, step: Step, now: Instant) -> Option<Change> {
    match step {
        Step::Proof(stalled) => health.handle_proof(stalled, now),
        Step::Heard => {
            health.handle_heard(now);
            None
        }
        Step::Misses(0, _) => health.handle_timeout(&quality(Quality::Good), now),
        Step::Misses(count, age) => {
            let since = now - Duration::from_millis(age);
            health.handle_timeout(&missing(count, since), now)
        }
        Step::Poor => health.handle_timeout(&quality(Quality::Poor(Cause::Loss)), now),
        Step::LocalLoss => health.handle_local_loss(now),
        Step::Stall => {
            health.handle_stall(now);
            None
        }
    }
}

proptest! {
    #[test]
    fn no_verdict_but_from_what_was_seen(steps in prop::collection::vec((step(), 1..2000u64), 1..60)) {
        let start = start();
        let (mut a, mut b) = (Health::new(start), Health::new(start));
        let mut now = start;
        for (step, pause) in steps {
            now += Duration::from_millis(pause);
            let before = a.state();
            let change = take(&mut a, step, now);
            prop_assert_eq!(change, take(&mut b, step, now), "the same inputs, the same verdict");
            prop_assert_eq!(change.is_some(), before != a.state());
            prop_assert!(change.is_none_or(|c| c.from == before && c.to == a.state() && a.since() == now));
            match a.state() {
                PathState::Suspect if before.works() => {
                    let seen = matches!(step, Step::LocalLoss) || matches!(step, Step::Misses(n, age) if n >= 3 && age >= 250);
                    prop_assert!(seen, "{:?}", step);
                }
                PathState::Down if before == PathState::Suspect => {
                    let silent = matches!(step, Step::Misses(n, age) if n > 0 && age >= 1500);
                    prop_assert!(silent, "{:?}", step);
                }
                PathState::Down if before != PathState::Down => prop_assert_eq!(before, PathState::Connecting),
                PathState::Up if !before.works() => prop_assert!(matches!(step, Step::Proof(_))),
                _ => {}
            }
        }
    }
}
