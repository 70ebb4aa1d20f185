//! What the data plane tells the node as it happens.

use std::net::SocketAddr;
use std::time::Duration;

use crate::check::{CheckTarget, Verdict};
use crate::path::health::{Cause, Change};
use crate::relay::choice::Reason;
use crate::table::PeerId;

/// Something happened. Events are a courtesy: when nobody reads them the newest are dropped and counted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataplaneEvent {
    /// The peer has a session and answers.
    PeerUp {
        /// Who.
        peer: PeerId,
    },
    /// The peer does not answer any more.
    PeerDown {
        /// Who.
        peer: PeerId,
        /// Why we think so.
        reason: Cause,
    },
    /// A path to the peer is in another state. [`Dataplane::health`](crate::Dataplane::health) has it already.
    PathChanged {
        /// Who.
        peer: PeerId,
        /// From what to what, and why.
        change: Change,
    },
    /// Packets to the peer take another way from now on.
    PathSwitched {
        /// Who.
        peer: PeerId,
        /// The relay that they went through; `None`: straight.
        from: Option<PeerId>,
        /// The relay that they go through now; `None`: straight.
        to: Option<PeerId>,
        /// Why.
        reason: Reason,
    },
    /// An authenticated packet came from another address: answers go there now.
    EndpointMoved {
        /// Who.
        peer: PeerId,
        /// Where it was.
        from: Option<SocketAddr>,
        /// Where it is.
        to: SocketAddr,
    },
    /// Nothing comes from the peer in this lane, which is not lane 0: its packets go by lane 0, and the lane is tried again
    /// now and then.
    LaneSilent {
        /// Which one.
        lane: u8,
        /// Who.
        peer: PeerId,
        /// Where it should answer.
        at: SocketAddr,
    },
    /// Datagrams that leave in one call (UDP_SEGMENT) do not arrive at the peer while single ones do: they leave one by one
    /// until they arrive again.
    Runs {
        /// Who.
        peer: PeerId,
        /// Whether they arrive.
        arrive: bool,
    },
    /// A target behind a peer answers, or does not any more. [`Dataplane::checks`](crate::Dataplane::checks) has it already.
    CheckChanged {
        /// Through whom.
        owner: PeerId,
        /// What.
        target: CheckTarget,
        /// What is known now.
        verdict: Verdict,
    },
    /// A peer says how a target behind this node fares; it says so again every two seconds. Whether it was asked to is for the
    /// reader to judge.
    CheckReported {
        /// Who says so.
        peer: PeerId,
        /// What.
        target: CheckTarget,
        /// Whether it answers.
        passes: bool,
    },
    /// This host stalled: what the peers seemed to miss in that time is not held against them.
    LocalStall {
        /// How late the lane was.
        late: Duration,
    },
    /// The TUN interface was deleted from outside.
    TunGone,
    /// A lane died of a panic; nothing is forwarded any more.
    LaneDied {
        /// Which one.
        lane: u8,
        /// What it said.
        cause: String,
    },
}
