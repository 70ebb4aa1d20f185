//! What the handle asks of a lane: a bounded queue and an eventfd that ends the lane's wait.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::oneshot;

use super::pings::PingReply;
use crate::interface::TunQueue;
use crate::table::PeerId;
use crate::underlay::Underlay;

/// Commands that may wait; the handle is the only sender and mostly waits for answers.
const QUEUE: usize = 256;

/// One request to a lane.
#[derive(Debug)]
pub(crate) enum Command {
    /// Read and write this queue from now on.
    AttachTun(TunQueue),
    /// Close the queue, then answer.
    DetachTun(SyncSender<()>),
    /// Send and receive by these sockets from now on, then answer.
    Listen(Arc<Underlay>, SyncSender<()>),
    /// Probe a peer once.
    Ping(PeerId, PingReply),
    /// Addresses of this host changed; these are lost.
    LocalChange(Arc<[IpAddr]>),
    /// Say that the loop still turns.
    Echo(oneshot::Sender<()>),
    /// Come to an end.
    Shutdown,
}

/// The handle's end.
#[derive(Debug, Clone)]
pub(crate) struct Commander {
    queue: SyncSender<Command>,
    waker: Arc<Waker>,
}

/// The lane has gone, or is far behind.
#[derive(Debug)]
pub(crate) struct NotTaken;

impl Commander {
    /// Queues a command; never waits.
    pub(crate) fn send(&self, command: Command) -> Result<(), NotTaken> {
        self.queue.try_send(command).map_err(|_| NotTaken)?;
        self.wake();
        Ok(())
    }

    /// Makes the lane look: at commands, or at a new table.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }
}

/// Ends a lane's wait.
#[derive(Debug)]
pub(crate) struct Waker {
    eventfd: OwnedFd,
}

impl Waker {
    fn wake(&self) {
        // The only failure is a counter near 2^64, which means that a wake-up is due already.
        if let Err(error) = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes()) {
            tracing::trace!(%error, "lane is awake already");
        }
    }

    /// Forgets the wake-ups so far.
    pub(crate) fn reset(&self) {
        if let Err(error) = rustix::io::read(&self.eventfd, &mut [0u8; 8]) {
            tracing::trace!(%error, "no wake-up to forget");
        }
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

/// Makes both ends: the handle's, and the lane's queue with what ends its wait.
pub(crate) fn commands() -> io::Result<(Commander, Receiver<Command>, Arc<Waker>)> {
    let (queue, commands) = mpsc::sync_channel(QUEUE);
    let waker = Arc::new(Waker {
        eventfd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
    });
    Ok((
        Commander {
            queue,
            waker: Arc::clone(&waker),
        },
        commands,
        waker,
    ))
}
