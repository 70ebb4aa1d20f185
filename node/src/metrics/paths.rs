//! Health of paths, how their delay varies by direction, and prefixes that no working path leads to.

use std::collections::BTreeMap;

use ipnet::IpNet;
use meshnode_dataplane::PathState;

use super::collect::{Input, measured};
use super::family::Family;
use crate::desired::RouteState;

/// The families.
pub fn families(input: &Input<'_>) -> [Family; 3] {
    [states(input), variation(input), without_gateway(input)]
}

/// A series for each state, so that none appears out of nothing.
fn states(input: &Input<'_>) -> Family {
    let mut states = Family::gauge("meshnode_peer_path_state", "1 for the health of the path in use.");
    for (peer, stats) in measured(input) {
        for state in PathState::ALL {
            let is = f64::from(u8::from(stats.path == state));
            states.add(&[("peer", peer), ("state", state.as_str())], is);
        }
    }
    states
}

fn variation(input: &Input<'_>) -> Family {
    let mut variation = Family::gauge(
        "meshnode_peer_delay_variation_seconds",
        "How much the one-way delay differs from packet to packet (RFC 3393), by direction.",
    );
    for (peer, stats) in measured(input) {
        for (direction, value) in [("out", stats.variation_out), ("in", stats.variation_in)] {
            let value = value.map(|value| value.as_secs_f64());
            variation.add(&[("peer", peer), ("direction", direction)], value);
        }
    }
    variation
}

/// Prefixes that are taken here and whose owners' paths all fail.
fn without_gateway(input: &Input<'_>) -> Family {
    let works = |id: &[u8; 32]| input.stats.peers.get(id).is_some_and(|stats| stats.path.works());
    let mut taken: BTreeMap<IpNet, bool> = BTreeMap::new();
    for route in input
        .composed
        .routes
        .iter()
        .filter(|route| route.state != RouteState::Rejected)
    {
        *taken.entry(route.prefix).or_default() |= works(route.owner.as_bytes());
    }
    let own = |prefix: &IpNet| {
        input
            .composed
            .announced
            .iter()
            .any(|announced| announced.prefix == *prefix)
    };
    let count = taken
        .iter()
        .filter(|(prefix, works)| !**works && !own(prefix))
        .count();
    let mut family = Family::gauge(
        "meshnode_prefixes_without_gateway",
        "Prefixes of other nodes to which no path works.",
    );
    family.add(&[], count as f64);
    family
}
