//! Who checks a target: three members, the same for everybody who has the same records. Pure.
//!
//! By rendezvous hashing (Thaler and Ravishankar, 1998): each member draws a number for each prefix, and the three highest
//! check it. When a member comes or goes only its own checks move.

use std::cmp::Reverse;

use ipnet::IpNet;
use meshnode_crypto::NodeId;
use meshnode_membership::record::serving::CheckTarget;
use meshnode_membership::view::{NodeView, View};

use crate::desired::abilities::asks;

/// How many check one target.
pub const ELECTED: usize = 3;

/// The members that check `target` behind each gateway of `prefix`: none of its gateways themselves, nobody who is being
/// drained, and only members that say that they have an address to ask from.
pub fn elected(prefix: &IpNet, target: &CheckTarget, view: &View) -> Vec<NodeId> {
    let v4 = target.address().is_ipv4();
    let can = |node: &&NodeView| {
        let serves = node.prefixes.iter().any(|announced| announced.prefix == *prefix);
        let asks = node.capabilities & asks(v4) != 0;
        asks && !node.serving.draining && !node.departed && !serves
    };
    let members = view.nodes.values().chain(&view.own).filter(can);
    let mut drawn: Vec<(u64, NodeId)> = members
        .map(|node| (draw(node.id.as_bytes(), prefix), node.id))
        .collect();
    drawn.sort_unstable_by_key(|drawn| Reverse(*drawn));
    drawn.into_iter().take(ELECTED).map(|(_, id)| id).collect()
}

/// The same on every node, whatever its version: who is elected depends on it.
fn draw(member: &[u8; 32], prefix: &IpNet) -> u64 {
    let address = match prefix.addr() {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        std::net::IpAddr::V6(v6) => v6,
    };
    let words = [member.as_slice(), &address.octets()].concat();
    let words = words
        .as_chunks::<8>()
        .0
        .iter()
        .map(|word| u64::from_le_bytes(*word));
    words.fold(u64::from(prefix.prefix_len()), |sum, word| mix(sum ^ word))
}

/// The finaliser of splitmix64 (Steele, Lea and Flood, 2014): every bit of the input changes half of the output.
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::fixture::{key, node, view};

    const PREFIX: &str = "10.0.0.0/16";

    fn elect(nodes: Vec<NodeView>) -> Vec<NodeId> {
        let target = "icmp://10.0.0.5".parse().unwrap();
        elected(&PREFIX.parse().unwrap(), &target, &view(nodes))
    }

    fn members(seeds: impl IntoIterator<Item = u8>) -> Vec<NodeView> {
        let member = |seed| node(seed, &[(&format!("10.{seed}.0.0/16"), 100)]);
        seeds.into_iter().map(member).collect()
    }

    #[test]
    fn three_are_elected_and_fewer_where_there_are_not_so_many() {
        assert_eq!(elect(members(1..=20)).len(), 3);
        assert_eq!(elect(members(1..=2)).len(), 2);
        assert_eq!(elect(vec![]), []);
    }

    #[test]
    fn nobody_is_elected_who_cannot_ask() {
        let mut draining = node(2, &[("10.2.0.0/16", 100)]);
        draining.serving.draining = true;
        let (mut mute, mut other_family) =
            (node(3, &[("10.3.0.0/16", 100)]), node(4, &[("10.4.0.0/16", 100)]));
        (mute.capabilities, other_family.capabilities) = (0, asks(false));
        let nodes = vec![
            node(1, &[(PREFIX, 100), ("10.1.0.0/16", 100)]),
            draining,
            mute,
            other_family,
            node(5, &[("10.5.0.0/16", 100)]),
        ];
        assert_eq!(elect(nodes), [key(5)]);
    }

    #[test]
    fn this_node_itself_can_be_elected() {
        let mut view = view(members([1]));
        view.own = Some(node(100, &[("10.100.0.0/16", 100)]));
        let target = "icmp://10.0.0.5".parse().unwrap();
        assert_eq!(elected(&PREFIX.parse().unwrap(), &target, &view).len(), 2);
    }

    #[test]
    fn a_member_that_goes_is_replaced_and_nobody_else_moves() {
        for gone in 1..=20 {
            let (before, after) = (
                elect(members(1..=20)),
                elect(members((1..=20).filter(|s| *s != gone))),
            );
            let stay: Vec<_> = before.iter().filter(|id| **id != key(gone)).collect();
            assert!(stay.iter().all(|id| after.contains(id)), "{gone}");
        }
    }

    #[test]
    fn prefixes_are_spread_over_members() {
        let view = view(members(1..=20));
        let mut all = std::collections::BTreeSet::new();
        for third in 0..=50 {
            let prefix = format!("10.200.{third}.0/24").parse().unwrap();
            let target = format!("icmp://10.200.{third}.5").parse().unwrap();
            all.extend(elected(&prefix, &target, &view));
        }
        assert!(all.len() >= 18, "{}", all.len());
    }

    /// Nodes of other versions must draw the same.
    #[test]
    fn what_is_drawn_never_changes() {
        let draws = ["10.0.0.0/16", "10.0.0.0/17", "fd00::/64"].map(|p| draw(&[1; 32], &p.parse().unwrap()));
        assert_eq!(
            draws,
            [
                0x7142_4b35_3bc0_5770,
                0xec9e_29c0_0a3c_06bd,
                0x9d69_f0b0_655a_04b6
            ]
        );
    }
}
