//! The shell half of the data plane on real sockets and interfaces.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

mod handle;
mod node;
mod traffic;
mod tun;
mod tunnels;
