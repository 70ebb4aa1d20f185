//! The running node: the order in which its parts start and stop.
//!
//! ```text
//! start   state ─► data plane (sockets) ─► QUIC ─► [enrol] ─► membership ─► guards, table ─► TUN ─►
//!         addresses, routes ─► API, metrics, UAPI ─► READY
//! stop    drain ─► others move ─► withdraw ─► mesh routes away, guards kept ─► TUN away ─► connections closed
//! ```

mod announce;
pub mod changes;
pub mod composed;
pub mod core;
mod endpoints;
mod events;
mod join;
pub mod journal;
mod kernel;
mod keys;
pub mod leaving;
pub mod node;
mod port;
mod requests;
mod signals;
mod sockets;
mod start;
mod stop;
mod watchdog;

use std::net::SocketAddr;

use ipnet::IpNet;
use meshnode_crypto::Token;

use crate::config::Settings;
use crate::state::StateDir;

/// How a node comes up.
#[expect(clippy::large_enum_variant, reason = "made once, at the start")]
pub enum StartMode {
    /// With the grant in its state directory.
    Up,
    /// By enrolling first.
    Join(JoinRequest),
}

/// What `join` was given.
pub struct JoinRequest {
    /// The invitation.
    pub token: Token,
    /// Where to knock, all addresses of all names; never empty.
    pub seeds: Vec<SocketAddr>,
    /// Prefixes to ask for.
    pub cidrs: Vec<IpNet>,
}

/// Why a node stopped without a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// SIGTERM or SIGINT.
    Signal,
    /// `meshnode leave`.
    Left,
}

/// Runs a node until a signal, `leave` or a failure ends it.
pub async fn run(settings: Settings, state: StateDir, mode: StartMode) -> anyhow::Result<ExitReason> {
    let mut signals = signals::Signals::catch()?;
    let starting = start::start(settings, state, mode);
    let mut running = tokio::select! {
        started = starting => started?,
        () = signals.stop() => return Ok(ExitReason::Signal),
    };
    let end = running.serve(&mut signals).await;
    tokio::select! {
        done = running.stop(end) => done,
        () = signals.stop_again() => {
            tracing::warn!("second signal: stopping at once");
            Ok(ExitReason::Signal)
        }
    }
}
