//! The WireGuard keys of one run: fresh ones for the lanes, the stable one for clients.

use meshnode_crypto::{LaneKey, LaneKeyProof, MeshId, NodeId, UnixMillis, WgPublicKey};
use meshnode_dataplane::{Keys, LaneSecret};
use zeroize::Zeroizing;

use crate::state::{StateDir, StateError, fresh_seed};

/// Keys of one run and the proofs that they are ours.
pub struct RunKeys {
    /// Which set of lane keys: another one at every start.
    pub epoch: u32,
    /// For the record, lane 0 first.
    pub proofs: Vec<LaneKeyProof>,
    /// For the data plane.
    pub keys: Keys,
}

/// Makes the lane keys of this run. They are never stored: no handshake state outlives the process.
pub fn fresh(
    state: &StateDir,
    mesh: &MeshId,
    node: &NodeId,
    lanes: u8,
    now: UnixMillis,
) -> Result<RunKeys, StateError> {
    let mut run = RunKeys {
        epoch: epoch_at(now),
        proofs: Vec::new(),
        keys: Keys::default(),
    };
    for lane in 0..lanes {
        let key = LaneKey::from_seed(*fresh_seed()?);
        run.proofs.push(key.prove(mesh, node, lane));
        run.keys.lanes.push(secret(&key));
    }
    run.keys.client = Some(client_secret(state)?);
    Ok(run)
}

/// The key that clients of this node see.
pub fn client_key(state: &StateDir) -> Result<WgPublicKey, StateError> {
    Ok(LaneKey::from_seed(*state.client_key_seed()?).wireguard_public())
}

fn client_secret(state: &StateDir) -> Result<LaneSecret, StateError> {
    Ok(secret(&LaneKey::from_seed(*state.client_key_seed()?)))
}

fn secret(key: &LaneKey) -> LaneSecret {
    let private: Zeroizing<[u8; 32]> = key.wireguard_private();
    LaneSecret {
        private,
        public: *key.wireguard_public().as_bytes(),
    }
}

/// Seconds: two starts within one second would share an epoch, but not keys.
fn epoch_at(now: UnixMillis) -> u32 {
    u32::try_from(now.0 / 1000 % (1 << 32)).unwrap_or(0)
}
