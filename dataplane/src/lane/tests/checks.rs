//! Targets behind gateways: asked through their tunnels, answered by whatever way, told to the gateway.

use super::net::*;
use crate::check::wire::MOST;
use crate::check::{Check, CheckTarget, Verdict};
use crate::lane::engine::EngineEvent;
use crate::packet::{Packet, TCP, checksum};
use crate::table::Table;
use crate::tunnel::Seal;
use crate::tunnel::stand_in::StandIn;
use std::net::IpAddr;
use std::time::Duration;

/// Who asks, whose target it is, and another gateway of the same prefix.
const ASKS: usize = 0;
const OWNER: usize = 1;
const TWIN: usize = 2;

const SOURCE: &str = "10.0.0.7";
const TARGET: &str = "10.1.0.5";

fn check(target: CheckTarget) -> Check {
    Check {
        owner: id(OWNER),
        target,
        source: SOURCE.parse().unwrap(),
        seed: 4711,
    }
}

fn icmp() -> CheckTarget {
    CheckTarget::Icmp(TARGET.parse().unwrap())
}

fn tcp() -> CheckTarget {
    CheckTarget::Tcp((TARGET.parse::<IpAddr>().unwrap(), 443).into())
}

/// What the hosts behind a gateway do with its packets.
#[derive(Clone, Copy, PartialEq)]
enum Lan {
    /// The target answers, through the node of this number.
    Answers(usize),
    /// The gateway does not forward.
    Silent,
}

struct World<S: Seal> {
    net: Net<S>,
    lan: Lan,
    /// What came out at the gateway.
    seen: Vec<Vec<u8>>,
}

/// Three nodes, of which the last two serve the target's prefix.
fn table_with(me: usize, checks: &[Check]) -> Table {
    let mut table = table(me, 3);
    for peer in &mut table.peers {
        if peer.id == id(TWIN) {
            peer.sources.push("10.1.0.0/16".parse().unwrap());
        }
    }
    if me == ASKS {
        table.checks = checks.to_vec();
    }
    table
}

impl<S: Seal> World<S> {
    fn up(targets: &[CheckTarget]) -> World<S> {
        let mut net = Net::up(3);
        let checks: Vec<Check> = targets.iter().map(|target| check(*target)).collect();
        for n in 0..3 {
            net.apply(n, table_with(n, &checks));
        }
        let mut world = World {
            net,
            lan: Lan::Answers(OWNER),
            seen: vec![],
        };
        world.run(3_000 * MS);
        world
    }

    fn run(&mut self, time: Duration) {
        let end = self.net.now + time;
        while self.net.now < end {
            self.net.run(5 * MS);
            for packet in self.net.delivered(OWNER) {
                if let (Lan::Answers(through), Some(answer)) = (self.lan, answer(&packet)) {
                    self.net.outbound(through, &answer);
                }
                self.seen.push(packet);
            }
        }
    }

    fn verdict(&self, target: CheckTarget) -> Verdict {
        self.net.nodes[ASKS].counters.checks()[&(id(OWNER), target)]
    }

    /// What the gateway was told since the last call.
    fn told(&mut self) -> Vec<bool> {
        let events = std::mem::take(&mut self.net.nodes[OWNER].events);
        let said = |event: &EngineEvent| match event {
            EngineEvent::CheckReported { peer, passes, .. } if *peer == id(ASKS) => Some(*passes),
            _ => None,
        };
        events.iter().filter_map(said).collect()
    }

    fn changes(&mut self) -> Vec<Verdict> {
        let events = std::mem::take(&mut self.net.nodes[ASKS].events);
        let change = |event: &EngineEvent| match event {
            EngineEvent::CheckChanged { verdict, .. } => Some(*verdict),
            _ => None,
        };
        events.iter().filter_map(change).collect()
    }
}

