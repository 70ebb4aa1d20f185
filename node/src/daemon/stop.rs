//! Running and stopping: what ends a node, and how it goes without losing anybody's packets.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::ExitReason;
use super::core::Command;
use super::leaving::{self, TELL};
use super::node::Node;
use super::signals::{Request, Signals};
use super::sockets::SocketFiles;
use super::watchdog;
use crate::adapt::netlink::Farewell;
use crate::history::{Happening, sources};
use crate::supervise::{Death, Supervisor};

/// How long closing connections and saving the peer cache may take.
const CLOSE: Duration = Duration::from_millis(500);

/// A node that is up.
pub struct Running {
    pub(super) node: Arc<Node>,
    pub(super) supervisor: Supervisor,
    pub(super) leaving: mpsc::Receiver<()>,
    pub(super) files: SocketFiles,
}

/// What ended it.
#[derive(Debug)]
pub enum End {
    /// A signal.
    Signal,
    /// `meshnode leave`; the others know already.
    Leave,
    /// A vital part is no more.
    Death(Death),
}

impl Running {
    /// Until something ends it.
    pub async fn serve(&mut self, signals: &mut Signals) -> End {
        loop {
            tokio::select! {
                request = signals.next() => match request {
                    Request::Stop => return End::Signal,
                    Request::Reload => self.reload(),
                },
                Some(()) = self.leaving.recv() => return End::Leave,
                death = self.supervisor.first_death() => return End::Death(death),
            }
        }
    }

    /// In the background: a signal has nobody to answer to, the core logs what came of it.
    fn reload(&self) {
        let node = Arc::clone(&self.node);
        watchdog::notify_reloading();
        tokio::spawn(async move {
            if let Err(error) = node.ask(Command::Reload).await {
                tracing::warn!(%error, "reload failed");
            }
            watchdog::notify(&[sd_notify::NotifyState::Ready]);
        });
    }

    /// Leaves the host tidy: the interface gone, guards kept unless this node left the mesh.
    pub async fn stop(self, end: End) -> anyhow::Result<ExitReason> {
        let Running {
            node,
            supervisor,
            files,
            ..
        } = self;
        watchdog::notify(&[sd_notify::NotifyState::Stopping]);
        node.journal.note([farewell_event(&end)]);
        node.ready.store(false, std::sync::atomic::Ordering::Release);
        if matches!(end, End::Signal) {
            tracing::info!("stopping: asking the others to send elsewhere");
            let moved = leaving::move_away(&node).await;
            tracing::info!(?moved, "withdrawing from the mesh");
            if tokio::time::timeout(TELL, node.membership.withdraw())
                .await
                .is_err()
            {
                tracing::info!("not everybody could be told in time");
            }
        }
        supervisor.shutdown().await;
        let farewell = if matches!(end, End::Leave) {
            Farewell::RemoveAll
        } else {
            Farewell::KeepGuards
        };
        match node.netlink.stop(farewell).await {
            Ok(refused) => refused
                .iter()
                .for_each(|r| tracing::warn!("left behind: {}: {}", r.what, r.why)),
            Err(error) => tracing::warn!(%error, "the kernel was not tidied up"),
        }
        let dataplane = Arc::clone(&node.dataplane);
        tokio::task::spawn_blocking(move || dataplane.detach_tun()).await?;
        drop(files);
        if tokio::time::timeout(CLOSE, node.membership.shutdown())
            .await
            .is_err()
        {
            tracing::debug!("connections were cut off");
        }
        finish(end, &node)
    }
}

fn farewell_event(end: &End) -> Happening {
    match end {
        End::Signal => sources::stopping("signal", "asked to end by a signal"),
        End::Leave => sources::stopping("leave", "leaves the mesh for good"),
        End::Death(_) => sources::stopping("failure", "a vital part has failed: see the log"),
    }
}

fn finish(end: End, node: &Node) -> anyhow::Result<ExitReason> {
    match end {
        End::Signal => Ok(ExitReason::Signal),
        End::Leave => {
            if let Some(kept) = node.state.wipe()? {
                tracing::info!("the mesh's authority key is kept in {}", kept.display());
            }
            Ok(ExitReason::Left)
        }
        End::Death(death) => Err(death.into()),
    }
}
