//! What the gossip guard asks, answered from a copy: the guard runs where messages arrive, the directory
//! elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;

use meshnode_crypto::{MeshId, Revocation, SignedRevocation, mesh_address};
use sha2::{Digest, Sha256};

use super::Directory;
use crate::gossip::guard::{Authenticity, RowId, Value, Vouch};
use crate::record::{RejectReason, Rejection, authenticate};

/// The directory's knowledge of members and revocations at one moment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Voucher {
    mesh: MeshId,
    members: Arc<BTreeSet<Ipv6Addr>>,
    // Records that need no second look, by hash, with their row.
    known: Arc<BTreeMap<[u8; 32], Ipv6Addr>>,
    known_revocations: Arc<BTreeSet<[u8; 16]>>,
    revocations: Arc<Vec<Revocation>>,
}

impl Directory {
    /// A voucher of what is known now.
    pub fn voucher(&self) -> Voucher {
        let records = || self.present().map(|entry| &entry.record).chain(&self.own);
        Voucher {
            mesh: self.config.mesh,
            members: Arc::new(records().map(|record| record.mesh_address).collect()),
            known: Arc::new(
                records()
                    .map(|record| (record.hash, record.mesh_address))
                    .collect(),
            ),
            known_revocations: Arc::new(self.revocations.iter().map(|(signed, _)| signed.id()).collect()),
            revocations: Arc::new(
                self.revocations
                    .iter()
                    .map(|(_, revocation)| revocation.clone())
                    .collect(),
            ),
        }
    }
}

impl Vouch for Voucher {
    fn admits(&mut self, row: &RowId, vouched: bool) -> bool {
        vouched || self.members.contains(&row.address)
    }

    fn judge(&mut self, address: Ipv6Addr, value: Value<'_>) -> Authenticity {
        match value {
            Value::Record(bytes) => self.judge_record(address, bytes),
            Value::Revocation(id, bytes) => self.judge_revocation(id, bytes),
        }
    }
}

impl Voucher {
    fn judge_record(&self, address: Ipv6Addr, bytes: &[u8]) -> Authenticity {
        let hash: [u8; 32] = Sha256::digest(bytes).into();
        if let Some(row) = self.known.get(&hash) {
            return if *row == address {
                Authenticity::Known
            } else {
                Authenticity::Forged
            };
        }
        match authenticate(bytes, &self.mesh) {
            Ok(record) if record.mesh_address != address => Authenticity::Forged,
            Ok(record)
                if self
                    .revocations
                    .iter()
                    .any(|revocation| revocation.hits(&record.chain)) =>
            {
                Authenticity::Unwelcome
            }
            Ok(_) => Authenticity::Good,
            Err(rejection) => self.judge_refused(address, &rejection),
        }
    }

    // Signed by its node, or beyond our understanding: whoever carries it may know better than we.
    fn judge_refused(&self, address: Ipv6Addr, rejection: &Rejection) -> Authenticity {
        match &rejection.signer {
            Some((node, _)) if mesh_address(&self.mesh, node) == address => Authenticity::Unwelcome,
            None if rejection.reason == RejectReason::TooNew => Authenticity::Unwelcome,
            _ => Authenticity::Forged,
        }
    }

    fn judge_revocation(&self, id: [u8; 16], bytes: &[u8]) -> Authenticity {
        let Ok(signed) = SignedRevocation::from_bytes(bytes) else {
            return Authenticity::Forged;
        };
        if signed.id() != id {
            return Authenticity::Forged;
        }
        if self.known_revocations.contains(&id) {
            return Authenticity::Known;
        }
        if signed.verify(&self.mesh).is_ok() {
            Authenticity::Good
        } else {
            Authenticity::Forged
        }
    }
}
