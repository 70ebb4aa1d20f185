//! STAMP (RFC 8762): probes and their answers, inside the tunnel, between mesh addresses, UDP port 862.
//!
//! Both ends are made and answered in the lane, so they measure the path and nothing behind it, and work where the host has
//! IPv6 disabled. The reflector is stateful (§4.3): its own sequence numbers tell on which of the two ways a probe was lost.
//! Probes and answers carry a [`Report`] as a TLV (RFC 8972): which probe of the other side was heard last, so that each side
//! knows that its way there works even when the answers do not come back.

use super::loss::{Loss, Ratios, Ways};
use super::rtt::{Baseline, RoundTrips, Variation};
use super::underway::{Missing, UnderWay};
use super::window::Window;
use crate::packet::udp::{self, Port, UdpV6};
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

/// Bytes of a probe of a path's health as an inner packet.
pub const HEALTH_PROBE: usize = PROBE + size_of::<ReportTlv>();

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

/// Our TLV (RFC 8972 §4), in both kinds of packet.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ReportTlv {
    flags: u8,
    kind: u8,
    length: U16,
    heard_sequence: U32,
    heard_timestamp: U64,
    /// What follows: [`HEARD`], [`STALLED`].
    bits: U32,
}

const _: () = assert!(size_of::<Test>() == 44 && size_of::<Reflected>() == 44);

/// Private use (RFC 8972 §5.1).
const REPORT: u8 = 252;

/// The sender sets it, and a reflector that knows the TLV clears it (RFC 8972 §4).
const UNRECOGNIZED: u8 = 0x80;

/// The number and the timestamp are those of a probe.
const HEARD: u32 = 1;

/// The side that reports stood still lately.
const STALLED: u32 = 2;

/// Bytes of a TLV before its value.
const TLV_HEADER: usize = 4;

/// What one side says of itself in each packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The number and the timestamp of the last probe that it heard from the other side.
    pub heard: Option<(u32, u64)>,
    /// It stood still lately: what was not answered in time was no loss.
    pub stalled: bool,
}

impl Report {
    fn write(&self, flags: u8, out: &mut [u8]) {
        let (sequence, timestamp) = self.heard.unwrap_or_default();
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        let tlv = ReportTlv {
            flags,
            kind: REPORT,
            length: U16::new((size_of::<ReportTlv>() - TLV_HEADER) as u16),
            heard_sequence: U32::new(sequence),
            heard_timestamp: U64::new(timestamp),
            bits: U32::new(bit(self.heard.is_some(), HEARD) | bit(self.stalled, STALLED)),
        };
        out.copy_from_slice(tlv.as_bytes());
    }

    /// Reads it from the TLVs behind a base packet.
    fn read(tlvs: &[u8]) -> Option<Report> {
        let at = find_report(tlvs)?;
        let (tlv, _) = ReportTlv::ref_from_prefix(tlvs.get(at..)?).ok()?;
        let has = |bit| tlv.bits.get() & bit != 0;
        Some(Report {
            heard: has(HEARD).then(|| (tlv.heard_sequence.get(), tlv.heard_timestamp.get())),
            stalled: has(STALLED),
        })
    }
}

/// Where our TLV begins. Zeros are padding, behind which nothing is looked for.
fn find_report(tlvs: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let [_, kind, high, low] = *tlvs.get(at..at + TLV_HEADER)? else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let end = at + TLV_HEADER + length;
        match kind {
            0 => return None,
            REPORT if end <= tlvs.len() && end - at == size_of::<ReportTlv>() => return Some(at),
            _ => at = end,
        }
    }
}

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

/// Nanoseconds of an NTP timestamp; only differences mean anything.
fn nanos(stamp: u64) -> i64 {
    let fraction = ((stamp & 0xffff_ffff) * 1_000_000_000) >> 32;
    ((stamp >> 32) * 1_000_000_000 + fraction).cast_signed()
}

/// An answer that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// There and back, without the reflector's own time.
    pub rtt: Duration,
    /// The token of the ping that this probe was.
    pub ping: Option<u32>,
    /// The peer says that it stood still lately: the round trip is not the path's.
    pub stalled: bool,
}

/// The Session-Sender towards one peer.
#[derive(Debug)]
pub struct Sender {
    under_way: UnderWay,
    loss: Loss,
    baseline: Baseline,
    there: Variation,
    back: Variation,
    /// Round trips so far.
    pub round_trips: RoundTrips,
}

impl Sender {
    /// A session that begins now.
    pub fn new(now: Instant) -> Sender {
        Sender {
            under_way: UnderWay::new(now),
            loss: Loss::new(now),
            baseline: Baseline::new(now),
            there: Variation::default(),
            back: Variation::default(),
            round_trips: RoundTrips::default(),
        }
    }

    /// Writes the next probe as an inner packet. `ping`: the token to give back with its answer.
    pub fn probe(
        &mut self,
        (from, to): (Ipv6Addr, Ipv6Addr),
        ping: Option<u32>,
        report: &Report,
        clock: &NtpClock,
        now: Instant,
    ) -> [u8; HEALTH_PROBE] {
        let sequence = self.under_way.handle_sent(clock.stamp(now), ping, now);
        let mut packet = [0; HEALTH_PROBE];
        report.write(UNRECOGNIZED, &mut packet[PROBE..]);
        let from = Port {
            address: from,
            port: SENDER_PORT,
        };
        write_test(&mut packet, from, to, sequence, clock, now);
        packet
    }

