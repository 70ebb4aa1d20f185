//! A lane's engine against a member gone bad: whatever stands in its tunnel, only its own sources reach only our
//! destinations, and nothing is dropped without a reason.

use std::cell::Cell;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use meshnode_dataplane::demux::Message;
use meshnode_dataplane::lane::counters::LaneCounters;
use meshnode_dataplane::lane::engine::{EngineConfig, LaneEngine};
use meshnode_dataplane::packet::{Packet, udp};
use meshnode_dataplane::path::stamp::{self, NtpClock};
use meshnode_dataplane::tunnel::{CookieCheck, Opened, Rejected, Seal, Ticked};
use meshnode_dataplane::{
    CompiledTable, Datagram, Frame, Keys, LaneSecret, MtuPolicy, Peer, PeerKind, SendBatch, Table, WriteBatch,
};

use super::packets::packet_seeds;

/// Bytes of an answer to an initiation.
const RESPONSE: usize = 92;
const OURS: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
const THEIRS: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);

/// Any bytes as a datagram, as a packet from the TUN, and as the content of the neighbour's tunnel.
pub fn lane(data: &[u8]) {
    let mut lane = Lane::new();
    lane.receive(data);
    assert!(
        lane.write.is_empty(),
        "a datagram that no tunnel opened reached the TUN"
    );
    let mut packet = data.to_vec();
    lane.engine.handle_outbound(
        Frame::whole(&mut packet),
        lane.now,
        &mut lane.send,
        &mut lane.write,
    );
    lane.write.clear();
    let before = (lane.ended(), lane.send.len());
    lane.receive(&sealed(lane.index, data));
    for bytes in lane.write.packets() {
        let packet = Packet::parse(bytes).expect("what is written was parsed");
        let covered = |list: &[IpNet], address| list.iter().any(|prefix| prefix.contains(&address));
        assert!(
            covered(&neighbour().sources, packet.source),
            "from {}",
            packet.source
        );
        assert!(covered(&local(), packet.destination), "to {}", packet.destination);
    }
    let accounted = lane.write.len() as u64 + (lane.ended() - before.0) + (lane.send.len() - before.1) as u64;
    assert!(
        data.is_empty() || accounted > 0,
        "a packet vanished without a reason"
    );
}

struct Lane {
    engine: LaneEngine<InClear>,
    counters: Arc<LaneCounters>,
    index: u32,
    now: Instant,
    write: WriteBatch,
    send: SendBatch,
}

impl Lane {
    fn new() -> Lane {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        let now = *START;
        let counters = Arc::new(LaneCounters::new(now));
        let clock = NtpClock::new(now, Duration::from_secs(1_800_000_000));
        let config = EngineConfig {
            lane: 0,
            lanes: 1,
            seed: 7,
            clock,
            counters: counters.clone(),
        };
        let mut engine = LaneEngine::new(config);
        engine.handle_table(table(), now);
        let (write, send) = (WriteBatch::default(), SendBatch::default());
        let mut lane = Lane {
            engine,
            counters,
            index: 0,
            now,
            write,
            send,
        };
        lane.receive(&initiation());
        lane.index = INDEX.get();
        lane
    }

    fn receive(&mut self, payload: &[u8]) {
        let datagram = Datagram {
            source: endpoint(),
            local: None,
            payload,
        };
        self.engine
            .handle_inbound(datagram, self.now, &mut self.write, &mut self.send);
        self.engine.handle_timeout(self.now, &mut self.send);
    }

    /// What ended here: dropped, or said to the lane itself.
    fn ended(&self) -> u64 {
        let stats = self.counters.snapshot(self.now);
        stats.drops.iter().sum::<u64>() + stats.control_messages
    }
}

thread_local! {
    /// What the engine called the neighbour's tunnel.
    static INDEX: Cell<u32> = const { Cell::new(0) };
}

/// A tunnel that has a session from the start and hides nothing, so that any content can be put into it.
struct InClear;

impl Seal for InClear {
    type Local = ();

    fn local(_: &LaneSecret) {}

    fn is_for((): &(), _: &[u8]) -> bool {
        true
    }

    fn check_cookie((): &(), _: IpAddr, _: &[u8], _: &mut [u8]) -> CookieCheck {
        CookieCheck::Valid
    }

    fn initiator((): &(), _: &[u8]) -> Option<[u8; 32]> {
        Some(neighbour().lanes[0])
    }

    fn new((): &(), _: [u8; 32], _: Option<[u8; 32]>, index: u32, _: Instant) -> InClear {
        INDEX.set(index << 8);
        InClear
    }

