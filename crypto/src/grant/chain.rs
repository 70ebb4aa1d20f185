//! A chain of grants as it travels.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::SignedGrant;
use crate::error::GrantError;
use crate::wire;

/// Most links from the authority to a node; protects a verifier's time.
pub const MAX_LINKS: usize = 8;

/// Most bytes of all links together: a record of 16 KiB must hold its chain and its prefixes.
pub const MAX_CHAIN_BYTES: usize = 8 * 1024;

/// Most bytes of a link beside its prefixes: keys 64, name 65, times 20, serial 16, client nets 12, token 17,
/// signature 64, and the marks of what is there.
const LINK_WITHOUT_PREFIXES: usize = 264;

/// authority → … → subject, not yet believed: see [`GrantChain::verify`].
///
/// On the wire: postcard's list of byte strings.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantChain(
    #[serde(deserialize_with = "wire::bounded_list::<MAX_LINKS, _, _>")] pub(super) Vec<SignedGrant>,
);

impl GrantChain {
    /// The links in their order, the authority's first.
    pub fn new(links: Vec<SignedGrant>) -> GrantChain {
        GrantChain(links)
    }

    /// The same chain with one more link at its end, as the subject of the last link issues it.
    pub fn extend(&self, link: SignedGrant) -> GrantChain {
        GrantChain(self.0.iter().cloned().chain([link]).collect())
    }

    /// The links in their order, the authority's first.
    pub fn links(&self) -> &[SignedGrant] {
        &self.0
    }

    /// The form for files and messages.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("postcard fails only on types without a length; ours have one")
    }

    /// The inverse of [`GrantChain::to_bytes`]: bounds are checked first and all bytes must be used.
    pub fn from_bytes(bytes: &[u8]) -> Result<GrantChain, GrantError> {
        // Room for the list's own lengths beside the links.
        if bytes.len() > MAX_CHAIN_BYTES + 3 * MAX_LINKS {
            return Err(GrantError::TooLong { bytes: bytes.len() });
        }
        let chain: GrantChain =
            wire::decode_body(bytes).map_err(|reason| GrantError::Malformed { reason })?;
        chain.check_size()?;
        Ok(chain)
    }

    /// Whether one more link with these prefixes still fits, so that an invitation is not issued that no
    /// admission could follow.
    pub fn check_room(&self, serve: &[IpNet], delegate: &[IpNet]) -> Result<(), GrantError> {
        let prefixes = wire::encode(0, &(serve, delegate)).len();
        let bytes = self.byte_count() + prefixes + LINK_WITHOUT_PREFIXES;
        if bytes > MAX_CHAIN_BYTES {
            Err(GrantError::TooLong { bytes })
        } else {
            Ok(())
        }
    }

    fn byte_count(&self) -> usize {
        self.0.iter().map(|link| link.as_bytes().len()).sum()
    }

    /// Not empty, not too many links, not too many bytes.
    pub(super) fn check_size(&self) -> Result<(), GrantError> {
        if self.0.is_empty() {
            return Err(GrantError::Empty);
        }
        if self.0.len() > MAX_LINKS {
            return Err(GrantError::TooManyLinks { links: self.0.len() });
        }
        let bytes = self.byte_count();
        if bytes > MAX_CHAIN_BYTES {
            return Err(GrantError::TooLong { bytes });
        }
        Ok(())
    }
}

impl From<SignedGrant> for GrantChain {
    /// The chain of a node that the authority let in itself.
    fn from(root: SignedGrant) -> GrantChain {
        GrantChain(vec![root])
    }
}

impl fmt::Debug for GrantChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrantChain({} links)", self.0.len())
    }
}
