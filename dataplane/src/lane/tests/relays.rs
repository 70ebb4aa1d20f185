//! Pairs that do not reach each other straight, through others that do.

use super::net::*;
use crate::batch::SendBatch;
use crate::control::Message;
use crate::drop::DropReason;
use crate::lane::engine::EngineEvent;
use crate::relay::choice::{BETTER_FOR, Reason, STABLE};
use crate::relay::sessions::{LIFETIME, MOST_OF_ONE};
use crate::relay::{RelayPolicy, frame};
use crate::stats::PeerState;
use crate::table::PeerId;
use crate::tunnel::Seal;
use crate::tunnel::WireGuard;
use crate::tunnel::stand_in::StandIn;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// No pair is without a way for longer, if there is one.
const GAP: Duration = Duration::from_secs(1);

const EVERY: Duration = Duration::from_millis(10);

/// Ordered pairs of nodes between which nothing passes.
type Cuts = Rc<RefCell<BTreeSet<(usize, usize)>>>;

fn cuts<S: Seal>(net: &mut Net<S>) -> Cuts {
    let cuts = Cuts::default();
    let number = |place: std::net::SocketAddr| match place.ip() {
        std::net::IpAddr::V4(ip) => usize::from(ip.octets()[3]) - 1,
        std::net::IpAddr::V6(_) => usize::MAX,
    };
    let rule = Rc::clone(&cuts);
    net.lose = Box::new(move |flight| rule.borrow().contains(&(number(flight.from), number(flight.to))));
    cuts
}

fn cut(cuts: &Cuts, pairs: &[(usize, usize)]) {
    cuts.borrow_mut().extend(pairs);
}

/// All tunnels up, and nothing cut yet.
fn up<S: Seal>(nodes: usize) -> (Net<S>, Cuts) {
    let mut net = Net::up(nodes);
    let cuts = cuts(&mut net);
    (net, cuts)
}

fn inner(from: usize, to: usize) -> Vec<u8> {
    packet(
        &format!("10.{from}.0.1"),
        &format!("10.{to}.0.1"),
        &[from as u8, to as u8],
    )
}

/// Packets between these pairs for a while; the longest time that each pair was without one.
fn gaps<S: Seal>(
    net: &mut Net<S>,
    pairs: &[(usize, usize)],
    time: Duration,
) -> BTreeMap<(usize, usize), Duration> {
    let start = net.now;
    let mut last: BTreeMap<_, _> = pairs.iter().map(|pair| (*pair, start)).collect();
    let mut gaps: BTreeMap<_, _> = pairs.iter().map(|pair| (*pair, Duration::ZERO)).collect();
    while net.now < start + time {
        for (from, to) in pairs {
            net.outbound(*from, &inner(*from, *to));
        }
        net.run(EVERY);
        for n in 0..net.nodes.len() {
            for packet in net.delivered(n).iter().filter(|p| p.len() == 30) {
                let pair = (usize::from(packet[28]), usize::from(packet[29]));
                let before = last.insert(pair, net.now).unwrap_or(start);
                let longest = gaps.entry(pair).or_default();
                *longest = (*longest).max(net.now - before);
            }
        }
    }
    for (pair, at) in last {
        let longest = gaps.entry(pair).or_default();
        *longest = (*longest).max(net.now - at);
    }
    gaps
}

fn assert_no_gap<S: Seal>(net: &mut Net<S>, pairs: &[(usize, usize)], time: Duration, most: Duration) {
    for (pair, gap) in gaps(net, pairs, time) {
        assert!(gap <= most, "{pair:?} without a packet for {gap:?}");
    }
}

fn relay<S: Seal>(net: &Net<S>, n: usize, peer: usize) -> Option<PeerId> {
    net.peer(n, peer).via.map(|via| via.relay)
}

const BOTH: [(usize, usize); 2] = [(0, 1), (1, 0)];

