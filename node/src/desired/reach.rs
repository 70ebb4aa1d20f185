//! Which of the own prefixes this host cannot reach any more, because its interface there is down, and what must not leave by
//! another way then.
//!
//! Addresses and routes go with their interface, so what led into a prefix is remembered while it works. A prefix that
//! nothing ever led into is not judged: the host may know a way that is not seen here.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use meshnode_crypto::prefix::overlap;

use super::{Connected, Host};

/// The ways into each own prefix when last one worked. Pure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    ways: BTreeMap<IpNet, Vec<Connected>>,
}

impl Reach {
    /// Takes note of the host as it is; returns which of `own` it cannot reach.
    pub fn note(&mut self, own: impl IntoIterator<Item = IpNet>, host: &Host) -> BTreeSet<IpNet> {
        let own: BTreeSet<IpNet> = own.into_iter().collect();
        self.ways.retain(|prefix, _| own.contains(prefix));
        for prefix in &own {
            let ways = host.ways.iter().filter(|way| overlap(&way.prefix, prefix));
            let working: Vec<Connected> = ways
                .filter(|way| host.up.contains(&way.interface))
                .cloned()
                .collect();
            if !working.is_empty() {
                self.ways.insert(*prefix, working);
            }
        }
        let lost = |ways: &[Connected]| !ways.iter().any(|way| host.up.contains(&way.interface));
        let lost = self.ways.iter().filter(|(_, ways)| lost(ways));
        lost.map(|(prefix, _)| *prefix).collect()
    }

    /// What has a way of its own: without it, what peers still send there would leave in clear by the default route. Parts
    /// of an own prefix to which no such way led stay without a guard: the host's router may know them.
    pub fn guarded(&self) -> BTreeSet<IpNet> {
        let part = |prefix: &IpNet, way: &Connected| match prefix.contains(&way.prefix) {
            true => way.prefix,
            false => *prefix,
        };
        // A default route has no guard, or the host could reach nothing without us.
        let ways = self.ways.iter().filter(|(prefix, _)| prefix.prefix_len() > 0);
        ways.flat_map(|(prefix, ways)| ways.iter().map(move |way| part(prefix, way)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn host(ways: &[(&str, &str)], up: &[&str]) -> Host {
        let way = |(prefix, interface): &(&str, &str)| Connected {
            prefix: net(prefix),
            interface: (*interface).to_owned(),
        };
        Host {
            ways: ways.iter().map(way).collect(),
            up: up.iter().map(|name| (*name).to_owned()).collect(),
            ..Host::default()
        }
    }

    const OWN: &str = "10.1.0.0/16";

    fn lost(reach: &mut Reach, host: &Host) -> bool {
        reach.note([net(OWN)], host).contains(&net(OWN))
    }

    #[test]
    fn prefix_is_lost_with_its_interface_and_back_with_it() {
        let (mut reach, ways) = (
            Reach::default(),
            [("10.1.2.0/24", "lan"), ("192.0.2.0/24", "wan")],
        );
        assert!(!lost(&mut reach, &host(&ways, &["lan", "wan"])));
        assert!(
            lost(&mut reach, &host(&ways, &["wan"])),
            "the address stays, the link does not"
        );
        assert!(
            lost(&mut reach, &host(&ways[1..], &["wan"])),
            "nor does the address"
        );
        assert!(!lost(&mut reach, &host(&ways, &["lan", "wan"])));
    }

    #[test]
    fn one_of_two_ways_is_enough() {
        let mut reach = Reach::default();
        let ways = [("10.1.2.0/24", "lan"), ("10.0.0.0/8", "mpls")];
        assert!(!lost(&mut reach, &host(&ways, &["lan", "mpls"])));
        assert!(!lost(&mut reach, &host(&ways, &["mpls"])));
        assert!(lost(&mut reach, &host(&ways, &[])));
    }

    #[test]
    fn a_prefix_that_nothing_leads_into_is_not_judged() {
        let mut reach = Reach::default();
        assert!(!lost(&mut reach, &host(&[("192.0.2.0/24", "wan")], &[])));
        assert!(reach.guarded().is_empty());
    }

    #[test]
    fn what_had_a_way_is_guarded_and_the_rest_is_left_to_the_router() {
        let mut reach = Reach::default();
        let ways = [("10.1.2.0/24", "lan"), ("192.0.2.0/24", "wan")];
        lost(&mut reach, &host(&ways, &["lan", "wan"]));
        assert_eq!(reach.guarded(), BTreeSet::from([net("10.1.2.0/24")]));
        lost(&mut reach, &host(&ways[1..], &["wan"]));
        assert_eq!(reach.guarded(), BTreeSet::from([net("10.1.2.0/24")]));
        lost(&mut reach, &host(&[("10.0.0.0/8", "mpls")], &["mpls"]));
        assert_eq!(reach.guarded(), BTreeSet::from([net(OWN)]));
    }

    #[test]
    fn a_prefix_that_is_withdrawn_is_forgotten() {
        let mut reach = Reach::default();
        let ways = [("10.1.2.0/24", "lan")];
        lost(&mut reach, &host(&ways, &["lan"]));
        assert!(reach.note([], &host(&ways, &[])).is_empty());
        assert_eq!(reach, Reach::default());
    }
}
