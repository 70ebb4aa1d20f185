//! Which relays an end asks: those that are near, and not the same for every pair.

use crate::table::PeerId;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv6Addr;
use std::time::Duration;

/// So many relays are asked, and kept, at once.
pub const AT_ONCE: usize = 3;

/// A node that relays and that we reach directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub id: PeerId,
    /// Its index in the table.
    pub peer: u32,
    /// The round trip to it.
    pub rtt: Option<Duration>,
}

/// Puts the candidates for a pair into the order in which they are asked. Of two about equally far away each pair has its own
/// first choice, so that one node does not relay for all. `ends`: the mesh addresses of the pair.
pub fn rank(candidates: &mut [Candidate], mut ends: [Option<Ipv6Addr>; 2]) {
    ends.sort();
    candidates.sort_by_cached_key(|candidate| (doublings(candidate.rtt), draw(candidate, ends)));
}

/// Round trips of one class differ by less than a factor of two; all below 4 ms are of the first.
fn doublings(rtt: Option<Duration>) -> u32 {
    rtt.map_or(u32::MAX, |rtt| (rtt.as_millis() / 2).max(1).ilog2())
}

fn draw(candidate: &Candidate, ends: [Option<Ipv6Addr>; 2]) -> u64 {
    let mut hash = DefaultHasher::new();
    (ends, candidate.id).hash(&mut hash);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn candidate(n: u8, ms: u64) -> Candidate {
        Candidate {
            id: [n; 32],
            peer: n.into(),
            rtt: Some(Duration::from_millis(ms)),
        }
    }

    fn end(n: u8) -> Option<Ipv6Addr> {
        Some(Ipv6Addr::from([n; 16]))
    }

    #[test]
    fn near_ones_come_first() {
        let mut all = [candidate(1, 200), candidate(2, 1), candidate(3, 40)];
        all[0].rtt = None;
        rank(&mut all, [end(8), end(9)]);
        assert_eq!(all.map(|c| c.peer), [2, 3, 1]);
    }

    #[test]
    fn pairs_differ_in_their_first_choice_and_both_ends_agree() {
        let first = |one: u8, other: u8| {
            let mut all: Vec<_> = (1..10).map(|n| candidate(n, 10 + u64::from(n % 3))).collect();
            rank(&mut all, [end(one), end(other)]);
            all[0].peer
        };
        let firsts: BTreeSet<u32> = (100..130).map(|n| first(n, n + 50)).collect();
        assert!(firsts.len() > 4, "{firsts:?}");
        assert_eq!(first(100, 200), first(200, 100));
    }
}
