//! Who is in the mesh: signed records, the verified directory of them, gossip and admission.
//!
//! The pure half takes bytes and `now` and gives decisions; it knows no socket, clock, lock or task.
//! The shell half moves those bytes: QUIC over a borrowed datagram port, chitchat on top of it, and one
//! actor that owns the pure parts. Neither knows packets, TUN devices or routes.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

// The pure half.
pub mod admission;
pub mod cache;
pub mod directory;
pub mod gossip;
pub mod introducer;
pub mod observed;
pub mod own;
pub mod record;
pub mod renewal;
pub mod view;

// The shell.
mod carrier;
mod message;
pub mod quic;
pub mod service;
pub mod simulation;

// What the host provides and asks for.
pub mod api;
pub mod ports;

#[cfg(test)]
mod testing;

pub use admission::enrol;
pub use quic::endpoint::QuicEndpoint;
pub use service::Membership;