/// What an honest IPv4 host answers to an echo request, or to a SYN.
fn answer(packet: &[u8]) -> Option<Vec<u8>> {
    let at = Packet::parse(packet).unwrap().payload;
    let mut bytes = packet.to_vec();
    bytes.copy_within(12..16, 16);
    bytes[12..16].copy_from_slice(&packet[16..20]);
    match (packet[9], packet[at], packet.get(at + 13)) {
        (1, 8, _) => {
            bytes[at] = 0;
            finish(&mut bytes[at..], 2, 0);
        }
        (TCP, _, Some(0x02)) => {
            bytes[at..at + 2].copy_from_slice(&packet[at + 2..at + 4]);
            bytes[at + 2..at + 4].copy_from_slice(&packet[at..at + 2]);
            let sequence = u32::from_be_bytes(packet[at + 4..at + 8].try_into().unwrap());
            bytes[at + 8..at + 12].copy_from_slice(&sequence.wrapping_add(1).to_be_bytes());
            bytes[at + 13] = 0x12;
            let (from, to) = (TARGET.parse().unwrap(), SOURCE.parse().unwrap());
            let len = bytes.len() - at;
            finish(&mut bytes[at..], 16, checksum::pseudo(from, to, TCP, len));
        }
        _ => return None,
    }
    Some(bytes)
}

fn finish(message: &mut [u8], field: usize, sum: u32) {
    message[field..field + 2].fill(0);
    let value = checksum::finish(checksum::add(sum, message));
    message[field..field + 2].copy_from_slice(&value.to_be_bytes());
}

#[test]
fn a_target_behind_a_gateway_answers_and_the_gateway_is_told() {
    let mut world = World::<StandIn>::up(&[icmp(), tcp()]);
    assert_eq!(
        (world.verdict(icmp()), world.verdict(tcp())),
        (Verdict::Passes, Verdict::Passes)
    );
    assert_eq!(
        world.net.delivered(ASKS),
        Vec::<Vec<u8>>::new(),
        "an answer reached the host"
    );
    world.told();
    world.run(10_000 * MS);
    let told = world.told();
    assert!(
        (8..=12).contains(&told.len()) && told.iter().all(|passes| *passes),
        "{told:?}"
    );
    assert!(world.seen.iter().all(|packet| packet.len() <= MOST));
    assert_eq!(world.net.all_drops(ASKS) + world.net.all_drops(OWNER), 0);
}

#[test]
fn every_accepted_connection_is_taken_back() {
    let mut world = World::<StandIn>::up(&[tcp()]);
    world.run(5_000 * MS);
    let flags = |wanted| {
        world
            .seen
            .iter()
            .filter(|packet| packet[20 + 13] == wanted)
            .count()
    };
    let (syn, rst) = (flags(0x02), flags(0x04));
    assert!(syn > 10 && rst + 1 >= syn, "{syn} SYN, {rst} RST");
}

#[test]
fn a_gateway_that_swallows_what_it_should_forward_is_found_within_a_second_and_a_half() {
    let mut world = World::<StandIn>::up(&[icmp()]);
    world.changes();
    world.told();
    world.lan = Lan::Silent;
    world.run(1_500 * MS);
    assert_eq!(world.changes(), [Verdict::Fails]);
    assert_eq!(world.verdict(icmp()), Verdict::Fails);
    assert_eq!(world.told().last(), Some(&false));
    let state = world.net.peer(ASKS, OWNER).state;
    assert_eq!(state, crate::PeerState::Up, "its tunnel lives");
    world.lan = Lan::Answers(OWNER);
    world.run(2_500 * MS);
    assert_eq!(world.changes(), [Verdict::Passes]);
    assert_eq!(world.told().last(), Some(&true));
}

#[test]
fn the_answer_may_come_back_through_the_other_gateway() {
    let mut world = World::<StandIn>::up(&[icmp()]);
    world.lan = Lan::Answers(TWIN);
    world.changes();
    world.run(10_000 * MS);
    assert_eq!(world.changes(), []);
    assert_eq!(world.net.delivered(ASKS), Vec::<Vec<u8>>::new());
}

