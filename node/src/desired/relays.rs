//! Which nodes relay between others: they say so in their records.

use std::collections::BTreeSet;

use meshnode_dataplane::PeerId;
use meshnode_membership::view::View;

/// The bit of a record's capabilities that says so.
pub const CAPABILITY: u64 = 1;

/// The nodes that say that they relay.
pub fn relays(view: &View) -> BTreeSet<PeerId> {
    let all = view.nodes.values();
    all.filter(|node| node.capabilities & CAPABILITY != 0)
        .map(|node| *node.id.as_bytes())
        .collect()
}

/// What this node says in its own record.
pub fn capabilities(relays: bool) -> u64 {
    if relays { CAPABILITY } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::fixture::{node, view};

    #[test]
    fn who_does_not_say_so_does_not_relay() {
        let (mut one, mut other) = (node(1, &[]), node(2, &[]));
        (one.capabilities, other.capabilities) = (capabilities(true) | 0x80, 0x80);
        let one_id = *one.id.as_bytes();
        assert_eq!(relays(&view(vec![one, other])), [one_id].into());
    }
}
