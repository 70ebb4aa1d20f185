//! Listening elsewhere while everything runs: what a plain WireGuard device does when its port or mark is set.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};

use super::lanes::LaneHandle;
use super::{Dataplane, PATIENCE};
use crate::error::StartError;
use crate::lane::command::Command;
use crate::offload::switch::Offloads;
use crate::underlay::Underlay;

/// How often the kernel is asked for a port that is free in both families.
const CHOICES: usize = 100;

impl Dataplane {
    /// Listens on `port` of every address from now on, with `mark` on what is sent; port 0 lets the kernel choose. Sockets
    /// allow fragments, as WireGuard's do. Returns the port. When the new one is not to be had, the old stays in use.
    ///
    /// For a data plane that was started without addresses; what listened before is closed.
    pub fn listen(&self, port: u16, mark: u32) -> Result<u16, StartError> {
        let underlay = bind(port, mark, self.offloads)?;
        let chosen = underlay.local_addr().map_or(port, |local| local.port());
        self.exchange(underlay)?;
        Ok(chosen)
    }

    /// Closes the sockets: nothing comes in or leaves until [`Dataplane::listen`].
    pub fn stop_listening(&self) -> Result<(), StartError> {
        self.exchange(Underlay::default())
    }

    /// Changes the mark of the sockets (SO_MARK); 0 for none.
    pub fn set_mark(&self, mark: u32) -> Result<(), StartError> {
        self.first()?.underlay.load().set_mark(mark)
    }

    /// The lane of a data plane that has only one.
    fn first(&self) -> Result<&LaneHandle, StartError> {
        self.lanes.first().ok_or(StartError::Stopped)
    }

    /// When this returns, the old sockets are closed: their port can be taken again.
    fn exchange(&self, underlay: Underlay) -> Result<(), StartError> {
        let underlay = Arc::new(underlay);
        let (done_in, done) = sync_channel(0);
        let lane = self.first()?;
        lane.commander
            .send(Command::Listen(Arc::clone(&underlay), done_in))
            .map_err(|_| StartError::Stopped)?;
        if done.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the lane does not let go of its sockets");
        }
        lane.underlay.store(underlay);
        Ok(())
    }
}

/// One port in both families. Of those that the kernel chooses, the first that is free in both.
fn bind(port: u16, mark: u32, offloads: Offloads) -> Result<Underlay, StartError> {
    if port != 0 {
        return bind_both(port, mark, offloads);
    }
    for _ in 0..CHOICES {
        match bind_both(port, mark, offloads) {
            Err(StartError::PortInUse { .. }) => {}
            outcome => return outcome,
        }
    }
    Err(StartError::NoPort)
}

fn bind_both(port: u16, mark: u32, offloads: Offloads) -> Result<Underlay, StartError> {
    let mut underlay = Underlay::default();
    underlay.add(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), mark, offloads)?;
    let port = underlay.local_addr().map_or(port, |local| local.port());
    underlay.add(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), mark, offloads)?;
    Ok(underlay)
}
