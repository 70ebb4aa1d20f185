//! `meshnode-wg`: one plain WireGuard interface in userspace, configured by `wg` and `wg-quick`.
//!
//! The data plane is the mesh node's, without the mesh: no gossip, no probes, no controller, only what a WireGuard
//! device does. `device` is that device, `control` the socket that `wg` speaks to, `link` what happens to the
//! interface from outside, `detach` the way to the background.
#![forbid(unsafe_code)]
#![allow(
    unreachable_pub,
    reason = "a program exports nothing: here `pub` means used outside its module"
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod control;
mod detach;
mod device;
mod link;
mod log;
mod options;
mod readiness;
mod run;

use std::process::ExitCode;

use clap::Parser;

use detach::Role;
use options::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    match detach::role(&options) {
        Role::Launcher => detach::launch(&options),
        Role::Device(ready) => run::run(&options, ready),
    }
}
