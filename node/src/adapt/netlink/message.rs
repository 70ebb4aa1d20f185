//! Routes as the kernel speaks of them: what we read, and the messages that we write.
//!
//! Four kinds of route are ours, all with protocol 77: mesh routes (main table, metric 77, out of
//! the TUN), guards (main table, unreachable, worst metric), copies of the host's routes in the
//! marked table, and the floor of that table, which keeps marked packets from falling through to
//! the mesh routes of the main one.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rtnetlink::packet_core::Emitable;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop, RouteNextHopFlags,
    RoutePreference, RouteProtocol, RouteScope, RouteType,
};

use crate::desired::KernelRoute;

/// Protocol number (`RTA_PROTOCOL`) of every route that we install.
pub const PROTOCOL: u8 = 77;
/// Mark (`SO_MARK`) of our UDP sockets.
pub const MARK: u32 = 0x6d77;
/// The table that marked packets use: the host's own routes without ours.
pub const MARKED_TABLE: u32 = 51777;
/// Priority of the rule that sends marked packets there.
pub const RULE_PRIORITY: u32 = 5177;
/// Metric of guards and of the marked table's floor: every other route of the prefix is better.
pub const GUARD_METRIC: u32 = u32::MAX;

const MAIN: u32 = RouteHeader::RT_TABLE_MAIN as u32;
const DEFAULT: u32 = 253;

/// One route read from the kernel.
#[derive(Debug, Clone)]
pub struct SeenRoute {
    pub prefix: IpNet,
    pub table: u32,
    pub protocol: u8,
    pub metric: u32,
    pub kind: RouteType,
    pub oif: Option<u32>,
    pub source: Option<IpAddr>,
    pub gateway: bool,
    pub message: RouteMessage,
}

impl SeenRoute {
    /// `None` for what is no route of a table: cached exceptions, other families.
    pub fn read(message: RouteMessage) -> Option<SeenRoute> {
        if message.header.flags.contains(RouteFlags::Cloned) {
            return None;
        }
        let mut seen = SeenRoute {
            prefix: any_prefix(message.header.address_family)?,
            table: table_of(&message),
            protocol: message.header.protocol.into(),
            metric: 0,
            kind: message.header.kind,
            oif: None,
            source: None,
            gateway: false,
            message: RouteMessage::default(),
        };
        for attribute in &message.attributes {
            seen.note(attribute, message.header.destination_prefix_length)?;
        }
        seen.message = message;
        Some(seen)
    }

    fn note(&mut self, attribute: &RouteAttribute, length: u8) -> Option<()> {
        match attribute {
            RouteAttribute::Destination(address) => {
                self.prefix = IpNet::new(ip(address)?, length).ok()?;
            }
            RouteAttribute::Priority(metric) => self.metric = *metric,
            RouteAttribute::Oif(index) => self.oif = Some(*index),
            RouteAttribute::PrefSource(address) => self.source = ip(address),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::MultiPath(_) => {
                self.gateway = true;
            }
            _ => {}
        }
        Some(())
    }

    pub fn is_ours(&self) -> bool {
        self.protocol == PROTOCOL
    }

    pub fn in_main(&self) -> bool {
        self.table == MAIN
    }

    /// The host's own: what the marked table copies. Link-local routes are left out, since no
    /// endpoint is link-local.
    pub fn is_host_route(&self) -> bool {
        let link_local = matches!(self.prefix, IpNet::V6(net) if net.network().is_unicast_link_local());
        (self.table == MAIN || self.table == DEFAULT) && !self.is_ours() && !link_local
    }

    pub fn is_guard(&self) -> bool {
        self.is_ours() && self.in_main() && self.kind == RouteType::Unreachable && self.metric == GUARD_METRIC
    }
}

/// `prefix` out of the TUN with index `oif`.
pub fn mesh_route(route: &KernelRoute, oif: u32) -> RouteMessage {
    let mut message = base(route.prefix, MAIN, RouteType::Unicast, route.metric);
    message.attributes.push(RouteAttribute::Oif(oif));
    if matches!(route.prefix, IpNet::V4(_)) {
        message.header.scope = RouteScope::Link;
    }
    if let Some(source) = route.source_hint {
        message.attributes.push(RouteAttribute::PrefSource(source.into()));
    }
    message
}

/// The unreachable route that stands beneath every route of `prefix`.
pub fn guard(prefix: IpNet) -> RouteMessage {
    base(prefix, MAIN, RouteType::Unreachable, GUARD_METRIC)
}

/// What a marked packet meets when the host has no route for it.
pub fn floor(v6: bool) -> RouteMessage {
    base(everything(v6), MARKED_TABLE, RouteType::Unreachable, GUARD_METRIC)
}

