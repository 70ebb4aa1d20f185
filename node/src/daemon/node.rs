//! The handle that API, metrics and UAPI share: what is, and whom to ask for a change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use meshnode_crypto::{MeshId, NodeId, UnixMillis};
use meshnode_dataplane::Dataplane;
use meshnode_membership::service::Membership;
use tokio::sync::{mpsc, oneshot, watch};

use super::composed::Composed;
use super::core::Command;
use super::journal::Journal;
use crate::adapt::netlink::Netlink;
use crate::api::refuse::Refuse;
use crate::state::StateDir;
use crate::supervise::Health;

/// Everything that a request may need. Cheap to share.
pub struct Node {
    /// The mesh.
    pub mesh: MeshId,
    /// This node.
    pub me: NodeId,
    /// Keys and what was announced.
    pub state: StateDir,
    /// Tunnels.
    pub dataplane: Arc<Dataplane>,
    /// The mesh's members.
    pub membership: Arc<Membership>,
    /// The kernel.
    pub netlink: Netlink,
    /// What is.
    pub composed: watch::Receiver<Arc<Composed>>,
    /// Whom to ask for changes.
    pub core: mpsc::Sender<Command>,
    /// Ends the node; sent after the others were told.
    pub leave: mpsc::Sender<()>,
    /// What happened.
    pub journal: Arc<Journal>,
    /// Who answered the watchdog.
    pub health: Health,
    /// True once the TUN is attached and everything was applied.
    pub ready: AtomicBool,
    /// When the process began to be a node.
    pub started: Instant,
    /// The same, by the wall clock.
    pub started_at: UnixMillis,
}

impl Node {
    /// The latest composition.
    pub fn now_composed(&self) -> Arc<Composed> {
        Arc::clone(&self.composed.borrow())
    }

    /// Whether traffic can flow.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Asks the core for a change and waits for its answer.
    pub async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Refuse>>) -> Command,
    ) -> Result<T, Refuse> {
        let (reply, answer) = oneshot::channel();
        self.core
            .send(command(reply))
            .await
            .map_err(|_| Refuse::stopping())?;
        answer.await.map_err(|_| Refuse::stopping())?
    }
}

/// The wall clock.
pub fn wall_now() -> UnixMillis {
    UnixMillis::from(std::time::SystemTime::now())
}
