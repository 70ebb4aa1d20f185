//! Names as shown: one of each.
//!
//! A name bound in one node's grant is that node's; of all others that want the same one, each shows as
//! `name-<4 hex digits of its identity>`, and with as many more digits as it takes to be the only one.

use std::collections::{BTreeMap, BTreeSet};

use meshnode_crypto::NodeId;

// Digits tried in turn; all 64 differ between any two nodes.
const DIGITS: [usize; 4] = [4, 8, 16, 64];

pub(super) struct Claim {
    pub(super) node: NodeId,
    pub(super) name: String,
    /// The grant binds the name.
    pub(super) bound: bool,
}

/// A name for every node; the same for the same set of claims in any order.
pub(super) fn shown(mut claims: Vec<Claim>) -> BTreeMap<NodeId, String> {
    claims.sort_by_key(|claim| claim.node);
    let mut wanted: BTreeMap<&str, Vec<&Claim>> = BTreeMap::new();
    claims
        .iter()
        .for_each(|claim| wanted.entry(&claim.name).or_default().push(claim));
    let mut names = BTreeMap::new();
    let mut taken: BTreeSet<String> = wanted.keys().map(|name| (*name).to_owned()).collect();
    for (name, claims) in wanted {
        let owner = owner(&claims);
        for claim in claims {
            let shown = if owner == Some(claim.node) {
                name.to_owned()
            } else {
                suffixed(name, &claim.node, &taken)
            };
            taken.insert(shown.clone());
            names.insert(claim.node, shown);
        }
    }
    names
}

fn owner(claims: &[&Claim]) -> Option<NodeId> {
    let bound: Vec<_> = claims.iter().filter(|claim| claim.bound).collect();
    match (claims, bound.as_slice()) {
        ([only], _) => Some(only.node),
        (_, [only]) => Some(only.node),
        _ => None,
    }
}

fn suffixed(name: &str, node: &NodeId, taken: &BTreeSet<String>) -> String {
    let hex = node.to_string();
    let candidates = DIGITS
        .iter()
        .map(|digits| format!("{name}-{}", hex.get(..*digits).unwrap_or(&hex)));
    let mut last = String::new();
    for candidate in candidates {
        last = candidate;
        if !taken.contains(&last) {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshnode_crypto::SigningKey;

    fn claim(n: u8, name: &str, bound: bool) -> Claim {
        Claim {
            node: SigningKey::from_seed([n; 32]).public_key(),
            name: name.into(),
            bound,
        }
    }

    fn hex(n: u8, digits: usize) -> String {
        SigningKey::from_seed([n; 32]).public_key().to_string()[..digits].to_owned()
    }

    fn names(claims: Vec<Claim>) -> BTreeSet<String> {
        shown(claims).into_values().collect()
    }

    #[test]
    fn a_name_alone_is_shown_as_it_is() {
        assert_eq!(
            names(vec![claim(1, "a", false), claim(2, "b", false)]),
            ["a", "b"].map(String::from).into()
        );
    }

    #[test]
    fn duplicates_get_digits_of_their_identity() {
        let expected = [1, 2].map(|n| format!("a-{}", hex(n, 4)));
        assert_eq!(
            names(vec![claim(1, "a", false), claim(2, "a", false)]),
            expected.into()
        );
    }

    #[test]
    fn a_name_bound_in_a_grant_wins() {
        let expected = [format!("a-{}", hex(1, 4)), "a".into()];
        assert_eq!(
            names(vec![claim(1, "a", false), claim(2, "a", true)]),
            expected.into()
        );
    }

    #[test]
    fn a_name_made_to_look_like_anothers_digits_stays_apart() {
        let lookalike = format!("a-{}", hex(1, 4));
        let expected = [
            format!("a-{}", hex(1, 8)),
            format!("a-{}", hex(2, 4)),
            lookalike.clone(),
        ];
        let claims = vec![
            claim(1, "a", false),
            claim(2, "a", false),
            claim(3, &lookalike, false),
        ];
        assert_eq!(names(claims), expected.into());
    }
}
