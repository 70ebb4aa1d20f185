use super::super::CheckTarget;
use super::super::wire::MOST;
use super::*;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

/// A target in virtual time.
struct World {
    now: Instant,
    start: Instant,
    prober: Prober,
    /// Under way to us: when, and whose answer.
    answers: Vec<(Instant, Question)>,
    rtt: Duration,
    /// Whether the target answers the question with this number.
    answering: Box<dyn FnMut(u64) -> bool>,
    path_works: bool,
    peer_answers: bool,
    asked: Vec<Instant>,
    changes: Vec<(Duration, Verdict)>,
    reports: Vec<(Duration, bool)>,
}

impl World {
    fn new() -> World {
        #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
        let now = Instant::now();
        let check = Check {
            owner: [1; 32],
            target: CheckTarget::Icmp([10, 2, 0, 5].into()),
            source: [10, 1, 0, 7].into(),
            seed: 42,
        };
        World {
            now,
            start: now,
            prober: Prober::new(check, now),
            answers: vec![],
            rtt: 20 * MS,
            answering: Box::new(|_| true),
            path_works: true,
            peer_answers: true,
            asked: vec![],
            changes: vec![],
            reports: vec![],
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrival = self.answers.iter().map(|(at, _)| *at).min();
            let next = arrival.into_iter().fold(self.prober.poll_timeout(), Instant::min);
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            self.turn();
        }
        self.now = end;
    }

    fn turn(&mut self) {
        let arrived: Vec<_> = self.answers.extract_if(.., |(at, _)| *at <= self.now).collect();
        for (_, question) in arrived {
            self.arrive(&question);
        }
        let proven = self.peer_answers.then_some(self.now);
        self.prober.set_path(self.path_works, proven, self.now);
        if self.prober.poll_timeout() <= self.now
            && let Some(question) = self.prober.handle_timeout(self.now)
        {
            self.asked.push(self.now);
            if (self.answering)(self.asked.len() as u64) {
                self.answers.push((self.now + self.rtt, question));
            }
        }
        let since = self.now - self.start;
        self.changes
            .extend(self.prober.poll_change().map(|verdict| (since, verdict)));
        self.reports
            .extend(self.prober.poll_report(self.now).map(|passes| (since, passes)));
    }

    fn arrive(&mut self, question: &Question) -> bool {
        let bytes = echoed(question);
        self.prober
            .handle_packet(&Packet::parse(&bytes).unwrap(), self.now)
            .is_some()
    }

    fn up() -> World {
        let mut world = World::new();
        world.run(5_000 * MS);
        assert_eq!(world.prober.verdict(), Verdict::Passes);
        world.changes.clear();
        world.reports.clear();
        world.asked.clear();
        world.start = world.now;
        world
    }

    fn silence(&mut self) {
        self.answering = Box::new(|_| false);
    }

    fn mend(&mut self) {
        self.answering = Box::new(|_| true);
    }
}

/// The request, turned round: type 0, and the two addresses exchanged, which leaves the header's sum as it was.
fn echoed(question: &Question) -> Vec<u8> {
    let mut out = [0; MOST];
    let len = question.write(&mut out).unwrap();
    let mut bytes = out[..len].to_vec();
    let (from, to) = (bytes[12..16].to_vec(), bytes[16..20].to_vec());
    bytes[12..16].copy_from_slice(&to);
    bytes[16..20].copy_from_slice(&from);
    bytes[20] = 0;
    bytes[22..24].fill(0);
    let sum = crate::packet::checksum::add(0, &bytes[20..]);
    bytes[22..24].copy_from_slice(&crate::packet::checksum::finish(sum).to_be_bytes());
    bytes
}

#[test]
fn one_answer_is_enough_to_begin_with_and_then_two_questions_a_second() {
    let mut world = World::new();
    world.run(10_000 * MS);
    assert_eq!(world.changes, [(20 * MS, Verdict::Passes)]);
    assert!((20..=26).contains(&world.asked.len()), "{}", world.asked.len());
    assert!(
        world.asked.windows(2).any(|pair| pair[1] - pair[0] != PACE),
        "no jitter"
    );
}

#[test]
fn silence_is_a_failure_within_a_second_and_a_half() {
    let mut world = World::up();
    world.silence();
    world.run(5_000 * MS);
    let [(at, Verdict::Fails)] = world.changes[..] else {
        panic!("{:?}", world.changes)
    };
    assert!(at >= SPAN && at <= 1_400 * MS, "{at:?}");
}

#[test]
fn three_answers_in_a_row_end_it() {
    let mut world = World::up();
    world.silence();
    world.run(5_000 * MS);
    world.changes.clear();
    let mut asked = 0;
    world.answering = Box::new(move |_| {
        asked += 1;
        asked != 3
    });
    let before = world.now;
    world.run(5_000 * MS);
    let [(at, Verdict::Passes)] = world.changes[..] else {
        panic!("{:?}", world.changes)
    };
    let took = world.start + at - before;
    assert!(took >= 5 * CLOSE && took < 2_500 * MS, "{took:?}");
}

#[test]
fn two_lost_packets_are_no_failure() {
    let mut world = World::up();
    let mut asked = 0;
    world.answering = Box::new(move |_| {
        asked += 1;
        asked > 2
    });
    world.run(5_000 * MS);
    assert_eq!(world.changes, []);
}