/// 0 and 1 do not reach each other, and talk through 2.
fn through_a_relay<S: Seal>() -> (Net<S>, Cuts) {
    let (mut net, cuts) = up(3);
    cut(&cuts, &BOTH);
    gaps(&mut net, &BOTH, 3 * GAP);
    assert_eq!((relay(&net, 0, 1), relay(&net, 1, 0)), (Some(id(2)), Some(id(2))));
    net.captured();
    (net, cuts)
}

#[test]
fn a_pair_that_never_had_a_path_talks_through_a_third() {
    let mut net: Net = Net::without_tables(3);
    let cuts = cuts(&mut net);
    cut(&cuts, &BOTH);
    for n in 0..3 {
        net.apply(n, table(n, 3));
    }
    net.run(4 * GAP);
    assert_no_gap(&mut net, &BOTH, GAP, 5 * EVERY);
    let peer = net.peer(0, 1);
    assert_eq!(peer.state, PeerState::Up);
    let via = peer.via.unwrap();
    assert_eq!(
        (via.relay, via.near, via.far),
        (id(2), Some(10 * MS), Some(10 * MS))
    );
    assert_eq!(net.peer(0, 1).rtt, Some(20 * MS));
    assert!(net.stats(2).relayed_packets > 100 && net.stats(2).relay_sessions == 1);
}

#[test]
fn a_block_of_one_direction_or_both_is_passed_by() {
    for blocked in [&BOTH[..1], &BOTH[1..], &BOTH[..]] {
        let (mut net, cuts) = up::<WireGuard>(3);
        gaps(&mut net, &BOTH, GAP);
        cut(&cuts, blocked);
        assert_no_gap(&mut net, &BOTH, 4 * GAP, GAP);
        assert_eq!(net.peer(0, 1).state, PeerState::Up);
    }
}

#[test]
fn packets_go_straight_again_when_that_was_well_for_a_while() {
    let (mut net, cuts) = through_a_relay::<StandIn>();
    cuts.borrow_mut().clear();
    assert_no_gap(&mut net, &BOTH, STABLE, 5 * EVERY);
    assert_eq!(relay(&net, 0, 1), Some(id(2)), "not at once");
    assert_no_gap(&mut net, &BOTH, 2 * STABLE, 5 * EVERY);
    assert_eq!((relay(&net, 0, 1), relay(&net, 1, 0)), (None, None));
    let switches: Vec<_> = net.nodes[0]
        .events
        .iter()
        .filter_map(|event| match event {
            EngineEvent::PathSwitched { to, reason, .. } => Some((*to, *reason)),
            _ => None,
        })
        .collect();
    assert_eq!(
        switches,
        [(Some(id(2)), Reason::DirectLost), (None, Reason::DirectBack)]
    );
}

#[test]
fn sessions_that_nobody_needs_end() {
    let (mut net, cuts) = through_a_relay::<StandIn>();
    cuts.borrow_mut().clear();
    net.run(STABLE * 3 + LIFETIME * 2);
    assert_eq!(net.stats(2).relay_sessions, 0);
    net.captured();
    net.run(20 * GAP);
    assert!(net.captured().iter().all(|flight| flight.kind() != frame::TYPE));
}

#[test]
fn a_relay_that_dies_is_replaced_and_the_last_one_gives_way_to_the_direct_path() {
    let (mut net, cuts) = up::<StandIn>(4);
    cut(&cuts, &BOTH);
    gaps(&mut net, &BOTH, 3 * GAP);
    let dead = relay(&net, 0, 1).unwrap();
    let dead = usize::from(dead[0]) - 1;
    let other = 5 - dead;
    cut(&cuts, &[(0, dead), (dead, 0), (1, dead), (dead, 1)]);
    assert_no_gap(&mut net, &BOTH, 3 * GAP, GAP);
    assert_eq!(relay(&net, 0, 1), Some(id(other)));
    cuts.borrow_mut().retain(|pair| !BOTH.contains(pair));
    gaps(&mut net, &BOTH, 2 * GAP);
    cut(&cuts, &[(0, other), (other, 0), (1, other), (other, 1)]);
    assert_no_gap(&mut net, &BOTH, 3 * GAP, GAP);
    assert_eq!(relay(&net, 0, 1), None);
}

