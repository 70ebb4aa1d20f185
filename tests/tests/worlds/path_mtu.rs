//! Underlays that take packets of different sizes: each path's size is found, shown and used.

use anyhow::{Result, ensure};
use meshnode_tests::node::peers;
use meshnode_tests::topology::{ThreeVpcs, Vpc};
use meshnode_tests::{Node, in_world};
use serde_json::Value;

use crate::AMPLY;

/// What IPv4, UDP and WireGuard add to an inner packet.
const OVERHEAD: u16 = 60;

#[test]
fn each_path_is_used_for_what_it_carries() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        // A jumbo link, Ethernet, and a narrow tunnel.
        for (name, mtu) in [("sz", 9_001), ("hk", 1_500), ("gz", 1_400)] {
            widen(&vpcs, name, mtu)?;
        }
        let mesh = vpcs.mesh()?;
        let sz = mesh.node("sz")?;
        finds(sz, "hk", 1_500 - OVERHEAD)?;
        finds(sz, "gz", 1_400 - OVERHEAD)?;
        ensure!(sz.metric("meshnode_peer_path_mtu_bytes{peer=\"gz\"}")? <= 1_340.0);
        mesh.hosts_exchange(3_000_000)
    })
}

#[test]
fn jumbo_frames_are_used_end_to_end() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        for name in ["sz", "hk", "gz"] {
            widen(&vpcs, name, 9_001)?;
        }
        let mesh = vpcs.mesh()?;
        finds(mesh.node("sz")?, "hk", 9_001 - OVERHEAD)?;
        mesh.hosts_exchange(3_000_000)
    })
}

/// Sets the MTU of a VPC's way to the internet.
fn widen(vpcs: &ThreeVpcs<'_>, name: &str, mtu: u16) -> Result<()> {
    let vpc: &Vpc = vpcs.vpc(name)?;
    vpcs.internet.ip(&format!("link set {name} mtu {mtu}"))?;
    vpc.gateway.ip(&format!("link set wan mtu {mtu}"))
}

/// Waits until a node shows this MTU of its path to a peer, or 20 bytes less: it may have chosen IPv6.
fn finds(node: &Node<'_>, peer: &str, mtu: u16) -> Result<Value> {
    node.wait_status(
        &format!("the path to {peer} takes {mtu} bytes"),
        AMPLY,
        |status| {
            peers(status)
                .any(|entry| entry["name"] == peer && (entry["mtu"] == mtu || entry["mtu"] == mtu - 20))
        },
    )
}
