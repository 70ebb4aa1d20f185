//! Handshake messages on their way in: checked cheaply, bounded, then taken a few at a time.
//!
//! A handshake costs half a millisecond, so a flood of them must not reach the key exchange. Under load a sender first shows
//! by a cookie that it receives at the address it sends from, and then has an allowance of its own.

use super::path::Hop;
use crate::demux::Message;
use crate::tunnel::HANDSHAKE;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Handshake messages taken in one wake-up.
pub(super) const PER_TURN: usize = 8;

/// Messages that wait at most: their bytes are nothing, their age is.
const QUEUE: usize = 128;

/// This many waiting, or arriving within a second, is load. One message costs about half a millisecond.
const LOAD_QUEUE: usize = 32;
const LOAD_ARRIVALS: u32 = 200;
const LOAD_LASTS: Duration = Duration::from_secs(1);

/// What one source may send under load: 20 a second, 8 at once.
const REFILL: Duration = Duration::from_millis(50);
const BURST: u32 = 8;

/// Sources remembered; they have shown that their addresses are real.
const SOURCES: usize = 4096;

/// An initiation or a response that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) message: Message,
    pub(super) from: Hop,
    /// The key of ours that its MAC1 names.
    pub(super) local: [u8; 32],
    len: usize,
    bytes: [u8; HANDSHAKE],
}

impl Waiting {
    /// `bytes`: a message of the size that the demultiplexer checked.
    pub(super) fn new(message: Message, from: Hop, local: [u8; 32], bytes: &[u8]) -> Waiting {
        let len = bytes.len().min(HANDSHAKE);
        let mut waiting = Waiting {
            message,
            from,
            local,
            len,
            bytes: [0; HANDSHAKE],
        };
        waiting.bytes[..len].copy_from_slice(&bytes[..len]);
        waiting
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The queue, and what decides who gets into it.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    queue: VecDeque<Waiting>,
    window: Option<(Instant, u32)>,
    loaded_until: Option<Instant>,
    sources: BTreeMap<IpAddr, (u32, Instant)>,
}

impl Inbox {
    /// A message with a good MAC1 arrived. Returns whether the lane is under load.
    pub(super) fn handle_arrival(&mut self, now: Instant) -> bool {
        let (since, count) = self.window.unwrap_or((now, 0));
        let fresh = now.saturating_duration_since(since) < LOAD_LASTS;
        let (since, count) = if fresh { (since, count + 1) } else { (now, 1) };
        self.window = Some((since, count));
        if count > LOAD_ARRIVALS || self.queue.len() >= LOAD_QUEUE {
            self.loaded_until = Some(now + LOAD_LASTS);
        }
        self.loaded_until.is_some_and(|until| now < until)
    }

    /// Whether a source whose cookie holds may send one more. IPv6 sources count by their /64.
    pub(super) fn allow(&mut self, source: IpAddr, now: Instant) -> bool {
        let source = match source.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
            v4 => v4,
        };
        let full = REFILL * BURST;
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&source) {
            self.sources
                .retain(|_, (_, at)| now.saturating_duration_since(*at) < full);
            if self.sources.len() >= SOURCES {
                return false;
            }
        }
        let (tokens, at) = self.sources.entry(source).or_insert((BURST, now));
        let earned = (now.saturating_duration_since(*at).as_millis() / REFILL.as_millis()) as u32;
        if earned > 0 {
            *tokens = tokens.saturating_add(earned).min(BURST);
            *at = now;
        }
        let allowed = *tokens > 0;
        *tokens = tokens.saturating_sub(1);
        allowed
    }

    /// Queues a message; `false`: the queue is full.
    pub(super) fn push(&mut self, waiting: Waiting) -> bool {
        let room = self.queue.len() < QUEUE;
        if room {
            self.queue.push_back(waiting);
        }
        room
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        self.queue.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
        Instant::now()
    }

    #[test]
    fn many_arrivals_are_load_until_they_stop() {
        let (mut inbox, start) = (Inbox::default(), start());
        let loaded = (0..300).filter(|_| inbox.handle_arrival(start)).count();
        assert_eq!(loaded, 100);
        assert!(inbox.handle_arrival(start + LOAD_LASTS / 2));
        assert!(!inbox.handle_arrival(start + LOAD_LASTS * 3));
    }

    #[test]
    fn one_source_cannot_use_up_the_allowance_of_another() {
        let (mut inbox, now) = (Inbox::default(), start());
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        assert_eq!((0..100).filter(|_| inbox.allow(a, now)).count(), BURST as usize);
        assert!(inbox.allow(b, now));
        assert!(!inbox.allow(a, now + REFILL / 2));
        assert!(inbox.allow(a, now + REFILL));
    }

    #[test]
    fn sources_of_one_v6_network_share_and_the_table_is_bounded() {
        let (mut inbox, now) = (Inbox::default(), start());
        let v6 = |net: u128, host: u128| IpAddr::V6(((0x2001_0db8_u128 << 96) | (net << 64) | host).into());
        assert_eq!(
            (0..100).filter(|i| inbox.allow(v6(1, *i), now)).count(),
            BURST as usize
        );
        let allowed = (0..10_000).filter(|i| inbox.allow(v6(*i + 2, 1), now)).count();
        assert_eq!((allowed, inbox.sources.len()), (SOURCES - 1, SOURCES));
        assert!(
            inbox.allow(v6(20_000, 1), now + Duration::from_secs(1)),
            "old ones make room"
        );
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut inbox = Inbox::default();
        let from = Hop::from(crate::Endpoint::from(std::net::SocketAddr::from((
            [192, 0, 2, 1],
            1,
        ))));
        let message = Waiting::new(Message::Response, from, [0; 32], &[2; 92]);
        assert_eq!((0..1000).filter(|_| inbox.push(message)).count(), QUEUE);
        assert_eq!(inbox.pop().unwrap().bytes().len(), 92);
    }
}
