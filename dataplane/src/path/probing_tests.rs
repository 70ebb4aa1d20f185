//! Two ends of a path in virtual time.

use super::*;
use crate::packet::{Packet, ipv6, udp};
use crate::path::health::Cause;
use crate::path::stamp;
use proptest::prelude::*;
use std::collections::BTreeMap;

const MS: Duration = Duration::from_millis(1);
/// Runs of ten minutes each.
const SEEDS: u64 = 10;
const S: Duration = Duration::from_secs(1);

/// The same throws for the same seed.
#[derive(Clone, Copy)]
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// How long a burst of losses is, on average.
#[derive(Clone, Copy, Debug)]
enum Burst {
    Lasts(Duration),
    Packets(f64),
}

/// One way of the path, which loses by Gilbert's model.
#[derive(Clone)]
struct Way {
    delay: Duration,
    /// Mean share of the time that everything is lost.
    loss: f64,
    burst: Burst,
    broken: bool,
    in_burst: bool,
    bad_until: Option<Instant>,
    good_until: Option<Instant>,
}

impl Way {
    fn clear(delay: Duration) -> Way {
        Way {
            delay,
            loss: 0.0,
            burst: Burst::Packets(1.0),
            broken: false,
            in_burst: false,
            bad_until: None,
            good_until: None,
        }
    }

    fn takes(&mut self, dice: &mut Dice, now: Instant) -> bool {
        if self.broken || self.loss == 0.0 {
            return !self.broken;
        }
        match self.burst {
            Burst::Lasts(mean) => self.is_good(mean, dice, now),
            Burst::Packets(mean) => self.steps(mean, dice),
        }
    }

    fn steps(&mut self, mean: f64, dice: &mut Dice) -> bool {
        let begins = self.loss / (1.0 - self.loss) / mean;
        self.in_burst = match self.in_burst && mean > 1.0 {
            true => dice.throw() >= 1.0 / mean,
            false => dice.throw() < begins,
        };
        !self.in_burst
    }

    fn is_good(&mut self, mean: Duration, dice: &mut Dice, now: Instant) -> bool {
        let mut lasting = |mean: Duration| mean.mul_f64(-(1.0 - dice.throw()).ln());
        let between = mean.mul_f64((1.0 - self.loss) / self.loss);
        let mut until = *self.good_until.get_or_insert_with(|| now + lasting(between));
        while until <= now {
            let bad_until = until + lasting(mean);
            self.bad_until = Some(bad_until);
            until = bad_until + lasting(between);
        }
        self.good_until = Some(until);
        self.bad_until.is_none_or(|until| now >= until)
    }
}

/// What an end saw: when, which state, why.
type Seen = (Duration, PathState, Cause);

struct Pair {
    start: Instant,
    now: Instant,
    ends: [Probing; 2],
    /// From end 0 to end 1, and back.
    ways: [Way; 2],
    busy: bool,
    /// An end that does not get to run.
    frozen: [Option<Instant>; 2],
    under_way: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    sent: u64,
    dice: Dice,
    seen: [Vec<Seen>; 2],
}

impl Pair {
    fn new(seed: u64) -> Pair {
        #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
        let start = Instant::now();
        Pair {
            start,
            now: start,
            ends: [Probing::new(start), Probing::new(start)],
            ways: [Way::clear(5 * MS), Way::clear(5 * MS)],
            busy: true,
            frozen: [None, None],
            under_way: BTreeMap::new(),
            sent: 0,
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            seen: [vec![], vec![]],
        }
    }

    /// After `time` of clear sailing.
    fn up(time: Duration) -> Pair {
        let mut pair = Pair::new(1);
        pair.run(time);
        assert_eq!(pair.states(), [PathState::Up; 2]);
        pair.seen = [vec![], vec![]];
        pair
    }

    fn lossy(seed: u64, loss: f64, burst: Burst) -> Pair {
        let mut pair = Pair::new(seed);
        for way in &mut pair.ways {
            (way.loss, way.burst) = (loss, burst);
        }
        pair
    }

    fn states(&self) -> [PathState; 2] {
        self.ends.each_ref().map(|end| end.health().state())
    }

    fn clock(&self) -> NtpClock {
        NtpClock::new(self.start, Duration::from_secs(1_800_000_000))
    }

