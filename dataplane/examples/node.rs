//! One data plane without a mesh, to measure and to profile: `node ME PEER ENDPOINT`, numbers from 1 to 9.
//!
//! Node N has the keys of seed N, the prefix 10.N.0.0/16 and the interface mesh0. It runs until its standard
//! input closes. Addresses and routes are the caller's part.

#![allow(clippy::print_stderr, reason = "a command line tool talks to its terminal")]

use std::error::Error;
use std::io::Read;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use meshnode_crypto::LaneKey;
use meshnode_dataplane::{
    Dataplane, DataplaneConfig, Keys, LaneSecret, MtuPolicy, Offloads, Peer, PeerKind, Table, TunConfig,
};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [me, peer, endpoint] = words.as_slice() else {
        return Err("usage: node ME PEER ENDPOINT".into());
    };
    let (me, peer): (u8, u8) = (me.parse()?, peer.parse()?);
    let listen = vec!["0.0.0.0:51820".parse()?];
    let dataplane = Dataplane::start(DataplaneConfig {
        listen,
        mark: 0,
        lanes: 1,
        offloads: Offloads::ALL,
    })?;
    dataplane.attach_tun(TunConfig {
        name: "mesh0".into(),
        mtu: 1420,
        up: true,
    })?;
    dataplane.apply(table(me, peer, endpoint.parse()?)?);
    std::io::stdin().read_to_end(&mut Vec::new())?;
    eprintln!("{:#?}", dataplane.stats());
    Ok(())
}

fn secret(node: u8) -> LaneSecret {
    let key = LaneKey::from_seed([node; 32]);
    LaneSecret {
        private: key.wireguard_private(),
        public: *key.wireguard_public().as_bytes(),
    }
}

fn mesh_address(node: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, node.into())
}

fn table(me: u8, peer: u8, endpoint: SocketAddr) -> Result<Table, Box<dyn Error>> {
    let prefix = |node: u8| format!("10.{node}.0.0/16").parse();
    Ok(Table {
        epoch: 1,
        forwarding: Default::default(),
        mesh_address: Some(mesh_address(me)),
        local: vec![prefix(me)?, IpAddr::from(mesh_address(me)).into()],
        peers: vec![Peer {
            id: [peer; 32],
            kind: PeerKind::Node,
            mesh_address: Some(mesh_address(peer)),
            lanes: vec![secret(peer).public],
            endpoints: vec![endpoint],
            endpoint_set: 0,
            sources: vec![prefix(peer)?, IpAddr::from(mesh_address(peer)).into()],
            preshared_key: None,
            keepalive: None,
        }],
        routes: vec![(prefix(peer)?, [peer; 32].into())],
        keys: Keys {
            lanes: vec![secret(me)],
            ..Keys::default()
        },
        member_addresses: Vec::new(),
        relay: Default::default(),
        relays: Default::default(),
        checks: Vec::new(),
        mtu: MtuPolicy::default(),
    })
}
