//! Every verdict that an explanation can come to, each in its situation.

use std::time::Duration;

use meshnode_dataplane::table::Peer;
use meshnode_dataplane::{Cause, PathState, PeerHealth, PeerKind, PeerStats, Via};
use meshnode_membership::record::serving::{Fallback, PrefixOptions};

use super::*;
use crate::desired::choice::Memory;
use crate::desired::fixture::{key, mesh, node, view};
use crate::desired::{Connected, Desired, Local, Situation, compose};

const ME: u8 = 100;
const PHONE: PeerId = [77; 32];

/// This node serves 10.1.0.0/16 on eth0; n2 serves 10.2.0.0/16 and, with n3, 10.9.0.0/16.
struct World {
    view: View,
    local: Local,
    paths: Paths,
    stats: Stats,
    clients: BTreeMap<PeerId, String>,
    now: Instant,
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

impl World {
    fn new() -> World {
        let now = Instant::now();
        let mut view = view(vec![
            node(
                2,
                &[("10.2.0.0/16", 100), ("10.9.0.0/16", 200), ("10.50.0.0/16", 100)],
            ),
            node(3, &[("10.9.0.0/16", 100), ("10.0.0.0/8", 100)]),
        ]);
        view.own = Some(node(ME, &[("10.1.0.0/16", 100)]));
        let mut world = World {
            view,
            local: Local {
                prefixes: vec![net("10.1.0.0/16")],
                accept: vec![net("10.0.0.0/7")],
                host: host(),
                ..Local::default()
            },
            paths: Paths::new(),
            stats: Stats::default(),
            clients: BTreeMap::new(),
            now,
        };
        world.path(2, PathState::Up);
        world.path(3, PathState::Up);
        world
    }

    fn path(&mut self, seed: u8, state: PathState) {
        let id = *key(seed).as_bytes();
        let health = PeerHealth {
            state,
            cause: Cause::Answered,
            since: self.now - Duration::from_secs(60),
            proven: Some(self.now - Duration::from_millis(300)),
            rtt: Some(Duration::from_micros(12_400)),
            loss: 0.0,
        };
        self.paths.insert(id, health);
        let works = state == PathState::Up;
        let stats = PeerStats {
            endpoint: works.then(|| "198.51.100.2:51820".parse().unwrap()),
            last_handshake: works.then(|| Duration::from_secs(5)),
            mtu: 1420,
            ..PeerStats::default()
        };
        self.stats.peers.insert(id, stats);
    }

    fn attach_phone(&mut self) {
        self.clients.insert(PHONE, "phone".to_owned());
        let stats = PeerStats {
            last_handshake: Some(Duration::from_secs(5)),
            ..PeerStats::default()
        };
        self.stats.peers.insert(PHONE, stats);
    }

    fn desired(&self) -> Desired {
        let situation = Situation {
            view: &self.view,
            local: &self.local,
            paths: &self.paths,
            now: self.now,
        };
        let mut desired = compose(&situation, &mut Memory::default());
        desired.peers.extend(self.clients.keys().map(|id| phone(*id)));
        desired.kernel.routes.push(crate::desired::KernelRoute {
            prefix: net("100.96.100.0/24"),
            metric: crate::desired::MESH_METRIC,
            source_hint: None,
        });
        desired
    }

    fn ask_from(&self, from: Option<u8>, source: &str, destination: &str) -> Explanation {
        let desired = self.desired();
        let table = crate::adapt::dataplane::table(
            &desired,
            &meshnode_dataplane::Keys::default(),
            (&mesh(), &key(ME)),
            1420,
            1,
        );
        let question = Question {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            from: from.map(|seed| *key(seed).as_bytes()),
        };
        let facts = Facts {
            view: &self.view,
            announced: &self.local.prefixes,
            host: &self.local.host,
            kernel: &desired.kernel,
            interface: "mesh0",
            routes: &desired.statuses,
            table: &table.compile(),
            stats: &self.stats,
            paths: &self.paths,
            clients: &self.clients,
            now: self.now,
        };
        explain(&question, &facts)
    }

