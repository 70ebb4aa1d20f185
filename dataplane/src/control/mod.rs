//! What lanes say to each other inside lane 0's tunnel: UDP between mesh addresses, beside the probes, made and answered in the
//! lane and never from or for the host.
//!
//! A datagram is a version and then messages, each a type (1 byte), the length of its value (2 bytes, big-endian) and the value.
//! Who does not know a type steps over it, and over what stands behind the part of a value that it knows; so types can be
//! added and values can grow. What is cut off or makes no sense is malformed, and with it all that follows.
//!
//! | type | message | value |
//! |---|---|---|
//! | 1 | Bind | peer (32), flags (1): bit 0, it answers an offer |
//! | 2 | Offer | peer (32) |
//! | 3 | Bound | peer (32), session (8), round trip in µs (4), loss in 1/65,535 (2) |
//! | 4 | Refused | peer (32), reason (1) |
//! | 5 | Unbind | peer (32) |
//! | 6 | Report | flags (1): bit 0, it answers; protocol (1): 1 echo, 6 TCP; port (2), address (16, IPv4 as `::ffff:0:0/96`) |
//!
//! How the first five make a relay's session: [`crate::relay`]. The sixth tells a gateway how a target behind it fares:
//! [`crate::check`].

use crate::check::CheckTarget;
use crate::packet::TCP;
use crate::packet::udp::{self, Port};
use crate::relay::Session;
use crate::table::PeerId;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// The port that these messages go from and to, in the dynamic range, next to those of the probes.
pub const PORT: u16 = 50_864;

/// The version that this build speaks.
pub const VERSION: u8 = 1;

/// Bytes of the longest datagram that this build makes, as an inner packet.
pub const MOST: usize = udp::OVERHEAD_V6 + 1 + HEADER + BOUND;

const HEADER: usize = 3;
const PEER: usize = size_of::<PeerId>();
const BIND: usize = PEER + 1;
const BOUND: usize = PEER + 8 + 4 + 2;
const REFUSED: usize = PEER + 1;
const REPORT: usize = 1 + 1 + 2 + 16;

/// Protocol number of ICMP; of either version here.
const ICMP: u8 = 1;

/// A round trip that nobody measured yet.
const UNKNOWN: u32 = u32::MAX;

/// What one node says to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Message {
    /// To a relay: let me and this peer reach each other through you.
    Bind {
        /// The other end.
        other: PeerId,
        /// It was offered: do not offer it to the other end in turn.
        answers: bool,
    },
    /// From a relay: this peer wants to reach you through me.
    Offer {
        /// Who asked.
        other: PeerId,
    },
    /// From a relay: both ends have bound.
    Bound {
        /// The other end.
        other: PeerId,
        /// What stands in the frames of both.
        session: Session,
        /// The way from the relay to the other end.
        leg: Leg,
    },
    /// From a relay: no.
    Refused {
        /// The other end.
        other: PeerId,
        /// Why not.
        reason: Refusal,
    },
    /// To a relay: not needed any more.
    Unbind {
        /// The other end.
        other: PeerId,
    },
    /// To a gateway: whether this target behind it answers through it.
    Report {
        /// Which.
        target: CheckTarget,
        /// Whether it does.
        passes: bool,
    },
}

/// The way between a relay and one end, as the relay measures it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Leg {
    /// Smoothed round trip, to the microsecond.
    pub rtt: Option<Duration>,
    /// Share of round trips lost, 0 to 1.
    pub loss: f64,
}

/// Why a relay does not relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// Its operator does not want it to.
    NotRelaying = 1,
    /// It does not know the other end.
    UnknownPeer = 2,
    /// It does not reach the other end directly itself.
    NoPath = 3,
    /// It has as many sessions as it may.
    Full = 4,
    /// A reason that this build does not know.
    Other = 0,
}

impl Refusal {
    fn from_wire(byte: u8) -> Refusal {
        let known = [
            Refusal::NotRelaying,
            Refusal::UnknownPeer,
            Refusal::NoPath,
            Refusal::Full,
        ];
        known
            .into_iter()
            .find(|reason| *reason as u8 == byte)
            .unwrap_or(Refusal::Other)
    }
}

/// A datagram that is cut off, or of another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The messages of a datagram's payload that this build knows, in order.
pub fn messages(payload: &[u8]) -> Messages<'_> {
    match payload.split_first() {
        Some((&VERSION, rest)) => Messages { rest: Ok(rest) },
        _ => Messages { rest: Err(Malformed) },
    }
}

/// Iterator of [`messages`]; an error is the last it gives.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: Result<&'a [u8], Malformed>,
}

