//! Packets that wait for a session: few for a peer, bounded for the lane, never for long.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most packets that wait for one peer.
pub const MAX_PACKETS: usize = 64;

/// Most bytes that wait on a node, over all peers and lanes.
pub const MAX_BYTES: usize = 8 << 20;

/// What waits longer has been sent again by its sender, or is no use any more.
pub const MAX_AGE: Duration = Duration::from_secs(5);

/// The lane's share of [`MAX_BYTES`], and what of it is taken.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: usize,
}

impl Budget {
    /// At most `limit` bytes wait at once.
    pub fn new(limit: usize) -> Budget {
        Budget { limit, used: 0 }
    }

    /// Bytes that wait.
    pub fn used(&self) -> usize {
        self.used
    }
}

/// The queue of one peer, oldest first.
#[derive(Debug, Default)]
pub struct Pending(VecDeque<(Instant, Vec<u8>)>);

impl Pending {
    /// Queues a copy of `packet`. The peer's bound pushes out its oldest packet, the lane's refuses this one. Returns how many
    /// packets were dropped by that, each for want of a session.
    pub fn push(&mut self, packet: &[u8], now: Instant, budget: &mut Budget) -> usize {
        let pushed_out = self.0.len() >= MAX_PACKETS;
        if pushed_out {
            self.pop(budget);
        }
        if budget.used + packet.len() > budget.limit {
            return usize::from(pushed_out) + 1;
        }
        budget.used += packet.len();
        self.0.push_back((now, packet.to_vec()));
        usize::from(pushed_out)
    }

    /// Takes the oldest packet.
    pub fn pop(&mut self, budget: &mut Budget) -> Option<Vec<u8>> {
        let (_, packet) = self.0.pop_front()?;
        budget.used -= packet.len();
        Some(packet)
    }

    /// Takes the oldest packet if it has waited too long.
    pub fn pop_expired(&mut self, now: Instant, budget: &mut Budget) -> Option<Vec<u8>> {
        let (since, _) = self.0.front()?;
        if now.saturating_duration_since(*since) >= MAX_AGE {
            self.pop(budget)
        } else {
            None
        }
    }

    /// Packets that wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
        Instant::now()
    }

    #[test]
    fn a_peer_holds_sixty_four_packets_and_loses_the_oldest() {
        let (mut pending, mut budget, now) = (Pending::default(), Budget::new(MAX_BYTES), now());
        for i in 0..64u8 {
            assert_eq!(pending.push(&[i], now, &mut budget), 0);
        }
        assert_eq!(pending.push(&[64], now, &mut budget), 1);
        assert_eq!((pending.len(), budget.used()), (64, 64));
        assert_eq!(pending.pop(&mut budget), Some(vec![1]));
    }

    #[test]
    fn all_peers_share_one_budget() {
        let (mut a, mut b, mut budget, now) =
            (Pending::default(), Pending::default(), Budget::new(100), now());
        assert_eq!(a.push(&[0; 60], now, &mut budget), 0);
        assert_eq!(b.push(&[0; 60], now, &mut budget), 1);
        assert_eq!(b.push(&[0; 40], now, &mut budget), 0);
        a.pop(&mut budget);
        assert_eq!(budget.used(), 40);
    }

    #[test]
    fn what_waited_too_long_goes() {
        let (mut pending, mut budget, start) = (Pending::default(), Budget::new(100), now());
        pending.push(&[1], start, &mut budget);
        pending.push(&[2], start + MAX_AGE / 2, &mut budget);
        assert_eq!(pending.pop_expired(start + MAX_AGE / 2, &mut budget), None);
        assert_eq!(pending.pop_expired(start + MAX_AGE, &mut budget), Some(vec![1]));
        assert_eq!(pending.pop_expired(start + MAX_AGE, &mut budget), None);
    }
}
