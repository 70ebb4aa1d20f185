//! Counts how routes change, by cause, and how long a failover took. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use meshnode_crypto::NodeId;

use crate::desired::{Paths, RouteCause, RouteChange};

/// Upper bounds of the failover histogram's buckets, in milliseconds; one more bucket holds what took longer.
pub const FAILOVER_BOUNDS_MS: [u64; 12] = [
    100, 200, 300, 400, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000,
];

/// Route changes since the start, for `meshnode_route_changes_total` and the failover metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteChanges {
    changes: BTreeMap<RouteCause, u64>,
    failovers: BTreeMap<RouteCause, u64>,
    /// Per bucket, not cumulative.
    pub seconds: [u64; FAILOVER_BOUNDS_MS.len() + 1],
    /// Sum of all failovers' durations.
    pub sum: Duration,
}

impl RouteChanges {
    /// Adds the changes of one composition, in force at `now`. A gateway's failover is one, however many prefixes it has,
    /// and began with the last proof that its path worked.
    pub fn note(&mut self, changes: &[RouteChange], paths: &Paths, now: Instant) {
        for change in changes {
            *self.changes.entry(change.cause).or_default() += 1;
        }
        for (cause, node) in failed_over(changes) {
            *self.failovers.entry(cause).or_default() += 1;
            if cause == RouteCause::Health
                && let Some(proven) = paths.get(node.as_bytes()).and_then(|path| path.proven)
            {
                self.add(now.saturating_duration_since(proven));
            }
        }
    }

    /// Changes by cause, those without any too.
    pub fn by_cause(&self) -> impl Iterator<Item = (RouteCause, u64)> {
        let count = |cause| self.changes.get(&cause).copied().unwrap_or(0);
        RouteCause::ALL
            .into_iter()
            .map(move |cause| (cause, count(cause)))
    }

    /// Failovers by cause, those without any too.
    pub fn failovers(&self) -> impl Iterator<Item = (RouteCause, u64)> {
        let causes = RouteCause::ALL.into_iter().filter(|cause| cause.is_failover());
        causes.map(|cause| (cause, self.failovers.get(&cause).copied().unwrap_or(0)))
    }

    fn add(&mut self, took: Duration) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let bucket = FAILOVER_BOUNDS_MS.iter().position(|bound| ms <= *bound);
        self.seconds[bucket.unwrap_or(FAILOVER_BOUNDS_MS.len())] += 1;
        self.sum += took;
    }
}

/// Who was left and why, each once; only where somebody else carries the packets now.
fn failed_over(changes: &[RouteChange]) -> BTreeSet<(RouteCause, NodeId)> {
    let moved = changes.iter().filter(|change| change.cause.is_failover());
    let left = |change: &RouteChange| {
        let (from, to) = (change.from.clone()?, change.to.clone()?);
        let gone = from.nodes().iter().find(|node| !to.nodes().contains(node))?;
        Some((change.cause, *gone))
    };
    moved.filter_map(left).collect()
}

#[cfg(test)]
mod tests {
    use meshnode_crypto::SigningKey;
    use meshnode_dataplane::{Cause, PathState, PeerHealth};

    use super::*;
    use crate::desired::Target;

    fn node(seed: u8) -> NodeId {
        SigningKey::from_seed([seed; 32]).public_key()
    }

    fn change(prefix: &str, from: Option<u8>, to: Option<u8>, cause: RouteCause) -> RouteChange {
        RouteChange {
            prefix: prefix.parse().unwrap(),
            from: from.map(|seed| Target::Node(node(seed))),
            to: to.map(|seed| Target::Node(node(seed))),
            cause,
        }
    }

    fn count(counts: impl Iterator<Item = (RouteCause, u64)>, wanted: RouteCause) -> u64 {
        counts.filter(|(cause, _)| *cause == wanted).map(|(_, n)| n).sum()
    }

    #[test]
    fn a_gateway_with_two_prefixes_fails_over_once_from_its_last_proof() {
        let now = Instant::now();
        let path = PeerHealth {
            state: PathState::Suspect,
            cause: Cause::Silent,
            since: now,
            proven: Some(now - Duration::from_millis(320)),
            rtt: None,
            loss: 0.0,
        };
        let paths = Paths::from([(*node(1).as_bytes(), path)]);
        let mut changes = RouteChanges::default();
        let moved = [
            change("10.1.0.0/16", Some(1), Some(2), RouteCause::Health),
            change("10.2.0.0/16", Some(1), Some(2), RouteCause::Health),
            change("10.3.0.0/16", None, Some(2), RouteCause::Announced),
            change("10.4.0.0/16", Some(3), None, RouteCause::Withdrawn),
        ];
        changes.note(&moved, &paths, now);
        assert_eq!(count(changes.by_cause(), RouteCause::Health), 2);
        assert_eq!(count(changes.by_cause(), RouteCause::Withdrawn), 1);
        assert_eq!(count(changes.failovers(), RouteCause::Health), 1);
        assert_eq!(
            count(changes.failovers(), RouteCause::Withdrawn),
            0,
            "nobody took over"
        );
        assert_eq!(changes.seconds[3], 1, "at most 400 ms");
        assert_eq!(changes.sum, Duration::from_millis(320));
    }
}
