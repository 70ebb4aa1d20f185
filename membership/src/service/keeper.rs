//! What is kept across restarts, and what happens when it cannot be.
//!
//! A disk that fails is no reason to fail: membership runs on from memory and says so, once an item until
//! it works again. Where an undurable fact would do harm (a token used twice) the caller decides otherwise.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use meshnode_crypto::{Serial, UnixMillis};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::api::MembershipEvent;
use crate::message::{decode, encode};
use crate::ports::{Store, StoreItem};

/// How many times this node has started, and the last sequence that it published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counter {
    pub(super) starts: u64,
    pub(super) sequence: u64,
}

/// A token that this node issued, for revoking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IssuedToken {
    pub(super) serial: Serial,
    pub(super) not_after: UnixMillis,
}

pub(super) struct Keeper {
    store: Arc<dyn Store>,
    events: broadcast::Sender<MembershipEvent>,
    failing: BTreeSet<StoreItem>,
}

impl Keeper {
    pub(super) fn new(store: Arc<dyn Store>, events: broadcast::Sender<MembershipEvent>) -> Self {
        Keeper {
            store,
            events,
            failing: BTreeSet::new(),
        }
    }

    /// The item's bytes; an unreadable item is reported and counts as absent.
    pub(super) async fn load(&mut self, item: StoreItem) -> Option<Vec<u8>> {
        match self.try_load(item).await {
            Ok(bytes) => bytes,
            Err(error) => {
                self.report(item, &error);
                None
            }
        }
    }

    pub(super) async fn try_load(&self, item: StoreItem) -> io::Result<Option<Vec<u8>>> {
        let store = self.store.clone();
        run(move || store.load(item)).await
    }

    /// Saves; a failure is reported and otherwise survived.
    pub(super) async fn save(&mut self, item: StoreItem, bytes: Vec<u8>) {
        // Reported there; whoever must not go on without it calls `try_save`.
        let _ = self.try_save(item, bytes).await;
    }

    pub(super) async fn try_save(&mut self, item: StoreItem, bytes: Vec<u8>) -> io::Result<()> {
        let store = self.store.clone();
        let saved = run(move || store.save(item, &bytes)).await;
        match &saved {
            Ok(()) => {
                if self.failing.remove(&item) {
                    tracing::info!(?item, "the state directory can be written again");
                }
            }
            Err(error) => self.report(item, error),
        }
        saved
    }

    pub(super) async fn save_counter(&mut self, counter: Counter) {
        self.save(StoreItem::Counter, encode(&counter)).await;
    }

    pub(super) fn report(&mut self, item: StoreItem, error: &io::Error) {
        if self.failing.insert(item) {
            tracing::warn!(?item, %error, "the state directory fails; going on from memory");
            // Nobody need be listening.
            let _ = self.events.send(MembershipEvent::StoreFailed {
                item,
                error: error.to_string(),
            });
        }
    }
}

/// The value in stored bytes; damaged ones are an error of the disk.
pub(super) fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    decode(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the file is damaged"))
}

async fn run<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}