impl Iterator for Messages<'_> {
    type Item = Result<Message, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let bytes = match std::mem::replace(&mut self.rest, Ok(&[])) {
                Ok([]) => return None,
                Ok(bytes) => bytes,
                Err(malformed) => return Some(Err(malformed)),
            };
            let Some((kind, value, rest)) = split(bytes) else {
                return Some(Err(Malformed));
            };
            match Message::read(kind, value) {
                Ok(Some(message)) => {
                    self.rest = Ok(rest);
                    return Some(Ok(message));
                }
                Ok(None) => self.rest = Ok(rest),
                Err(malformed) => return Some(Err(malformed)),
            }
        }
    }
}

fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let len = usize::from(u16::from_be_bytes([header[1], header[2]]));
    let (value, rest) = rest.split_at_checked(len)?;
    Some((header[0], value, rest))
}

impl Message {
    /// Writes the message as an inner packet; returns its length.
    pub fn write(&self, from: Ipv6Addr, to: Ipv6Addr, out: &mut [u8; MOST]) -> usize {
        let start = udp::OVERHEAD_V6 + 1 + HEADER;
        let (kind, len) = self.write_value(&mut out[start..]);
        out[start - HEADER - 1] = VERSION;
        out[start - HEADER] = kind;
        out[start - HEADER + 1..start].copy_from_slice(&(len as u16).to_be_bytes());
        let port = |address| Port { address, port: PORT };
        udp::write_v6(&mut out[..start + len], port(from), port(to));
        start + len
    }

    fn write_value(&self, out: &mut [u8]) -> (u8, usize) {
        match self {
            Message::Report { target, passes } => {
                write_report(target, *passes, out);
                (6, REPORT)
            }
            Message::Bind { other, .. }
            | Message::Offer { other }
            | Message::Bound { other, .. }
            | Message::Refused { other, .. }
            | Message::Unbind { other } => self.write_about(other, out),
        }
    }

    fn write_about(&self, other: &PeerId, out: &mut [u8]) -> (u8, usize) {
        let (peer, rest) = out.split_at_mut(PEER);
        peer.copy_from_slice(other);
        match self {
            Message::Bind { answers, .. } => {
                rest[0] = u8::from(*answers);
                (1, BIND)
            }
            Message::Offer { .. } => (2, PEER),
            Message::Bound { session, leg, .. } => {
                rest[..8].copy_from_slice(&session.to_bytes());
                rest[8..12].copy_from_slice(&leg.rtt_us().to_be_bytes());
                rest[12..14].copy_from_slice(&leg.loss_share().to_be_bytes());
                (3, BOUND)
            }
            Message::Refused { reason, .. } => {
                rest[0] = *reason as u8;
                (4, REFUSED)
            }
            Message::Unbind { .. } | Message::Report { .. } => (5, PEER),
        }
    }

    /// `None`: a type of another version.
    fn read(kind: u8, value: &[u8]) -> Result<Option<Message>, Malformed> {
        match kind {
            1..=5 => Message::read_about(kind, value).map(Some),
            6 => read_report(value).map(Some).ok_or(Malformed),
            _ => Ok(None),
        }
    }

    fn read_about(kind: u8, value: &[u8]) -> Result<Message, Malformed> {
        let (other, rest) = value.split_first_chunk::<PEER>().ok_or(Malformed)?;
        let other = *other;
        let first = rest.first().copied();
        Ok(match kind {
            1 => Message::Bind {
                other,
                answers: first.ok_or(Malformed)? & 1 != 0,
            },
            2 => Message::Offer { other },
            3 => read_bound(other, rest).ok_or(Malformed)?,
            4 => Message::Refused {
                other,
                reason: Refusal::from_wire(first.ok_or(Malformed)?),
            },
            _ => Message::Unbind { other },
        })
    }
}

fn write_report(target: &CheckTarget, passes: bool, out: &mut [u8]) {
    let (protocol, port) = match target {
        CheckTarget::Icmp(_) => (ICMP, 0),
        CheckTarget::Tcp(socket) => (TCP, socket.port()),
    };
    out[..2].copy_from_slice(&[u8::from(passes), protocol]);
    out[2..4].copy_from_slice(&port.to_be_bytes());
    let address = match target.address() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    out[4..REPORT].copy_from_slice(&address.octets());
}

fn read_report(value: &[u8]) -> Option<Message> {
    let (&[flags, protocol, high, low], rest) = value.split_first_chunk()?;
    let (address, _) = rest.split_first_chunk::<16>()?;
    let address = IpAddr::V6(Ipv6Addr::from(*address)).to_canonical();
    let target = match protocol {
        ICMP => CheckTarget::Icmp(address),
        TCP => CheckTarget::Tcp(SocketAddr::new(address, u16::from_be_bytes([high, low]))),
        _ => return None,
    };
    Some(Message::Report {
        target,
        passes: flags & 1 != 0,
    })
}

