//! Engines on a network in memory: virtual time, a delay for every datagram, and a rule that may lose it.

use crate::batch::{Datagram, SendBatch, WriteBatch};
use crate::drop::DropReason;
use crate::lane::counters::LaneCounters;
use crate::lane::engine::{EngineConfig, EngineEvent, LaneEngine};
use crate::lane::handoff::Handoff;
use crate::offload::Frame;
use crate::path::stamp::NtpClock;
use crate::relay::RelayPolicy;
use crate::stats::{PeerStats, Stats};
use crate::table::{Keys, LaneSecret, MtuPolicy, Peer, PeerId, PeerKind, Table};
use crate::tunnel::{Seal, WireGuard};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) const MS: Duration = Duration::from_millis(1);

/// A datagram under way.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) payload: Vec<u8>,
    /// Whether it may be fragmented on its way.
    pub(super) fragment: bool,
}

impl Flight {
    pub(super) fn kind(&self) -> u8 {
        self.payload[0]
    }
}

/// One lane of a host. The first lanes of all hosts come first, so that a host's number is that of its lane 0.
pub(super) struct Node<S: Seal> {
    host: usize,
    lane: u8,
    pub(super) engine: LaneEngine<S>,
    pub(super) counters: Arc<LaneCounters>,
    pub(super) address: SocketAddr,
    pub(super) tun: Vec<Vec<u8>>,
    pub(super) events: Vec<EngineEvent>,
    pub(super) table: Table,
    write: WriteBatch,
    send: SendBatch,
}

type Rule = Box<dyn FnMut(&Flight) -> bool>;

pub(super) struct Net<S: Seal = WireGuard> {
    pub(super) now: Instant,
    pub(super) nodes: Vec<Node<S>>,
    pub(super) delay: Duration,
    /// Datagrams to this place take so much longer.
    pub(super) slow: Option<(SocketAddr, Duration)>,
    /// Datagrams between these two take so much longer.
    pub(super) far: Option<([SocketAddr; 2], Duration)>,
    /// Which datagrams are lost.
    pub(super) lose: Rule,
    /// Whether the network cards corrupt what they segment.
    pub(super) corrupts: bool,
    /// Every datagram that was sent.
    pub(super) captured: Vec<Flight>,
    flights: BTreeMap<(Instant, u64), Flight>,
    sequence: u64,
}

pub(super) fn secret(seed: u16) -> LaneSecret {
    let mut bytes = [1; 32];
    bytes[..2].copy_from_slice(&seed.to_be_bytes());
    let key = meshnode_crypto::LaneKey::from_seed(bytes);
    LaneSecret {
        private: key.wireguard_private(),
        public: *key.wireguard_public().as_bytes(),
    }
}

pub(super) fn id(n: usize) -> PeerId {
    [n as u8 + 1; 32]
}

pub(super) fn mesh_address(n: usize) -> Ipv6Addr {
    format!("fd77::{:x}", n + 1).parse().unwrap()
}

pub(super) fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n as u8 + 1], 51820))
}

/// The lane key of node `n` in an epoch.
pub(super) fn lane_key(n: usize, epoch: u16) -> LaneSecret {
    secret(10 + n as u16 * 10 + epoch)
}

pub(super) fn node_peer(n: usize, epoch: u16) -> Peer {
    Peer {
        id: id(n),
        kind: PeerKind::Node,
        mesh_address: Some(mesh_address(n)),
        lanes: vec![lane_key(n, epoch).public],
        endpoints: vec![address(n)],
        endpoint_set: 0,
        sources: vec![
            format!("10.{n}.0.0/16").parse().unwrap(),
            format!("fd00:{n:x}::/32").parse().unwrap(),
            ipnet::IpNet::from(IpAddr::from(mesh_address(n))),
        ],
        preshared_key: None,
        keepalive: None,
    }
}

/// The key of lane `lane` of node `n`.
fn extra_key(n: usize, lane: u8) -> LaneSecret {
    match lane {
        0 => lane_key(n, 0),
        _ => secret(5000 + n as u16 * 10 + u16::from(lane)),
    }
}

/// The table of node `me` among `nodes`, all in their first epoch.
pub(super) fn table(me: usize, nodes: usize) -> Table {
    let others = (0..nodes).filter(|n| *n != me);
    Table {
        epoch: 1,
        forwarding: crate::table::Forwarding::Mesh,
        mesh_address: Some(mesh_address(me)),
        mtu: MtuPolicy::default(),
        local: node_peer(me, 0).sources,
        peers: others.clone().map(|n| node_peer(n, 0)).collect(),
        routes: others
            .clone()
            .flat_map(|n| {
                node_peer(n, 0)
                    .sources
                    .into_iter()
                    .map(move |p| (p, id(n).into()))
            })
            .collect(),
        keys: Keys {
            lanes: vec![lane_key(me, 0)],
            ..Keys::default()
        },
        member_addresses: vec![],
        relay: RelayPolicy::default(),
        relays: others.map(id).collect(),
        checks: vec![],
    }
}

