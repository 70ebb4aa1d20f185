//! Gateways that fail, flap, drain and return, in virtual time.

use std::collections::BTreeSet;
use std::time::Duration;

use meshnode_dataplane::{Cause, PathState};
use meshnode_membership::record::serving::PrefixOptions;
use proptest::prelude::*;

use super::super::fixture::{key, node, up, view};
use super::super::{Connected, Host};
use super::*;

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const SHARED: &str = "10.2.0.0/16";

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// A mesh, its paths, and what was chosen so far.
struct World {
    view: View,
    paths: Paths,
    local: Local,
    memory: Memory,
    now: Instant,
    last: Choice,
}

impl World {
    /// Nodes by number, each with its prefixes and priorities; all paths work.
    fn of(nodes: &[(u8, &[(&str, u16)])]) -> World {
        let now = Instant::now() + Duration::from_secs(10_000);
        let nodes: Vec<NodeView> = nodes
            .iter()
            .map(|(seed, prefixes)| node(*seed, prefixes))
            .collect();
        let paths = nodes.iter().map(|n| (*n.id.as_bytes(), up(now))).collect();
        let host = Host {
            ipv6: true,
            ..Host::default()
        };
        let mut world = World {
            view: view(nodes),
            paths,
            local: Local {
                host,
                ..Local::default()
            },
            memory: Memory::default(),
            now,
            last: Choice::default(),
        };
        world.choose();
        world
    }

    /// Two gateways of one prefix; the first has the higher priority.
    fn pair() -> World {
        World::of(&[(1, &[(SHARED, 200)]), (2, &[(SHARED, 100)])])
    }

    fn choose(&mut self) -> &mut World {
        let situation = Situation {
            view: &self.view,
            local: &self.local,
            paths: &self.paths,
            now: self.now,
        };
        self.last = choose(&situation, &mut self.memory);
        self
    }

    /// Time passes, with a choice whenever the memory asks for one.
    fn after(&mut self, time: Duration) -> &mut World {
        let end = self.now + time;
        while let Some(at) = self.memory.poll_timeout().filter(|at| *at <= end) {
            assert!(at > self.now, "asks for the past");
            self.now = at;
            self.choose();
        }
        self.now = end;
        self.choose()
    }

    fn path(&mut self, seed: u8, state: PathState) -> &mut World {
        let mut path = up(self.now);
        path.state = state;
        path.cause = if state.works() {
            Cause::Answered
        } else {
            Cause::Silent
        };
        self.paths.insert(*key(seed).as_bytes(), path);
        self.choose()
    }

    fn node(&mut self, seed: u8) -> &mut NodeView {
        self.view.nodes.get_mut(&key(seed)).unwrap()
    }

    fn options(&mut self, seed: u8, prefix: &str, change: impl FnOnce(&mut PrefixOptions)) -> &mut World {
        change(self.node(seed).serving.prefixes.entry(net(prefix)).or_default());
        self.choose()
    }

    fn drain(&mut self, seed: u8, draining: bool) -> &mut World {
        self.node(seed).serving.draining = draining;
        self.choose()
    }

    fn target(&self, prefix: &str) -> &Target {
        &self.last.active[&net(prefix)]
    }

    #[track_caller]
    fn goes_to(&self, seed: u8) {
        assert_eq!(
            self.target(SHARED),
            &Target::Node(key(seed)),
            "{:#?}",
            self.last.statuses
        );
    }

    #[track_caller]
    fn because(&self, cause: RouteCause) {
        let causes: Vec<RouteCause> = self.last.changes.iter().map(|c| c.cause).collect();
        assert_eq!(causes, [cause]);
    }

    fn why(&self, seed: u8) -> String {
        let status = self.last.statuses.iter().find(|s| s.owner == key(seed)).unwrap();
        status
            .reason
            .as_ref()
            .map_or_else(String::new, |reason| reason.text(self.now))
    }
}

#[test]
fn suspect_gateway_is_left_at_once_and_returns_after_ten_stable_seconds() {
    let mut world = World::pair();
    world.goes_to(1);
    world.path(1, PathState::Suspect);
    world.goes_to(2);
    world.because(RouteCause::Health);
    assert_eq!(world.why(1), "suspect: nothing comes from it");
    world.after(3 * S).path(1, PathState::Up);
    world.goes_to(2);
    world.after(9 * S).goes_to(2);
    assert_eq!(world.why(1), "failed lately: held back for 1.0 s");
    world.after(1001 * MS).goes_to(1);
}

