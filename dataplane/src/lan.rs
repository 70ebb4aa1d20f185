//! Ethernet frames on one interface of the host, beside its own stack: for what a gateway says on its LAN.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::sys;

/// A packet socket (packet(7)) on one interface. Needs CAP_NET_RAW.
#[derive(Debug)]
pub struct LanSocket {
    socket: OwnedFd,
}

impl LanSocket {
    /// On the interface with this index; receives whole frames of this EtherType.
    pub fn open(index: u32, kind: u16) -> io::Result<LanSocket> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        // Without a protocol it receives nothing until it is bound to one interface.
        let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
        sys::bind_packet_socket(&socket, index, kind)?;
        Ok(LanSocket { socket })
    }

    /// Sends one frame, header included.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.socket, frame, SendFlags::empty())?;
        Ok(())
    }

    /// The next frame that came, as far as it fits; `None`: there is none.
    pub fn receive(&self, frame: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::net::recv(&self.socket, frame, RecvFlags::empty()) {
            Ok((length, _)) => Ok(Some(length)),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
