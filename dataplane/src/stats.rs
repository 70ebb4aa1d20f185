//! What the data plane tells about itself: plain numbers, summed over lanes at the moment of asking.

use crate::drop::DropReason;
use crate::offload::switch::OffloadStats;
use crate::path::health::Cause;
use crate::path::loss::Ratios;
use crate::table::PeerId;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Upper bounds of the round-trip histogram's buckets, in microseconds; one more bucket holds what is slower.
pub const RTT_BOUNDS_US: [u64; 14] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 200_000, 350_000, 500_000, 1_000_000,
    2_500_000,
];

/// Buckets of the round-trip histogram.
pub const RTT_BUCKETS: usize = RTT_BOUNDS_US.len() + 1;

/// How a peer is, as measured here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerState {
    /// It has a session and answers.
    Up,
    /// It has no session yet.
    #[default]
    Connecting,
    /// It answered once and does not now, or has not for longer than a handshake takes.
    Down,
}

impl PeerState {
    /// The word in `status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            PeerState::Up => "up",
            PeerState::Connecting => "connecting",
            PeerState::Down => "down",
        }
    }
}

/// What is known of one path, best first but for [`PathState::Connecting`], of which nothing is known yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathState {
    /// It works both ways.
    Up,
    /// It works, with more loss or a longer round trip than it should.
    Degraded,
    /// Too many answers are missing in a row: move away at once if there is another way.
    Suspect,
    /// It has been silent for too long to be only slow.
    Down,
    /// It has not worked yet.
    #[default]
    Connecting,
}

impl PathState {
    /// All of them.
    pub const ALL: [PathState; 5] = [
        PathState::Up,
        PathState::Degraded,
        PathState::Suspect,
        PathState::Down,
        PathState::Connecting,
    ];

    /// The word in `status`, in logs and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            PathState::Up => "up",
            PathState::Degraded => "degraded",
            PathState::Suspect => "suspect",
            PathState::Down => "down",
            PathState::Connecting => "connecting",
        }
    }

    /// Whether packets arrive, as far as anybody knows.
    pub const fn works(self) -> bool {
        matches!(self, PathState::Up | PathState::Degraded)
    }

    /// Whether it worked, or should have, and does not: the peer is looked for elsewhere.
    pub const fn fails(self) -> bool {
        matches!(self, PathState::Suspect | PathState::Down)
    }
}

impl From<PathState> for PeerState {
    fn from(path: PathState) -> PeerState {
        match path {
            PathState::Up | PathState::Degraded | PathState::Suspect => PeerState::Up,
            PathState::Down => PeerState::Down,
            PathState::Connecting => PeerState::Connecting,
        }
    }
}

/// How the path to one peer is, of the path in use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeerHealth {
    /// What is known of it.
    pub state: PathState,
    /// Why it is in this state.
    pub cause: Cause,
    /// Since when.
    pub since: Instant,
    /// When an answer last proved that it works both ways.
    pub proven: Option<Instant>,
    /// Smoothed round trip; `None` before the first.
    pub rtt: Option<Duration>,
    /// Share of probes that come back with no answer, over 10 s, both ways together, 0 to 1.
    pub loss: f64,
}

/// Round trips by duration; `counts[i]` holds those of at most `RTT_BOUNDS_US[i]` that no bucket before holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RttHistogram {
    /// Per bucket, not cumulative.
    pub counts: [u64; RTT_BUCKETS],
    /// Sum of all round trips in microseconds.
    pub sum_us: u64,
}

impl RttHistogram {
    /// The bucket that a round trip belongs to.
    pub fn bucket(rtt: Duration) -> usize {
        let us = rtt.as_micros() as u64;
        RTT_BOUNDS_US
            .iter()
            .position(|bound| us <= *bound)
            .unwrap_or(RTT_BUCKETS - 1)
    }

    /// How many round trips were measured.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// A relay on the way to a peer, and the two halves of that way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via {
    /// Who relays.
    pub relay: PeerId,
    /// Smoothed round trip to the relay, when it last said something.
    pub near: Option<Duration>,
    /// Smoothed round trip from the relay to the peer, as the relay last said.
    pub far: Option<Duration>,
}

