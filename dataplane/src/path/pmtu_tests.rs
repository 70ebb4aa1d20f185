use super::*;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

/// A path in virtual time: what is larger than it takes is lost, and of the rest some.
struct World {
    now: Instant,
    pmtu: PathMtu,
    /// Largest outer packet that passes, there.
    takes: u16,
    rtt: Duration,
    /// Lost at random, percent, each pair's packets alike.
    loss: u32,
    dead: bool,
    busy: bool,
    random: u32,
    answers: Vec<(Instant, u32)>,
    asked: Vec<(Instant, u16)>,
}

fn path() -> Path {
    Path {
        in_front: 0,
        to: Some(([192, 0, 2, 1], 51820).into()),
        link: 9_001,
        most: u16::MAX,
    }
}

impl World {
    fn new(takes: u16) -> World {
        #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
        let now = Instant::now();
        World {
            now,
            pmtu: PathMtu::new(path(), now),
            takes,
            rtt: 20 * MS,
            loss: 0,
            dead: false,
            busy: true,
            random: 1,
            answers: vec![],
            asked: vec![],
        }
    }

    fn lost(&mut self) -> bool {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.random >> 8) % 100 < self.loss
    }

    /// Lets time pass, in steps as a lane wakes.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            if let Some(ask) = self.pmtu.handle_timeout(self.busy, self.now) {
                self.asked.push((self.now, ask.size));
                let arrival = self.now + self.rtt;
                let fits = ask.size + OVERHEAD_V4 <= self.takes;
                if fits && !self.lost() && !self.dead {
                    self.answers.push((arrival, ask.sequence));
                }
                if !self.lost() && !self.dead {
                    self.answers.push((arrival, ask.sequence + 1));
                }
            }
            self.now += 10 * MS;
            let (now, pmtu) = (self.now, &mut self.pmtu);
            self.answers.retain(|(at, sequence)| {
                let arrived = *at <= now;
                if arrived {
                    pmtu.handle_answer(*sequence, now);
                }
                !arrived
            });
        }
    }

    /// Inner bytes that the path takes.
    fn inner(&self) -> u16 {
        self.takes - OVERHEAD_V4
    }
}

#[test]
fn common_paths_are_found_exactly_and_at_once() {
    for takes in [
        1_340, 1_380, 1_400, 1_420, 1_460, 1_480, 1_492, 1_500, 9_000, 9_001,
    ] {
        let mut world = World::new(takes);
        world.run(4_000 * MS);
        assert_eq!(
            (world.pmtu.mtu(), world.pmtu.state()),
            (world.inner(), State::Complete),
            "{takes}"
        );
        assert_eq!(world.pmtu.whole(), world.inner());
    }
    for takes in [1_500, 9_001] {
        let mut world = World::new(takes);
        world.run(100 * MS);
        assert_eq!(world.pmtu.mtu(), world.inner(), "{takes}: a few round trips");
    }
}

#[test]
fn ethernet_is_taken_for_granted_until_something_is_known() {
    let world = World::new(1_400);
    assert_eq!((world.pmtu.mtu(), world.pmtu.whole()), (1_440, SURELY_WHOLE));
    let mut narrow = path();
    narrow.link = 1_400;
    assert_eq!(
        PathMtu::new(narrow, world.now).mtu(),
        1_340,
        "as far as our own link takes it"
    );
}

#[test]
fn path_that_does_not_carry_the_floor_is_used_for_less() {
    let mut world = World::new(1_280);
    world.run(2_000 * MS);
    assert_eq!(world.pmtu.state(), State::Error);
    assert_eq!(
        (world.pmtu.mtu(), world.pmtu.whole()),
        (SURELY_WHOLE, SURELY_WHOLE)
    );
    world.takes = 1_500;
    world.run(RETRY + 1_000 * MS);
    assert_eq!(world.pmtu.mtu(), 1_440);
}

#[test]
fn path_that_shrinks_is_noticed_within_a_second() {
    for takes in [1_280, 1_400, 1_500] {
        let mut world = World::new(9_000);
        world.run(4_000 * MS);
        assert_eq!(world.pmtu.mtu(), 8_940);
        world.takes = takes;
        world.run(1_100 * MS);
        assert!(
            world.pmtu.mtu() <= world.inner().max(FLOOR),
            "{takes}: {}",
            world.pmtu.mtu()
        );
        world.run(5_000 * MS);
        assert_eq!(
            world.pmtu.mtu(),
            if takes == 1_280 {
                SURELY_WHOLE
            } else {
                world.inner()
            }
        );
    }
}

