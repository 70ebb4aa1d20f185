//! What happened, as far back as a bounded memory reaches. Pure.
//!
//! Every change of a path or a route, and what explains it (a node that came or went, an endpoint that moved, a host that
//! stalled), is one [`Event`] with a running number. The numbers have no gaps: who has read up to one and asks for what
//! came after it learns how many of those have fallen out meanwhile. [`sources`] turns what the data plane and the mesh
//! report into events, [`routes`] and [`checks`] what a new composition changed.

pub mod checks;
mod event;
pub mod routes;
pub mod sources;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use meshnode_crypto::UnixMillis;

pub use event::{Event, Happening, Kind};

/// Most events kept: with some 300 bytes each, well under a megabyte.
pub const CAPACITY: usize = 2_000;

/// The newest events, oldest first.
#[derive(Debug, Default)]
pub struct History {
    ring: VecDeque<Event>,
    last: u64,
}

impl History {
    /// Adds what happened at `at`; returns its number.
    pub fn note(&mut self, at: UnixMillis, what: Happening) -> u64 {
        self.last += 1;
        if self.ring.len() == CAPACITY {
            self.ring.pop_front();
        }
        self.ring.push_back(Event {
            number: self.last,
            time_ms: at.0,
            what,
        });
        self.last
    }

    /// The number of the newest event; 0 before the first.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// How many events after number `after` have fallen out.
    pub fn gone_after(&self, after: u64) -> u64 {
        (self.last - self.ring.len() as u64).saturating_sub(after)
    }

    /// The oldest `limit` events after number `after` that are still there.
    pub fn after(&self, after: u64, limit: usize) -> Vec<Event> {
        let gone = self.last - self.ring.len() as u64;
        let read = after.saturating_sub(gone).min(self.ring.len() as u64);
        self.ring
            .iter()
            .skip(read as usize)
            .take(limit)
            .cloned()
            .collect()
    }

    /// The newest `limit` events.
    pub fn newest(&self, limit: usize) -> Vec<Event> {
        self.after(self.last.saturating_sub(limit as u64), limit)
    }
}
