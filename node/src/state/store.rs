//! What membership keeps across restarts, as files of the state directory.

use std::io;

use meshnode_membership::ports::{Store, StoreItem};

use super::StateDir;

impl Store for StateDir {
    fn load(&self, item: StoreItem) -> io::Result<Option<Vec<u8>>> {
        self.read(file_of(item))
    }

    fn save(&self, item: StoreItem, bytes: &[u8]) -> io::Result<()> {
        StateDir::save(self, &self.file(file_of(item)), bytes)
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