fn read_bound(other: PeerId, rest: &[u8]) -> Option<Message> {
    let (session, rest) = rest.split_first_chunk()?;
    let (rtt, rest) = rest.split_first_chunk()?;
    let (loss, _) = rest.split_first_chunk()?;
    let rtt = Some(u32::from_be_bytes(*rtt)).filter(|us| *us != UNKNOWN);
    Some(Message::Bound {
        other,
        session: Session::from_bytes(*session),
        leg: Leg {
            rtt: rtt.map(|us| Duration::from_micros(us.into())),
            loss: f64::from(u16::from_be_bytes(*loss)) / f64::from(u16::MAX),
        },
    })
}

impl Leg {
    fn rtt_us(&self) -> u32 {
        let us = self.rtt.map(|rtt| rtt.as_micros().min((UNKNOWN - 1).into()));
        us.map_or(UNKNOWN, |us| us as u32)
    }

    fn loss_share(&self) -> u16 {
        (self.loss.clamp(0.0, 1.0) * f64::from(u16::MAX)).round() as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;
    use proptest::prelude::*;

    const A: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
    const B: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);

    fn payload(message: &Message) -> Vec<u8> {
        let mut out = [0; MOST];
        let len = message.write(A, B, &mut out);
        let packet = Packet::parse(&out[..len]).unwrap();
        let datagram = udp::parse_v6(&packet).unwrap();
        assert_eq!((datagram.from.port, datagram.to.port), (PORT, PORT));
        datagram.payload.to_vec()
    }

    fn read(payload: &[u8]) -> Vec<Result<Message, Malformed>> {
        messages(payload).collect()
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let leg = (any::<Option<u32>>(), any::<u16>()).prop_map(|(us, loss)| Leg {
            rtt: us.map(|us| Duration::from_micros((us - us / u32::MAX).into())),
            loss: f64::from(loss) / f64::from(u16::MAX),
        });
        let reason = prop_oneof![Just(Refusal::NoPath), Just(Refusal::Full), Just(Refusal::Other)];
        (any::<PeerId>(), any::<bool>(), any::<u64>(), leg, reason, 0..8).prop_map(
            |(other, answers, session, leg, reason, kind)| match kind {
                0 => Message::Bind { other, answers },
                1 => Message::Offer { other },
                2 => Message::Bound {
                    other,
                    session: Session(session),
                    leg,
                },
                3 => Message::Refused { other, reason },
                4 => Message::Unbind { other },
                5 => report(
                    CheckTarget::Icmp(IpAddr::from((session as u32).to_be_bytes())),
                    answers,
                ),
                6 => report(CheckTarget::Tcp((A, session as u16).into()), answers),
                _ => report(CheckTarget::Icmp(B.into()), answers),
            },
        )
    }

    fn report(target: CheckTarget, passes: bool) -> Message {
        Message::Report { target, passes }
    }

    #[test]
    fn a_report_about_something_that_is_neither_echo_nor_tcp_is_malformed() {
        let mut bytes = payload(&report(CheckTarget::Icmp(A.into()), true));
        bytes[1 + HEADER + 1] = 17;
        assert_eq!(read(&bytes), [Err(Malformed)]);
    }

    #[test]
    fn unknown_types_and_what_stands_behind_a_known_value_are_stepped_over() {
        let offer = Message::Offer { other: [7; 32] };
        let mut bytes = payload(&offer);
        let known = bytes.split_off(1);
        bytes.extend([200, 0, 3, 1, 2, 3]);
        bytes.extend([2, 0, 34]);
        bytes.extend([9; 34]);
        bytes.extend(known);
        let longer = Message::Offer { other: [9; 32] };
        assert_eq!(read(&bytes), [Ok(longer), Ok(offer)]);
    }

    #[test]
    fn another_version_and_no_bytes_at_all_are_malformed() {
        assert_eq!(read(&[2, 1, 0, 0]), [Err(Malformed)]);
        assert_eq!(read(&[]), [Err(Malformed)]);
        assert_eq!(read(&[VERSION]), []);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(message in any_message()) {
            let read = read(&payload(&message));
            let [Ok(got)] = read[..] else { panic!("{read:?}") };
            prop_assert_eq!(got, message);
        }

        #[test]
        fn a_message_cut_off_is_malformed(message in any_message(), cut in 1usize..40) {
            let bytes = payload(&message);
            let kept = &bytes[..bytes.len() - cut.min(bytes.len() - 2)];
            prop_assert_eq!(read(kept), vec![Err(Malformed)]);
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let read = read(&bytes);
            prop_assert!(read.len() <= bytes.len() + 1);
        }
    }
}
