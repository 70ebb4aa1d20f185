//! `meshnode`: the node of a mesh VPN, and the commands that speak to it.
//!
//! `cli` reads the command line; `config` and `state` are what a node is started from; `daemon` runs it;
//! `api` is how commands reach it; `output` is what a person sees. The library exists for the two programs, and for
//! simulations that want the decisions of `desired` without a kernel.
#![forbid(unsafe_code)]
#![allow(
    unreachable_pub,
    reason = "few modules are for others: elsewhere `pub` means used outside its module"
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

pub mod adapt;
pub mod api;
mod cli;
mod config;
mod daemon;
pub mod desired;
mod features;
mod history;
mod metrics;
mod output;
pub mod private_socket;
mod state;
mod supervise;
pub mod uapi_requests;
mod uapi_socket;

use std::process::ExitCode;

/// Reads the command line and does what it says.
pub fn run() -> ExitCode {
    cli::run()
}
