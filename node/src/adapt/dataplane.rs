//! Desired state to the data plane.

use meshnode_crypto::{MeshId, NodeId, mesh_address};
use meshnode_dataplane::{Forwarding, Keys, Table};

use crate::desired::Desired;

/// The table for `desired`; each has a new epoch, so that plans of an older one are made again.
pub fn table(desired: &Desired, keys: &Keys, mesh: &MeshId, me: &NodeId, epoch: u64) -> Table {
    Table {
        epoch,
        forwarding: Forwarding::Mesh,
        mesh_address: Some(mesh_address(mesh, me)),
        local: desired.local.clone(),
        peers: desired.peers.clone(),
        routes: desired.routes.clone(),
        keys: keys.clone(),
        member_addresses: desired.member_addresses.clone(),
    }
}