    /// Takes an answer; `None` if it answers nothing under way (a duplicate, too late, or forged by the peer).
    pub fn handle_reply(&mut self, payload: &[u8], clock: &NtpClock, now: Instant) -> Option<Measured> {
        let (reply, tlvs) = Reflected::ref_from_prefix(payload).ok()?;
        let sequence = reply.sender_sequence.get();
        let probe = self
            .under_way
            .handle_answer(sequence, self.round_trips.due(), now)?;
        self.loss.handle_reply(sequence, reply.sequence.get(), now);
        let (received, sent_back) = (reply.received.get(), reply.timestamp.get());
        let elapsed = now.saturating_duration_since(probe.sent);
        let inside = from_ntp(sent_back.wrapping_sub(received));
        // A reflector that claims more time than there was has a broken clock: count all of it as path.
        let rtt = elapsed.checked_sub(inside).unwrap_or(elapsed);
        let stalled = Report::read(tlvs).is_some_and(|report| report.stalled);
        if !stalled {
            self.round_trips.handle(rtt);
            self.baseline.handle(rtt, now);
            self.there.handle(nanos(probe.stamp), nanos(received));
            self.back.handle(nanos(sent_back), nanos(clock.stamp(now)));
        }
        Some(Measured {
            rtt,
            ping: probe.ping,
            stalled,
        })
    }

    /// The peer's report, in a probe of its own. Returns whether it proves a probe of ours that nothing proved before.
    pub fn handle_report(&mut self, report: &Report, now: Instant) -> bool {
        let due = self.round_trips.due();
        report
            .heard
            .is_some_and(|(sequence, stamp)| self.under_way.handle_echo(sequence, stamp, due, now))
    }

    /// Gives up on probes without an answer, and says how many. `heard`: whether anything authenticated came from the peer
    /// lately, which puts the blame on the way there.
    pub fn handle_timeout(&mut self, heard: bool, now: Instant) -> usize {
        let mut lost = 0;
        while let Some(probe) = self.under_way.expire(now) {
            self.loss.handle_silence(probe.sequence, heard, now);
            lost += 1;
        }
        lost
    }

    /// We slept: what is under way proves nothing. Pings keep waiting for theirs.
    pub fn restart(&mut self) {
        self.under_way.restart();
        self.loss.restart();
        self.there.restart();
        self.back.restart();
    }

    /// The answers that are missing.
    pub fn missing(&self, now: Instant) -> Missing {
        self.under_way.missing(self.round_trips.due(), now)
    }

    /// How many may be before that says something.
    pub fn allowed(&self, now: Instant) -> u32 {
        self.under_way.allowed(now)
    }

    /// Loss per direction, as shares.
    pub fn ratios(&self, window: Window, now: Instant) -> Ratios {
        self.loss.ratios(window, now)
    }

    /// An outage has ended: it is no loss of a path that works.
    pub fn forgive(&mut self, now: Instant) {
        self.loss.forgive(now);
    }

    /// Loss per direction since the last outage, counted.
    pub fn since_outage(&self, window: Window, now: Instant) -> Ways {
        self.loss.since_outage(window, now)
    }

    /// The smallest round trip of the last five minutes.
    pub fn least_rtt(&self, now: Instant) -> Option<Duration> {
        self.baseline.least(now)
    }

    /// How much the delay varies on the way there, and on the way back.
    pub fn variation(&self) -> [Option<Duration>; 2] {
        [self.there.smoothed(), self.back.smoothed()]
    }
}

/// Writes a test packet as an inner packet that fills `out`, which holds at least [`PROBE`] bytes; what is behind those stays:
/// padding, or TLVs.
pub fn write_test(out: &mut [u8], from: Port, to: Ipv6Addr, sequence: u32, clock: &NtpClock, now: Instant) {
    let test = Test {
        sequence: U32::new(sequence),
        timestamp: U64::new(clock.stamp(now)),
        error_estimate: U16::new(ERROR_ESTIMATE),
        must_be_zero: [0; 30],
    };
    out[udp::OVERHEAD_V6..PROBE].copy_from_slice(test.as_bytes());
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
    heard: Option<(u32, u64)>,
}

impl Reflector {
    /// The last probe that was heard: its number and its timestamp.
    pub fn heard(&self) -> Option<(u32, u64)> {
        self.heard
    }

    /// Takes note of a probe, and returns what its sender reports. `None`: it is no probe.
    pub fn handle_probe(&mut self, payload: &[u8]) -> Option<Report> {
        let (test, tlvs) = Test::ref_from_prefix(payload).ok()?;
        self.heard = Some((test.sequence.get(), test.timestamp.get()));
        Some(Report::read(tlvs).unwrap_or_default())
    }

    /// Writes the answer to a probe as an inner packet of the probe's size into `out`, and returns its length. `None`: no
    /// probe, or too small a buffer. `hop_limit`: of the probe as it came. `report`: takes the place of the sender's, if that
    /// sent one.
    pub fn reflect(
        &mut self,
        probe: &UdpV6<'_>,
        hop_limit: u8,
        report: &Report,
        clock: &NtpClock,
        now: Instant,
        out: &mut [u8],
    ) -> Option<usize> {
        let (test, tlvs) = Test::ref_from_prefix(probe.payload).ok()?;
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
        out[PROBE..].copy_from_slice(tlvs);
        if let Some(at) = find_report(tlvs) {
            report.write(0, &mut out[PROBE + at..][..size_of::<ReportTlv>()]);
        }
        udp::write_v6(out, probe.to, probe.from);
        Some(len)
    }
}

#[cfg(test)]
#[path = "stamp_tests.rs"]
mod tests;