#[test]
fn a_frozen_peer_is_not_believed_in_because_relays_reached_it_before() {
    let (mut net, cuts) = up::<StandIn>(5);
    cut(&cuts, &BOTH);
    gaps(&mut net, &BOTH, 3 * GAP);
    cuts.borrow_mut().clear();
    gaps(&mut net, &BOTH, 3 * STABLE);
    assert_eq!(relay(&net, 0, 1), None);
    cut(&cuts, &(0..5).flat_map(|n| [(n, 1), (1, n)]).collect::<Vec<_>>());
    let works = |net: &Net<StandIn>| net.nodes[0].counters.health()[&id(1)].state.works();
    gaps(&mut net, &BOTH[..1], 40 * EVERY);
    for _ in 0..200 {
        assert!(!works(&net), "{:?}", net.nodes[0].events);
        gaps(&mut net, &BOTH[..1], EVERY);
    }
}

#[test]
fn who_does_not_relay_is_not_asked_and_refuses() {
    let (mut net, cuts) = up::<StandIn>(3);
    let mut table = net.nodes[2].table.clone();
    table.relay.enabled = false;
    net.apply(2, table);
    cut(&cuts, &BOTH);
    gaps(&mut net, &BOTH, 3 * GAP);
    assert_eq!((relay(&net, 0, 1), net.stats(2).relayed_packets), (None, 0));
    let mut table = net.nodes[0].table.clone();
    table.relays.clear();
    net.apply(0, table);
    net.captured();
    gaps(&mut net, &BOTH[..1], 2 * GAP);
    let to_relay = net.captured().into_iter().filter(|f| f.to == address(2));
    assert!(to_relay.count() < 60, "probes alone");
}

#[test]
fn a_frame_is_sent_on_once_and_to_the_other_end_alone() {
    let (mut net, _cuts) = through_a_relay::<StandIn>();
    gaps(&mut net, &BOTH, GAP);
    net.run(EVERY);
    let frames: Vec<_> = net
        .captured()
        .into_iter()
        .filter(|f| f.kind() == frame::TYPE)
        .collect();
    assert!(frames.len() > 300, "{}", frames.len());
    for frame in &frames {
        assert!(frame.from == address(2) || frame.to == address(2));
        let copies = frames.iter().filter(|other| other.payload == frame.payload);
        let ends: Vec<_> = copies.map(|copy| (copy.from, copy.to)).collect();
        assert_eq!(ends.len(), 2);
        assert!(ends[0].1 == address(2) && ends[1].0 == address(2) && ends[0].0 != ends[1].1);
    }
}

#[test]
fn frames_of_strangers_and_under_other_sessions_go_nowhere() {
    let (mut net, _cuts) = through_a_relay::<StandIn>();
    net.outbound(0, &inner(0, 1));
    let sent = net.captured();
    let sent = sent.iter().find(|f| f.kind() == frame::TYPE).unwrap();
    net.run(5 * EVERY);
    net.captured();
    let relayed = net.stats(2).relayed_packets;
    let stranger = std::net::SocketAddr::from(([203, 0, 113, 66], 6666));
    net.inject(2, stranger, &sent.payload);
    assert_eq!(net.dropped(2, DropReason::RelayWrongSource), 1);
    let mut other = sent.payload.clone();
    other[4] ^= 1;
    net.inject(2, address(0), &other);
    net.inject(1, stranger, &sent.payload);
    net.inject(1, address(2), &other);
    assert_eq!(net.dropped(1, DropReason::RelayWrongSource), 2);
    assert_eq!(net.stats(2).relayed_packets, relayed);
}