#[test]
fn return_says_so() {
    let mut world = World::pair();
    world.path(1, PathState::Down).after(S).path(1, PathState::Up);
    while world.target(SHARED) == &Target::Node(key(2)) {
        world.now = world.memory.poll_timeout().unwrap();
        world.choose();
    }
    world.because(RouteCause::Returned);
}

#[test]
fn nobody_is_left_for_an_equal_that_returns() {
    let mut world = World::of(&[(1, &[(SHARED, 100)]), (2, &[(SHARED, 100)])]);
    let first = if key(1) < key(2) { 1 } else { 2 };
    let other = 3 - first;
    world.goes_to(first);
    world
        .path(first, PathState::Suspect)
        .after(S)
        .path(first, PathState::Up);
    world.after(600 * S).goes_to(other);
    assert!(
        world.why(first).contains("is as good and in use"),
        "{}",
        world.why(first)
    );
}

#[test]
fn drained_gateway_is_left_at_once_and_returns_soon_after_its_restart() {
    let mut world = World::pair();
    world.drain(1, true).goes_to(2);
    world.because(RouteCause::Drain);
    assert_eq!(world.why(1), "draining");
    world.path(1, PathState::Suspect);
    world.after(S).path(1, PathState::Down);
    world.after(60 * S).drain(1, false).path(1, PathState::Up);
    world.goes_to(2);
    world.after(damping::PLANNED).goes_to(1);
}

#[test]
fn the_only_gateway_keeps_its_packets_whatever_it_says() {
    let mut world = World::of(&[(1, &[(SHARED, 100)])]);
    world.drain(1, true).goes_to(1);
    assert_eq!(world.why(1), "draining; there is no other way");
    for state in [PathState::Suspect, PathState::Down, PathState::Connecting] {
        world.path(1, state).goes_to(1);
        assert!(world.last.changes.is_empty());
    }
}

#[test]
fn interface_down_at_the_gateway_is_left_at_once() {
    let mut world = World::pair();
    world.options(1, SHARED, |o| o.not_served = true).goes_to(2);
    world.because(RouteCause::Interface);
    world.options(1, SHARED, |o| o.not_served = false).goes_to(2);
    world.after(10 * S).goes_to(1);
}

#[test]
fn failing_check_counts_unless_everybody_fails() {
    let mut world = World::pair();
    world.local.failing_checks.insert((net(SHARED), key(1)));
    world.choose().goes_to(2);
    world.because(RouteCause::Check);
    world.options(2, SHARED, |o| o.check_fails = true);
    assert_eq!(world.last.checks_ignored, [net(SHARED)]);
    world.goes_to(2);
    world.path(2, PathState::Down).goes_to(1);
    assert!(world.why(1).contains("does not count"), "{}", world.why(1));
}

#[test]
fn degraded_path_counts_after_ten_seconds_and_not_against_a_higher_priority() {
    let mut world = World::of(&[(1, &[(SHARED, 100)]), (2, &[(SHARED, 100)])]);
    let first = if key(1) < key(2) { 1 } else { 2 };
    world
        .after(20 * S)
        .path(first, PathState::Degraded)
        .goes_to(first);
    world.after(9 * S).goes_to(first);
    world.after(S).goes_to(3 - first);
    let mut world = World::pair();
    world.after(20 * S).path(1, PathState::Degraded);
    world.after(60 * S).goes_to(1);
}

#[test]
fn raised_priority_moves_at_once_but_not_twice() {
    let mut world = World::pair();
    world.node(2).prefixes[0].priority = 300;
    world.choose().goes_to(2);
    world.because(RouteCause::Priority);
    world.node(2).prefixes[0].priority = 100;
    world.choose().goes_to(2);
    assert!(
        world.why(1).contains("the route changed lately"),
        "{}",
        world.why(1)
    );
    world.after(10 * S).goes_to(1);
}

#[test]
fn withdrawn_prefix_moves_and_then_goes() {
    let mut world = World::pair();
    world.node(1).prefixes.clear();
    world.choose().goes_to(2);
    world.because(RouteCause::Withdrawn);
    world.node(2).prefixes.clear();
    world.choose();
    world.because(RouteCause::Withdrawn);
    assert!(world.last.active.is_empty());
}

#[test]
fn new_gateway_is_used_once_its_path_works() {
    let mut world = World::pair();
    world.paths.remove(key(1).as_bytes());
    let mut fresh = World {
        memory: Memory::default(),
        ..world
    };
    fresh.choose().goes_to(2);
    fresh.path(1, PathState::Up).goes_to(1);
}

