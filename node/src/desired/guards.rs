//! How long a guard outlives the announcement of its prefix.
//!
//! A gateway that restarts withdraws its prefixes first, and a revoked or expired one disappears from
//! the view: in all these cases the hosts behind us keep sending, and without the guard their packets
//! would leave in clear by the default route. So a guard stays for a day, unless it is cleared.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;
use meshnode_crypto::UnixMillis;

/// How long.
const MEMORY: Duration = Duration::from_secs(24 * 3600);
/// Most prefixes remembered; protects the kernel's table from a member that announces ever new ones.
const CAPACITY: usize = 10_000;

/// Prefixes with a guard, and when each was last announced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuardMemory {
    last: BTreeMap<IpNet, UnixMillis>,
}

impl GuardMemory {
    /// What an earlier process left: as if announced at `now`.
    pub fn resume(guards: impl IntoIterator<Item = IpNet>, now: UnixMillis) -> GuardMemory {
        GuardMemory {
            last: guards.into_iter().map(|g| (g, now)).collect(),
        }
    }

    /// `guarded` is announced at `now`.
    pub fn note(&mut self, guarded: &BTreeSet<IpNet>, now: UnixMillis) {
        self.last.extend(guarded.iter().map(|g| (*g, now)));
        self.last.retain(|_, last| now.saturating_since(*last) < MEMORY);
        self.shed();
    }

    fn shed(&mut self) {
        let Some(excess) = self.last.len().checked_sub(CAPACITY).filter(|n| *n > 0) else {
            return;
        };
        let mut by_age: Vec<(UnixMillis, IpNet)> = self.last.iter().map(|(p, at)| (*at, *p)).collect();
        by_age.sort_unstable();
        for (_, prefix) in by_age.into_iter().take(excess) {
            self.last.remove(&prefix);
        }
    }

    /// What is remembered.
    pub fn prefixes(&self) -> BTreeSet<IpNet> {
        self.last.keys().copied().collect()
    }

    /// Forgets everything that is not in `guarded`; returns what that was.
    pub fn clear(&mut self, guarded: &BTreeSet<IpNet>) -> Vec<IpNet> {
        let gone = self
            .last
            .keys()
            .copied()
            .filter(|p| !guarded.contains(p))
            .collect();
        self.last.retain(|p, _| guarded.contains(p));
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> BTreeSet<IpNet> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn withdrawn_prefix_is_guarded_for_a_day_and_then_forgotten() {
        let (both, one) = (nets(&["10.1.0.0/16", "10.2.0.0/16"]), nets(&["10.1.0.0/16"]));
        let mut memory = GuardMemory::default();
        memory.note(&both, UnixMillis(0));
        memory.note(&one, UnixMillis(0) + Duration::from_secs(3600));
        assert_eq!(memory.prefixes(), both);
        memory.note(&one, UnixMillis(0) + MEMORY);
        assert_eq!(memory.prefixes(), one);
    }

    #[test]
    fn clearing_keeps_what_is_announced() {
        let both = nets(&["10.1.0.0/16", "10.2.0.0/16"]);
        let mut memory = GuardMemory::resume(both.clone(), UnixMillis(5));
        assert_eq!(
            memory.clear(&nets(&["10.1.0.0/16"])),
            ["10.2.0.0/16".parse::<IpNet>().unwrap()]
        );
        assert_eq!(memory.prefixes(), nets(&["10.1.0.0/16"]));
    }
}
