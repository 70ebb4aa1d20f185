//! What the data plane needs: peers with the inner sources they may use, routes, own destinations.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use meshnode_crypto::mesh_address;
use meshnode_dataplane::table::{self, Peer, PeerKind};
use meshnode_membership::view::{NodeView, View};

use super::Local;
use super::choice::{Choice, Target};

/// One tunnel for each other node.
pub fn peers(view: &View, choice: &Choice) -> Vec<Peer> {
    view.nodes.values().map(|node| peer(node, choice)).collect()
}

fn peer(node: &NodeView, choice: &Choice) -> Peer {
    Peer {
        id: *node.id.as_bytes(),
        kind: PeerKind::Node,
        mesh_address: Some(node.mesh_address),
        lanes: node.lanes.iter().map(|key| *key.as_bytes()).collect(),
        endpoints: node.endpoints.clone(),
        endpoint_set: 0,
        sources: sources(node, choice),
        preshared_key: None,
        keepalive: None,
    }
}

/// Every prefix of its record that is not rejected here, chosen or not, so that standby gateways and
/// asymmetric returns work; its mesh address and its clients.
fn sources(node: &NodeView, choice: &Choice) -> Vec<IpNet> {
    let announced = node
        .prefixes
        .iter()
        .map(|a| a.prefix)
        .filter(|p| !choice.rejected.contains(p));
    let pool = node
        .client_pool
        .map(IpNet::V4)
        .filter(|p| choice.pools.get(p) == Some(&node.id));
    let mesh = [
        IpNet::from(IpAddr::V6(node.mesh_address)),
        IpNet::V6(node.client_prefix_v6),
    ];
    announced.chain(pool).chain(mesh).collect()
}

/// Who serves each prefix. One whose packets go where those of a wider prefix go is left out: that one is found.
pub fn routes(view: &View, choice: &Choice) -> Vec<(IpNet, table::Target)> {
    let announced = choice
        .active
        .iter()
        .filter_map(|(p, t)| Some((*p, served_by(t)?)));
    let pools = choice
        .pools
        .iter()
        .map(|(p, node)| (*p, (*node.as_bytes()).into()));
    let own = view.nodes.values().flat_map(|node| {
        let target = table::Target::Peer(*node.id.as_bytes());
        [
            (IpNet::from(IpAddr::V6(node.mesh_address)), target.clone()),
            (IpNet::V6(node.client_prefix_v6), target),
        ]
    });
    announced.chain(pools).chain(own).collect()
}

fn served_by(target: &Target) -> Option<table::Target> {
    Some(match target {
        Target::Node(node) => table::Target::Peer(*node.as_bytes()),
        Target::Balanced(nodes) => table::Target::Balanced(nodes.iter().map(|n| *n.as_bytes()).collect()),
        Target::Dropped => table::Target::Drop,
        Target::LessSpecific(_) => return None,
    })
}

/// Inner destinations of this node.
pub fn local(view: &View, local: &Local) -> Vec<IpNet> {
    let own = IpNet::from(IpAddr::V6(mesh_address(&view.mesh, &view.me)));
    local.prefixes.iter().copied().chain([own]).collect()
}

/// Where members' QUIC comes from.
pub fn member_addresses(view: &View) -> Vec<IpAddr> {
    let all: BTreeSet<IpAddr> = view
        .nodes
        .values()
        .flat_map(|n| n.endpoints.iter().map(|e| e.ip()))
        .collect();
    all.into_iter().collect()
}
