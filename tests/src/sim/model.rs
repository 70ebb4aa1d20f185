//! Who should be reachable: a reference model that knows links and intentions, and nothing of records, probes or tunnels.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::fabric::{Fabric, Number};
use super::member::Member;

/// How exact an answer is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Something happened lately: who failed may still be held back, and who is drained is avoided, in favour of anybody who
    /// serves the address too.
    Restless,
    /// All has been well for so long that nobody is held back, and nobody is drained.
    Deep,
}

/// Which members may answer at an address, seen from one member; empty: nobody should.
///
/// Of the prefixes that hold the address the longest with an owner that can be reached counts; there, any of its owners
/// may answer.
pub fn answerers(fabric: &Fabric, members: &[Member], from: Number, to: IpAddr, rest: Rest) -> Vec<Number> {
    let mut owners: BTreeMap<u8, Vec<Number>> = BTreeMap::new();
    for member in members.iter().filter(|m| m.is_awake() && m.number != from) {
        let holds = member.prefixes.iter().filter(|(prefix, _)| prefix.contains(&to));
        for (prefix, _) in holds.filter(|_| is_reachable(fabric, members, from, member.number)) {
            owners.entry(prefix.prefix_len()).or_default().push(member.number);
        }
    }
    match rest {
        Rest::Restless => owners.into_values().flatten().collect(),
        Rest::Deep => owners.pop_last().map_or_else(Vec::new, |(_, longest)| longest),
    }
}

/// Whether there is a direct way, or one over a third member.
pub fn is_reachable(fabric: &Fabric, members: &[Member], a: Number, b: Number) -> bool {
    let relays = members
        .iter()
        .filter(|m| m.is_awake() && m.number != a && m.number != b);
    fabric.joins(a, b)
        || relays
            .map(|relay| relay.number)
            .any(|relay| fabric.joins(a, relay) && fabric.joins(relay, b))
}

/// Whether a member serves this very prefix itself, so that packets for it never come into the mesh from there.
pub fn serves(member: &Member, address: IpAddr) -> bool {
    member
        .prefixes
        .iter()
        .any(|(prefix, _): &(IpNet, u16)| prefix.contains(&address))
}