    fn send(&mut self, from: usize, packet: &[u8]) {
        let way = &mut self.ways[from];
        if way.takes(&mut self.dice, self.now) {
            self.sent += 1;
            let arrives = self.now + way.delay;
            self.under_way
                .insert((arrives, self.sent), (1 - from, packet.to_vec()));
        }
    }

    fn is_frozen(&self, end: usize) -> bool {
        self.frozen[end].is_some_and(|until| self.now < until)
    }

    fn receive(&mut self, end: usize, bytes: &[u8]) {
        let packet = Packet::parse(bytes).unwrap();
        let datagram = udp::parse_v6(&packet).unwrap();
        let (clock, now) = (self.clock(), self.now);
        let probing = &mut self.ends[end];
        probing.handle_heard(now);
        if datagram.to.port != stamp::PORT {
            probing.handle_reply(datagram.payload, &clock, now);
            return;
        }
        let mut out = [0; 500];
        let len = probing
            .reflect(&datagram, ipv6::hop_limit(bytes), &clock, now, &mut out)
            .unwrap();
        self.send(end, &out[..len]);
    }

    fn turn(&mut self, end: usize) {
        let addresses = ["fd00::a".parse().unwrap(), "fd00::b".parse().unwrap()];
        let (clock, now) = (self.clock(), self.now);
        self.ends[end].handle_timeout(now);
        if self.ends[end].is_due(self.busy, now) {
            let between = (addresses[end], addresses[1 - end]);
            let probe = self.ends[end].probe(between, None, &clock, now);
            self.send(end, &probe);
        }
        if let Some(change) = self.ends[end].poll_change() {
            let at = self.now - self.start;
            self.seen[end].push((at, change.to, change.cause));
        }
    }

    /// An end runs again after it stood still: it notices first, then reads what waits.
    fn thaw(&mut self, end: usize) {
        self.frozen[end] = None;
        self.ends[end].handle_stall(self.now);
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let thaws = self.frozen.iter().flatten().copied();
            let timers = (0..2)
                .filter(|end| !self.is_frozen(*end))
                .map(|end| self.ends[end].poll_timeout(self.busy, self.now));
            let arrivals = self
                .under_way
                .iter()
                .filter(|(_, (to, _))| !self.is_frozen(*to))
                .map(|((at, _), _)| *at);
            let next = thaws.chain(timers).chain(arrivals).min();
            let Some(next) = next.filter(|at| *at <= until) else {
                break;
            };
            self.now = self.now.max(next);
            for end in 0..2 {
                if self.frozen[end].is_some_and(|until| until <= self.now) {
                    self.thaw(end);
                }
            }
            let arrived = self
                .under_way
                .iter()
                .find(|((at, _), (to, _))| *at <= self.now && !self.is_frozen(*to))
                .map(|(key, _)| *key);
            if let Some((to, bytes)) = arrived.and_then(|key| self.under_way.remove(&key)) {
                self.receive(to, &bytes);
            }
            for end in 0..2 {
                if !self.is_frozen(end) {
                    self.turn(end);
                }
            }
        }
        self.now = until;
    }

    fn first(&self, end: usize, state: PathState) -> Option<(Duration, Cause)> {
        let found = self.seen[end].iter().find(|(_, to, _)| *to == state);
        found.map(|(at, _, cause)| (*at, *cause))
    }

    fn never(&self, state: PathState) -> bool {
        (0..2).all(|end| self.first(end, state).is_none())
    }
}

#[test]
fn a_frozen_peer_is_suspect_after_a_third_of_a_second_whatever_the_phase() {
    for busy in [true, false] {
        for phase in 0..100 {
            let mut pair = Pair::up(20 * S);
            pair.busy = busy;
            pair.run(if busy { phase * MS } else { phase * 10 * MS });
            let frozen = pair.now - pair.start;
            pair.frozen[1] = Some(pair.now + 20 * S);
            pair.run(5 * S);
            let (at, cause) = pair.first(0, PathState::Suspect).unwrap();
            let wait = if busy { 350 * MS } else { 1250 * MS };
            assert!(
                (240 * MS..=wait).contains(&(at - frozen)),
                "{phase}: {:?}",
                at - frozen
            );
            assert_eq!(cause, Cause::Silent);
            let (down, _) = pair.first(0, PathState::Down).unwrap();
            assert!(
                down - frozen >= 1400 * MS && down - at <= 1300 * MS,
                "{:?}",
                down - frozen
            );
        }
    }
}

