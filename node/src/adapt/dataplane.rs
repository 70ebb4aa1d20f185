//! Desired state to the data plane.

use meshnode_crypto::{MeshId, NodeId, mesh_address};
use meshnode_dataplane::{Forwarding, Keys, MtuPolicy, Table};

use crate::desired::Desired;

/// The table for `desired`; each has a new epoch, so that plans of an older one are made again.
///
/// `interface_mtu`: of the TUN; nothing larger is looked for.
pub fn table(
    desired: &Desired,
    keys: &Keys,
    (mesh, me): (&MeshId, &NodeId),
    interface_mtu: u16,
    epoch: u64,
) -> Table {
    Table {
        epoch,
        forwarding: Forwarding::Mesh,
        mtu: MtuPolicy {
            link: desired.link_mtu,
            most: interface_mtu,
            ..MtuPolicy::default()
        },
        mesh_address: Some(mesh_address(mesh, me)),
        local: desired.local.clone(),
        peers: desired.peers.clone(),
        routes: desired.routes.clone(),
        keys: keys.clone(),
        member_addresses: desired.member_addresses.clone(),
        relay: desired.relay,
        relays: desired.relays.clone(),
        checks: desired.checks.clone(),
    }
}
