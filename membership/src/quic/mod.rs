//! The control transport: QUIC over a borrowed datagram port, both ends proving an ed25519 key.
//!
//! `port` makes a quinn socket out of a [`crate::ports::DatagramPort`]; `identity` makes TLS
//! configurations out of a node key; `endpoint` is the one QUIC endpoint of a node; `stream` reads and
//! writes bounded frames; `pool` keeps at most one connection for each pair of members.

pub mod endpoint;
pub(crate) mod identity;
pub(crate) mod pool;
pub(crate) mod port;
mod reset;
pub(crate) mod stream;