/// Node 1 serves a part of what node 2 serves.
fn nested() -> World {
    World::of(&[(1, &[("10.2.7.0/24", 100)]), (2, &[("10.0.0.0/8", 100)])])
}

#[test]
fn dead_prefix_takes_the_way_of_a_wider_one_and_returns() {
    let (mut world, part) = (nested(), "10.2.7.0/24");
    world.path(1, PathState::Suspect);
    assert_eq!(world.target(part), &Target::LessSpecific(net("10.0.0.0/8")));
    assert!(world.why(1).contains("its packets take the way of 10.0.0.0/8"));
    world.path(1, PathState::Up).after(9 * S);
    assert_eq!(world.target(part), &Target::LessSpecific(net("10.0.0.0/8")));
    world.after(2 * S);
    assert_eq!(world.target(part), &Target::Node(key(1)));
}

#[test]
fn dead_prefix_waits_for_its_gateway_when_the_wider_one_is_dead_too() {
    let mut world = nested();
    world.path(2, PathState::Down).path(1, PathState::Down);
    assert_eq!(world.target("10.2.7.0/24"), &Target::Node(key(1)));
    world.path(2, PathState::Up);
    assert_eq!(
        world.target("10.2.7.0/24"),
        &Target::LessSpecific(net("10.0.0.0/8"))
    );
    world.path(2, PathState::Down).path(1, PathState::Up);
    assert_eq!(
        world.target("10.2.7.0/24"),
        &Target::Node(key(1)),
        "held back is better than dead"
    );
}

#[test]
fn a_drained_part_takes_the_way_of_a_wider_prefix() {
    let mut world = nested();
    world.drain(1, true);
    assert_eq!(
        world.target("10.2.7.0/24"),
        &Target::LessSpecific(net("10.0.0.0/8"))
    );
    world.because(RouteCause::Drain);
}

#[test]
fn owner_may_rather_have_packets_dropped() {
    let (mut world, part) = (nested(), "10.2.7.0/24");
    world.options(1, part, |o| o.fallback = Fallback::Drop);
    world.path(1, PathState::Suspect);
    assert_eq!(
        world.target(part),
        &Target::Node(key(1)),
        "it may be back in a moment"
    );
    world.path(1, PathState::Down);
    assert_eq!(world.target(part), &Target::Dropped);
    world.path(1, PathState::Up);
    assert_eq!(world.target(part), &Target::Node(key(1)));
}

#[test]
fn what_is_served_here_hides_what_is_around_it() {
    let mut world = nested();
    world.local.prefixes = vec![net("10.2.0.0/16")];
    world
        .node(2)
        .prefixes
        .push(meshnode_membership::record::AnnouncedPrefix {
            prefix: net("10.2.0.0/16"),
            priority: 1,
        });
    world.path(1, PathState::Down);
    assert_eq!(world.target("10.2.7.0/24"), &Target::Node(key(1)));
}

#[test]
fn rejected_prefix_is_no_way_out() {
    let mut world = nested();
    world.local.host.connected = vec![Connected {
        prefix: net("10.9.0.0/24"),
        interface: "eth0".into(),
    }];
    world.path(1, PathState::Down);
    assert_eq!(world.target("10.2.7.0/24"), &Target::Node(key(1)));
}

fn balanced() -> World {
    let mut world = World::of(&[(1, &[(SHARED, 100)]), (2, &[(SHARED, 100)]), (3, &[(SHARED, 50)])]);
    world.options(1, SHARED, |o| o.balance = true);
    world.memory = Memory::default();
    world.options(2, SHARED, |o| o.balance = true);
    world
}

#[test]
fn equals_that_all_want_it_share_flows_and_a_dead_one_does_not() {
    let mut world = balanced();
    let mut both = vec![key(1), key(2)];
    both.sort_unstable();
    assert_eq!(world.target(SHARED), &Target::Balanced(both.clone()));
    assert_eq!(world.why(1), "one of 2 that share its flows");
    assert!(world.why(3).contains("higher priority 100"));
    world.path(1, PathState::Suspect).goes_to(2);
    world.because(RouteCause::Health);
    world.path(1, PathState::Up).after(9 * S).goes_to(2);
    world.after(2 * S);
    assert_eq!(world.target(SHARED), &Target::Balanced(both));
    world.drain(2, true).goes_to(1);
}

