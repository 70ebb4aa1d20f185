//! STAMP (RFC 8762): probes and their answers, inside the tunnel, between mesh addresses, UDP port 862.
//!
//! Both ends are made and answered in the lane, so they measure the path and nothing behind it, and work where the host has
//! IPv6 disabled. The reflector is stateful (§4.3): its own sequence numbers tell on which of the two ways a probe was lost.

use super::loss::{Loss, Ratios};
use crate::packet::udp::{self, Port, UdpV6};
use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};
use zerocopy::byteorder::network_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The port that a Session-Reflector listens on (RFC 8762 §4.1).
pub const PORT: u16 = 862;

/// The port that our Session-Sender sends from, in the dynamic range; answers come back to it.
pub const SENDER_PORT: u16 = 50_862;

/// The port that probes of the path MTU come from: a session of its own, so that a probe that is too large is no loss.
pub const MTU_SENDER_PORT: u16 = 50_863;

/// Bytes of the base packets, of both kinds.
pub const PAYLOAD: usize = size_of::<Test>();

/// Bytes of a probe as an inner packet.
pub const PROBE: usize = udp::OVERHEAD_V6 + PAYLOAD;

/// A probe without an answer after this long is lost.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// Probes under way that are remembered: more than [`REPLY_TIMEOUT`] of them at the fastest pace, pings included.
const MAX_OUTSTANDING: usize = 64;

/// Synchronised bit clear, scale 0, multiplier 1 (RFC 4656 §4.1.2): round trips need no common clock.
const ERROR_ESTIMATE: u16 = 1;

/// Session-Sender test packet, unauthenticated mode (RFC 8762 §4.2.1).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Test {
    sequence: U32,
    timestamp: U64,
    error_estimate: U16,
    must_be_zero: [u8; 30],
}

/// Session-Reflector test packet, unauthenticated mode (RFC 8762 §4.3.1).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Reflected {
    sequence: U32,
    timestamp: U64,
    error_estimate: U16,
    must_be_zero: [u8; 2],
    received: U64,
    sender_sequence: U32,
    sender_timestamp: U64,
    sender_error_estimate: U16,
    must_be_zero_too: [u8; 2],
    sender_ttl: u8,
    padding: [u8; 3],
}

const _: () = assert!(size_of::<Test>() == 44 && size_of::<Reflected>() == 44);

/// Wall time for timestamps on the wire, kept by the monotonic clock from one reading on.
#[derive(Clone, Copy, Debug)]
pub struct NtpClock {
    at: Instant,
    since_1900: Duration,
}

impl NtpClock {
    /// `since_1970`: the wall clock's reading at `at`.
    pub fn new(at: Instant, since_1970: Duration) -> NtpClock {
        const SEVENTY_YEARS: Duration = Duration::from_secs(2_208_988_800);
        NtpClock {
            at,
            since_1900: since_1970 + SEVENTY_YEARS,
        }
    }

    /// NTP format (RFC 5905 §6): 32 bits of seconds since 1900, which wrap, and 32 of fraction.
    fn stamp(&self, now: Instant) -> u64 {
        let time = self.since_1900 + now.saturating_duration_since(self.at);
        let fraction = (u64::from(time.subsec_nanos()) << 32) / 1_000_000_000;
        (time.as_secs() << 32) | fraction
    }
}

fn from_ntp(difference: u64) -> Duration {
    Duration::new(
        difference >> 32,
        (((difference & 0xffff_ffff) * 1_000_000_000) >> 32) as u32,
    )
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    sequence: u32,
    sent: Instant,
    ping: Option<u32>,
}

/// An answer that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// There and back, without the reflector's own time.
    pub rtt: Duration,
    /// The token of the ping that this probe was.
    pub ping: Option<u32>,
}

/// Smoothed figures of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundTrips {
    /// The last one.
    pub last: Option<Duration>,
    /// The smallest.
    pub min: Option<Duration>,
    /// Exponentially weighted, one eighth a sample.
    pub smoothed: Option<Duration>,
    /// Interarrival jitter (RFC 3550 §6.4.1) over round trips.
    pub jitter: Option<Duration>,
}

impl RoundTrips {
    fn handle(&mut self, rtt: Duration) {
        let step = |old: Duration, new: Duration, share: u32| {
            if new > old {
                old + (new - old) / share
            } else {
                old - (old - new) / share
            }
        };
        if let Some(last) = self.last {
            self.jitter = Some(step(self.jitter.unwrap_or_default(), rtt.abs_diff(last), 16));
        }
        self.last = Some(rtt);
        self.min = Some(self.min.map_or(rtt, |min| min.min(rtt)));
        self.smoothed = Some(self.smoothed.map_or(rtt, |old| step(old, rtt, 8)));
    }
}

/// The Session-Sender towards one peer.
#[derive(Debug)]
pub struct Sender {
    next: u32,
    outstanding: VecDeque<Outstanding>,
    loss: Loss,
    /// Round trips so far.
    pub round_trips: RoundTrips,
}

impl Sender {
    /// A session that begins now.
    pub fn new(now: Instant) -> Sender {
        Sender {
            next: 0,
            outstanding: VecDeque::with_capacity(MAX_OUTSTANDING),
            loss: Loss::new(now),
            round_trips: RoundTrips::default(),
        }
    }

