//! Two hosts on one cable, and the tunnel between them.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use meshnode_tests::wait::eventually;
use meshnode_tests::world::{Host, Process, World};

/// The same inner MTU for every tunnel: WireGuard's usual one.
pub(crate) const MTU: &str = "1420";

/// The right host as the left one reaches it through the tunnel, and the other way round.
pub(crate) const RIGHT: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
pub(crate) const LEFT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);

/// The hosts' own addresses on the cable.
pub(crate) const OUTER_LEFT: &str = "192.0.2.1";
pub(crate) const OUTER_RIGHT: &str = "192.0.2.2";

/// How long a tunnel may take to carry its first packet.
pub(crate) const CONNECTS: Duration = Duration::from_secs(30);

/// Two hosts and what joins them.
pub(crate) struct Pair {
    /// The contender's name.
    pub(crate) name: String,
    pub(crate) left: Host,
    pub(crate) right: Host,
    /// What makes the tunnel: one process per host, or none.
    pub(crate) daemons: Vec<Process>,
}

impl Pair {
    /// The hosts with their addresses, without a way between the inner ones. `tag` tells the pairs of a world apart.
    pub(crate) fn cabled(world: &World, tag: &str, name: &str) -> Result<Pair> {
        let left = world.host(&format!("{tag}l"))?;
        let right = world.host(&format!("{tag}r"))?;
        world.cable((&left, "eth0"), (&right, "eth0"))?;
        for (host, outer, inner) in [(&left, OUTER_LEFT, LEFT), (&right, OUTER_RIGHT, RIGHT)] {
            host.address("eth0", &format!("{outer}/24"))?;
            host.address("lo", &format!("{inner}/32"))?;
        }
        Ok(Pair {
            name: name.to_owned(),
            left,
            right,
            daemons: Vec::new(),
        })
    }

    /// Waits for the first packet through the tunnel.
    pub(crate) fn connected(self) -> Result<Pair> {
        eventually(&format!("a packet through {}", self.name), CONNECTS, || {
            self.left.ping(RIGHT.into(), Duration::from_millis(500))
        })?;
        Ok(self)
    }

    /// An error if a daemon has ended; the message has the end of its log.
    pub(crate) fn still_runs(&self) -> Result<()> {
        self.daemons.iter().try_for_each(Process::still_runs)
    }
}