#[test]
fn one_who_does_not_want_it_keeps_flows_together() {
    let mut world = World::of(&[(1, &[(SHARED, 100)]), (2, &[(SHARED, 100)])]);
    world.options(1, SHARED, |o| o.balance = true);
    assert!(matches!(world.target(SHARED), Target::Node(_)));
}

/// Flaps of one link: how long it works and fails, in tenths of a second.
fn flaps() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((5_u64..100, 5_u64..100), 1..60)
}

fn state() -> impl Strategy<Value = PathState> {
    prop::sample::select(PathState::ALL.to_vec())
}

proptest! {
    #[test]
    fn a_flapping_link_costs_at_most_one_change_in_ten_seconds(flaps in flaps()) {
        let mut world = World::pair();
        let (start, mut changes) = (world.now, 0_u64);
        for (works, fails) in flaps {
            for (state, tenths) in [(PathState::Suspect, fails), (PathState::Up, works)] {
                world.path(1, state);
                changes += world.last.changes.len() as u64;
                let end = world.now + Duration::from_millis(100 * tenths);
                while let Some(at) = world.memory.poll_timeout().filter(|at| *at <= end) {
                    world.now = at;
                    world.choose();
                    changes += world.last.changes.len() as u64;
                }
                world.now = end;
            }
        }
        // Ten stable seconds never come, so there is one change and no other.
        prop_assert!(changes <= 1 + world.now.duration_since(start).as_secs() / 10, "{} changes", changes);
    }

    #[test]
    fn what_works_is_not_left_within_ten_seconds_of_a_change(
        steps in prop::collection::vec((1_u8..4, state(), 1_u64..60, any::<bool>()), 1..80),
    ) {
        let mut world = World::of(&[(1, &[(SHARED, 100)]), (2, &[(SHARED, 100)]), (3, &[(SHARED, 200)])]);
        let mut changed = None;
        for (seed, state, tenths, check) in steps {
            let before = world.target(SHARED).clone();
            world.now += Duration::from_millis(100 * tenths);
            world.options(seed, SHARED, |o| o.check_fails = check);
            world.path(seed, state);
            if world.target(SHARED) == &before {
                continue;
            }
            let left = before.nodes()[0];
            let alive = world.paths[left.as_bytes()].state.works() && !world.node_check(&left);
            if alive && let Some(at) = changed {
                prop_assert!(world.now.duration_since(at) >= damping::FIRST);
            }
            changed = Some(world.now);
        }
    }

    #[test]
    fn no_dead_gateway_while_another_lives(
        paths in prop::collection::vec(state(), 4),
        draining in prop::collection::vec(any::<bool>(), 4),
        not_served in prop::collection::vec(any::<bool>(), 4),
        again in prop::collection::vec(state(), 4),
    ) {
        let owners: Vec<(u8, &[(&str, u16)])> = (1..5).map(|seed| (seed, &[(SHARED, 100)][..])).collect();
        let mut world = World::of(&owners);
        for round in [paths, again] {
            for seed in 1..5_u8 {
                let i = usize::from(seed - 1);
                world.node(seed).serving.draining = draining[i];
                world.options(seed, SHARED, |o| o.not_served = not_served[i]);
                world.path(seed, round[i]);
            }
            let works = |i: usize| round[i].works() && !not_served[i];
            let alive: BTreeSet<NodeId> = (0..4).filter(|i| works(*i)).map(|i| key(i as u8 + 1)).collect();
            let staying: BTreeSet<NodeId> =
                (0..4).filter(|i| works(*i) && !draining[*i]).map(|i| key(i as u8 + 1)).collect();
            let chosen = world.target(SHARED).nodes()[0];
            prop_assert!(alive.is_empty() || alive.contains(&chosen));
            prop_assert!(staying.is_empty() || staying.contains(&chosen));
        }
    }

    #[test]
    fn the_same_inputs_give_the_same_choice(paths in prop::collection::vec(state(), 3)) {
        let mut world = World::of(&[(1, &[(SHARED, 1)]), (2, &[(SHARED, 1)]), (3, &[("10.0.0.0/8", 1)])]);
        for (seed, state) in (1..).zip(paths) {
            world.path(seed, state);
        }
        let memory = world.memory.clone();
        let one = world.choose().last.clone();
        world.memory = memory;
        let two = world.choose().last.clone();
        prop_assert_eq!(one.active, two.active);
        prop_assert_eq!(one.statuses, two.statuses);
        prop_assert_eq!(one.changes, two.changes);
    }
}

impl World {
    fn node_check(&self, id: &NodeId) -> bool {
        self.view.nodes[id].serving.of(&net(SHARED)).check_fails
    }
}