#[test]
fn replays_through_a_relay_are_dropped_and_move_nothing() {
    let (mut net, _cuts) = through_a_relay::<WireGuard>();
    for _ in 0..20 {
        net.outbound(0, &inner(0, 1));
    }
    net.run(5 * EVERY);
    let frames: Vec<_> = net
        .captured()
        .into_iter()
        .filter(|f| f.kind() == frame::TYPE && f.to == address(1))
        .collect();
    assert!(frames.len() >= 20);
    net.delivered(1);
    let before = net.peer(1, 0);
    for flight in &frames {
        net.inject(1, address(2), &flight.payload);
        net.inject(1, address(2), &flight.payload[frame::HEADER..]);
    }
    assert_eq!(net.dropped(1, DropReason::Replayed), 2 * frames.len() as u64);
    assert!(net.delivered(1).is_empty());
    let after = net.peer(1, 0);
    assert_eq!(
        (after.endpoint, after.rx_bytes, after.via),
        (before.endpoint, before.rx_bytes, before.via)
    );
}

#[test]
fn a_relay_that_strips_its_frames_does_not_pass_for_the_peer() {
    let (mut net, cuts) = through_a_relay::<StandIn>();
    net.outbound(0, &inner(0, 1));
    let sent = net.captured();
    let sent = sent.iter().find(|f| f.kind() == frame::TYPE).unwrap();
    cut(&cuts, &[(2, 1)]);
    net.inject(1, address(2), &sent.payload[frame::HEADER..]);
    assert_eq!(net.delivered(1).len(), 1, "it is authentic");
    assert_eq!(net.peer(1, 0).endpoint, Some(address(0)));
}

#[test]
fn more_than_the_limit_is_not_relayed() {
    let (mut net, _cuts) = through_a_relay::<StandIn>();
    let mut table = net.nodes[2].table.clone();
    table.relay = RelayPolicy {
        enabled: true,
        limit: Some(1_000_000),
    };
    net.apply(2, table);
    let bytes = net.stats(2).relayed_bytes;
    for _ in 0..100 {
        for _ in 0..10 {
            net.outbound(0, &packet("10.0.0.1", "10.1.0.1", &[0; 1000]));
        }
        net.run(EVERY);
    }
    let relayed = net.stats(2).relayed_bytes - bytes;
    assert!((100_000..150_000).contains(&relayed), "{relayed}");
    assert!(net.dropped(2, DropReason::RelayLimited) > 800);
}

#[test]
fn a_flood_of_binds_is_bounded() {
    let (mut net, _cuts) = up::<StandIn>(3);
    let now = net.now;
    for i in 0..5_000u32 {
        let mut other = [0xee; 32];
        other[..4].copy_from_slice(&i.to_be_bytes());
        let mut send = SendBatch::default();
        let answers = false;
        let to = net.nodes[0].table.peers.iter().position(|p| p.id == id(2));
        net.nodes[0].engine.say(
            to.unwrap() as u32,
            Message::Bind { other, answers },
            now,
            &mut send,
        );
        for (_, payload) in send.iter() {
            net.inject(2, address(0), payload);
        }
    }
    assert_eq!(net.stats(2).relay_sessions, 0);
    assert!(net.stats(2).control_messages < 2 * MOST_OF_ONE as u64 + 100);
    assert!(net.dropped(2, DropReason::ControlRateLimited) > 3_000);
}

#[test]
fn the_host_says_nothing_in_our_name() {
    let (mut net, _cuts) = up::<StandIn>(2);
    let mut bytes = vec![];
    etherparse::PacketBuilder::ipv6(mesh_address(0).octets(), mesh_address(1).octets(), 64)
        .udp(crate::control::PORT, crate::control::PORT)
        .write(&mut bytes, &[1, 2, 0, 0])
        .unwrap();
    net.captured();
    net.outbound(0, &bytes);
    assert_eq!(net.dropped(0, DropReason::BadControl), 1);
    net.run(EVERY);
    assert_eq!(net.dropped(1, DropReason::BadControl), 0);
}

