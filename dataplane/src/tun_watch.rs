//! Whether a TUN interface is up, asked of the queue itself.
//!
//! Netlink tells the same, but only in the namespace that the interface is in; the queue's descriptor answers wherever
//! it was moved to. Linux (drivers/net/tun.c, tun_chr_poll) calls the queue writable while the interface is up, wakes
//! its waiters when it comes up, and reports an error once it is deleted; nobody is woken when it goes down.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How an interface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunState {
    /// Packets pass.
    Up,
    /// It is there, and set down.
    Down,
    /// Somebody deleted it.
    Gone,
}

/// A view of the attached interface; whoever waits for its descriptor to be writable learns that it came up or is gone.
#[derive(Debug)]
pub struct TunWatch(pub(crate) OwnedFd);

impl TunWatch {
    /// How the interface is now.
    pub fn state(&self) -> TunState {
        let mut asked = [PollFd::new(&self.0, PollFlags::OUT)];
        let polled = rustix::io::retry_on_intr(|| poll(&mut asked, Some(&Timespec::default())));
        let said = asked[0].revents();
        if polled.is_err() || said.contains(PollFlags::ERR) {
            TunState::Gone
        } else if said.contains(PollFlags::OUT) {
            TunState::Up
        } else {
            TunState::Down
        }
    }
}

impl AsFd for TunWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for TunWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
