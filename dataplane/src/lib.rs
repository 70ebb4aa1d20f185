//! The data plane: packets in, packets out, through WireGuard tunnels.
//!
//! It has two halves. The pure half decides: it takes bytes and a clock reading and gives bytes back.
//! The shell half owns the sockets, the TUN device and the threads, and moves bytes between them and the pure half.
//!
//! ```text
//!   TUN ──► lane ──► flow plan ──► tunnel (seal) ──► SendBatch  ──► UDP
//!   TUN ◄── WriteBatch ◄── checks ◄── tunnel (open) ◄── demux ◄──── UDP
//! ```
//!
//! No module knows gossip or configuration: what should be comes as one immutable [`table::Table`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

pub mod batch;
pub mod demux;
pub mod drop;
mod lpm;
pub mod stats;
pub mod table;

pub use batch::{Datagram, Endpoint, SendBatch, WriteBatch};
pub use drop::DropReason;
pub use stats::{PeerState, PeerStats, Stats};
pub use table::{CompiledTable, Keys, LaneSecret, Peer, PeerId, PeerKind, Table};
