//! The peer cache: whom we knew, so that a mesh whose seeds are gone finds together again.
//!
//! Signed by this node, so that a file from another machine, or one that somebody wrote into, is not
//! taken. The records in it are signed by their nodes and checked again like any other.

use std::net::SocketAddr;

use meshnode_crypto::{Context, MeshId, Sealed, SigningKey, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::record::MAX_RECORD;

/// Most peers of a cache.
pub const MAX_PEERS: usize = 4096;
/// Most good addresses kept of a peer.
pub const MAX_GOOD: usize = 4;

const FORMAT: u8 = 1;

/// A peer as remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedPeer {
    /// Its signed record.
    pub record: Vec<u8>,
    /// Addresses at which it answered, the latest first.
    pub good: Vec<SocketAddr>,
}

/// All that is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerCache {
    /// When it was written.
    pub saved_at: UnixMillis,
    /// The peers.
    pub peers: Vec<CachedPeer>,
}

/// A cache that cannot be used; the node goes on with its seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// Does not decode.
    #[error("the peer cache is damaged; it will be written anew")]
    Damaged,
    /// Not signed by this node for this mesh.
    #[error("the peer cache is not this node's; it will be written anew")]
    NotOurs,
}

impl PeerCache {
    /// Signs the cache for the store. Peers past [`MAX_PEERS`] and addresses past [`MAX_GOOD`] are left out.
    pub fn to_bytes(&self, key: &SigningKey, mesh: &MeshId) -> Vec<u8> {
        let mut bounded = self.clone();
        bounded.peers.truncate(MAX_PEERS);
        bounded
            .peers
            .iter_mut()
            .for_each(|peer| peer.good.truncate(MAX_GOOD));
        let body = postcard::to_extend(&bounded, vec![FORMAT])
            .expect("postcard fails only on types without a length; ours have one");
        Sealed::seal(body, key, Context::Cache, mesh)
    }

    /// Reads what [`PeerCache::to_bytes`] wrote with the same key.
    pub fn from_bytes(bytes: &[u8], key: &SigningKey, mesh: &MeshId) -> Result<PeerCache, CacheError> {
        let sealed = Sealed::split(bytes).ok_or(CacheError::Damaged)?;
        sealed
            .verify(&key.public_key(), Context::Cache, mesh)
            .map_err(|_| CacheError::NotOurs)?;
        let Some((&FORMAT, body)) = sealed.body.split_first() else {
            return Err(CacheError::Damaged);
        };
        match postcard::take_from_bytes::<PeerCache>(body) {
            Ok((cache, [])) if cache.peers.iter().all(|peer| peer.record.len() <= MAX_RECORD) => Ok(cache),
            _ => Err(CacheError::Damaged),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh() -> MeshId {
        MeshId::new(SigningKey::from_seed([9; 32]).public_key())
    }

    fn cache() -> PeerCache {
        let peer = CachedPeer {
            record: vec![1, 2, 3],
            good: vec!["203.0.113.9:51820".parse().unwrap()],
        };
        PeerCache {
            saved_at: UnixMillis(5),
            peers: vec![peer],
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let key = SigningKey::from_seed([1; 32]);
        let bytes = cache().to_bytes(&key, &mesh());
        assert_eq!(PeerCache::from_bytes(&bytes, &key, &mesh()), Ok(cache()));
    }

    #[test]
    fn another_nodes_cache_is_not_taken() {
        let bytes = cache().to_bytes(&SigningKey::from_seed([1; 32]), &mesh());
        let other = SigningKey::from_seed([2; 32]);
        assert_eq!(
            PeerCache::from_bytes(&bytes, &other, &mesh()),
            Err(CacheError::NotOurs)
        );
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let key = SigningKey::from_seed([1; 32]);
        let bytes = cache().to_bytes(&key, &mesh());
        for index in 0..bytes.len() {
            assert!(PeerCache::from_bytes(&bytes[..index], &key, &mesh()).is_err());
            let mut flipped = bytes.clone();
            flipped[index] ^= 1;
            assert!(PeerCache::from_bytes(&flipped, &key, &mesh()).is_err());
        }
    }
}
