//! Nodes and views for tests.

use std::collections::BTreeMap;
use std::time::Instant;

use meshnode_crypto::{MeshId, NodeId, SigningKey, UnixMillis, WgPublicKey, client_prefix_v6, mesh_address};
use meshnode_dataplane::{Cause, PathState, PeerHealth};
use meshnode_membership::record::AnnouncedPrefix;
use meshnode_membership::view::{NodeView, View};

/// Identity number `seed`.
pub fn key(seed: u8) -> NodeId {
    SigningKey::from_seed([seed; 32]).public_key()
}

/// The mesh of all fixtures.
pub fn mesh() -> MeshId {
    MeshId::new(key(200))
}

/// Node `seed` with prefixes at their priorities.
pub fn node(seed: u8, prefixes: &[(&str, u16)]) -> NodeView {
    let id = key(seed);
    NodeView {
        id,
        name: format!("n{seed}"),
        mesh_address: mesh_address(&mesh(), &id),
        endpoints: vec![([198, 51, 100, seed], 51820).into()],
        prefixes: prefixes
            .iter()
            .map(|(p, priority)| AnnouncedPrefix {
                prefix: p.parse().unwrap(),
                priority: *priority,
            })
            .collect(),
        serving: Default::default(),
        lanes: vec![WgPublicKey::from_bytes([seed; 32])],
        epoch: 1,
        client_pool: Some(format!("100.96.{seed}.0/24").parse().unwrap()),
        client_prefix_v6: client_prefix_v6(&mesh(), &id),
        departed: false,
        generation: 1,
        sequence: 1,
        issued_at: UnixMillis(0),
        grant_not_after: UnixMillis(u64::MAX),
        capabilities: crate::desired::abilities::ASKS_V4 | crate::desired::abilities::ASKS_V6,
        version: "test".into(),
        grant_serve: Vec::new(),
        grant_delegate: Vec::new(),
    }
}

/// A view of these nodes, seen by node 100.
pub fn view(nodes: Vec<NodeView>) -> View {
    View {
        mesh: mesh(),
        me: key(100),
        version: 1,
        nodes: nodes.into_iter().map(|n| (n.id, n)).collect(),
        own: None,
        rejected: BTreeMap::new(),
        clock_skew: None,
        capacity: 1000,
    }
}

/// A path that works, since `since`.
pub fn up(since: Instant) -> PeerHealth {
    PeerHealth {
        state: PathState::Up,
        cause: Cause::Answered,
        since,
        proven: Some(since),
        rtt: None,
        loss: 0.0,
    }
}