    /// Writes the next probe as an inner packet. `ping`: the token to give back with its answer.
    pub fn probe(
        &mut self,
        from: Ipv6Addr,
        to: Ipv6Addr,
        ping: Option<u32>,
        clock: &NtpClock,
        now: Instant,
    ) -> [u8; PROBE] {
        let sequence = self.next;
        self.next = self.next.wrapping_add(1);
        if self.outstanding.len() == MAX_OUTSTANDING {
            self.outstanding.pop_front();
        }
        self.outstanding.push_back(Outstanding {
            sequence,
            sent: now,
            ping,
        });
        let mut packet = [0; PROBE];
        let from = Port {
            address: from,
            port: SENDER_PORT,
        };
        write_test(&mut packet, from, to, sequence, clock, now);
        packet
    }

    /// Takes an answer; `None` if it answers nothing under way (a duplicate, too late, or forged by the peer).
    pub fn handle_reply(&mut self, payload: &[u8], now: Instant) -> Option<Measured> {
        let (reply, _) = Reflected::ref_from_prefix(payload).ok()?;
        let sequence = reply.sender_sequence.get();
        let at = self.outstanding.iter().position(|o| o.sequence == sequence)?;
        let probe = self.outstanding.remove(at)?;
        self.loss.handle_reply(sequence, reply.sequence.get(), now);
        let elapsed = now.saturating_duration_since(probe.sent);
        let inside = from_ntp(reply.timestamp.get().wrapping_sub(reply.received.get()));
        // A reflector that claims more time than there was has a broken clock: count all of it as path.
        let rtt = elapsed.checked_sub(inside).unwrap_or(elapsed);
        self.round_trips.handle(rtt);
        Some(Measured {
            rtt,
            ping: probe.ping,
        })
    }

    /// Gives up on probes without an answer, and says how many. `heard`: whether anything authenticated came from the peer
    /// lately, which puts the blame on the way there.
    pub fn handle_timeout(&mut self, heard: bool, now: Instant) -> usize {
        let mut lost = 0;
        while let Some(first) = self.outstanding.front() {
            if now.saturating_duration_since(first.sent) < REPLY_TIMEOUT {
                break;
            }
            self.loss.handle_silence(first.sequence, heard, now);
            self.outstanding.pop_front();
            lost += 1;
        }
        lost
    }

    /// We slept: what is under way proves nothing. Pings keep waiting for theirs.
    pub fn restart(&mut self) {
        self.outstanding.clear();
        self.loss.restart();
    }

    /// Loss per direction over the last 10 s.
    pub fn ratios(&self, now: Instant) -> Ratios {
        self.loss.ratios(now)
    }
}

/// Writes a test packet as an inner packet that fills `out`, which holds at least [`PROBE`] bytes; what is more is padding.
pub fn write_test(out: &mut [u8], from: Port, to: Ipv6Addr, sequence: u32, clock: &NtpClock, now: Instant) {
    let test = Test {
        sequence: U32::new(sequence),
        timestamp: U64::new(clock.stamp(now)),
        error_estimate: U16::new(ERROR_ESTIMATE),
        must_be_zero: [0; 30],
    };
    out[udp::OVERHEAD_V6..PROBE].copy_from_slice(test.as_bytes());
    out[PROBE..].fill(0);
    let to = Port {
        address: to,
        port: PORT,
    };
    udp::write_v6(out, from, to);
}

/// The number of the test packet that this is the answer to.
pub fn answered(payload: &[u8]) -> Option<u32> {
    let (reply, _) = Reflected::ref_from_prefix(payload).ok()?;
    Some(reply.sender_sequence.get())
}

/// The stateful Session-Reflector for one peer.
#[derive(Debug, Default)]
pub struct Reflector {
    next: u32,
}

impl Reflector {
    /// Writes the answer to a probe as an inner packet of the probe's size into `out`, and returns its length. `None`: no
    /// probe, or too small a buffer. `hop_limit`: of the probe as it came.
    pub fn reflect(
        &mut self,
        probe: &UdpV6<'_>,
        hop_limit: u8,
        clock: &NtpClock,
        now: Instant,
        out: &mut [u8],
    ) -> Option<usize> {
        let (test, rest) = Test::ref_from_prefix(probe.payload).ok()?;
        let len = udp::OVERHEAD_V6 + probe.payload.len();
        let out = out.get_mut(..len)?;
        let stamp = U64::new(clock.stamp(now));
        let reply = Reflected {
            sequence: U32::new(self.next),
            timestamp: stamp,
            error_estimate: U16::new(ERROR_ESTIMATE),
            must_be_zero: [0; 2],
            received: stamp,
            sender_sequence: test.sequence,
            sender_timestamp: test.timestamp,
            sender_error_estimate: test.error_estimate,
            must_be_zero_too: [0; 2],
            sender_ttl: hop_limit,
            padding: [0; 3],
        };
        self.next = self.next.wrapping_add(1);
        out[udp::OVERHEAD_V6..PROBE].copy_from_slice(reply.as_bytes());
        out[PROBE..].copy_from_slice(rest);
        udp::write_v6(out, probe.to, probe.from);
        Some(len)
    }
}

#[cfg(test)]
#[path = "stamp_tests.rs"]
mod tests;
