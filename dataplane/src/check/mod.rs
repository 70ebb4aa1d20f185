//! Whether traffic really reaches what lies behind a gateway: asked through the gateway's own tunnel, whatever the routes say.
//!
//! The tunnel to a gateway may be in perfect health while the gateway forwards nothing. So a node that is told to
//! ([`Check`]) sends an echo request or a SYN through it to a target behind it, as a host of its own would, and waits for the
//! target's answer.
//!
//! ```text
//!   this lane ── tunnel ──► gateway ── forwards ──► target
//!       ▲                                             │ answers to `source`, a host's address of ours
//!       └── tunnel ◄── this gateway, or another of the same prefix
//! ```
//!
//! | file | is |
//! |---|---|
//! | `wire` | the packets: what is asked, and whether a packet is the answer to exactly that |
//! | `prober` | when to ask, and what follows from answers and from silence |

pub mod prober;
pub mod wire;

use crate::table::PeerId;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Most checks of one node; what is beyond them is not made.
pub const MAX_CHECKS: usize = 1_024;

/// What must answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckTarget {
    /// Answers an echo request.
    Icmp(IpAddr),
    /// Answers a connection attempt, be it with a refusal: a refusal was forwarded too.
    Tcp(SocketAddr),
}

impl CheckTarget {
    /// The address that must answer.
    pub fn address(&self) -> IpAddr {
        match self {
            CheckTarget::Icmp(address) => *address,
            CheckTarget::Tcp(socket) => socket.ip(),
        }
    }
}

impl fmt::Display for CheckTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckTarget::Icmp(IpAddr::V6(address)) => write!(f, "icmp://[{address}]"),
            CheckTarget::Icmp(address) => write!(f, "icmp://{address}"),
            CheckTarget::Tcp(socket) => write!(f, "tcp://{socket}"),
        }
    }
}

/// One target behind one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// Through whose tunnel.
    pub owner: PeerId,
    /// What must answer.
    pub target: CheckTarget,
    /// An address of this host inside its own prefixes, of the target's family: the target answers there.
    pub source: IpAddr,
    /// Secret and random: nobody who does not see the questions can make an answer.
    pub seed: u64,
}

impl Check {
    /// Whether `answer` goes from the target's address to ours.
    pub fn is_between(&self, source: IpAddr, destination: IpAddr) -> bool {
        self.target.address() == source && self.source == destination
    }
}

/// What is known of a target behind a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It answers.
    Passes,
    /// It does not.
    Fails,
}

/// Of every check that is made: by whose tunnel, and for what.
pub type Verdicts = BTreeMap<(PeerId, CheckTarget), Verdict>;
