//! Counts how routes change, by reason. Pure.

use std::collections::BTreeMap;

use ipnet::IpNet;
use meshnode_crypto::NodeId;

use crate::desired::{RouteState, RouteStatus};

/// Route changes since the start, for `meshnode_route_changes_total`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RouteChanges {
    /// A prefix without a route got one.
    pub announced: u64,
    /// A prefix lost its route.
    pub withdrawn: u64,
    /// Another node serves the prefix now.
    pub owner: u64,
}

impl RouteChanges {
    /// Adds the difference between two states.
    pub fn note(&mut self, before: &[RouteStatus], after: &[RouteStatus]) {
        let (before, after) = (active(before), active(after));
        for (prefix, owner) in &after {
            match before.get(prefix) {
                None => self.announced += 1,
                Some(last) if last != owner => self.owner += 1,
                Some(_) => {}
            }
        }
        self.withdrawn += before.keys().filter(|p| !after.contains_key(p)).count() as u64;
    }

    /// Label and count.
    pub fn by_reason(&self) -> [(&'static str, u64); 3] {
        [
            ("announced", self.announced),
            ("withdrawn", self.withdrawn),
            ("owner", self.owner),
        ]
    }
}

fn active(statuses: &[RouteStatus]) -> BTreeMap<IpNet, NodeId> {
    let active = statuses.iter().filter(|s| s.state == RouteState::Active);
    active.map(|s| (s.prefix, s.owner)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshnode_crypto::SigningKey;

    fn status(prefix: &str, owner: u8, state: RouteState) -> RouteStatus {
        let owner = SigningKey::from_seed([owner; 32]).public_key();
        RouteStatus {
            prefix: prefix.parse().unwrap(),
            owner,
            via: String::new(),
            state,
            reason: None,
        }
    }

    #[test]
    fn each_change_counts_once_under_its_reason() {
        let mut changes = RouteChanges::default();
        let one = [
            status("10.1.0.0/16", 1, RouteState::Active),
            status("10.2.0.0/16", 1, RouteState::Active),
        ];
        let two = [
            status("10.1.0.0/16", 2, RouteState::Active),
            status("10.3.0.0/16", 1, RouteState::Rejected),
        ];
        changes.note(&[], &one);
        changes.note(&one, &one);
        changes.note(&one, &two);
        assert_eq!(
            changes,
            RouteChanges {
                announced: 2,
                withdrawn: 1,
                owner: 1
            }
        );
    }
}