#[test]
fn a_relayed_path_takes_as_much_less_as_its_frames_are_longer() {
    let (mut net, cuts) = up::<StandIn>(3);
    let rule = Rc::clone(&cuts);
    let mut cut_off = std::mem::replace(&mut net.lose, Box::new(|_| false));
    drop(rule);
    net.lose = Box::new(move |f| cut_off(f) || (!f.fragment && f.payload.len() + 28 > 1_400));
    cut(&cuts, &BOTH);
    gaps(&mut net, &BOTH, 10 * GAP);
    assert_eq!(net.peer(0, 1).mtu, 1_340 - frame::HEADER as u16);
}

#[test]
fn a_way_that_is_clearly_better_for_long_is_taken_and_left_when_it_is_not() {
    let (mut net, _cuts) = up::<StandIn>(3);
    net.far = Some(([address(0), address(1)], 80 * MS));
    assert_no_gap(&mut net, &BOTH, BETTER_FOR / 2, 20 * EVERY);
    assert_eq!(relay(&net, 0, 1), None, "not at once");
    assert_no_gap(&mut net, &BOTH, BETTER_FOR, 20 * EVERY);
    assert_eq!(relay(&net, 0, 1), Some(id(2)));
    assert!(net.peer(0, 1).rtt.unwrap() < 30 * MS);
    net.far = None;
    assert_no_gap(&mut net, &BOTH, 3 * STABLE, 20 * EVERY);
    assert_eq!(relay(&net, 0, 1), None);
}

#[test]
fn an_idle_mesh_binds_nothing() {
    let (mut net, _cuts) = up::<StandIn>(4);
    net.far = Some(([address(0), address(1)], 80 * MS));
    net.run(60 * GAP);
    assert!((0..4).all(|n| net.stats(n).control_messages == 0));
}

#[test]
fn other_lanes_hand_over_while_a_relay_carries_the_peer() {
    let mut net: Net<StandIn> = Net::with_lanes(&[2, 2, 1]);
    let cuts = cuts(&mut net);
    let lane_1 = net.lanes_of(0)[1];
    let send = |net: &mut Net<StandIn>| {
        net.outbound(lane_1, &inner(0, 1));
        net.outbound(1, &inner(1, 0));
        net.run(EVERY);
    };
    (0..50).for_each(|_| send(&mut net));
    cut(&cuts, &BOTH);
    (0..300).for_each(|_| send(&mut net));
    assert_eq!(relay(&net, 0, 1), Some(id(2)));
    let arrived = |net: &mut Net<StandIn>| -> usize {
        let lanes = net.lanes_of(1);
        lanes.into_iter().map(|n| net.delivered(n).len()).sum()
    };
    arrived(&mut net);
    (0..50).for_each(|_| send(&mut net));
    assert!(arrived(&mut net) >= 49);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is cut: two nodes with a neighbour that both reach both ways talk within [`GAP`], and nothing is sent on twice.
    #[test]
    fn a_pair_with_a_common_neighbour_talks(cut_off in prop::collection::btree_set((0usize..5, 0usize..5), 0..12)) {
        let nodes = 5;
        let (mut net, cuts) = up::<StandIn>(nodes);
        let pairs: Vec<_> = (0..nodes).flat_map(|a| (0..nodes).map(move |b| (a, b))).filter(|(a, b)| a != b).collect();
        gaps(&mut net, &pairs, GAP / 2);
        cuts.borrow_mut().extend(&cut_off);
        gaps(&mut net, &pairs, GAP);
        net.captured();
        let gaps = gaps(&mut net, &pairs, GAP / 4);
        let linked = |a, b| !cut_off.contains(&(a, b)) && !cut_off.contains(&(b, a));
        for (a, b) in pairs {
            let common = (0..nodes).any(|c| c != a && c != b && linked(a, c) && linked(c, b));
            if linked(a, b) || common {
                prop_assert!(gaps[&(a, b)] <= 5 * EVERY, "{:?}: {:?}", (a, b), gaps[&(a, b)]);
            }
        }
        let mut seen: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for flight in net.captured().into_iter().filter(|f| f.kind() == frame::TYPE) {
            *seen.entry(flight.payload).or_default() += 1;
        }
        prop_assert!(seen.values().all(|times| *times <= 2));
    }
}
