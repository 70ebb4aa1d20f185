//! Keeps the kernel as it should be.
//!
//! One task owns the state. It is told what is desired, compares with what the kernel has, and
//! carries out the difference; then it listens, and does the same whenever somebody changes a
//! route, a rule, a link or an address. Comparing whole snapshots makes every pass idempotent:
//! a flushed table, a renamed interface and our own start look alike.

mod kernel;
mod local;
mod message;
mod monitor;
mod pace;
mod plan;
mod snapshot;
mod task;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{broadcast, mpsc, oneshot, watch};

pub use kernel::Refused;
pub use local::LocalChange;
pub use message::MARK;
pub use plan::{Interface, Owned};

use crate::desired::{Host, KernelDesired};

/// Where it is written down what in the kernel is ours.
pub trait Ledger: Send + Sync {
    /// What an earlier process left, or nothing.
    fn owned(&self) -> Owned;
    /// Durable when it returns; called before anything new is installed.
    fn remember(&self, owned: &Owned) -> io::Result<()>;
}

/// Why the adapter could not do its work at all.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No netlink socket.
    #[error("cannot open a netlink socket: {0}")]
    Socket(#[from] io::Error),
    /// The kernel's state could not be read.
    #[error("cannot read routes and addresses from the kernel: {0}")]
    Read(String),
    /// Routes cannot be changed.
    #[error(
        "not permitted to change routes ({what}: {why})\n  fix: run as root or grant the capability CAP_NET_ADMIN"
    )]
    Permission {
        /// What was tried.
        what: String,
        /// The kernel's words.
        why: String,
    },
    /// The task is gone.
    #[error("the netlink task has stopped")]
    Stopped,
}

/// What goes with us when we stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// Guards stay: traffic for the mesh must not leave in clear while no node runs.
    KeepGuards,
    /// Everything of ours goes.
    RemoveAll,
}

/// What the adapter knows, for others to follow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The host without us.
    pub host: Arc<Host>,
    /// True once our interface has been deleted under us.
    pub interface_gone: bool,
    /// What the kernel refuses at present.
    pub refused: Vec<String>,
}

/// Counters for metrics and tests.
#[derive(Debug, Default)]
pub struct Counters {
    /// Passes that found something changed by others and repaired it.
    pub repairs: AtomicU64,
    /// Steps that the kernel refused.
    pub refused: AtomicU64,
}

/// Handle of the adapter.
#[derive(Debug, Clone)]
pub struct Netlink {
    commands: mpsc::Sender<task::Command>,
    seen: watch::Receiver<Seen>,
    local: broadcast::Sender<LocalChange>,
    counters: Arc<Counters>,
}

/// Changes of addresses that may wait for a reader.
const LOCAL_CHANGES: usize = 64;

impl Netlink {
    /// Connects, reads the host and starts to listen. Nothing is changed yet.
    pub async fn start(ledger: Arc<dyn Ledger>) -> Result<Netlink, NetlinkError> {
        let (commands, inbox) = mpsc::channel(16);
        let counters = Arc::new(Counters::default());
        let (local, _) = broadcast::channel(LOCAL_CHANGES);
        let (task, seen) = task::Task::open(ledger, Arc::clone(&counters), local.clone()).await?;
        tokio::spawn(task.run(inbox));
        Ok(Netlink {
            commands,
            seen,
            local,
            counters,
        })
    }

    /// Makes the kernel so; returns what it refused.
    pub async fn apply(&self, desired: KernelDesired) -> Result<Vec<Refused>, NetlinkError> {
        self.ask(|reply| task::Command::Apply { desired, reply }).await?
    }

    /// The TUN exists from now on: addresses and mesh routes may go to it.
    pub async fn attach(&self, interface: Interface) -> Result<Vec<Refused>, NetlinkError> {
        self.ask(|reply| task::Command::Attach { interface, reply })
            .await?
    }

    /// Cleans up and ends the task. What cannot be removed is returned.
    pub async fn stop(&self, farewell: Farewell) -> Result<Vec<Refused>, NetlinkError> {
        self.ask(|reply| task::Command::Stop { farewell, reply }).await?
    }

    /// The host, followed.
    pub fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.clone()
    }

    /// Addresses that stop or begin to work, from now on and without delay.
    pub fn local_changes(&self) -> broadcast::Receiver<LocalChange> {
        self.local.subscribe()
    }

    /// How often others' changes were repaired.
    pub fn repairs(&self) -> u64 {
        self.counters.repairs.load(Ordering::Relaxed)
    }

    /// How many steps the kernel has refused.
    pub fn refusals(&self) -> u64 {
        self.counters.refused.load(Ordering::Relaxed)
    }

    /// True while the task runs.
    pub fn is_alive(&self) -> bool {
        !self.commands.is_closed()
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> task::Command,
    ) -> Result<T, NetlinkError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(command(reply))
            .await
            .map_err(|_| NetlinkError::Stopped)?;
        answer.await.map_err(|_| NetlinkError::Stopped)
    }
}

/// Removes what a node that no longer runs left in the kernel: guards, pins, the marked table and
/// its rule. Returns what could not be removed.
pub async fn clear_guards(ledger: Arc<dyn Ledger>) -> Result<Vec<Refused>, NetlinkError> {
    Netlink::start(ledger).await?.stop(Farewell::RemoveAll).await
}