/// One peer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeerStats {
    /// Up, connecting or down.
    pub state: PeerState,
    /// What is known of the path in use.
    pub path: PathState,
    /// Why it is in that state.
    pub cause: Cause,
    /// The relay that packets to it go through; `None`: they go straight.
    pub via: Option<Via>,
    /// Where datagrams to it go when they go straight; proven by an authenticated packet.
    pub endpoint: Option<SocketAddr>,
    /// How long ago the last handshake completed.
    pub last_handshake: Option<Duration>,
    /// UDP payload bytes sent to it, handshakes and probes included.
    pub tx_bytes: u64,
    /// UDP payload bytes received from it and authenticated.
    pub rx_bytes: u64,
    /// Inner packets sent to it, probes not included.
    pub tx_packets: u64,
    /// Inner packets accepted from it, probes not included.
    pub rx_packets: u64,
    /// Smoothed round trip.
    pub rtt: Option<Duration>,
    /// Last round trip.
    pub rtt_last: Option<Duration>,
    /// Smallest round trip.
    pub rtt_min: Option<Duration>,
    /// All round trips.
    pub rtt_histogram: RttHistogram,
    /// RFC 3550 §6.4.1, over round trips.
    pub jitter: Option<Duration>,
    /// Share of probes lost on the way there, over 10 s, 0 to 1.
    pub loss_out: f64,
    /// Share of answers lost on the way back, over 10 s, 0 to 1.
    pub loss_in: f64,
    /// Shares lost over one minute.
    pub loss_1m: Ratios,
    /// Shares lost over five minutes.
    pub loss_5m: Ratios,
    /// How much the delay of the way there differs from packet to packet (RFC 3393), smoothed.
    pub variation_out: Option<Duration>,
    /// The same of the way back.
    pub variation_in: Option<Duration>,
    /// Probes sent.
    pub probes_sent: u64,
    /// Probes that no answer came to.
    pub probes_lost: u64,
    /// Largest inner packet that the path takes, bytes; 0 while unknown.
    pub mtu: u16,
}

/// One lane, over all peers, those that have gone included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneStats {
    /// Which one.
    pub lane: u8,
    /// Its UDP port.
    pub port: u16,
    /// Bytes of data packets sent, as UDP payload; handshakes are not counted.
    pub tx_bytes: u64,
    /// The same, received and authenticated.
    pub rx_bytes: u64,
    /// Inner packets sent, probes not included.
    pub tx_packets: u64,
    /// Inner packets accepted, probes not included.
    pub rx_packets: u64,
    /// Packets handed to lane 0 for want of a tunnel in this lane.
    pub handed_off: u64,
}

/// The whole data plane.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Every peer of the table.
    pub peers: BTreeMap<PeerId, PeerStats>,
    /// Every lane, lane 0 first.
    pub lanes: Vec<LaneStats>,
    /// Dropped packets by `DropReason as usize`.
    pub drops: [u64; DropReason::COUNT],
    /// Handshakes that we started.
    pub handshakes_started: u64,
    /// Handshakes that ended in a session, started by either side.
    pub handshakes_completed: u64,
    /// Bytes that wait for a session.
    pub pending_bytes: u64,
    /// Bytes sent on for other members, as UDP payload.
    pub relayed_bytes: u64,
    /// Datagrams sent on for other members.
    pub relayed_packets: u64,
    /// Pairs of members that both have bound a session here.
    pub relay_sessions: u64,
    /// Control messages of peers that were read.
    pub control_messages: u64,
    /// ICMP errors that came back to the sockets. They can be forged: they are counted and nothing else.
    pub icmp_errors: u64,
    /// Which offloads are at work, and how often each was refused; a minute without it follows each time.
    pub offloads: OffloadStats,
}

impl Default for Stats {
    fn default() -> Stats {
        Stats {
            peers: BTreeMap::new(),
            lanes: Vec::new(),
            drops: [0; DropReason::COUNT],
            handshakes_started: 0,
            handshakes_completed: 0,
            pending_bytes: 0,
            relayed_bytes: 0,
            relayed_packets: 0,
            relay_sessions: 0,
            control_messages: 0,
            icmp_errors: 0,
            offloads: OffloadStats::default(),
        }
    }
}

impl Stats {
    /// Dropped packets for one reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_lands_in_the_bucket_whose_bound_it_reaches() {
        assert_eq!(RttHistogram::bucket(Duration::ZERO), 0);
        assert_eq!(RttHistogram::bucket(Duration::from_micros(250)), 0);
        assert_eq!(RttHistogram::bucket(Duration::from_micros(251)), 1);
        assert_eq!(RttHistogram::bucket(Duration::from_secs(60)), RTT_BUCKETS - 1);
    }
}
