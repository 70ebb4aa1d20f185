//! Which virtual addresses this node should hold. Pure.
//!
//! The pair (or more) are the nodes that announce one prefix with the same virtual address. Who holds it keeps it from an
//! equal; who does not wants it only when nobody better lives. Whether somebody on the LAN still answers for it is
//! asked there, before it is taken ([`super::keeper`]): so a path between the pair that fails gives nobody a second owner.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use ipnet::IpNet;
use meshnode_membership::record::AnnouncedPrefix;
use meshnode_membership::record::serving::Serving;
use meshnode_membership::view::NodeView;

use crate::desired::choice::{Memory, Standing, standing};
use crate::desired::{Host, Situation};

/// An address on a LAN.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// The address, with the length of its LAN.
    pub address: IpNet,
    /// The interface in that LAN.
    pub interface: String,
}

/// What this node says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// What it announces.
    pub announced: &'a [AnnouncedPrefix],
    /// How.
    pub serving: &'a Serving,
    /// What it holds now, or tries to.
    pub held: &'a BTreeSet<Held>,
}

/// What it should hold.
pub fn decide(own: Own<'_>, situation: &Situation<'_>, memory: &Memory) -> BTreeSet<Held> {
    if own.serving.draining {
        return BTreeSet::new();
    }
    own.announced
        .iter()
        .filter_map(|announced| {
            let options = own.serving.of(&announced.prefix);
            let address = options.virtual_address.filter(|_| !options.not_served)?;
            let interface = interface(&address, &situation.local.host)?;
            let held = Held { address, interface };
            is_best(announced, &held, own, situation, memory).then_some(held)
        })
        .collect()
}

/// The interface in whose subnet it lies, if that works.
fn interface(address: &IpNet, host: &Host) -> Option<String> {
    let around = host
        .connected
        .iter()
        .filter(|c| c.prefix.contains(&address.addr()));
    let around = around.filter(|c| host.up.contains(&c.interface));
    around
        .max_by_key(|c| c.prefix.prefix_len())
        .map(|c| c.interface.clone())
}

fn is_best(
    announced: &AnnouncedPrefix,
    held: &Held,
    own: Own<'_>,
    situation: &Situation<'_>,
    memory: &Memory,
) -> bool {
    let prefix = announced.prefix;
    let in_use = own.held.contains(held);
    let rank = (announced.priority, in_use, Reverse(situation.view.me));
    let rival = |node: &NodeView| {
        let shares = node.serving.of(&prefix).virtual_address.map(|v| v.addr()) == Some(held.address.addr());
        let priority = node.prefixes.iter().find(|a| a.prefix == prefix)?.priority;
        let lives = standing(prefix, node, situation, memory) == Standing::Works;
        (shares && lives).then_some((priority, false, Reverse(node.id)))
    };
    let best = situation.view.nodes.values().filter_map(rival).max();
    best.is_none_or(|best| rank > best)
}