#[test]
fn one_broken_way_is_seen_on_both_sides_and_by_which() {
    for (broken, causes) in [
        (0, [Cause::NotAnswering, Cause::Silent]),
        (1, [Cause::Silent, Cause::NotAnswering]),
    ] {
        let mut pair = Pair::up(20 * S);
        pair.ways[broken].broken = true;
        let from = pair.now - pair.start;
        pair.run(3 * S);
        for (end, wanted) in causes.into_iter().enumerate() {
            let (at, cause) = pair.first(end, PathState::Suspect).unwrap();
            assert!(at - from <= 350 * MS, "{end}: {:?}", at - from);
            assert_eq!(cause, wanted, "{end}");
        }
    }
}

#[test]
fn a_round_trip_that_grows_to_half_a_second_is_never_down_and_heals() {
    let mut pair = Pair::up(20 * S);
    pair.ways.iter_mut().for_each(|way| way.delay = 250 * MS);
    pair.run(60 * S);
    assert!(pair.never(PathState::Down), "{:?}", pair.seen);
    assert_eq!(
        pair.states(),
        [PathState::Degraded; 2],
        "it is slower than it was"
    );
    let suspects = pair.seen[0].iter().filter(|s| s.1 == PathState::Suspect);
    assert!(suspects.count() <= 1, "{:?}", pair.seen[0]);
    pair.run(400 * S);
    assert_eq!(pair.states(), [PathState::Up; 2], "that is how the path is now");
}

#[test]
fn two_percent_of_bursty_loss_moves_nothing_in_ten_minutes() {
    use Burst::{Lasts, Packets};
    for seed in 0..SEEDS {
        for burst in [
            Packets(1.0),
            Packets(5.0),
            Lasts(5 * MS),
            Lasts(20 * MS),
            Lasts(30 * MS),
        ] {
            let mut pair = Pair::lossy(seed, 0.02, burst);
            pair.run(600 * S);
            let only_up = pair.seen.iter().all(|seen| seen.len() == 1);
            assert!(only_up, "seed {seed}, {burst:?}: {:?}", pair.seen);
        }
    }
}

#[test]
fn twenty_percent_of_loss_is_degraded_and_not_gone() {
    for seed in 0..20 {
        let mut pair = Pair::lossy(seed, 0.2, Burst::Lasts(20 * MS));
        pair.run(60 * S);
        assert_eq!(pair.states(), [PathState::Degraded; 2], "{:?}", pair.seen);
        assert!(pair.never(PathState::Down), "{:?}", pair.seen);
    }
}

#[test]
fn a_lossy_path_that_dies_is_seen_within_a_second() {
    for seed in 0..20 {
        let mut pair = Pair::lossy(seed, 0.02, Burst::Lasts(20 * MS));
        pair.run(60 * S);
        pair.seen = [vec![], vec![]];
        let from = pair.now - pair.start;
        pair.ways.iter_mut().for_each(|way| way.broken = true);
        pair.run(2 * S);
        for end in 0..2 {
            let (at, _) = pair.first(end, PathState::Suspect).unwrap();
            assert!(at - from <= 700 * MS, "{:?}", at - from);
        }
    }
}

#[test]
fn a_path_comes_back_after_answers_in_a_row_and_the_next_fault_is_seen_as_fast() {
    let mut pair = Pair::up(20 * S);
    for _ in 0..5 {
        let broken = pair.now - pair.start;
        pair.ways.iter_mut().for_each(|way| way.broken = true);
        pair.run(4 * S);
        let (at, _) = pair.first(0, PathState::Suspect).unwrap();
        assert!(at - broken <= 350 * MS, "{:?}", at - broken);
        let healed = pair.now - pair.start;
        pair.ways.iter_mut().for_each(|way| way.broken = false);
        pair.run(4 * S);
        let (at, _) = pair.first(0, PathState::Up).unwrap();
        assert!((200 * MS..500 * MS).contains(&(at - healed)), "{:?}", at - healed);
        pair.seen = [vec![], vec![]];
    }
}

