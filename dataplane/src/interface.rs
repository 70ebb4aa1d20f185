//! The TUN interface: made with as many queues as there are lanes, gone when all of them are closed.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};
use tun::AbstractDevice;

use crate::error::TunError;
use crate::holder;
use crate::offload;
use crate::offload::switch::{Offload, Offloads};
use crate::sys;
use crate::tun_watch::TunWatch;

/// The interface to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunConfig {
    /// Its name: 1 to 15 bytes.
    pub name: String,
    /// Its MTU: the largest inner packet. Bytes.
    pub mtu: u16,
    /// Whether it is up from the start; else somebody else sets it up.
    pub up: bool,
}

/// The interface that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunInfo {
    /// Its name.
    pub name: String,
    /// Its index in this network namespace.
    pub index: u32,
}

/// What the handle keeps of an attached interface; the queues are with the lanes.
pub(crate) struct Interface {
    device: tun::Device,
    queue: OwnedFd,
    pub(crate) info: TunInfo,
}

/// A lane's own queue of the interface.
#[derive(Debug)]
pub(crate) struct TunQueue {
    queue: OwnedFd,
    /// What the kernel leaves to its reader.
    pub(crate) offloads: Offloads,
}

impl Interface {
    /// Makes the interface, sets its MTU and brings it up if that is wanted.
    pub(crate) fn open(
        config: &TunConfig,
        lanes: u8,
        wanted: Offloads,
    ) -> Result<(Interface, Vec<TunQueue>), TunError> {
        let name = &config.name;
        if !is_interface_name(name) {
            return Err(TunError::BadName { name: name.clone() });
        }
        let failed = |source| open_error(name, source);
        let mut queues = Vec::with_capacity(usize::from(lanes));
        for lane in 0..lanes {
            queues.push(TunQueue::open(name, lane == 0, wanted).map_err(failed)?);
        }
        let first = queues
            .first()
            .ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let mut device = wrap(first, name).map_err(failed)?;
        device
            .set_mtu(config.mtu)
            .map_err(io::Error::from)
            .map_err(failed)?;
        if config.up {
            device.enabled(true).map_err(io::Error::from).map_err(failed)?;
        }
        let queue = first.queue.try_clone().map_err(failed)?;
        let index = device.tun_index().map_err(io::Error::from).map_err(failed)?;
        let info = TunInfo {
            name: name.clone(),
            index: index.cast_unsigned(),
        };
        Ok((Interface { device, queue, info }, queues))
    }

    /// Whether it is still there; somebody may have deleted it.
    pub(crate) fn exists(&self) -> bool {
        index_of(&self.info.name) == Some(self.info.index)
    }

    /// A view of its state. The interface stays until this is gone too.
    pub(crate) fn watch(&self) -> io::Result<TunWatch> {
        Ok(TunWatch(self.queue.try_clone()?))
    }

    /// Changes the MTU.
    pub(crate) fn set_mtu(&mut self, mtu: u16) -> Result<(), TunError> {
        self.device
            .set_mtu(mtu)
            .map_err(|error| open_error(&self.info.name, error.into()))
    }
}

impl TunQueue {
    /// Opens a queue with what the kernel has of the `wanted` offloads.
    fn open(name: &str, first: bool, wanted: Offloads) -> io::Result<TunQueue> {
        let queue = sys::open_tun_queue(name, first)?;
        let mut offloads = Offloads::NONE;
        let mut flags = 0;
        sys::set_offloads(&queue, flags)?;
        for (offload, bits) in [(Offload::Tso, offload::TSO), (Offload::Uso, offload::USO)] {
            if !wanted.contains(offload) {
                continue;
            }
            match sys::set_offloads(&queue, flags | bits) {
                Ok(()) => (flags, offloads) = (flags | bits, offloads.with(offload)),
                Err(error) if first => {
                    tracing::info!(interface = name, offload = offload.as_str(), %error, "the kernel refuses an offload on the TUN: going on without");
                }
                Err(_) => {}
            }
        }
        Ok(TunQueue { queue, offloads })
    }

    /// Reads one frame: vnet header and packet.
    pub(crate) fn read(&self, frame: &mut [u8]) -> Result<usize, Errno> {
        rustix::io::retry_on_intr(|| rustix::io::read(&self.queue, &mut *frame))
    }

    /// Writes one frame: vnet header and packet.
    pub(crate) fn write(&self, frame: &[u8]) -> Result<(), Errno> {
        rustix::io::retry_on_intr(|| rustix::io::write(&self.queue, frame)).map(drop)
    }

    /// Writes one frame from where its pieces lie.
    pub(crate) fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> Result<(), Errno> {
        rustix::io::retry_on_intr(|| rustix::io::writev(&self.queue, pieces)).map(drop)
    }
}

impl AsFd for TunQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

/// Whether the kernel takes `name` literally as the name of an interface (net/core/dev.c, dev_valid_name).
fn is_interface_name(name: &str) -> bool {
    let forbidden =
        |byte: u8| byte.is_ascii_whitespace() || byte.is_ascii_control() || b"/:%".contains(&byte);
    (1..=sys::MAX_INTERFACE_NAME).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.bytes().any(forbidden)
}

/// Lets `tun` own a duplicate of the queue, for MTU, up and down.
fn wrap(queue: &TunQueue, name: &str) -> io::Result<tun::Device> {
    let mut config = tun::configure();
    config
        .tun_name(name)
        .raw_fd(queue.queue.try_clone()?.into_raw_fd())
        .close_fd_on_drop(true);
    tun::create(&config).map_err(io::Error::from)
}

fn open_error(name: &str, source: io::Error) -> TunError {
    let name = name.to_owned();
    match Errno::from_io_error(&source) {
        Some(Errno::PERM | Errno::ACCESS) => TunError::NotPermitted { name },
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => TunError::NoDevice,
        // EINVAL is what an existing interface of another kind (a dummy, a bridge) answers.
        Some(Errno::BUSY | Errno::INVAL) if index_of(&name).is_some() => {
            let holder = holder::of_tun(&name);
            TunError::NameInUse { name, holder }
        }
        _ => TunError::Io { name, source },
    }
}

/// The interface's index in the network namespace of this thread.
fn index_of(name: &str) -> Option<u32> {
    let any = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    rustix::net::netdevice::name_to_index(&any, name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_refuses_or_expands_are_refused() {
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "a:0",
            "mesh%d",
            "sixteen-bytes-xx",
            "tab\t",
        ] {
            assert!(!is_interface_name(name), "{name:?}");
        }
        for name in ["mesh0", "m", "fifteen-bytes-x", "wg.1"] {
            assert!(is_interface_name(name), "{name:?}");
        }
    }
}
