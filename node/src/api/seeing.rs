//! What crosses the local socket to show what happened and what would happen.

use serde::{Deserialize, Serialize};

pub use crate::desired::explain::{Arrival, Candidate, Explanation, Finding, Outcome, Relay, Way};
pub use crate::history::{Event, Happening, Kind};

/// What is asked for by `GET /v1/events?after=N&limit=M&wait_ms=W`; all may be left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// The oldest events after this number; without it the newest.
    #[serde(default)]
    pub after: Option<u64>,
    /// At most so many; without it all that are kept.
    #[serde(default)]
    pub limit: Option<usize>,
    /// With `after`: how long to wait for a new event if there is none, in milliseconds; at most 20 s.
    #[serde(default)]
    pub wait_ms: u64,
}

/// What is asked for by `GET /v1/explain?source=S&destination=D&from=NODE`. Each address may be the name of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    /// Inner source; without it an address that this node may send from.
    #[serde(default)]
    pub source: Option<String>,
    /// Inner destination.
    pub destination: String,
    /// The node out of whose tunnel the packet comes; without it from where such a packet would come.
    #[serde(default)]
    pub from: Option<String>,
}

/// `GET /v1/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// When this run of the node began, in Unix milliseconds: numbers begin again with every run.
    pub run_ms: u64,
    /// Number of the newest event of all.
    pub last: u64,
    /// How many events after `after` (without it: of all) are no longer kept.
    pub gone: u64,
    /// Oldest first.
    pub events: Vec<Event>,
}