#[test]
fn who_stood_still_accuses_nobody_and_says_so() {
    for millis in [150, 400, 3000, 60_000] {
        let mut pair = Pair::up(20 * S);
        pair.frozen[1] = Some(pair.now + millis * MS);
        pair.run(millis * MS + 3 * S);
        assert!(pair.seen[1].is_empty(), "{millis}: {:?}", pair.seen[1]);
        assert_eq!(pair.states()[0], PathState::Up);
        let back = pair.seen[0].last().map(|(_, to, cause)| (*to, *cause));
        let wanted = (millis > 300).then_some((PathState::Up, Cause::PeerStalled));
        assert_eq!(back, wanted, "{millis}");
        let trips = pair.ends[0].round_trips();
        assert!(
            trips.smoothed.unwrap() < 60 * MS,
            "its sleep is no round trip: {trips:?}"
        );
    }
}

#[test]
fn an_idle_path_is_probed_fast_on_its_first_missing_answer() {
    let mut pair = Pair::up(20 * S);
    pair.busy = false;
    pair.run(20 * S);
    let idle = pair.sent;
    pair.run(10 * S);
    assert!((36..=44).contains(&(pair.sent - idle)), "{}", pair.sent - idle);
    pair.ways[0].broken = true;
    pair.run(1200 * MS);
    pair.ways[0].broken = false;
    let restless = pair.sent;
    pair.run(2 * S);
    assert!(pair.sent - restless > 60, "{}", pair.sent - restless);
}

#[test]
fn the_variation_of_delay_is_told_by_direction() {
    let mut pair = Pair::new(3);
    for i in 0..400 {
        pair.ways[0].delay = (5 + i % 2 * 10) * MS;
        pair.run(100 * MS);
    }
    let [there, back] = pair.ends[0].figures(pair.now).variation.map(Option::unwrap);
    assert!(
        there.abs_diff(10 * MS) < 2 * MS && back < MS,
        "{there:?} {back:?}"
    );
    let [there, back] = pair.ends[1].figures(pair.now).variation.map(Option::unwrap);
    assert!(
        back.abs_diff(10 * MS) < 2 * MS && there < MS,
        "{there:?} {back:?}"
    );
}

#[test]
fn a_lost_local_link_is_suspect_at_once_and_the_first_answer_heals_it() {
    let mut pair = Pair::up(20 * S);
    let lost = pair.now - pair.start;
    pair.ends[0].handle_local_loss(pair.now);
    pair.run(S);
    let wanted = [
        (lost, PathState::Suspect, Cause::LocalLink),
        (lost + 10 * MS, PathState::Up, Cause::Answered),
    ];
    assert_eq!(pair.seen[0], wanted);
    assert!(pair.seen[1].is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any delays below half a second that change at any time: while both ways carry everything no path is down.
    #[test]
    fn nothing_that_works_both_ways_is_down(
        delays in prop::collection::vec((1..250u64, 1..250u64, 1..3000u64, any::<bool>()), 1..12),
    ) {
        let mut pair = Pair::new(5);
        for (there, back, lasts, busy) in delays {
            pair.ways[0].delay = Duration::from_millis(there);
            pair.ways[1].delay = Duration::from_millis(back);
            pair.busy = busy;
            pair.run(Duration::from_millis(lasts));
        }
        prop_assert!(pair.never(PathState::Down), "{:?}", pair.seen);
    }

    /// A path that is broken for good is suspect within a second and down within three, whatever it lost before.
    #[test]
    fn nothing_that_is_broken_goes_unseen(loss in 0.0..0.1f64, burst in 1..50u64, time in 1000..60_000u64, seed: u64) {
        let mut pair = Pair::lossy(seed, loss, Burst::Lasts(Duration::from_millis(burst)));
        pair.run(Duration::from_millis(time));
        prop_assume!(pair.ends[0].health().state().works());
        pair.ways[0].broken = true;
        pair.run(S);
        prop_assert!(pair.states().iter().all(|state| state.fails()), "{:?}", pair.seen);
        pair.run(2 * S);
        prop_assert_eq!(pair.states(), [PathState::Down; 2]);
    }
}
