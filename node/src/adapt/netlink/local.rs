//! Which addresses of this host work, from one notification to the next. Pure.
//!
//! An address works while it is there and its link has a carrier. What stops working is said at once, without the pause that
//! [`super::pace`] makes before the kernel is compared: paths that used it wait for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkFlags, LinkMessage};

use super::snapshot::{Address, address};

/// Addresses of this host changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalChange {
    /// Those that work no longer.
    pub lost: Vec<IpAddr>,
    /// Those that work now and did not before.
    pub gained: Vec<IpAddr>,
}

impl LocalChange {
    fn between(before: &BTreeSet<IpAddr>, after: &BTreeSet<IpAddr>) -> Option<LocalChange> {
        let change = LocalChange {
            lost: before.difference(after).copied().collect(),
            gained: after.difference(before).copied().collect(),
        };
        (before != after).then_some(change)
    }
}

/// Links and addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locals {
    /// Links with a carrier.
    carriers: BTreeSet<u32>,
    addresses: BTreeMap<u32, BTreeSet<IpAddr>>,
}

impl Locals {
    /// From dumps.
    pub fn new(links: &[LinkMessage], addresses: &[Address]) -> Locals {
        let mut locals = Locals::default();
        for link in links {
            locals.handle_link(link);
        }
        for address in addresses {
            locals.insert(address);
        }
        locals
    }

    /// What changed from `before` to this.
    pub fn since(&self, before: &Locals) -> Option<LocalChange> {
        LocalChange::between(&before.working(), &self.working())
    }

    /// Takes a notification; returns what it changes.
    pub fn handle(&mut self, message: &RouteNetlinkMessage) -> Option<LocalChange> {
        use RouteNetlinkMessage as M;
        let before = self.working();
        match message {
            M::NewLink(link) => self.handle_link(link),
            M::DelLink(link) => self.remove_link(link.header.index),
            M::NewAddress(new) => {
                if let Some(new) = address(new) {
                    self.insert(&new);
                }
            }
            M::DelAddress(old) => {
                if let Some(old) = address(old) {
                    self.remove(&old);
                }
            }
            _ => return None,
        }
        LocalChange::between(&before, &self.working())
    }

    fn working(&self) -> BTreeSet<IpAddr> {
        let up = self
            .addresses
            .iter()
            .filter(|(link, _)| self.carriers.contains(link));
        up.flat_map(|(_, addresses)| addresses).copied().collect()
    }

    fn handle_link(&mut self, link: &LinkMessage) {
        let works = link.header.flags.contains(LinkFlags::Up | LinkFlags::Running);
        match works {
            true => self.carriers.insert(link.header.index),
            false => self.carriers.remove(&link.header.index),
        };
    }

    fn remove_link(&mut self, index: u32) {
        self.carriers.remove(&index);
        self.addresses.remove(&index);
    }

    fn insert(&mut self, new: &Address) {
        self.addresses.entry(new.link).or_default().insert(new.net.addr());
    }

    fn remove(&mut self, old: &Address) {
        if let Some(addresses) = self.addresses.get_mut(&old.link) {
            addresses.remove(&old.net.addr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};

    const UP: LinkFlags = LinkFlags::Up.union(LinkFlags::Running);

    fn link(index: u32, flags: LinkFlags) -> LinkMessage {
        let mut message = LinkMessage::default();
        (message.header.index, message.header.flags) = (index, flags);
        message
    }

    fn at(index: u32, ip: &str) -> AddressMessage {
        let mut message = AddressMessage::default();
        (message.header.index, message.header.prefix_len) = (index, 24);
        message
            .attributes
            .push(AddressAttribute::Local(ip.parse().unwrap()));
        message
    }

    fn two_links() -> Locals {
        let addresses = [at(2, "192.0.2.1"), at(2, "192.0.2.2"), at(3, "198.51.100.1")];
        let addresses: Vec<_> = addresses.iter().filter_map(address).collect();
        Locals::new(&[link(2, UP), link(3, UP)], &addresses)
    }

    fn lost(change: Option<LocalChange>) -> Vec<String> {
        let lost = change.map(|change| change.lost).unwrap_or_default();
        lost.iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn a_link_without_carrier_loses_its_addresses_and_gets_them_back() {
        let mut locals = two_links();
        let down = locals.handle(&RouteNetlinkMessage::NewLink(link(2, LinkFlags::Up)));
        assert_eq!(lost(down), ["192.0.2.1", "192.0.2.2"]);
        let again = locals.handle(&RouteNetlinkMessage::NewLink(link(2, LinkFlags::Up)));
        assert_eq!(again, None);
        let up = locals.handle(&RouteNetlinkMessage::NewLink(link(2, UP))).unwrap();
        assert_eq!((up.lost.len(), up.gained.len()), (0, 2));
    }

    #[test]
    fn a_deleted_address_or_link_is_lost() {
        let mut locals = two_links();
        let deleted = locals.handle(&RouteNetlinkMessage::DelAddress(at(2, "192.0.2.1")));
        assert_eq!(lost(deleted), ["192.0.2.1"]);
        let gone = locals.handle(&RouteNetlinkMessage::DelLink(link(3, UP)));
        assert_eq!(lost(gone), ["198.51.100.1"]);
    }

    #[test]
    fn an_address_that_is_said_again_is_no_news_and_a_new_one_is() {
        let mut locals = two_links();
        assert_eq!(
            locals.handle(&RouteNetlinkMessage::NewAddress(at(2, "192.0.2.1"))),
            None
        );
        let new = locals.handle(&RouteNetlinkMessage::NewAddress(at(3, "203.0.113.9")));
        assert_eq!(new.unwrap().gained, ["203.0.113.9".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn an_address_that_moves_to_another_link_works_on() {
        let mut locals = two_links();
        locals.handle(&RouteNetlinkMessage::NewAddress(at(3, "192.0.2.1")));
        let deleted = locals.handle(&RouteNetlinkMessage::DelAddress(at(2, "192.0.2.1")));
        assert_eq!(deleted, None);
    }

    #[test]
    fn what_was_missed_is_found_by_comparing() {
        let before = two_links();
        let after = Locals::new(&[link(3, UP)], &[]);
        assert_eq!(lost(after.since(&before)).len(), 3);
    }
}
