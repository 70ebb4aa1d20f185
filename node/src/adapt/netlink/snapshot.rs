//! What the kernel has now: links, addresses, routes and rules, read by dumps.
//!
//! A snapshot is read whole and compared as a whole, so that a lost notification costs nothing
//! but the time until the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{RouteMessage, RouteProtocol};
use rtnetlink::packet_route::rule::{RuleAttribute, RuleMessage};
use rtnetlink::{Handle, IpVersion};

use super::message::{MARK, MARKED_TABLE, RULE_PRIORITY, SeenRoute, family};
use crate::desired::{Connected, Host};

/// One network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub name: String,
    pub up: bool,
    pub mtu: u32,
    pub loopback: bool,
    /// Set up, and its driver has a carrier.
    pub works: bool,
}

/// One address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub link: u32,
    pub net: IpNet,
    pub global: bool,
}

/// The kernel's state as far as it concerns us.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub links: BTreeMap<u32, Link>,
    pub addresses: Vec<Address>,
    pub routes: Vec<SeenRoute>,
    pub rule_v4: bool,
    pub rule_v6: bool,
}

impl Snapshot {
    /// Reads everything. `v6` false leaves out what a host without IPv6 refuses to tell.
    pub async fn read(handle: &Handle, v6: bool) -> Result<Snapshot, rtnetlink::Error> {
        let mut snapshot = Snapshot {
            links: links(handle).await?,
            addresses: addresses(handle).await?,
            routes: routes(handle, false).await?,
            rule_v4: has_rule(handle, IpVersion::V4).await?,
            rule_v6: false,
        };
        if v6 {
            snapshot.routes.extend(routes(handle, true).await?);
            snapshot.rule_v6 = has_rule(handle, IpVersion::V6).await?;
        }
        Ok(snapshot)
    }

    /// The host as the composition sees it; `own` is our interface, which is left out.
    pub fn host(&self, own: Option<u32>, ipv6: bool) -> Host {
        let elsewhere = self
            .addresses
            .iter()
            .filter(|a| Some(a.link) != own && !self.is_loopback(a.link));
        let mut host = Host {
            ipv6,
            ..Host::default()
        };
        for address in elsewhere.filter(|a| a.global) {
            host.addresses.push(address.net.addr());
            let mtu = self.links.get(&address.link).map(|l| l.mtu);
            host.link_mtu = host.link_mtu.max(mtu);
            if !is_single(&address.net) {
                let interface = self
                    .links
                    .get(&address.link)
                    .map_or(String::new(), |l| l.name.clone());
                host.connected.push(Connected {
                    prefix: address.net.trunc(),
                    interface,
                });
            }
        }
        host.routes = self.host_prefixes(own);
        host.up = self.working(own);
        host.ways = self.ways(own);
        host.ways.extend(host.connected.iter().cloned());
        host.ways.sort();
        host.ways.dedup();
        host.ra_interfaces = self.ra_interfaces();
        host.addresses.sort();
        host.addresses.dedup();
        host.connected.sort();
        host.connected.dedup();
        host
    }

    fn host_prefixes(&self, own: Option<u32>) -> BTreeSet<IpNet> {
        let foreign = self.routes.iter().filter(|r| r.in_main() && !r.is_ours());
        foreign
            .filter(|r| own.is_none() || r.oif != own)
            .map(|r| r.prefix)
            .collect()
    }

    fn working(&self, own: Option<u32>) -> BTreeSet<String> {
        let others = self.links.iter().filter(|(index, _)| Some(**index) != own);
        others
            .filter(|(_, l)| l.works)
            .map(|(_, l)| l.name.clone())
            .collect()
    }

    fn ways(&self, own: Option<u32>) -> Vec<Connected> {
        let foreign = self
            .routes
            .iter()
            .filter(|r| r.in_main() && !r.is_ours() && r.oif != own);
        let way = |r: &SeenRoute| {
            let interface = self.links.get(&r.oif?)?.name.clone();
            Some(Connected {
                prefix: r.prefix,
                interface,
            })
        };
        foreign
            .filter(|r| r.prefix.prefix_len() > 0)
            .filter_map(way)
            .collect()
    }