    fn ask(&self, source: &str, destination: &str) -> Explanation {
        self.ask_from(None, source, destination)
    }
}

fn host() -> Host {
    Host {
        connected: vec![Connected {
            prefix: net("10.1.0.0/24"),
            interface: "eth0".into(),
        }],
        addresses: vec!["10.1.0.5".parse().unwrap(), "203.0.113.1".parse().unwrap()],
        routes: [net("0.0.0.0/0"), net("10.50.0.0/16")].into_iter().collect(),
        ipv6: true,
        ..Host::default()
    }
}

fn phone(id: PeerId) -> Peer {
    Peer {
        id,
        kind: PeerKind::Client,
        mesh_address: None,
        lanes: vec![id],
        endpoints: Vec::new(),
        endpoint_set: 0,
        sources: vec![net("100.96.100.2/32")],
        preshared_key: None,
        keepalive: None,
    }
}

fn nodes(ways: &[Way]) -> Vec<&str> {
    ways.iter().map(|way| way.node.as_str()).collect()
}

/// `packet`: `source > destination`, or `source > destination from n3` out of that node's tunnel.
fn says(world: &World, packet: &str, verdict: &str) {
    let words: Vec<&str> = packet.split(' ').collect();
    let from = words.get(4).map(|node| node[1..].parse().unwrap());
    let story = world.ask_from(from, words[0], words[2]);
    let outcome = serde_json::to_value(story.outcome).unwrap();
    let told = [outcome.as_str(), story.drop_reason.as_deref()];
    let told = told.into_iter().flatten().collect::<Vec<_>>().join(" ");
    assert_eq!(told, verdict, "{packet}: {story:#?}");
    assert!(!story.text.is_empty(), "{packet}");
}

#[test]
fn packets_from_this_host_or_behind_it() {
    let world = World::new();
    says(&world, "10.1.7.7 > 10.2.0.1", "forwarded");
    says(&world, "10.1.0.5 > 10.2.0.1", "forwarded");
    // Our own network, this host, the internet.
    says(&world, "10.1.7.7 > 10.1.0.9", "elsewhere");
    says(&world, "10.1.7.7 > 10.1.0.5", "delivered");
    says(&world, "10.1.7.7 > 192.0.2.9", "elsewhere");
    // In no prefix of ours, so the other end would refuse it: a stranger, and our public address.
    says(&world, "192.0.2.1 > 10.2.0.1", "dropped source_not_allowed");
    says(&world, "203.0.113.1 > 10.2.0.1", "dropped source_not_allowed");
}

#[test]
fn packets_that_find_no_way() {
    let mut blind = World::new();
    blind.local.host.connected.clear();
    blind.local.host.routes.clear();
    says(&blind, "10.1.7.7 > 192.0.2.9", "dropped no_route");
    says(&blind, "10.2.0.1 > 10.1.0.9", "dropped no_route");
    let mut withdrawn = World::new();
    withdrawn.local.remembered.insert(net("172.20.0.0/16"));
    says(&withdrawn, "10.1.7.7 > 172.20.0.9", "dropped guard");
    let mut strict = World::new();
    strict.local.accept.clear();
    says(&strict, "10.1.7.7 > 10.50.0.9", "elsewhere");
    let mut waiting = World::new();
    waiting.path(2, PathState::Connecting);
    waiting.path(3, PathState::Connecting);
    says(&waiting, "10.1.7.7 > 10.2.0.1", "waits");
    let mut failing = World::new();
    failing.path(3, PathState::Down);
    failing.path(2, PathState::Suspect);
    let stats = failing.stats.peers.values_mut();
    stats.for_each(|peer| peer.last_handshake = Some(Duration::from_secs(5)));
    says(&failing, "10.1.7.7 > 10.2.0.1", "lost");
}

#[test]
fn packets_out_of_a_tunnel() {
    let mut world = World::new();
    world.attach_phone();
    says(&world, "10.2.0.1 > 10.1.0.9", "delivered");
    says(&world, "10.2.0.1 > 10.1.0.5", "delivered");
    says(&world, "10.2.0.1 > 10.9.0.1", "dropped destination_not_ours");
    says(
        &world,
        "192.0.2.1 > 10.1.0.9 from n2",
        "dropped source_not_allowed",
    );
    // To and from the attached device.
    says(&world, "10.2.0.1 > 100.96.100.2", "forwarded");
    says(&world, "10.1.7.7 > 100.96.100.2", "forwarded");
    says(&world, "100.96.100.2 > 10.2.0.1", "forwarded");
}

#[test]
fn a_prefix_that_its_owner_rather_has_dropped_names_that() {
    let mut world = World::new();
    let options = PrefixOptions {
        fallback: Fallback::Drop,
        ..PrefixOptions::default()
    };
    let owner = world.view.nodes.get_mut(&key(2)).unwrap();
    owner.serving.prefixes.insert(net("10.2.0.0/16"), options);
    says(&world, "10.1.7.7 > 10.2.0.1", "forwarded");
    world.path(2, PathState::Down);
    says(&world, "10.1.7.7 > 10.2.0.1", "dropped no_gateway");
}

#[test]
fn flows_that_are_shared_name_every_gateway() {
    let mut world = World::new();
    for seed in [2, 3] {
        let owner = world.view.nodes.get_mut(&key(seed)).unwrap();
        owner
            .prefixes
            .iter_mut()
            .for_each(|announced| announced.priority = 100);
        let options = PrefixOptions {
            balance: true,
            ..PrefixOptions::default()
        };
        owner.serving.prefixes.insert(net("10.9.0.0/16"), options);
    }
    let story = world.ask("10.1.7.7", "10.9.0.1");
    let mut named = nodes(&story.gateways);
    named.sort_unstable();
    assert_eq!((named, story.outcome), (vec!["n2", "n3"], Outcome::Forwarded));
}

#[test]
fn a_relay_on_the_way_is_named() {
    let mut world = World::new();
    let via = Via {
        relay: *key(3).as_bytes(),
        near: Some(Duration::from_millis(5)),
        far: Some(Duration::from_millis(7)),
    };
    world.stats.peers.get_mut(key(2).as_bytes()).unwrap().via = Some(via);
    let story = world.ask("10.1.7.7", "10.2.0.1");
    let relay = story.gateways[0].relay.as_ref().unwrap();
    assert_eq!(story.gateways[0].path, "relay:n3");
    assert_eq!(
        (relay.node.as_str(), relay.near_ms, relay.far_ms),
        ("n3", Some(5.0), Some(7.0))
    );
}

#[test]
fn all_candidates_are_told_the_longest_prefix_first() {
    let story = World::new().ask("10.1.7.7", "10.9.0.1");
    let told: Vec<_> = story
        .candidates
        .iter()
        .map(|c| (c.prefix.to_string(), c.node.as_str(), c.state.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("10.9.0.0/16".to_owned(), "n2", "active"),
            ("10.9.0.0/16".to_owned(), "n3", "standby"),
            ("10.0.0.0/8".to_owned(), "n3", "active"),
        ]
    );
    assert!(
        story.candidates[1]
            .reason
            .as_deref()
            .unwrap()
            .contains("higher priority 200")
    );
    assert_eq!(story.prefix, Some(net("10.9.0.0/16")));
    assert_eq!(nodes(&story.gateways), ["n2"]);
    let way = &story.gateways[0];
    assert_eq!(
        (way.path.as_str(), way.rtt_ms, way.proven_s, way.mtu),
        ("direct", Some(12.4), Some(0.3), Some(1420))
    );
}

#[test]
fn a_gateway_that_is_down_lost_for_that() {
    let mut world = World::new();
    world.path(2, PathState::Down);
    let story = world.ask("10.1.7.7", "10.9.0.1");
    assert_eq!(nodes(&story.gateways), ["n3"]);
    let lost = story.candidates.iter().find(|c| c.node == "n2").unwrap();
    assert_eq!((lost.state.as_str(), lost.health.as_str()), ("standby", "down"));
    assert!(lost.reason.is_some());
}

#[test]
fn what_the_kernel_does_is_said_as_ip_route_would() {
    let world = World::new();
    let kernel = |destination: &str| world.ask("10.1.7.7", destination).kernel.unwrap().text;
    assert_eq!(kernel("10.2.0.1"), "10.2.0.0/16 dev mesh0 proto 77");
    assert_eq!(kernel("10.1.0.9"), "10.1.0.0/24 dev eth0, connected");
    assert_eq!(kernel("192.0.2.9"), "the default route of this host");
}

#[test]
fn a_prefix_that_is_not_taken_says_what_would_take_it() {
    let mut world = World::new();
    world.local.accept.clear();
    let fix = world.ask("10.1.7.7", "10.50.0.9").fix.unwrap();
    assert!(
        fix.starts_with("10.50.0.0/16 of n2 is not taken here") && fix.contains("--accept"),
        "{fix}"
    );
}
