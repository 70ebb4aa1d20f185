//! The kernel's part of the desired state, and the host's part of the input.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

/// Metric of mesh routes in the main table.
pub(crate) const MESH_METRIC: u32 = 77;

/// A route out of the TUN, in the main table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KernelRoute {
    /// Destination, without host bits.
    pub(crate) prefix: IpNet,
    /// Lower is better.
    pub(crate) metric: u32,
    /// Source address of packets that the gateway itself sends there.
    pub(crate) source_hint: Option<IpAddr>,
}

/// What the kernel should hold for us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KernelDesired {
    /// Routes out of the TUN, sorted by prefix, one a prefix.
    pub(crate) routes: Vec<KernelRoute>,
    /// Prefixes with an unreachable route beneath, so that nothing leaves in clear.
    pub(crate) guards: BTreeSet<IpNet>,
    /// Addresses of the TUN.
    pub(crate) addresses: BTreeSet<IpNet>,
    /// Prefixes that this node serves: they stay on the host's side also when a mesh route covers them.
    pub(crate) own: Vec<IpNet>,
}

/// A subnet that an interface of the host is in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Connected {
    /// The subnet, without host bits.
    pub(crate) prefix: IpNet,
    /// The interface's name.
    pub(crate) interface: String,
}

/// The host as it is without us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Host {
    /// Subnets of the other interfaces.
    pub(crate) connected: Vec<Connected>,
    /// Global addresses of the other interfaces.
    pub(crate) addresses: Vec<IpAddr>,
    /// Destinations in the main table that are not ours.
    pub(crate) routes: BTreeSet<IpNet>,
    /// False when the host has IPv6 disabled.
    pub(crate) ipv6: bool,
}
