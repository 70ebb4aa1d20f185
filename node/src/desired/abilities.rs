//! What nodes say in their records that they can do for others: one bit of the capabilities each.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use meshnode_dataplane::PeerId;
use meshnode_membership::view::View;

/// It relays between members that do not reach each other.
pub const RELAYS: u64 = 1;

/// It has an IPv4 address inside its own prefixes, from which it can ask targets behind gateways.
pub const ASKS_V4: u64 = 2;

/// The same for IPv6.
pub const ASKS_V6: u64 = 4;

/// The nodes that say that they relay.
pub fn relays(view: &View) -> BTreeSet<PeerId> {
    let all = view.nodes.values();
    all.filter(|node| node.capabilities & RELAYS != 0)
        .map(|node| *node.id.as_bytes())
        .collect()
}

/// The bit of a node that can ask a target of this family.
pub const fn asks(v4: bool) -> u64 {
    if v4 { ASKS_V4 } else { ASKS_V6 }
}

/// What this node says in its own record. `prefixes`: those that it announces; `addresses`: those of its host.
pub fn own(relays: bool, prefixes: &[IpNet], addresses: &[IpAddr]) -> u64 {
    let inside = addresses
        .iter()
        .filter(|address| prefixes.iter().any(|prefix| prefix.contains(*address)));
    let asking = inside.fold(0, |bits, address| bits | asks(address.is_ipv4()));
    asking | if relays { RELAYS } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::fixture::{node, view};

    #[test]
    fn who_does_not_say_so_does_not_relay() {
        let (mut one, mut other) = (node(1, &[]), node(2, &[]));
        (one.capabilities, other.capabilities) = (own(true, &[], &[]) | 0x80, 0x80);
        let one_id = *one.id.as_bytes();
        assert_eq!(relays(&view(vec![one, other])), [one_id].into());
    }

    #[test]
    fn only_an_address_inside_an_own_prefix_can_ask() {
        let prefixes = ["10.1.0.0/16", "fd00:1::/64"].map(|text| text.parse().unwrap());
        let asking = |addresses: &[&str]| {
            let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
            own(false, &prefixes, &addresses)
        };
        assert_eq!(asking(&["198.51.100.1", "2001:db8::1"]), 0);
        assert_eq!(asking(&["10.1.0.1"]), ASKS_V4);
        assert_eq!(asking(&["10.1.0.1", "10.1.0.2", "fd00:1::1"]), ASKS_V4 | ASKS_V6);
    }
}
