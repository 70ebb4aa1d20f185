//! `meshnode`: the node of a mesh VPN, and the commands that speak to it.
//!
//! `cli` reads the command line; `config` and `state` are what a node is started from; `daemon` runs it;
//! `api` is how commands reach it; `output` is what a person sees.
#![forbid(unsafe_code)]
#![allow(
    unreachable_pub,
    reason = "a program exports nothing: here `pub` means used outside its module"
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod adapt;
mod api;
mod cli;
mod config;
mod daemon;
mod desired;
mod features;
mod metrics;
mod output;
mod private_socket;
mod state;
mod supervise;
mod uapi_requests;
mod uapi_socket;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
