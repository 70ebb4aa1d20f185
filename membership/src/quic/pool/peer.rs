//! What the pool holds about one node: its connections, the best one first, and what waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::endpoint::CloseReason;
use super::link::Link;
use crate::message::Message;

/// Messages that wait for one peer.
const QUEUE: usize = 16;
/// A second connection within this time of the first is the same attempt to meet; later it is a new life
/// of the peer, and the old connection is probably dead.
const CROSSING: Duration = Duration::from_secs(3);
/// The longest pause between two attempts to reach a silent member.
const MAX_PAUSE: Duration = Duration::from_secs(8);

#[derive(Default)]
pub(super) struct Peer {
    links: Vec<Arc<Link>>,
    queue: VecDeque<Message>,
    /// Whether a sender task empties the queue.
    pub(super) sending: bool,
    failures: u32,
    not_before: Option<Instant>,
}

impl Peer {
    /// The connection to use, if one stands.
    pub(super) fn standing_link(&self) -> Option<Arc<Link>> {
        self.links.iter().find(|link| link.stands()).cloned()
    }

    /// Takes a new connection in, in front of the current one if it is to replace it.
    pub(super) fn adopt(&mut self, link: Arc<Link>, we_are_lower: bool) {
        self.failures = 0;
        self.not_before = None;
        let keep = self
            .links
            .first()
            .is_some_and(|old| keeps(old, &link, we_are_lower));
        let position = if keep { self.links.len() } else { 0 };
        self.links.insert(position, link);
    }

    pub(super) fn forget(&mut self, link: &Arc<Link>) {
        self.links.retain(|other| !Arc::ptr_eq(other, link));
    }

    pub(super) fn has_spare_links(&self) -> bool {
        self.links.len() > 1
    }

    /// Closes all connections but the one in use.
    pub(super) fn close_spare_links(&mut self) {
        for spare in self.links.iter().skip(1) {
            spare.close(CloseReason::Superseded);
        }
    }

    /// Admits the connections of a node that came into the book, closes those of one that left it.
    pub(super) fn settle(&mut self, is_member: bool) {
        for link in &self.links {
            if is_member {
                link.admit();
            } else if link.is_member() {
                link.close(CloseReason::Revoked);
                self.queue.clear();
            }
        }
    }

    /// Closes the connections that have no standing.
    pub(super) fn refuse(&self) {
        for link in self.links.iter().filter(|link| !link.is_member()) {
            link.close(CloseReason::NotMember);
        }
    }

    /// Whether dropping this entry would lose something.
    pub(super) fn is_busy(&self) -> bool {
        self.sending || !self.links.is_empty()
    }

    /// Whether it was unreachable just now and is not to be tried again yet.
    pub(super) fn is_given_up(&self, now: Instant) -> bool {
        self.standing_link().is_none() && self.not_before.is_some_and(|not_before| now < not_before)
    }

    pub(super) fn back_off(&mut self, now: Instant) {
        let pause = Duration::from_secs(1 << self.failures.min(3)).min(MAX_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + pause);
    }

    /// Queues a message; true if the oldest had to go for it.
    pub(super) fn enqueue(&mut self, message: Message) -> bool {
        let full = self.queue.len() >= QUEUE;
        if full {
            self.queue.pop_front();
        }
        self.queue.push_back(message);
        full
    }

    /// The next message; when there is none the sender task ends.
    pub(super) fn dequeue(&mut self) -> Option<Message> {
        let message = self.queue.pop_front();
        self.sending = message.is_some();
        message
    }

    /// Drops what waits; how many messages that were.
    pub(super) fn clear_queue(&mut self) -> usize {
        std::mem::take(&mut self.queue).len()
    }
}

// Of two connections made in opposite directions both ends keep the one that the lower id dialled; of
// two in one direction (several addresses reached the same node) both keep the first.
fn keeps(old: &Link, new: &Link, we_are_lower: bool) -> bool {
    let together = old.is_open() && new.since.duration_since(old.since) < CROSSING;
    let same_direction = old.dialled == new.dialled;
    together && (same_direction || old.dialled == we_are_lower)
}
