//! Which prefixes this node announces. Pure.

use std::collections::BTreeMap;

use ipnet::IpNet;
use meshnode_crypto::PrefixSet;
use meshnode_membership::record::AnnouncedPrefix;

use crate::state::Announcement;
use crate::state::entries::DEFAULT_PRIORITY;

/// Most prefixes in a record.
const MOST: usize = 500;

/// The choice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announcing {
    /// What is announced, sorted.
    pub prefixes: Vec<AnnouncedPrefix>,
    /// What is configured, but not in this node's grant: the others would refuse the whole record.
    pub outside: Vec<IpNet>,
}

/// Configured prefixes and stored ones; a stored priority counts.
pub fn announcing(configured: &[IpNet], stored: &[Announcement], granted: &[IpNet]) -> Announcing {
    let mut all: BTreeMap<IpNet, u16> = configured.iter().map(|p| (*p, DEFAULT_PRIORITY)).collect();
    all.extend(stored.iter().map(|a| (a.prefix, a.priority)));
    let granted = PrefixSet::new(granted);
    let (inside, outside): (Vec<_>, Vec<_>) = all.into_iter().partition(|(prefix, _)| granted.covers(prefix));
    Announcing {
        prefixes: inside
            .into_iter()
            .take(MOST)
            .map(|(prefix, priority)| AnnouncedPrefix { prefix, priority })
            .collect(),
        outside: outside.into_iter().map(|(prefix, _)| prefix).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn a_prefix_outside_the_grant_is_held_back_and_named() {
        let chosen = announcing(
            &nets(&["10.1.0.0/16", "10.9.0.0/16"]),
            &[],
            &nets(&["10.1.0.0/16"]),
        );
        assert_eq!(
            chosen.prefixes,
            [AnnouncedPrefix {
                prefix: nets(&["10.1.0.0/16"])[0],
                priority: 100
            }]
        );
        assert_eq!(chosen.outside, nets(&["10.9.0.0/16"]));
    }

    #[test]
    fn stored_priority_wins_over_the_usual_one() {
        let stored = [Announcement {
            prefix: nets(&["10.1.0.0/16"])[0],
            priority: 7,
        }];
        let chosen = announcing(&nets(&["10.1.0.0/16"]), &stored, &nets(&["10.0.0.0/8"]));
        assert_eq!(chosen.prefixes.len(), 1);
        assert_eq!(chosen.prefixes[0].priority, 7);
    }
}
