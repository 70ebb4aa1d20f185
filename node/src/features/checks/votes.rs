//! What an owner makes of what the peers that check it say. Pure.
//!
//! Each of at most three says every two seconds whether the target answers. What it said counts for five seconds. The target
//! counts as failing while more than half of those whose word counts say that it does: one of one, two of two, two of three.
//! When nobody's word counts any more, what was found last stands for ten seconds after the last word, and then nothing
//! speaks against this gateway: a check that nobody makes is none.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use meshnode_crypto::NodeId;
use meshnode_membership::record::serving::CheckTarget;

/// How long a word counts: two may be lost.
pub const FRESH: Duration = Duration::from_secs(5);

/// How long the last finding stands when nobody says anything.
pub const STANDS: Duration = Duration::from_secs(10);

/// What was said of one target, and what was found.
#[derive(Debug, Clone, Default)]
pub struct Votes {
    said: BTreeMap<NodeId, (bool, Instant)>,
    fails: bool,
}

impl Votes {
    /// `from` says whether the target answers. Whether it was elected is for the caller to know: so there are never more than
    /// a few.
    pub fn handle_report(&mut self, from: NodeId, passes: bool, now: Instant) {
        self.said.insert(from, (passes, now));
    }

    /// Forgets who is not elected any more.
    pub fn keep(&mut self, elected: &[NodeId]) {
        self.said.retain(|from, _| elected.contains(from));
    }

    /// Whether the target fails, and who says so.
    pub fn judge(&mut self, now: Instant) -> bool {
        let (fail, pass) = self.count(now);
        if fail + pass > 0 {
            self.fails = fail > pass;
        } else if !self.said.values().any(|(_, at)| now < *at + STANDS) {
            self.fails = false;
        }
        self.fails
    }

    /// Who says at this moment that it fails.
    pub fn against(&self, now: Instant) -> impl Iterator<Item = &NodeId> {
        let fails = move |(passes, at): &(bool, Instant)| !passes && now < *at + FRESH;
        self.said
            .iter()
            .filter(move |(_, said)| fails(said))
            .map(|(from, _)| from)
    }

    /// When another judgement may be due although nothing is said.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let moments = self.said.values().flat_map(|(_, at)| [*at + FRESH, *at + STANDS]);
        moments.filter(|at| *at > now).min()
    }

    fn count(&self, now: Instant) -> (usize, usize) {
        let fresh = || self.said.values().filter(|(_, at)| now < *at + FRESH);
        let fail = fresh().filter(|(passes, _)| !passes).count();
        (fail, fresh().count() - fail)
    }
}

/// The votes on each target behind this node.
pub type Ballot = BTreeMap<CheckTarget, Votes>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::fixture::key;

    const S: Duration = Duration::from_secs(1);

    fn said(words: &[bool], now: Instant) -> Votes {
        let mut votes = Votes::default();
        for (seed, passes) in (1..).zip(words) {
            votes.handle_report(key(seed), *passes, now);
        }
        votes
    }

    #[test]
    fn more_than_half_of_those_who_say_anything_decide() {
        let now = Instant::now();
        for (words, fails) in [
            (&[][..], false),
            (&[true], false),
            (&[false], true),
            (&[false, true], false),
            (&[false, false], true),
            (&[true, true, false], false),
            (&[true, false, false], true),
            (&[false, false, false], true),
        ] {
            assert_eq!(said(words, now).judge(now), fails, "{words:?}");
        }
    }

    #[test]
    fn a_word_counts_for_five_seconds() {
        let now = Instant::now();
        let mut votes = said(&[true, true, false], now);
        votes.handle_report(key(3), false, now + 4 * S);
        assert!(!votes.judge(now + 4 * S));
        assert!(votes.judge(now + FRESH), "one of one");
        assert_eq!(votes.against(now + FRESH).collect::<Vec<_>>(), [&key(3)]);
    }

    #[test]
    fn what_was_found_stands_for_ten_seconds_of_silence() {
        let now = Instant::now();
        let mut votes = said(&[false], now);
        assert!(votes.judge(now));
        assert!(votes.judge(now + STANDS - S));
        assert_eq!(votes.poll_timeout(now + FRESH), Some(now + STANDS));
        assert!(!votes.judge(now + STANDS));
        assert_eq!(votes.poll_timeout(now + STANDS), None);
    }

    #[test]
    fn who_is_not_elected_any_more_has_no_say() {
        let now = Instant::now();
        let mut votes = said(&[false, true], now);
        votes.keep(&[key(1)]);
        assert!(votes.judge(now));
        votes.keep(&[key(2)]);
        assert!(!votes.judge(now));
    }
}
