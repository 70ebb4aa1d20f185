//! How a node that lost its memory ends the connections of its former life.
//!
//! A restarted node cannot read what arrives on old connections, and the other ends would go on talking to nobody
//! until they time out; worse, they would take the old connection for the better one. A stateless reset (RFC 9000
//! §10.3) ends it at the first packet, if the token that goes with it is the same in each life: so the key of the
//! tokens, and that by which connection ids of ours are told from nonsense, are made from the node key.

use std::sync::Arc;

use meshnode_crypto::SigningKey;
use quinn::EndpointConfig;
use quinn::crypto::{CryptoError, HmacKey};
use quinn_proto::HashedConnectionIdGenerator;
use sha2::{Digest, Sha256};

/// An endpoint configuration whose resets are understood across restarts of the node with this key.
pub(super) fn config_that_outlives(key: &SigningKey) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(TokenKey(derived(key, b"meshnode quic reset tokens"))));
    let ids = derived(key, b"meshnode quic connection ids");
    let mut first = [0; 8];
    first.copy_from_slice(&ids[..8]);
    let ids = u64::from_be_bytes(first);
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    config
}

fn derived(key: &SigningKey, label: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(label)
        .chain_update(key.seed().as_slice())
        .finalize()
        .into()
}

struct TokenKey([u8; 32]);

impl TokenKey {
    // Hashed twice, so that no tag can be continued to that of a longer text.
    fn tag(&self, data: &[u8]) -> [u8; 32] {
        let inner = Sha256::new().chain_update(self.0).chain_update(data).finalize();
        Sha256::new()
            .chain_update(self.0)
            .chain_update(inner)
            .finalize()
            .into()
    }
}

impl HmacKey for TokenKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(&self.tag(data));
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let differing = self
            .tag(data)
            .iter()
            .zip(signature)
            .fold(0, |sum, (a, b)| sum | (a ^ b));
        if differing == 0 && signature.len() == self.signature_len() {
            Ok(())
        } else {
            Err(CryptoError)
        }
    }
}
