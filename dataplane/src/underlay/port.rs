//! The port that QUIC sits on: a bounded queue in, `try_send` out.
//!
//! Members' datagrams and answers to our own calls have a queue of their own, so that a flood from
//! elsewhere cannot keep members from talking; strangers share a small one behind a rate limit.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use quinn_udp::{EcnCodepoint, Transmit};
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::batch::{MAX_RUN_BYTES, normalise};
use crate::drop::{DropCounters, DropReason};

use super::contacts::{Contacts, TokenBucket};
use super::socket::Received;
use super::{Underlay, WhenFull};

/// Datagrams that may wait for QUIC from members and from those we called.
const MEMBERS_QUEUE: usize = 2_048;

/// Datagrams that may wait for QUIC from everybody else.
const STRANGERS_QUEUE: usize = 128;

/// A datagram for QUIC.
#[derive(Debug, Clone)]
pub struct ReceivedDatagram {
    /// Who sent it; IPv4 addresses are never mapped.
    pub source: SocketAddr,
    /// The address of this host that it was sent to.
    pub local: Option<IpAddr>,
    /// Its congestion bits (RFC 3168), 0 to 3.
    pub ecn: u8,
    /// The UDP payload.
    pub payload: Bytes,
}

/// QUIC's end of the underlay. Clones share one queue; each datagram is received once.
#[derive(Clone)]
pub struct UnderlayPort {
    shared: Arc<Shared>,
}

/// The lane's end: it puts QUIC datagrams in and never waits.
#[derive(Debug)]
pub(crate) struct PortFeeder {
    members: Sender<ReceivedDatagram>,
    strangers: Sender<ReceivedDatagram>,
    bucket: TokenBucket,
    shared: Arc<Shared>,
}

/// What went through the port since the start. Datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortStats {
    /// Handed to QUIC.
    pub received: u64,
    /// Sent by QUIC.
    pub sent: u64,
}

struct Shared {
    underlay: Arc<Underlay>,
    local: SocketAddr,
    queues: Mutex<Queues>,
    contacts: Mutex<Contacts>,
    counters: Counters,
    drops: DropCounters,
}

struct Queues {
    members: Receiver<ReceivedDatagram>,
    strangers: Receiver<ReceivedDatagram>,
}

#[derive(Debug, Default)]
struct Counters {
    received: AtomicU64,
    sent: AtomicU64,
}

/// Makes both ends of the port on `underlay`, whose first address is `local`.
pub(crate) fn open_port(
    underlay: Arc<Underlay>,
    local: SocketAddr,
    now: Instant,
) -> (UnderlayPort, PortFeeder) {
    let (members, members_out) = mpsc::channel(MEMBERS_QUEUE);
    let (strangers, strangers_out) = mpsc::channel(STRANGERS_QUEUE);
    let shared = Arc::new(Shared {
        underlay,
        local,
        queues: Mutex::new(Queues {
            members: members_out,
            strangers: strangers_out,
        }),
        contacts: Mutex::new(Contacts::new(now)),
        counters: Counters::default(),
        drops: DropCounters::default(),
    });
    let feeder = PortFeeder {
        members,
        strangers,
        bucket: TokenBucket::full(now),
        shared: Arc::clone(&shared),
    };
    (UnderlayPort { shared }, feeder)
}

impl UnderlayPort {
    /// The next datagram; `None` once the data plane has stopped.
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Option<ReceivedDatagram>> {
        let mut queues = self.shared.queues.lock().unwrap_or_else(PoisonError::into_inner);
        match queues.members.poll_recv(cx) {
            Poll::Ready(Some(datagram)) => Poll::Ready(Some(datagram)),
            Poll::Ready(None) => queues.strangers.poll_recv(cx),
            Poll::Pending => match queues.strangers.poll_recv(cx) {
                Poll::Ready(Some(datagram)) => Poll::Ready(Some(datagram)),
                _ => Poll::Pending,
            },
        }
    }

    /// Sends one datagram from any thread. What cannot be sent is lost and counted.
    ///
    /// `source`: the address of this host to send from; `ecn`: congestion bits, 0 to 3.
    pub fn try_send(&self, destination: SocketAddr, source: Option<IpAddr>, ecn: u8, payload: &[u8]) {
        let destination = normalise(destination);
        #[expect(clippy::disallowed_methods, reason = "QUIC's side has no clock to pass")]
        self.shared.contacts().handle_sent(destination, Instant::now());
        let transmit = Transmit {
            destination,
            ecn: EcnCodepoint::from_bits(ecn),
            contents: payload,
            segment_size: None,
            src_ip: source
                .map(|ip| ip.to_canonical())
                .filter(|ip| ip.is_ipv4() == destination.is_ipv4()),
        };
        let lost = if payload.len() > MAX_RUN_BYTES {
            1
        } else {
            self.shared.underlay.send(&transmit, WhenFull::Lose)
        };
        if lost == 0 {
            self.shared.counters.sent.fetch_add(1, Relaxed);
        } else {
            self.shared.drops.count_shared(DropReason::UdpSendFailed, lost);
        }
    }

    /// The bound address; the IPv6 one when both families are bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local
    }

    /// Drops on the way to and from QUIC.
    pub(crate) fn drops(&self) -> &DropCounters {
        &self.shared.drops
    }

    /// What went through since the start.
    pub fn stats(&self) -> PortStats {
        let counters = &self.shared.counters;
        PortStats {
            received: counters.received.load(Relaxed),
            sent: counters.sent.load(Relaxed),
        }
    }
}

impl fmt::Debug for UnderlayPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnderlayPort")
            .field("local", &self.shared.local)
            .finish_non_exhaustive()
    }
}

impl PortFeeder {
    /// Hands a QUIC datagram over. `member`: its source address is that of a member.
    pub(crate) fn feed(&mut self, datagram: &Received<'_>, member: bool, now: Instant) {
        let expected = member || self.shared.contacts().called(datagram.source, now);
        if !expected && !self.bucket.take(now) {
            self.shared.drops.count_shared(DropReason::QuicUnknownLimited, 1);
            return;
        }
        let (queue, full) = match expected {
            true => (&self.members, DropReason::QuicQueueFull),
            false => (&self.strangers, DropReason::QuicUnknownLimited),
        };
        let owned = ReceivedDatagram {
            source: datagram.source,
            local: datagram.local,
            ecn: datagram.ecn,
            payload: Bytes::copy_from_slice(datagram.payload),
        };
        if queue.try_send(owned).is_err() {
            self.shared.drops.count_shared(full, 1);
            return;
        }
        self.shared.counters.received.fetch_add(1, Relaxed);
        if !expected {
            self.shared.contacts().handle_stranger(datagram.source, now);
        }
    }
}

impl Shared {
    fn contacts(&self) -> std::sync::MutexGuard<'_, Contacts> {
        self.contacts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}
