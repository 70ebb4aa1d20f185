//! What can go wrong when the data plane starts, takes an interface, or is asked for something.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::lane::engine::PingRefused;

/// The process that has what we want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Process id, in the PID namespace that we see.
    pub pid: u32,
    /// Command name as the kernel shows it (at most 15 bytes).
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.command, self.pid)
    }
}

/// Writes " by NAME (pid N)", or nothing when nobody visible holds it.
struct By<'a>(&'a Option<Holder>);

impl fmt::Display for By<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(holder) => write!(f, " by {holder}"),
            None => Ok(()),
        }
    }
}

/// Why the data plane did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The UDP port is taken.
    #[error("port {}/udp is in use{}: stop it, or choose another port with --listen", .address.port(), By(.holder))]
    PortInUse {
        /// The address that was to be bound.
        address: SocketAddr,
        /// Who has it, when we may see that.
        holder: Option<Holder>,
    },
    /// The sockets may not be marked.
    #[error("marking the UDP socket needs CAP_NET_ADMIN: run as root or grant the capability")]
    NotPermitted,
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}: give an address of this host with --listen")]
    Bind {
        /// The address that was to be bound.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// None of the ports that the kernel chose was free in both families.
    #[error("no UDP port is free for both IPv4 and IPv6: choose one")]
    NoPort,
    /// The lane is gone.
    #[error("the data plane has stopped")]
    Stopped,
    /// More addresses than a lane can watch.
    #[error("{0} addresses to listen on are too many: give at most 62 with --listen")]
    TooManyAddresses(usize),
    /// There is no port so high for a lane.
    #[error("no ports above {0} are left for more lanes: choose a lower one with --listen")]
    NoPortAbove(SocketAddr),
    /// A lane could not be made.
    #[error("cannot start a lane: {0}: is the process out of descriptors or threads?")]
    Lane(#[source] io::Error),
    /// No lane, or more than a record names.
    #[error("{0} lanes cannot be: give 1 to 8 with --lanes")]
    Lanes(u8),
}

/// Why there is no TUN interface.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TunError {
    /// CAP_NET_ADMIN is missing.
    #[error("making interface {name} needs CAP_NET_ADMIN: run as root or grant the capability")]
    NotPermitted {
        /// The interface.
        name: String,
    },
    /// /dev/net/tun is missing.
    #[error(
        "/dev/net/tun is missing: load the module (modprobe tun), or give the container the device (--device /dev/net/tun)"
    )]
    NoDevice,
    /// The interface exists already.
    #[error("interface {name} is in use{}: stop it, or choose another name with --interface", By(.holder))]
    NameInUse {
        /// The interface.
        name: String,
        /// Who has it, when it is a TUN of a process that we may see.
        holder: Option<Holder>,
    },
    /// No interface can have this name.
    #[error(
        "{name:?} cannot name an interface: 1 to 15 bytes without spaces, '/', ':' or '%', and not '.' or '..'"
    )]
    BadName {
        /// What was given.
        name: String,
    },
    /// An interface is attached already.
    #[error("interface {name} is attached already: detach it first")]
    Attached {
        /// The attached interface.
        name: String,
    },
    /// The lane is gone.
    #[error("the data plane has stopped")]
    Stopped,
    /// Anything else the kernel said.
    #[error("cannot make interface {name}: {source}")]
    Io {
        /// The interface.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Why there is no round trip to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PingError {
    /// The peer is not in the table.
    #[error("no such peer")]
    UnknownPeer,
    /// The peer takes no probes: it is a stock WireGuard client.
    #[error("a client does not answer probes: ping its address instead")]
    NotProbed,
    /// No answer came in time.
    #[error("no answer in time")]
    TimedOut,
    /// Too many pings wait already.
    #[error("too many pings at once")]
    TooMany,
    /// The lane is gone.
    #[error("the data plane has stopped")]
    Stopped,
}

impl From<PingRefused> for PingError {
    fn from(refused: PingRefused) -> PingError {
        match refused {
            PingRefused::UnknownPeer => PingError::UnknownPeer,
            PingRefused::NotProbed => PingError::NotProbed,
            PingRefused::TooMany => PingError::TooMany,
        }
    }
}