#[test]
fn an_answer_out_of_the_tunnel_of_a_stranger_to_the_prefix_counts_for_nothing() {
    let mut world = World::<StandIn>::up(&[icmp()]);
    let mut table = table_with(ASKS, &[check(icmp())]);
    for peer in table.peers.iter_mut().filter(|peer| peer.id == id(TWIN)) {
        peer.sources
            .retain(|prefix| *prefix != "10.1.0.0/16".parse().unwrap());
    }
    world.net.apply(ASKS, table);
    world.lan = Lan::Answers(TWIN);
    world.run(2_000 * MS);
    assert_eq!(world.verdict(icmp()), Verdict::Fails);
    assert!(world.net.dropped(ASKS, crate::DropReason::SourceNotAllowed) > 0);
}

#[test]
fn a_hosts_own_ping_of_the_target_is_not_swallowed() {
    let mut world = World::<StandIn>::up(&[icmp()]);
    let mut ping = vec![];
    etherparse::PacketBuilder::ipv4([10, 0, 0, 7], [10, 1, 0, 5], 64)
        .icmpv4_echo_request(7, 1)
        .write(&mut ping, b"meshnode, or whatever a person pings with")
        .unwrap();
    world.net.outbound(ASKS, &ping);
    world.run(100 * MS);
    assert_eq!(world.net.delivered(ASKS).len(), 1);
}

#[test]
fn a_dead_path_says_nothing_of_the_target() {
    let mut world = World::<StandIn>::up(&[icmp()]);
    world.changes();
    world.net.lose = Box::new(|flight| flight.to == address(OWNER) || flight.from == address(OWNER));
    world.run(20_000 * MS);
    assert_eq!(world.changes(), []);
    assert_eq!(world.net.peer(ASKS, OWNER).state, crate::PeerState::Down);
    world.net.lose = Box::new(|_| false);
    world.run(20_000 * MS);
    assert_eq!(
        (world.changes(), world.verdict(icmp())),
        (vec![], Verdict::Passes)
    );
}

#[test]
fn a_new_table_goes_on_with_checks_that_stay_and_forgets_the_others() {
    let mut world = World::<StandIn>::up(&[icmp(), tcp()]);
    world.changes();
    world.net.apply(ASKS, table_with(ASKS, &[check(icmp())]));
    assert_eq!(world.net.nodes[ASKS].counters.checks().len(), 1);
    assert_eq!(world.verdict(icmp()), Verdict::Passes);
    world.net.apply(ASKS, table_with(ASKS, &[]));
    world.seen.clear();
    world.run(2_000 * MS);
    assert_eq!(world.seen, Vec::<Vec<u8>>::new());
    assert_eq!(
        (world.net.nodes[ASKS].counters.checks().len(), world.changes()),
        (0, vec![])
    );
}

#[test]
fn an_answer_in_another_lane_finds_its_way_to_lane_0() {
    let lanes = [2, 2];
    let mut net = Net::<StandIn>::with_lanes(&lanes);
    let (ours, theirs) = (net.lanes_of(ASKS)[1], net.lanes_of(OWNER)[1]);
    net.outbound(
        theirs,
        &packet("10.1.0.9", "10.0.0.9", b"builds the tunnel of the second lane"),
    );
    net.run(1_500 * MS);
    net.delivered(ASKS);
    let mut table = table_of_lanes(ASKS, &lanes);
    table.checks = vec![check(icmp())];
    net.apply(ASKS, table);
    for _ in 0..1_000 {
        net.run(5 * MS);
        for packet in net.delivered(OWNER) {
            // The kernel gives it to the queue of the second lane.
            net.outbound(theirs, &answer(&packet).unwrap());
        }
    }
    assert!(
        net.nodes[ours].counters.lane(1, 0).handed_off > 0,
        "lane 1 saw no answer"
    );
    assert_eq!(
        net.nodes[ASKS].counters.checks()[&(id(OWNER), icmp())],
        Verdict::Passes
    );
    assert_eq!(net.delivered(ASKS).len() + net.delivered(ours).len(), 0);
}
