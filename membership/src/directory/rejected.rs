//! Refused records, by signer and by reason, for people and metrics. Bounded: whoever sends many kinds
//! of rubbish pushes out only the oldest entry.

use std::collections::BTreeMap;

use meshnode_crypto::UnixMillis;

use crate::view::RejectedView;

// Shown to people, so more would not be read.
const MAX_ENTRIES: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Rejected {
    by_source: BTreeMap<String, RejectedView>,
    totals: BTreeMap<&'static str, u64>,
}

impl Rejected {
    /// Counts; tells whether this source or this reason of it is new.
    pub(super) fn note(
        &mut self,
        source: &str,
        reason: &'static str,
        name: Option<String>,
        now: UnixMillis,
    ) -> bool {
        *self.totals.entry(reason).or_default() += 1;
        if self.by_source.len() >= MAX_ENTRIES && !self.by_source.contains_key(source) {
            self.drop_oldest();
        }
        let before = self.by_source.get(source);
        let is_new = before.is_none_or(|entry| entry.reason != reason);
        let count = before.map_or(0, |entry| entry.count) + 1;
        self.by_source.insert(
            source.to_owned(),
            RejectedView {
                reason,
                count,
                last: now,
                name,
            },
        );
        is_new
    }

    pub(super) fn by_source(&self) -> &BTreeMap<String, RejectedView> {
        &self.by_source
    }

    pub(super) fn totals(&self) -> &BTreeMap<&'static str, u64> {
        &self.totals
    }

    fn drop_oldest(&mut self) {
        let oldest = self
            .by_source
            .iter()
            .min_by_key(|(_, entry)| entry.last)
            .map(|(source, _)| source.clone());
        if let Some(source) = oldest {
            self.by_source.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_sources_is_bounded_and_all_are_counted() {
        let mut rejected = Rejected::default();
        for n in 0..10_000_u64 {
            rejected.note(&n.to_string(), "malformed", None, UnixMillis(n));
        }
        assert_eq!(rejected.by_source().len(), MAX_ENTRIES);
        assert!(rejected.by_source().contains_key("9999"));
        assert_eq!(rejected.totals()["malformed"], 10_000);
    }
}