/// The same where host `n` has `lanes[n]` lanes.
pub(super) fn table_of_lanes(me: usize, lanes: &[u8]) -> Table {
    let mut table = table(me, lanes.len());
    table.keys.lanes = (0..lanes[me]).map(|lane| extra_key(me, lane)).collect();
    for peer in &mut table.peers {
        let n = usize::from(peer.id[0]) - 1;
        peer.lanes = (0..lanes[n]).map(|lane| extra_key(n, lane).public).collect();
    }
    table
}

impl<S: Seal> Net<S> {
    /// `nodes` nodes that know nobody yet, 5 ms apart.
    pub(super) fn without_tables(nodes: usize) -> Net<S> {
        #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
        let start = Instant::now();
        let nodes = (0..nodes).map(|n| Node::new(n, 0, 1, start)).collect();
        Net {
            now: start,
            nodes,
            delay: 5 * MS,
            slow: None,
            far: None,
            lose: Box::new(|_| false),
            corrupts: false,
            captured: vec![],
            flights: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// A full mesh of `nodes` nodes that were just told of each other.
    pub(super) fn new(nodes: usize) -> Net<S> {
        let mut net = Net::without_tables(nodes);
        for n in 0..nodes {
            net.apply(n, table(n, nodes));
        }
        net
    }

    /// The same, with all tunnels up.
    pub(super) fn up(nodes: usize) -> Net<S> {
        let mut net = Net::new(nodes);
        net.run(2000 * MS);
        for n in 0..nodes {
            for stats in net.stats(n).peers.values() {
                assert_eq!(stats.state, crate::PeerState::Up);
            }
        }
        net
    }

    /// Hosts with so many lanes each, whose tunnels of lane 0 are up.
    pub(super) fn with_lanes(lanes: &[u8]) -> Net<S> {
        let mut net = Net::without_tables(0);
        let start = net.now;
        let extra = |(n, count): (usize, &u8)| (1..*count).map(move |lane| (n, lane));
        let all = (0..lanes.len()).map(|n| (n, 0));
        let all = all.chain(lanes.iter().enumerate().flat_map(extra));
        net.nodes = all.map(|(n, lane)| Node::new(n, lane, lanes[n], start)).collect();
        for n in 0..lanes.len() {
            net.apply(n, table_of_lanes(n, lanes));
        }
        net.run(2000 * MS);
        net
    }

    /// The lanes of a host.
    pub(super) fn lanes_of(&self, host: usize) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|n| self.nodes[*n].host == host)
            .collect()
    }

    pub(super) fn apply(&mut self, host: usize, table: Table) {
        let compiled = Arc::new(table.clone().compile());
        for n in self.lanes_of(host) {
            let node = &mut self.nodes[n];
            node.table = table.clone();
            node.engine.handle_table(Arc::clone(&compiled), self.now);
            self.settle(n);
        }
    }

    /// Node `n` starts anew: an engine that remembers nothing, at the same address.
    pub(super) fn restart(&mut self, host: usize) {
        let lanes = self.lanes_of(host);
        for n in &lanes {
            let (address, lane) = (self.nodes[*n].address, self.nodes[*n].lane);
            self.nodes[*n] = Node::new(host, lane, lanes.len() as u8, self.now);
            self.nodes[*n].address = address;
        }
    }

    /// A packet out of node `n`'s network.
    pub(super) fn outbound(&mut self, n: usize, packet: &[u8]) {
        let node = &mut self.nodes[n];
        let mut packet = packet.to_vec();
        let frame = Frame::whole(&mut packet);
        node.engine
            .handle_outbound(frame, self.now, &mut node.send, &mut node.write);
        self.settle(n);
    }

    /// Packets out of node `n`'s network that its lane reads in one turn.
    pub(super) fn outbound_together(&mut self, n: usize, packets: &[Vec<u8>]) {
        let node = &mut self.nodes[n];
        for packet in packets {
            let mut packet = packet.clone();
            let frame = Frame::whole(&mut packet);
            node.engine
                .handle_outbound(frame, self.now, &mut node.send, &mut node.write);
        }
        self.settle(n);
    }

    /// A datagram arrives at node `n` now, from wherever.
    pub(super) fn inject(&mut self, n: usize, from: SocketAddr, payload: &[u8]) {
        let node = &mut self.nodes[n];
        node.engine.handle_wake(self.now);
        let datagram = Datagram {
            source: from,
            local: None,
            payload,
        };
        node.engine
            .handle_inbound(datagram, self.now, &mut node.write, &mut node.send);
        self.settle(n);
    }