/// The host's route `original` for the marked table: same way out, our protocol.
pub fn marked_copy(original: &RouteMessage) -> RouteMessage {
    let mut copy = RouteMessage::default();
    copy.header = original.header.clone();
    copy.header.protocol = RouteProtocol::Other(PROTOCOL);
    copy.header.flags = original.header.flags & RouteFlags::Onlink;
    let by_object = original
        .attributes
        .iter()
        .any(|a| matches!(a, RouteAttribute::NhId(_)));
    for attribute in &original.attributes {
        if let Some(kept) = copied(attribute, by_object) {
            copy.attributes.push(kept);
        }
    }
    set_table(&mut copy, MARKED_TABLE);
    copy
}

/// The same way out for another destination: keeps an own prefix on the host's side when a mesh
/// route covers it.
pub fn pinned(original: &RouteMessage, prefix: IpNet, metric: u32) -> RouteMessage {
    let mut pin = marked_copy(original);
    pin.attributes.retain(|a| {
        !matches!(
            a,
            RouteAttribute::Destination(_) | RouteAttribute::Priority(_) | RouteAttribute::Table(_)
        )
    });
    let head = base(prefix, MAIN, RouteType::Unicast, metric);
    pin.header.destination_prefix_length = prefix.prefix_len();
    pin.header.table = head.header.table;
    pin.attributes.extend(head.attributes);
    pin
}

/// Two messages with the same identity make the same route. Counters, ages and flags that the
/// kernel keeps by itself are no part of it.
pub fn identity(message: &RouteMessage) -> Vec<u8> {
    let mut header = message.header.clone();
    header.flags &= RouteFlags::Onlink;
    header.table = 0;
    let mut parts: Vec<Vec<u8>> = message
        .attributes
        .iter()
        .filter_map(|a| copied(a, false))
        .map(|a| bytes_of(&a))
        .collect();
    parts.sort();
    let mut all = vec![0; header.buffer_len()];
    header.emit(&mut all);
    all.extend(table_of(message).to_be_bytes());
    parts.into_iter().for_each(|part| all.extend(part));
    all
}

fn table_of(message: &RouteMessage) -> u32 {
    let long = message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    long.unwrap_or(u32::from(message.header.table))
}

fn bytes_of(attribute: &RouteAttribute) -> Vec<u8> {
    let mut bytes = vec![0; attribute.buffer_len()];
    attribute.emit(&mut bytes);
    bytes
}

/// What of an attribute belongs to the route itself. A route by nexthop object names the object alone.
fn copied(attribute: &RouteAttribute, by_object: bool) -> Option<RouteAttribute> {
    use RouteAttribute as A;
    match attribute {
        A::Table(_) | A::Preference(RoutePreference::Medium) => None,
        A::CacheInfo(_) | A::Expires(_) | A::MfcStats(_) | A::Uid(_) | A::Mark(_) => None,
        A::Gateway(_) | A::Via(_) | A::Oif(_) | A::MultiPath(_) if by_object => None,
        A::MultiPath(hops) => Some(A::MultiPath(hops.iter().map(plain_hop).collect())),
        other => Some(other.clone()),
    }
}

fn plain_hop(hop: &RouteNextHop) -> RouteNextHop {
    let mut plain = hop.clone();
    plain.flags &= RouteNextHopFlags::Onlink;
    plain
}

fn base(prefix: IpNet, table: u32, kind: RouteType, metric: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(matches!(prefix, IpNet::V6(_)));
    message.header.destination_prefix_length = prefix.prefix_len();
    message.header.protocol = RouteProtocol::Other(PROTOCOL);
    message.header.scope = RouteScope::Universe;
    message.header.kind = kind;
    set_table(&mut message, table);
    if prefix.prefix_len() > 0 {
        message
            .attributes
            .push(RouteAttribute::Destination(prefix.network().into()));
    }
    message.attributes.push(RouteAttribute::Priority(metric));
    message
}

fn set_table(message: &mut RouteMessage, table: u32) {
    match u8::try_from(table) {
        Ok(small) => message.header.table = small,
        Err(_) => {
            message.header.table = RouteHeader::RT_TABLE_UNSPEC;
            message.attributes.push(RouteAttribute::Table(table));
        }
    }
}

/// The kernel's number of an address family.
pub fn family(v6: bool) -> AddressFamily {
    if v6 {
        AddressFamily::Inet6
    } else {
        AddressFamily::Inet
    }
}

/// `::/0` or `0.0.0.0/0`.
pub fn everything(v6: bool) -> IpNet {
    if v6 {
        IpNet::V6(Ipv6Net::default())
    } else {
        IpNet::V4(Ipv4Net::default())
    }
}

fn any_prefix(family: AddressFamily) -> Option<IpNet> {
    match family {
        AddressFamily::Inet => Some(everything(false)),
        AddressFamily::Inet6 => Some(everything(true)),
        _ => None,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}
