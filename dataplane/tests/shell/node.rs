//! Two nodes that know each other, as the daemon would tell the data plane.

use std::net::{Ipv6Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

use meshnode_crypto::LaneKey;
use meshnode_dataplane::{
    Dataplane, DataplaneConfig, Keys, LaneSecret, MtuPolicy, Offloads, Peer, PeerId, PeerKind, PeerState,
    Table, TunConfig,
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Node `number`: mesh address fd00::number, prefix 10.number.0.0/16 and fd0number::/32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity(pub(crate) u8);

impl Identity {
    pub(crate) fn id(self) -> PeerId {
        [self.0; 32]
    }

    pub(crate) fn mesh_address(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, self.0.into())
    }

    pub(crate) fn prefixes(self) -> Vec<String> {
        vec![
            format!("10.{0}.0.0/16", self.0),
            format!("fd0{0}::/32", self.0),
            format!("{}/128", self.mesh_address()),
        ]
    }

    fn secret(self) -> LaneSecret {
        let key = LaneKey::from_seed([self.0; 32]);
        LaneSecret {
            private: key.wireguard_private(),
            public: *key.wireguard_public().as_bytes(),
        }
    }

    fn as_peer(self, endpoints: Vec<SocketAddr>) -> Peer {
        Peer {
            id: self.id(),
            kind: PeerKind::Node,
            mesh_address: Some(self.mesh_address()),
            lanes: vec![self.secret().public],
            endpoints,
            endpoint_set: 0,
            sources: self
                .prefixes()
                .iter()
                .map(|prefix| prefix.parse().unwrap())
                .collect(),
            preshared_key: None,
            keepalive: None,
        }
    }
}

/// The table of node `me`, whose only peer is `peer` at `endpoint`.
pub(crate) fn table(me: Identity, peer: Identity, endpoint: SocketAddr) -> Table {
    Table {
        epoch: 1,
        forwarding: Default::default(),
        mesh_address: Some(me.mesh_address()),
        local: me
            .prefixes()
            .iter()
            .map(|prefix| prefix.parse().unwrap())
            .collect(),
        peers: vec![peer.as_peer(vec![endpoint])],
        routes: peer
            .prefixes()
            .iter()
            .map(|prefix| (prefix.parse().unwrap(), peer.id().into()))
            .collect(),
        keys: Keys {
            lanes: vec![me.secret()],
            ..Keys::default()
        },
        member_addresses: vec![endpoint.ip()],
        relay: Default::default(),
        relays: Default::default(),
        checks: Vec::new(),
        mtu: MtuPolicy::default(),
    }
}

/// The mark of the sockets where there is the right to set one.
pub(crate) const MARK: u32 = 0x6d77;

/// Runs `body` on a thread in a new network namespace, with a runtime for what is async.
pub(crate) fn in_namespace(body: impl AsyncFnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            eprintln!("skipped: no right to make a network namespace");
            return;
        }
        ip("link set lo up");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(body());
    });
    thread.join().unwrap();
}

pub(crate) fn ip(words: &str) {
    let status = Command::new("ip")
        .args(words.split_whitespace())
        .status()
        .unwrap();
    assert!(status.success(), "ip {words}");
}

pub(crate) fn started(listen: &str, mark: u32) -> Dataplane {
    let listen = vec![listen.parse().unwrap()];
    Dataplane::start(DataplaneConfig {
        listen,
        mark,
        lanes: 1,
        offloads: Offloads::ALL,
    })
    .unwrap()
}

pub(crate) fn mesh0() -> TunConfig {
    TunConfig {
        name: "mesh0".into(),
        mtu: 1420,
        up: true,
    }
}

/// Awaits what has no event of its own.
pub(crate) async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let poll = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, poll)
        .await
        .unwrap_or_else(|_| panic!("{what}: it does not happen"));
}

pub(crate) async fn wait_up(dataplane: &Dataplane, peer: Identity) {
    let is_up = || {
        dataplane
            .stats()
            .peers
            .get(&peer.id())
            .is_some_and(|peer| peer.state == PeerState::Up)
    };
    wait_for("the peer is up", is_up).await;
}
