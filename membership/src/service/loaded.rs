//! What was kept from earlier lives.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use meshnode_crypto::{GrantChain, NodeId};

use super::keeper::{Counter, IssuedToken, Keeper, read};
use crate::admission::ledger::Ledger;
use crate::api::{MembershipConfig, Now, StartError};
use crate::cache::PeerCache;
use crate::directory::Directory;
use crate::ports::StoreItem;

pub(super) struct Loaded {
    pub(super) chain: GrantChain,
    pub(super) counter: Counter,
    pub(super) ledger: Ledger,
    pub(super) tokens: Vec<IssuedToken>,
    revocations: Vec<Vec<u8>>,
    peers: PeerCache,
}

impl Loaded {
    /// Reads everything. Only a ledger that cannot be read is fatal: without it a used token could be used
    /// again. This start is counted already.
    pub(super) async fn load(keeper: &mut Keeper, config: &MembershipConfig) -> Result<Self, StartError> {
        let ledger = ledger(keeper).await.map_err(|source| StartError::Store {
            item: StoreItem::Admissions,
            source,
        })?;
        let last: Counter = value(keeper, StoreItem::Counter).await;
        Ok(Loaded {
            chain: chain(keeper, config).await,
            counter: Counter {
                starts: last.starts + 1,
                ..last
            },
            ledger,
            tokens: value(keeper, StoreItem::Tokens).await,
            revocations: value(keeper, StoreItem::Revocations).await,
            peers: peers(keeper, config).await,
        })
    }

    /// Puts revocations, then records, into the directory; gives the addresses that answered.
    pub(super) fn restore(
        &self,
        directory: &mut Directory,
        first_records: &[Bytes],
        now: Now,
    ) -> BTreeMap<NodeId, Vec<SocketAddr>> {
        for revocation in &self.revocations {
            if let Err(reason) = directory.handle_revocation(revocation, now) {
                tracing::warn!(reason = reason.as_str(), "a stored revocation is not taken");
            }
        }
        let mut good = BTreeMap::new();
        for peer in &self.peers.peers {
            match directory.restore_record(&peer.record, now) {
                Ok(accepted) => drop(good.insert(accepted.node, peer.good.clone())),
                Err(reason) => tracing::debug!(reason = reason.as_str(), "a cached record is not taken"),
            }
        }
        for record in first_records {
            if let Err(reason) = directory.restore_record(record, now) {
                tracing::debug!(reason = reason.as_str(), "a first record is not taken");
            }
        }
        good.retain(|_, addresses| !addresses.is_empty());
        good
    }
}

// Whichever grant is the later one: a renewal may have been stored that the host does not know of.
async fn chain(keeper: &mut Keeper, config: &MembershipConfig) -> GrantChain {
    let Some(bytes) = keeper.load(StoreItem::Chain).await else {
        return config.chain.clone();
    };
    let issued = |chain: &GrantChain| {
        chain
            .verify_at_any_time(&config.mesh)
            .map(|verified| verified.issued())
    };
    match GrantChain::from_bytes(&bytes) {
        Ok(stored) if issued(&stored).is_ok() && issued(&stored).ok() >= issued(&config.chain).ok() => stored,
        Ok(_) => config.chain.clone(),
        Err(error) => {
            tracing::warn!(%error, "the stored grant is damaged");
            config.chain.clone()
        }
    }
}

async fn ledger(keeper: &Keeper) -> io::Result<Ledger> {
    match keeper.try_load(StoreItem::Admissions).await? {
        None => Ok(Ledger::default()),
        Some(bytes) => {
            Ledger::from_bytes(&bytes).map_err(|damaged| io::Error::new(io::ErrorKind::InvalidData, damaged))
        }
    }
}

async fn peers(keeper: &mut Keeper, config: &MembershipConfig) -> PeerCache {
    let Some(bytes) = keeper.load(StoreItem::Peers).await else {
        return PeerCache::default();
    };
    PeerCache::from_bytes(&bytes, &config.signing_key, &config.mesh).unwrap_or_else(|error| {
        tracing::warn!(%error, "starting without the peer cache");
        PeerCache::default()
    })
}

async fn value<T: serde::de::DeserializeOwned + Default>(keeper: &mut Keeper, item: StoreItem) -> T {
    let Some(bytes) = keeper.load(item).await else {
        return T::default();
    };
    read(&bytes).unwrap_or_else(|error| {
        keeper.report(item, &error);
        T::default()
    })
}