#[test]
fn while_the_path_is_down_nothing_is_asked_or_concluded() {
    let mut world = World::up();
    world.silence();
    world.run(300 * MS);
    world.path_works = false;
    world.prober.set_path(false, None, world.now);
    world.asked.clear();
    world.reports.clear();
    world.run(10_000 * MS);
    assert_eq!(
        (world.changes.len(), world.asked.len(), world.reports.len()),
        (0, 0, 0)
    );
    world.path_works = true;
    world.mend();
    world.run(5_000 * MS);
    assert_eq!(world.changes, []);
    assert_ne!(world.asked, []);
}

#[test]
fn the_silence_of_the_peer_itself_says_nothing_of_the_target() {
    let mut world = World::up();
    world.silence();
    world.peer_answers = false;
    world.run(10_000 * MS);
    assert_eq!(world.changes, []);
    world.peer_answers = true;
    world.run(1_000 * MS);
    assert_eq!(world.changes.len(), 1);
}

#[test]
fn what_we_slept_through_is_held_against_nobody() {
    let mut world = World::up();
    world.silence();
    world.run(700 * MS);
    world.now += 5_000 * MS;
    world.prober.handle_stall(world.now);
    world.mend();
    world.run(5_000 * MS);
    assert_eq!(world.changes, []);
}

#[test]
fn a_target_that_never_answered_fails_too() {
    let mut world = World::new();
    world.silence();
    world.run(5_000 * MS);
    assert!(
        matches!(world.changes[..], [(_, Verdict::Fails)]),
        "{:?}",
        world.changes
    );
}

#[test]
fn a_long_way_is_no_failure() {
    let mut world = World::new();
    world.rtt = 900 * MS;
    world.run(60_000 * MS);
    assert!(
        matches!(world.changes[..], [(_, Verdict::Passes)]),
        "{:?}",
        world.changes
    );
}

#[test]
fn the_peer_is_told_at_every_change_and_every_two_seconds() {
    let mut world = World::up();
    world.run(10_000 * MS);
    assert!((4..=6).contains(&world.reports.len()), "{:?}", world.reports);
    assert!(world.reports.iter().all(|(_, passes)| *passes));
    world.reports.clear();
    world.silence();
    world.run(10_000 * MS);
    let failed = world.changes[0].0;
    let told: Vec<_> = world.reports.iter().filter(|(_, passes)| !passes).collect();
    assert_eq!(told[0].0, failed, "at once");
    assert!(told.windows(2).all(|pair| pair[1].0 - pair[0].0 == REPORT));
}

/// The next question, whose answer is the test's.
fn next_question(world: &mut World) -> Question {
    world.silence();
    loop {
        world.now = world.prober.poll_timeout();
        if let Some(question) = world.prober.handle_timeout(world.now) {
            return question;
        }
        let _told = world.prober.poll_report(world.now);
    }
}

#[test]
fn an_answer_counts_once_and_never_too_late() {
    let mut world = World::up();
    let question = next_question(&mut world);
    world.now += 20 * MS;
    assert!(world.arrive(&question));
    assert!(!world.arrive(&question));
    let question = next_question(&mut world);
    world.run(KEPT);
    assert!(!world.arrive(&question));
}

/// Whether each question in turn is lost.
fn lossy(share: f64, seed: u64) -> Box<dyn FnMut(u64) -> bool> {
    let mut state = seed;
    Box::new(move |_| {
        state = mix(state);
        (state >> 11) as f64 / (1u64 << 53) as f64 >= share
    })
}

#[test]
fn four_percent_of_loss_is_no_failure_in_a_day() {
    let mut world = World::up();
    world.prober.loss = 0.04;
    world.answering = lossy(0.04, 1);
    world.run(Duration::from_secs(86_400));
    assert_eq!(world.changes, []);
}

proptest! {
    /// Whatever is lost: the timers go on, little is remembered, and never more than one question every 200 ms.
    #[test]
    fn any_loss_keeps_within_bounds(share in 0.0..1.0f64, rtt in 1u64..3_000, seed: u64) {
        let mut world = World::new();
        world.rtt = Duration::from_millis(rtt);
        world.answering = lossy(share, seed);
        for _ in 0..30 {
            world.run(1_000 * MS);
            prop_assert!(world.prober.under_way.len() <= (KEPT.as_millis() / CLOSE.as_millis()) as usize + 1);
            prop_assert!(world.prober.poll_timeout() <= world.now + PACE);
        }
        prop_assert!(world.asked.windows(2).all(|pair| pair[1] - pair[0] >= CLOSE));
        prop_assert!(world.asked.len() >= 55, "asked {} times in half a minute", world.asked.len());
    }

    #[test]
    fn silence_is_found_whenever_it_begins(after in 0u64..2_000, rtt in 1u64..100) {
        let mut world = World::new();
        world.rtt = Duration::from_millis(rtt);
        world.run(Duration::from_millis(5_000 + after));
        world.changes.clear();
        let began = world.now - world.start;
        world.silence();
        world.run(1_450 * MS);
        prop_assert_eq!(world.changes.len(), 1, "from {:?}: {:?}", began, world.changes);
        prop_assert!(world.changes[0].0 - began >= 200 * MS);
    }
}
