//! What membership and the netlink adapter keep across restarts, as files of the state directory.

use std::io;

use meshnode_membership::ports::{Store, StoreItem};

use crate::adapt::netlink::{Ledger, Owned};

use super::StateDir;

impl Store for StateDir {
    fn load(&self, item: StoreItem) -> io::Result<Option<Vec<u8>>> {
        self.read(file_of(item))
    }

    fn save(&self, item: StoreItem, bytes: &[u8]) -> io::Result<()> {
        StateDir::save(self, &self.file(file_of(item)), bytes)
    }
}

impl Ledger for StateDir {
    /// Readable since [`StateDir::open`] checked it; if it is no longer, nothing is swept.
    fn owned(&self) -> Owned {
        StateDir::owned(self).unwrap_or_else(|error| {
            tracing::error!(%error, "what is ours in the kernel is not known, so nothing of it is swept");
            Owned::default()
        })
    }

    fn remember(&self, owned: &Owned) -> io::Result<()> {
        let bytes = serde_json::to_vec_pretty(owned)?;
        StateDir::save(self, &self.file("owned.json"), &bytes)
    }
}

fn file_of(item: StoreItem) -> &'static str {
    match item {
        StoreItem::Chain => "chain",
        StoreItem::Peers => "peers.cache",
        StoreItem::Revocations => "revocations",
        StoreItem::Admissions => "admissions",
        StoreItem::Tokens => "tokens",
        StoreItem::Counter => "counter",
    }
}
