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
pub mod check;
pub mod control;
pub mod demux;
mod device;
pub mod drop;
mod error;
mod event;
pub mod flow;
mod holder;
mod interface;
mod lan;
pub mod lane;
mod lpm;
mod offload;
pub mod packet;
pub mod path;
pub mod relay;
pub mod stats;
#[expect(unsafe_code, reason = "TUN ioctls and the socket mark have no safe wrapper")]
mod sys;
pub mod table;
mod tun_watch;
pub mod tunnel;
pub mod uapi;
mod underlay;

pub use batch::{Datagram, Endpoint, SendBatch, WriteBatch};
pub use check::{Check, CheckTarget, Verdict, Verdicts};
pub use device::{Dataplane, DataplaneConfig};
pub use drop::DropReason;
pub use error::{Holder, PingError, StartError, TunError};
pub use event::DataplaneEvent;
pub use interface::{TunConfig, TunInfo};
pub use lan::LanSocket;
pub use offload::switch::{Offload, OffloadStats, Offloads, UnknownOffload};
pub use offload::{Frame, Group, Head, MAX_MEMBERS, Mergeable, Merger, Protocol, Segments};
pub use path::health::{Cause, Change};
pub use relay::RelayPolicy;
pub use relay::choice::Reason as SwitchReason;
pub use stats::{PathState, PeerHealth, PeerState, PeerStats, Stats, Via};
pub use table::{
    CompiledTable, Forwarding, Keys, LaneSecret, MtuPolicy, Peer, PeerId, PeerKind, Table, Target,
};
pub use tun_watch::{TunState, TunWatch};
pub use underlay::{PortStats, ReceivedDatagram, UnderlayPort};