    fn ra_interfaces(&self) -> Vec<String> {
        let by_ra =
            |r: &&SeenRoute| r.prefix.prefix_len() == 0 && r.message.header.protocol == RouteProtocol::Ra;
        let links = self
            .routes
            .iter()
            .filter(by_ra)
            .filter_map(|r| self.links.get(&r.oif?));
        let names: BTreeSet<String> = links.map(|l| l.name.clone()).collect();
        names.into_iter().collect()
    }

    fn is_loopback(&self, link: u32) -> bool {
        self.links.get(&link).is_some_and(|l| l.loopback)
    }
}

fn is_single(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

async fn links(handle: &Handle) -> Result<BTreeMap<u32, Link>, rtnetlink::Error> {
    let messages: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
    Ok(messages.into_iter().map(|m| (m.header.index, link(&m))).collect())
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        name: String::new(),
        up: message.header.flags.contains(LinkFlags::Up),
        mtu: 0,
        loopback: message.header.flags.contains(LinkFlags::Loopback),
        works: message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            _ => {}
        }
    }
    link
}

/// Every address.
pub(super) async fn addresses(handle: &Handle) -> Result<Vec<Address>, rtnetlink::Error> {
    let messages: Vec<AddressMessage> = handle.address().get().execute().try_collect().await?;
    Ok(messages.iter().filter_map(address).collect())
}

/// What an address message says; `None`: nothing of use.
pub(super) fn address(message: &AddressMessage) -> Option<Address> {
    if is_borrowed(message) {
        return None;
    }
    // On point-to-point links IFA_ADDRESS is the other end and IFA_LOCAL is ours.
    let local = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    let remote = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Address(ip) => Some(*ip),
        _ => None,
    });
    let ip: IpAddr = local.or(remote)?;
    Some(Address {
        link: message.header.index,
        net: IpNet::new(ip, message.header.prefix_len).ok()?,
        global: message.header.scope == AddressScope::Universe,
    })
}

/// Held for seconds at a time: an address that gateways share is not this host's own, and its renewals are no news.
fn is_borrowed(message: &AddressMessage) -> bool {
    let lifetime = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::CacheInfo(info) => Some(info.ifa_valid),
        _ => None,
    });
    lifetime.is_some_and(|seconds| seconds <= BORROWED)
}

/// No router advertises an address, and no DHCP server leases one, for so few seconds.
const BORROWED: u32 = 5;

async fn routes(handle: &Handle, v6: bool) -> Result<Vec<SeenRoute>, rtnetlink::Error> {
    let mut filter = RouteMessage::default();
    filter.header.address_family = family(v6);
    let messages: Vec<RouteMessage> = handle.route().get(filter).execute().try_collect().await?;
    Ok(messages
        .into_iter()
        .filter_map(SeenRoute::read)
        .filter(|r| r.table != LOCAL_TABLE)
        .collect())
}

const LOCAL_TABLE: u32 = 255;

async fn has_rule(handle: &Handle, version: IpVersion) -> Result<bool, rtnetlink::Error> {
    let rules: Vec<RuleMessage> = handle.rule().get(version).execute().try_collect().await?;
    Ok(rules.iter().any(is_our_rule))
}

fn is_our_rule(rule: &RuleMessage) -> bool {
    let has = |wanted: &RuleAttribute| rule.attributes.contains(wanted);
    has(&RuleAttribute::FwMark(MARK))
        && has(&RuleAttribute::Table(MARKED_TABLE))
        && has(&RuleAttribute::Priority(RULE_PRIORITY))
}

/// True for a notification that can concern us.
pub fn matters(message: &RouteNetlinkMessage) -> bool {
    use RouteNetlinkMessage as M;
    match message {
        M::NewRoute(route) | M::DelRoute(route) => !route
            .header
            .flags
            .contains(rtnetlink::packet_route::route::RouteFlags::Cloned),
        M::NewAddress(address) | M::DelAddress(address) => !is_borrowed(address),
        M::NewRule(_) | M::DelRule(_) | M::NewLink(_) | M::DelLink(_) => true,
        _ => false,
    }
}

/// True when an interface has gone or does not carry any more.
pub fn is_loss(message: &RouteNetlinkMessage) -> bool {
    use RouteNetlinkMessage as M;
    match message {
        M::DelLink(_) => true,
        M::NewLink(message) => !link(message).works,
        _ => false,
    }
}
