//! Mesh addresses: derived from keys, so that nobody allocates them and nobody can choose another's.
//!
//! ```text
//! fd ‖ SHA-256(authority key)[..5] ‖ SHA-256(node key)[..10]
//! └─────── mesh /48 ───────┘         └ 64 bits pick the node's /112, 16 the address in it
//! ```

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use sha2::{Digest, Sha256};

use crate::identity::{MeshId, NodeId, PublicKey};

/// The unique local /48 (RFC 4193) that all addresses of a mesh lie in.
pub fn mesh_prefix(mesh: &MeshId) -> Ipv6Net {
    let mut octets = [0; 16];
    octets[..6].copy_from_slice(&mesh_octets(mesh));
    Ipv6Net::new_assert(Ipv6Addr::from(octets), 48)
}

/// The one address of a node in a mesh.
pub fn mesh_address(mesh: &MeshId, node: &NodeId) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets[..6].copy_from_slice(&mesh_octets(mesh));
    octets[6..].copy_from_slice(&digest(node)[..10]);
    Ipv6Addr::from(octets)
}

/// The /112 that contains the node's mesh address: its stock WireGuard clients live there.
pub fn client_prefix_v6(mesh: &MeshId, node: &NodeId) -> Ipv6Net {
    Ipv6Net::new_assert(mesh_address(mesh, node), 112).trunc()
}

fn mesh_octets(mesh: &MeshId) -> [u8; 6] {
    let hash = digest(mesh.authority());
    [0xfd, hash[0], hash[1], hash[2], hash[3], hash[4]]
}

fn digest(key: &PublicKey) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::SigningKey;

    #[test]
    fn node_address_lies_in_its_mesh_and_its_client_prefix() {
        let mesh = MeshId::new(SigningKey::from_seed([1; 32]).public_key());
        let node = SigningKey::from_seed([2; 32]).public_key();
        let address = mesh_address(&mesh, &node);
        assert_eq!(address.octets()[0], 0xfd);
        assert_eq!(mesh_prefix(&mesh).prefix_len(), 48);
        assert!(mesh_prefix(&mesh).contains(&address));
        assert!(client_prefix_v6(&mesh, &node).contains(&address));
        assert_eq!(client_prefix_v6(&mesh, &node).prefix_len(), 112);
    }

    #[test]
    fn addresses_differ_by_mesh_and_by_node() {
        let key = |byte| SigningKey::from_seed([byte; 32]).public_key();
        let (mesh, other) = (MeshId::new(key(1)), MeshId::new(key(2)));
        assert_ne!(mesh_prefix(&mesh), mesh_prefix(&other));
        assert_ne!(mesh_address(&mesh, &key(3)), mesh_address(&mesh, &key(4)));
    }

    #[test]
    fn derivation_is_fixed_for_all_versions() {
        let mesh = MeshId::new(SigningKey::from_seed([1; 32]).public_key());
        let node = SigningKey::from_seed([2; 32]).public_key();
        assert_eq!(
            mesh_address(&mesh, &node).to_string(),
            "fd34:750f:98bd:6a38:3d5:f059:902a:1c6d"
        );
    }
}
