//! The pure engine: nanoseconds per packet and packets per second, without sockets, TUN or threads.
//!
//! `cargo xtask bench engine`; a word after it selects benches by name. Times are per call; `item/s` is packets per second.

#![allow(
    clippy::disallowed_methods,
    reason = "the bench has the clock that the engine has not"
)]

mod inbound;
mod link;
mod offload;
mod outbound;
mod packets;
mod routes;

fn main() {
    divan::main();
}
