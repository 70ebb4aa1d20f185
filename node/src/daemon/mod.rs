//! The running node: the order in which its parts start and stop.

use std::net::SocketAddr;

use ipnet::IpNet;
use meshnode_crypto::Token;

use crate::config::Settings;
use crate::state::StateDir;

/// How a node comes up.
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
    let _parts = (settings, state, mode);
    anyhow::bail!("this build has no daemon yet")
}