    fn has_session(&self, _: Instant) -> bool {
        true
    }

    fn seal(&mut self, packet: &[u8], out: &mut [u8], _: Instant) -> Option<usize> {
        let datagram = sealed(0, packet);
        out[..datagram.len()].copy_from_slice(&datagram);
        Some(datagram.len())
    }

    fn open(&mut self, message: Message, datagram: &[u8], _: IpAddr, out: &mut [u8], _: Instant) -> Opened {
        if message == Message::Initiation {
            out[..RESPONSE].fill(2);
            return Opened::Respond { len: RESPONSE };
        }
        if message != Message::Data {
            return Opened::Rejected(Rejected::Handshake);
        }
        let packet = &datagram[16..datagram.len() - 16];
        out[..packet.len()].copy_from_slice(packet);
        if packet.is_empty() {
            Opened::Keepalive
        } else {
            Opened::Packet
        }
    }

    fn initiate(&mut self, _: &mut [u8], _: Instant) -> Option<usize> {
        None
    }

    fn tick(&mut self, _: &mut [u8], _: Instant) -> Ticked {
        Ticked::Idle
    }
}

/// A message by which the neighbour asks for a tunnel.
fn initiation() -> [u8; 148] {
    let mut message = [0; 148];
    message[0] = 1;
    message
}

/// A data message: type, receiver, counter, packet, tag.
fn sealed(index: u32, packet: &[u8]) -> Vec<u8> {
    [&[4, 0, 0, 0][..], &index.to_le_bytes(), &[0; 8], packet, &[0; 16]].concat()
}

fn table() -> Arc<CompiledTable> {
    static TABLE: LazyLock<Arc<CompiledTable>> = LazyLock::new(|| {
        let neighbour = neighbour();
        let routes = neighbour
            .sources
            .iter()
            .map(|prefix| (*prefix, neighbour.id.into()))
            .collect();
        let key = LaneSecret {
            private: [1; 32].into(),
            public: [2; 32],
        };
        let table = Table {
            epoch: 1,
            forwarding: Default::default(),
            mesh_address: Some(OURS),
            local: local(),
            peers: vec![neighbour],
            routes,
            keys: Keys {
                lanes: vec![key],
                ..Keys::default()
            },
            member_addresses: vec![],
            relay: Default::default(),
            relays: Default::default(),
            checks: vec![],
            mtu: MtuPolicy::default(),
        };
        Arc::new(table.compile())
    });
    TABLE.clone()
}

fn neighbour() -> Peer {
    Peer {
        id: [9; 32],
        kind: PeerKind::Node,
        mesh_address: Some(THEIRS),
        lanes: vec![[3; 32]],
        endpoints: vec![endpoint()],
        endpoint_set: 0,
        sources: vec![
            net("10.1.0.0/16"),
            net("fd00:1::/32"),
            IpNet::from(IpAddr::from(THEIRS)),
        ],
        preshared_key: None,
        keepalive: None,
    }
}

fn local() -> Vec<IpNet> {
    vec![
        net("10.0.0.0/16"),
        net("fd00::/32"),
        IpNet::from(IpAddr::from(OURS)),
    ]
}

fn endpoint() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 2], 51820))
}

fn net(text: &str) -> IpNet {
    text.parse().expect("the prefix is written out here")
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut probe = vec![0; udp::OVERHEAD_V6 + stamp::PAYLOAD];
    let port = |address, port| udp::Port { address, port };
    udp::write_v6(
        &mut probe,
        port(THEIRS, stamp::SENDER_PORT),
        port(OURS, stamp::PORT),
    );
    let mut answer = vec![0; udp::OVERHEAD_V6 + stamp::PAYLOAD];
    udp::write_v6(
        &mut answer,
        port(THEIRS, stamp::PORT),
        port(OURS, stamp::SENDER_PORT),
    );
    packet_seeds()
        .into_iter()
        .chain(super::control::packets())
        .chain([probe, answer, sealed(0, b"")])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_reach_the_tun_or_are_answered() {
        let outcome = |seed: &[u8]| {
            let mut lane = Lane::new();
            lane.receive(&sealed(lane.index, seed));
            (lane.write.len(), lane.send.len())
        };
        for seed in packet_seeds() {
            assert_eq!(outcome(&seed).0, 1, "{seed:02x?}");
        }
        let [.., probe, _, _] = &seeds()[..] else {
            panic!("there are more")
        };
        let (written, sent) = outcome(probe);
        assert!(written == 0 && sent > 0);
    }
}
