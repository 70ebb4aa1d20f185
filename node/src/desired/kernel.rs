//! The kernel's part of the desired state, and the host's part of the input.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

/// Metric of mesh routes in the main table.
pub const MESH_METRIC: u32 = 77;

/// A route out of the TUN, in the main table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelRoute {
    /// Destination, without host bits.
    pub prefix: IpNet,
    /// Lower is better.
    pub metric: u32,
    /// Source address of packets that the gateway itself sends there.
    pub source_hint: Option<IpAddr>,
}

/// What the kernel should hold for us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelDesired {
    /// Routes out of the TUN, sorted by prefix, one a prefix.
    pub routes: Vec<KernelRoute>,
    /// Prefixes with an unreachable route beneath, so that nothing leaves in clear.
    pub guards: BTreeSet<IpNet>,
    /// Addresses of the TUN.
    pub addresses: BTreeSet<IpNet>,
    /// Prefixes that this node serves: they stay on the host's side also when a mesh route covers them.
    pub own: Vec<IpNet>,
}

/// A subnet that an interface of the host is in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connected {
    /// The subnet, without host bits.
    pub prefix: IpNet,
    /// The interface's name.
    pub interface: String,
}

/// The host as it is without us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// Subnets of the other interfaces.
    pub connected: Vec<Connected>,
    /// What leads where: those subnets, and the host's own routes but for default ones.
    pub ways: Vec<Connected>,
    /// Interfaces that are up and have a carrier.
    pub up: BTreeSet<String>,
    /// Global addresses of the other interfaces.
    pub addresses: Vec<IpAddr>,
    /// Destinations in the main table that are not ours.
    pub routes: BTreeSet<IpNet>,
    /// Interfaces with a default route that a router advertised.
    pub ra_interfaces: Vec<String>,
    /// Largest MTU of the interfaces with a global address, in bytes.
    pub link_mtu: Option<u32>,
    /// False when the host has IPv6 disabled.
    pub ipv6: bool,
}

/// The largest packet that the internet between two clouds is sure to carry, in bytes.
const INTERNET_MTU: u32 = 1_500;

impl Host {
    /// Largest packet that any link of this host takes, in bytes.
    pub fn underlay_mtu(&self) -> u16 {
        u16::try_from(self.link_mtu.unwrap_or(INTERNET_MTU)).unwrap_or(u16::MAX)
    }
}
