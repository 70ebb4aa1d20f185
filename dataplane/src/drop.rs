//! Why a packet was dropped: one vocabulary for the engine and the shell, counted per lane.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $label:literal,)+) => {
        /// Why a packet was dropped. Every dropped packet is counted under exactly one of these.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(usize)]
        pub enum DropReason { $($(#[doc = $doc])+ $variant,)+ }

        impl DropReason {
            /// All reasons, in the order of their discriminants.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)+];

            /// The metric label, snake_case.
            pub const fn as_str(self) -> &'static str {
                match self { $(DropReason::$variant => $label,)+ }
            }
        }
    };
}

reasons! {
    /// Inner packet shorter than its headers say.
    Truncated = "truncated",
    /// Inner packet that is neither IPv4 nor IPv6.
    BadVersion = "bad_version",
    /// Inner length fields that contradict each other or the packet.
    BadLength = "bad_length",
    /// Inner IPv4-mapped IPv6 address (`::ffff:0:0/96`): an IPv4 address that would slip past IPv4 rules.
    MappedAddress = "mapped_address",
    /// Inner fragment that cannot be part of any packet of at most 65,535 bytes.
    BadFragment = "bad_fragment",
    /// Inner IPv6 extension header chain that is cut off or longer than any honest one.
    BadExtensionHeader = "bad_extension_header",
    /// From the TUN: no peer serves the destination.
    NoRoute = "no_route",
    /// Every gateway of the prefix is gone, and its owners want packets to be dropped then.
    NoGateway = "no_gateway",
    /// No session with the peer and its queue, or the node's, is full; or it waited in vain.
    NoSession = "no_session",
    /// The peer left the table while the packet waited for a session.
    PeerRemoved = "peer_removed",
    /// Inner source outside what the sending peer may use.
    SourceNotAllowed = "source_not_allowed",
    /// Inner destination that is not ours, or that would re-enter a tunnel to another node.
    DestinationNotOurs = "destination_not_ours",
    /// Larger than the path takes, and it forbids fragments: its sender is told.
    TooBig = "too_big",
    /// Forwarded between tunnels with no hops left.
    HopLimit = "hop_limit",
    /// To the probe port of our mesh address, but no probe of that peer.
    BadProbe = "bad_probe",
    /// For lane 0 from another lane, and more than it can take.
    HandoffFull = "handoff_full",
    /// Relay frame under a session that is not there, or that one end has not bound.
    RelayUnknownSession = "relay_unknown_session",
    /// Relay frame from elsewhere than the ends of its session, or the relay of ours.
    RelayWrongSource = "relay_wrong_source",
    /// To be relayed to an end that this node does not reach directly.
    RelayNoPath = "relay_no_path",
    /// To be relayed, and more than `relay-limit`.
    RelayLimited = "relay_limited",
    /// Control message that is malformed, not from a peer's own address, or made by this host.
    BadControl = "bad_control",
    /// One peer sends more control messages than an honest one would.
    ControlRateLimited = "control_rate_limited",
    /// Neither WireGuard, nor a relay frame, nor QUIC.
    Garbage = "garbage",
    /// Handshake message whose MAC1 fits none of our keys.
    BadMac = "bad_mac",
    /// Initiation from a key that is in no record, revoked, or sent to the wrong key of ours.
    UnknownPeer = "unknown_peer",
    /// Receiver index of no tunnel.
    UnknownIndex = "unknown_index",
    /// Under load and without a valid cookie; a cookie reply was sent.
    CookieRequired = "cookie_required",
    /// One source sends more handshake messages than an honest one would.
    HandshakeRateLimited = "handshake_rate_limited",
    /// More handshake messages than the lane can take.
    HandshakeQueueFull = "handshake_queue_full",
    /// Both sides initiated at once and ours counts.
    HandshakeCollision = "handshake_collision",
    /// Handshake message or cookie that is replayed, stale or forged.
    HandshakeRejected = "handshake_rejected",
    /// Data packet whose counter was seen or is too old.
    Replayed = "replayed",
    /// Data packet that does not decrypt.
    Unauthentic = "unauthentic",
    /// Data packet for a session that has ended.
    SessionExpired = "session_expired",
    /// Decrypted or sealed for a TUN that is not attached.
    NoTun = "no_tun",
    /// The TUN refused the write.
    TunWriteFailed = "tun_write_failed",
    /// The TUN gave a frame that this build did not ask for (an offload type).
    TunFrameUnsupported = "tun_frame_unsupported",
    /// The UDP socket refused the send.
    UdpSendFailed = "udp_send_failed",
    /// QUIC from a member's address beyond its queue.
    QuicQueueFull = "quic_queue_full",
    /// QUIC from an unknown address beyond the small shared allowance.
    QuicUnknownLimited = "quic_unknown_limited",
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = DropReason::ALL.len();
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One counter per reason.
#[derive(Debug)]
pub struct DropCounters([AtomicU64; DropReason::COUNT]);

impl Default for DropCounters {
    fn default() -> DropCounters {
        DropCounters(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl DropCounters {
    /// Counts one drop. Only the lane that owns the block calls this: no locked instruction.
    pub fn count(&self, reason: DropReason) {
        let counter = &self.0[reason as usize];
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Counts `n` drops from any thread.
    pub fn count_shared(&self, reason: DropReason, n: u64) {
        self.0[reason as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// How many were dropped for this reason.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }

    /// Adds all counts to `totals`.
    pub fn add_to(&self, totals: &mut [u64; DropReason::COUNT]) {
        for (total, counter) in totals.iter_mut().zip(&self.0) {
            *total += counter.load(Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn labels_are_unique_snake_case_and_in_order() {
        let labels: BTreeSet<&str> = DropReason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(labels.len(), DropReason::COUNT);
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i);
            assert!(
                reason
                    .as_str()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_')
            );
        }
    }

    #[test]
    fn counts_add_up_over_lanes() {
        let (a, b) = (DropCounters::default(), DropCounters::default());
        a.count(DropReason::NoRoute);
        b.count(DropReason::NoRoute);
        b.count_shared(DropReason::Garbage, 5);
        let mut totals = [0; DropReason::COUNT];
        a.add_to(&mut totals);
        b.add_to(&mut totals);
        assert_eq!(totals[DropReason::NoRoute as usize], 2);
        assert_eq!(totals[DropReason::Garbage as usize], 5);
    }
}
