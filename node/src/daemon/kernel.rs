//! What the kernel should hold, handed over without waiting: a pass over thousands of routes takes long, and the data
//! plane's table must not wait behind it.

use tokio::sync::watch;

use crate::adapt::netlink::{Netlink, NetlinkError};
use crate::desired::KernelDesired;

/// Applies the latest wish, one at a time; those in between are skipped.
pub struct KernelKeeper {
    wanted: watch::Sender<(u64, KernelDesired)>,
    applied: watch::Receiver<u64>,
}

impl KernelKeeper {
    /// Starts with what was applied last. Ends when this is dropped.
    pub fn start(netlink: Netlink, applied: KernelDesired) -> KernelKeeper {
        let (wanted, wishes) = watch::channel((0, applied));
        let (done, applied) = watch::channel(0);
        tokio::spawn(keep(netlink, wishes, done));
        KernelKeeper { wanted, applied }
    }

    /// The kernel should be so from now on.
    pub fn want(&self, desired: &KernelDesired) {
        self.wanted.send_if_modified(|(number, last)| {
            let changed = last != desired;
            if changed {
                *number += 1;
                last.clone_from(desired);
            }
            changed
        });
    }

    /// Resolves when what is wanted now was tried.
    pub fn settled(&self) -> impl Future<Output = ()> + Send + 'static {
        let (number, mut applied) = (self.wanted.borrow().0, self.applied.clone());
        async move {
            // An error means that the node stops: nothing is waited for any more.
            let _stopped = applied.wait_for(|done| *done >= number).await;
        }
    }
}

async fn keep(netlink: Netlink, mut wishes: watch::Receiver<(u64, KernelDesired)>, done: watch::Sender<u64>) {
    while wishes.changed().await.is_ok() {
        let (number, desired) = wishes.borrow_and_update().clone();
        match netlink.apply(desired).await {
            Ok(_refused) => {}
            Err(NetlinkError::Stopped) => return,
            Err(error) => tracing::warn!(%error, "the kernel's routes are not as they should be yet"),
        }
        done.send_replace(number);
    }
}