#[test]
fn path_that_grows_is_used_after_the_raise_timer() {
    let mut world = World::new(1_500);
    world.run(4_000 * MS);
    world.takes = 9_001;
    world.run(RAISE / 2);
    assert_eq!(world.pmtu.mtu(), 1_440);
    world.run(RAISE / 2 + 1_000 * MS);
    assert_eq!(world.pmtu.mtu(), 8_941);
}

#[test]
fn loss_is_not_mistaken_for_a_narrow_path() {
    for (loss, seed) in [(5, 1), (10, 2), (20, 3), (30, 4)] {
        let mut world = World::new(1_500);
        world.run(2_000 * MS);
        (world.loss, world.random) = (loss, seed);
        // The figures of a path follow its loss: a minute of them.
        for _ in 0..600 {
            world.run(100 * MS);
            assert_eq!(world.pmtu.mtu(), 1_440, "{loss} percent");
        }
    }
}

#[test]
fn dead_path_keeps_its_mtu_and_is_left_in_peace() {
    let mut world = World::new(9_001);
    world.run(2_000 * MS);
    world.dead = true;
    world.asked.clear();
    world.run(60_000 * MS);
    assert_eq!(world.pmtu.mtu(), 8_941);
    assert!(world.asked.len() < 20, "{} probes", world.asked.len());
}

#[test]
fn busy_path_is_confirmed_and_an_idle_one_rests() {
    let mut world = World::new(9_001);
    world.run(2_000 * MS);
    world.asked.clear();
    world.run(10_000 * MS);
    assert!((15..=21).contains(&world.asked.len()), "{}", world.asked.len());
    assert!(world.asked.iter().all(|(_, size)| *size == 8_941));
    (world.busy, world.asked) = (false, vec![]);
    world.run(60_000 * MS);
    assert!(world.asked.len() <= 1);
}

#[test]
fn answers_later_than_the_timer_still_count() {
    let mut world = World::new(1_500);
    world.rtt = 1_500 * MS;
    world.run(20_000 * MS);
    assert_eq!(world.pmtu.mtu(), 1_440);
}

#[test]
fn another_path_is_measured_anew_and_answers_of_the_old_one_do_not_count() {
    let mut world = World::new(9_001);
    world.run(2_000 * MS);
    let elsewhere = Path {
        to: Some("[2001:db8::1]:51820".parse().unwrap()),
        ..path()
    };
    world.pmtu.set_path(elsewhere, world.now);
    assert_eq!((world.pmtu.mtu(), world.pmtu.state()), (1_420, State::Base));
    assert!(!world.pmtu.handle_answer(0, world.now));
    world.pmtu.set_path(elsewhere, world.now);
    assert_eq!(world.pmtu.state(), State::Base);
}

#[test]
fn our_own_sleep_says_nothing_about_the_path() {
    let mut world = World::new(9_001);
    world.run(2_000 * MS);
    for _ in 0..10 {
        world.pmtu.handle_timeout(true, world.now);
        world.now += Duration::from_secs(10);
        world.pmtu.handle_stall(world.now);
        world.answers.clear();
    }
    assert_eq!(world.pmtu.mtu(), 8_941);
}

proptest! {
    #[test]
    fn every_path_is_found_nearly_and_never_overestimated(takes in 1_340u16..9_002, rtt in 1u32..400) {
        let mut world = World::new(takes);
        world.rtt = rtt * MS;
        world.run(60_000 * MS);
        prop_assert_eq!(world.pmtu.state(), State::Complete);
        prop_assert!(world.pmtu.mtu() <= world.inner().max(FLOOR));
        prop_assert!(world.pmtu.mtu() + COARSE >= world.inner());
    }

    #[test]
    fn no_answers_whatever_break_it(answers in prop::collection::vec((0u32..40, 0u32..2_000), 0..60)) {
        let mut world = World::new(1_500);
        for (sequence, wait) in answers {
            world.pmtu.handle_timeout(true, world.now);
            world.now += wait * MS;
            world.pmtu.handle_answer(sequence, world.now);
            prop_assert!((SURELY_WHOLE..=CEILING).contains(&world.pmtu.mtu()));
            prop_assert!(world.pmtu.poll_timeout(true) <= world.now + RAISE);
        }
    }
}
