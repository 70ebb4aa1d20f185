//! Which prefixes this node announces, and what it says of them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use meshnode_crypto::PrefixSet;
use meshnode_membership::record::AnnouncedPrefix;
use meshnode_membership::record::serving::{PrefixOptions, Serving};

use crate::config::PrefixTable;
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

impl Announcing {
    /// What is said of them: their options, and which cannot be reached from here.
    pub fn serving(
        &self,
        options: impl Fn(&IpNet) -> PrefixOptions,
        not_served: &BTreeSet<IpNet>,
        draining: bool,
    ) -> Serving {
        let said = |announced: &AnnouncedPrefix| {
            let options = PrefixOptions {
                not_served: not_served.contains(&announced.prefix),
                ..options(&announced.prefix)
            };
            (options != PrefixOptions::default()).then_some((announced.prefix, options))
        };
        Serving {
            draining,
            prefixes: self.prefixes.iter().filter_map(said).collect(),
        }
    }
}

/// Configured prefixes and stored ones. Of priorities that of the file counts, then the stored one.
pub fn announcing(
    configured: &[IpNet],
    tables: &[PrefixTable],
    stored: &[Announcement],
    granted: &[IpNet],
) -> Announcing {
    let mut all: BTreeMap<IpNet, u16> = configured.iter().map(|p| (*p, DEFAULT_PRIORITY)).collect();
    all.extend(stored.iter().map(|a| (a.prefix, a.priority)));
    for table in tables {
        if let (Some(usual), Some((priority, _))) = (all.get_mut(&table.prefix), &table.priority) {
            *usual = *priority;
        }
    }
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
    use crate::config::Key;
    use crate::config::origin::Origin;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn a_prefix_outside_the_grant_is_held_back_and_named() {
        let chosen = announcing(
            &nets(&["10.1.0.0/16", "10.9.0.0/16"]),
            &[],
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
        let chosen = announcing(&nets(&["10.1.0.0/16"]), &[], &stored, &nets(&["10.0.0.0/8"]));
        assert_eq!(chosen.prefixes.len(), 1);
        assert_eq!(chosen.prefixes[0].priority, 7);
    }

    #[test]
    fn priority_of_the_file_wins_over_the_stored_one_and_announces_nothing_by_itself() {
        let table = |prefix: &str, priority| PrefixTable {
            prefix: nets(&[prefix])[0],
            origin: Origin::Flag(Key::Cidr),
            priority: Some((priority, Origin::Flag(Key::Cidr))),
            options: PrefixOptions::default(),
        };
        let stored = [Announcement {
            prefix: nets(&["10.1.0.0/16"])[0],
            priority: 7,
        }];
        let tables = [table("10.1.0.0/16", 200), table("10.2.0.0/16", 300)];
        let chosen = announcing(&[], &tables, &stored, &nets(&["10.0.0.0/8"]));
        assert_eq!(chosen.prefixes.len(), 1);
        assert_eq!(chosen.prefixes[0].priority, 200);
    }

    #[test]
    fn what_is_usual_is_not_said() {
        let chosen = announcing(
            &nets(&["10.1.0.0/16", "10.2.0.0/16"]),
            &[],
            &[],
            &nets(&["10.0.0.0/8"]),
        );
        let lost = nets(&["10.2.0.0/16", "10.9.0.0/16"]).into_iter().collect();
        let serving = chosen.serving(|_| PrefixOptions::default(), &lost, true);
        assert!(serving.draining);
        assert_eq!(serving.prefixes.len(), 1);
        assert!(serving.of(&nets(&["10.2.0.0/16"])[0]).not_served);
    }
}
