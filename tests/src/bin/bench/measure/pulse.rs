//! A numbered datagram each millisecond, one way: what happens to a flow beside a full load.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::pair::{Pair, RIGHT};

/// Between two datagrams.
const PACE: Duration = Duration::from_millis(1);
/// Payload: number, then nanoseconds since the pulse began, both big-endian; then nothing of interest.
const SIZE: usize = 200;
/// Nothing for this long after the last datagram was sent: nothing more will come.
const DRAINS: Duration = Duration::from_millis(500);

/// Two threads, one on each host.
pub(crate) struct Pulse {
    over: Arc<AtomicBool>,
    sender: JoinHandle<Result<u64>>,
    receiver: JoinHandle<Result<Watched>>,
}

/// What the receiver saw.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watched {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Came after one with a higher number.
    pub(crate) reordered: u64,
    /// The longest time without a datagram.
    pub(crate) longest_gap: Duration,
    /// The same, less what the sending thread itself was late: that is the tunnel's.
    pub(crate) longest_own_gap: Duration,
    /// When the latter ended, since the beginning.
    pub(crate) longest_at: Duration,
    last: Option<Seen>,
}

/// One datagram: its number, and when it was sent and received.
#[derive(Clone, Copy, Debug)]
struct Seen {
    number: u64,
    sent: Duration,
    received: Duration,
}

impl Pulse {
    /// Begins to send from the left host to the right one.
    pub(crate) fn start(pair: &Pair) -> Result<Pulse> {
        let socket = pair.right.inside(|| UdpSocket::bind((RIGHT, 0)))??;
        let (target, begin) = (socket.local_addr()?, Instant::now());
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        let receiver = std::thread::spawn(move || receive(&socket, begin, &until));
        let until = over.clone();
        let sender = pair.left.background(move || {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(target)?;
            Ok(send(&socket, begin, &until))
        })?;
        Ok(Pulse {
            over,
            sender,
            receiver,
        })
    }

    /// Ends it, and says what was seen.
    pub(crate) fn finish(self) -> Result<Watched> {
        self.over.store(true, Ordering::Relaxed);
        let sent = self.sender.join().ok().context("the sender panicked")??;
        let watched = self.receiver.join().ok().context("the receiver panicked")??;
        Ok(Watched { sent, ..watched })
    }
}

/// Does not catch up after a pause: a burst would hide it.
fn send(socket: &UdpSocket, begin: Instant, over: &AtomicBool) -> u64 {
    let (mut datagram, mut number) = ([0; SIZE], 0_u64);
    while !over.load(Ordering::Relaxed) {
        number += 1;
        datagram[..8].copy_from_slice(&number.to_be_bytes());
        datagram[8..16].copy_from_slice(&(begin.elapsed().as_nanos() as u64).to_be_bytes());
        let _counted_as_lost = socket.send(&datagram);
        std::thread::sleep(PACE);
    }
    number
}

fn receive(socket: &UdpSocket, begin: Instant, over: &AtomicBool) -> Result<Watched> {
    socket.set_read_timeout(Some(DRAINS))?;
    let (mut datagram, mut watched) = ([0; SIZE], Watched::default());
    loop {
        match socket.recv(&mut datagram) {
            Ok(SIZE) => watched.see(Seen {
                number: u64::from_be_bytes(datagram[..8].try_into()?),
                sent: Duration::from_nanos(u64::from_be_bytes(datagram[8..16].try_into()?)),
                received: begin.elapsed(),
            }),
            Ok(_) => {}
            Err(_) if over.load(Ordering::Relaxed) => return Ok(watched),
            Err(_) => {}
        }
    }
}

impl Watched {
    fn see(&mut self, seen: Seen) {
        self.received += 1;
        let Some(last) = self.last.replace(seen) else {
            return;
        };
        if seen.number < last.number {
            self.reordered += 1;
            self.last = Some(Seen {
                received: seen.received,
                ..last
            });
            return;
        }
        let gap = seen.received.saturating_sub(last.received);
        let own = gap.saturating_sub(last.pause_of_the_sender(seen));
        self.longest_gap = self.longest_gap.max(gap);
        if own > self.longest_own_gap {
            (self.longest_own_gap, self.longest_at) = (own, seen.received);
        }
    }
}

impl Seen {
    /// How much longer than its pace the sender took from this datagram to a later one.
    fn pause_of_the_sender(self, later: Seen) -> Duration {
        let steps = u32::try_from(later.number - self.number).unwrap_or(u32::MAX);
        later.sent.saturating_sub(self.sent).saturating_sub(PACE * steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers with their times of sending and receiving, in milliseconds.
    fn watch(datagrams: &[(u64, u64, u64)]) -> Watched {
        let mut watched = Watched::default();
        for (number, sent, received) in datagrams {
            watched.see(Seen {
                number: *number,
                sent: Duration::from_millis(*sent),
                received: Duration::from_millis(*received),
            });
        }
        watched
    }

    #[test]
    fn lost_datagrams_make_a_gap_of_the_tunnel() {
        let watched = watch(&[(1, 1, 2), (2, 2, 3), (60, 60, 61)]);
        assert_eq!(watched.longest_gap, Duration::from_millis(58));
        assert_eq!(watched.longest_own_gap, Duration::from_millis(58));
    }

    #[test]
    fn late_sender_is_not_the_tunnel() {
        let watched = watch(&[(1, 1, 2), (2, 41, 42), (3, 42, 43)]);
        assert_eq!(watched.longest_gap, Duration::from_millis(40));
        assert_eq!(watched.longest_own_gap, Duration::from_millis(1));
    }

    #[test]
    fn lower_number_after_a_higher_one_is_reordering() {
        let watched = watch(&[(1, 1, 2), (3, 3, 4), (2, 2, 5), (4, 4, 6)]);
        assert_eq!((watched.received, watched.reordered), (4, 1));
    }
}