    /// What one wake-up of a lane does, without the input.
    fn settle(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        if node.engine.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
            node.engine.handle_timeout(self.now, &mut node.send);
        }
        node.tun.extend(node.write.packets().map(<[u8]>::to_vec));
        node.write.clear();
        let mut told = vec![];
        while let Some(event) = node.engine.poll_event() {
            match event {
                EngineEvent::Active { peer, at } => told.push((peer, at)),
                event => node.events.push(event),
            }
        }
        let mut handoff = std::mem::take(node.engine.handoff());
        let from = node.address;
        let runs = node.send.runs();
        for (run, payload) in runs.flat_map(|run| {
            let segments = run.bytes.chunks(run.segment_size.max(1));
            segments.map(move |payload| (run, payload))
        }) {
            let flight = Flight {
                from,
                to: run.to.remote,
                payload: payload.to_vec(),
                fragment: run.fragment,
            };
            self.captured.push(flight.clone());
            let corrupted = self.corrupts && run.count() > 1;
            if !corrupted && !(self.lose)(&flight) {
                self.sequence += 1;
                let more = self.slow.filter(|(place, _)| *place == flight.to);
                let ends = [flight.from, flight.to];
                let far = self
                    .far
                    .filter(|(far, _)| far.iter().all(|end| ends.contains(end)));
                let more = [more.map(|(_, more)| more), far.map(|(_, more)| more)];
                let delay = self.delay + more.into_iter().flatten().sum::<Duration>();
                self.flights.insert((self.now + delay, self.sequence), flight);
            }
        }
        node.send.clear();
        self.pass_on(n, &told, &mut handoff);
    }

    /// What lanes of one host say to each other.
    fn pass_on(&mut self, n: usize, told: &[(PeerId, Option<SocketAddr>)], handoff: &mut Handoff) {
        let host = self.nodes[n].host;
        if !handoff.is_empty() {
            let first = &mut self.nodes[host];
            first
                .engine
                .handle_handoff(handoff, self.now, &mut first.send, &mut first.write);
            self.settle(host);
        }
        for (peer, at) in told {
            let all = self.lanes_of(host);
            let others = all.into_iter().filter(|other| (n == host) != (*other == host));
            for other in others.collect::<Vec<_>>() {
                self.nodes[other].engine.handle_active(peer, *at, self.now);
                self.settle(other);
            }
        }
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let timers = self
                .nodes
                .iter()
                .filter_map(|n| n.engine.poll_timeout())
                .map(|(at, _)| at);
            let arrival = self.flights.keys().next().map(|(at, _)| *at);
            let Some(next) = timers.chain(arrival).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            let arrived = self
                .flights
                .first_entry()
                .filter(|f| f.key().0 <= self.now)
                .map(|f| f.remove());
            let target = |flight: &Flight| self.nodes.iter().position(|node| node.address == flight.to);
            if let Some((n, flight)) = arrived.and_then(|flight| Some((target(&flight)?, flight))) {
                self.inject(n, flight.from, &flight.payload);
            }
            for n in 0..self.nodes.len() {
                self.settle(n);
            }
        }
        self.now = end;
    }

    pub(super) fn stats(&self, n: usize) -> Stats {
        self.nodes[n].counters.snapshot(self.now)
    }

    pub(super) fn peer(&self, n: usize, peer: usize) -> PeerStats {
        self.stats(n).peers[&id(peer)].clone()
    }

    pub(super) fn dropped(&self, n: usize, reason: DropReason) -> u64 {
        self.stats(n).dropped(reason)
    }

    /// All drops but those of initiations that met on the way, which depends on nothing but the keys.
    pub(super) fn all_drops(&self, n: usize) -> u64 {
        self.stats(n).drops.iter().sum::<u64>() - self.dropped(n, DropReason::HandshakeCollision)
    }

    /// Packets that came out at node `n` since the last call.
    pub(super) fn delivered(&mut self, n: usize) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.nodes[n].tun)
    }

    pub(super) fn captured(&mut self) -> Vec<Flight> {
        std::mem::take(&mut self.captured)
    }
}

impl<S: Seal> Node<S> {
    fn new(n: usize, lane: u8, lanes: u8, start: Instant) -> Node<S> {
        let counters = Arc::new(LaneCounters::new(start));
        let config = EngineConfig {
            lane,
            lanes,
            seed: 0x00ab_cdef ^ n as u64 ^ (u64::from(lane) << 12),
            clock: NtpClock::new(start, Duration::from_secs(1_800_000_000)),
            counters: Arc::clone(&counters),
        };
        let mut address = address(n);
        address.set_port(address.port() + u16::from(lane));
        Node {
            host: n,
            lane,
            engine: LaneEngine::new(config),
            counters,
            address,
            tun: vec![],
            events: vec![],
            table: Table::default(),
            write: WriteBatch::default(),
            send: SendBatch::default(),
        }
    }
}

/// A UDP packet between two inner addresses of one family.
pub(super) fn packet(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    let builder = match (from.parse().unwrap(), to.parse().unwrap()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => etherparse::PacketBuilder::ipv4(a.octets(), b.octets(), 64),
        (IpAddr::V6(a), IpAddr::V6(b)) => etherparse::PacketBuilder::ipv6(a.octets(), b.octets(), 64),
        _ => panic!("two families"),
    };
    let mut bytes = vec![];
    builder.udp(4000, 5000).write(&mut bytes, payload).unwrap();
    bytes
}
