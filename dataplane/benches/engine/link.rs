//! One engine and its peers, with sessions through real WireGuard, in memory.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};
use meshnode_crypto::LaneKey;
use meshnode_dataplane::lane::counters::LaneCounters;
use meshnode_dataplane::lane::engine::{EngineConfig, LaneEngine};
use meshnode_dataplane::path::stamp::NtpClock;
use meshnode_dataplane::{
    Datagram, Frame, Keys, LaneSecret, Peer, PeerId, PeerKind, SendBatch, Table, WriteBatch,
};

use crate::packets;

/// A handshake in memory takes a millisecond; collisions cost some retries.
const CONNECTS: Duration = Duration::from_secs(20);

/// One engine with its batches.
pub(crate) struct End {
    engine: LaneEngine,
    address: SocketAddr,
    pub(crate) send: SendBatch,
    pub(crate) write: WriteBatch,
}

/// The engine that is measured, number 0, and the peers around it.
pub(crate) struct Link {
    pub(crate) left: End,
    pub(crate) peers: Vec<End>,
}

impl Link {
    /// All sessions stand.
    pub(crate) fn with_peers(count: u16) -> Link {
        let mut left = End::new(0);
        left.engine
            .handle_table(Arc::new(table(0, 1..=count).compile()), Instant::now());
        let mut link = Link {
            left,
            peers: (1..=count).map(End::new).collect(),
        };
        for number in 1..=count {
            let table = Arc::new(table(number, 0..=0).compile());
            link.peers[usize::from(number) - 1]
                .engine
                .handle_table(table, Instant::now());
            link.connect(number);
        }
        link
    }

    /// Sends a packet until one arrives.
    fn connect(&mut self, number: u16) {
        let deadline = Instant::now() + CONNECTS;
        let mut packet = packets::udp(number, 64);
        while self.peers[usize::from(number) - 1].write.is_empty() {
            assert!(Instant::now() < deadline, "peer {number} has no session");
            self.left.outbound(Frame::whole(&mut packet));
            self.settle(number);
        }
        self.peers[usize::from(number) - 1].write.clear();
    }

    /// Carries what both ends have for each other.
    fn settle(&mut self, number: u16) {
        let peer = &mut self.peers[usize::from(number) - 1];
        for _ in 0..4 {
            self.left.turn();
            carry(&mut self.left, peer);
            peer.turn();
            carry(peer, &mut self.left);
        }
        self.left.write.clear();
    }
}

fn carry(from: &mut End, to: &mut End) {
    for (target, payload) in from.send.iter() {
        if target.remote == to.address {
            let now = Instant::now();
            let datagram = Datagram {
                source: from.address,
                local: None,
                payload,
            };
            to.engine
                .handle_inbound(datagram, now, &mut to.write, &mut to.send);
        }
    }
    from.send.clear();
}

impl End {
    fn new(number: u16) -> End {
        let now = Instant::now();
        let config = EngineConfig {
            lane: 0,
            lanes: 1,
            seed: u64::from(number),
            clock: NtpClock::new(now, Duration::from_secs(1_800_000_000)),
            counters: Arc::new(LaneCounters::new(now)),
        };
        End {
            engine: LaneEngine::new(config),
            address: address(number),
            send: SendBatch::default(),
            write: WriteBatch::default(),
        }
    }

    /// A frame from the TUN.
    pub(crate) fn outbound(&mut self, frame: Frame<'_>) {
        self.engine
            .handle_outbound(frame, Instant::now(), &mut self.send, &mut self.write);
    }

    /// A datagram from engine 0.
    pub(crate) fn inbound(&mut self, payload: &[u8]) {
        let datagram = Datagram {
            source: address(0),
            local: None,
            payload,
        };
        self.engine
            .handle_inbound(datagram, Instant::now(), &mut self.write, &mut self.send);
    }

    fn turn(&mut self) {
        let now = Instant::now();
        if self.engine.poll_timeout().is_some_and(|(due, _)| due <= now) {
            self.engine.handle_timeout(now, &mut self.send);
        }
        while self.engine.poll_event().is_some() {}
    }
}

/// What engine `me` is to do: the prefix of each peer leads to it.
fn table(me: u16, peers: std::ops::RangeInclusive<u16>) -> Table {
    let peers: Vec<Peer> = peers.map(peer).collect();
    Table {
        epoch: 1,
        local: vec![prefix(me)],
        routes: peers
            .iter()
            .map(|peer| (peer.sources[0], peer.id.into()))
            .collect(),
        peers,
        keys: Keys {
            lanes: vec![secret(me)],
            ..Keys::default()
        },
        ..Table::default()
    }
}

/// Without a mesh address it is not probed: nothing but the bench's packets passes.
pub(crate) fn peer(number: u16) -> Peer {
    Peer {
        id: id(number),
        kind: PeerKind::Node,
        mesh_address: None,
        lanes: vec![secret(number).public],
        endpoints: vec![address(number)],
        endpoint_set: 0,
        sources: vec![prefix(number)],
        preshared_key: None,
        keepalive: None,
    }
}

fn id(number: u16) -> PeerId {
    let mut id = [7; 32];
    id[..2].copy_from_slice(&number.to_be_bytes());
    id
}

fn secret(number: u16) -> LaneSecret {
    let key = LaneKey::from_seed(id(number));
    LaneSecret {
        private: key.wireguard_private(),
        public: *key.wireguard_public().as_bytes(),
    }
}

fn prefix(number: u16) -> IpNet {
    IpNet::from(Ipv4Net::new_assert(packets::host(number), 24).trunc())
}

fn address(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(198, 18, high, low), 51820))
}
