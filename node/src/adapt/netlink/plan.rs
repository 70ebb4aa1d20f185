//! From what is and what should be to the steps between them. Pure.
//!
//! The order of steps keeps inner packets from leaving in clear: guards come first and go last;
//! mesh routes are removed only after the guards that replace them stand.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use serde::{Deserialize, Serialize};

use super::message::{self, MARKED_TABLE, SeenRoute};
use super::snapshot::{Link, Snapshot};
use crate::desired::KernelDesired;

/// Our TUN, once it is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Kernel index; it stays when the interface is renamed.
    pub index: u32,
    /// The name it should have.
    pub name: String,
    /// The MTU it should have, in bytes.
    pub mtu: u32,
}

/// What outlives the process in the kernel and is ours: remembered in the state directory before
/// it is installed, so that only this is ever swept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Owned {
    /// Prefixes with a guard of ours.
    pub guards: BTreeSet<IpNet>,
    /// Own prefixes with a host-side route of ours.
    pub pins: BTreeSet<IpNet>,
}

/// Everything that should be so.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub kernel: &'a KernelDesired,
    pub interface: Option<&'a Interface>,
    pub owned: &'a Owned,
    /// Addresses that an earlier call asked for.
    pub previous: &'a BTreeSet<IpNet>,
    pub ipv6: bool,
}

impl Wanted<'_> {
    fn index(&self) -> Option<u32> {
        self.interface.map(|i| i.index)
    }
}

/// One change in the kernel.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    AddRoute(RouteMessage),
    ReplaceRoute(RouteMessage),
    /// Beside routes of the same prefix and metric.
    AppendRoute(RouteMessage),
    DeleteRoute(RouteMessage),
    AddAddress(u32, IpNet),
    DeleteAddress(u32, IpNet),
    SetLink {
        index: u32,
        name: Option<String>,
        mtu: Option<u32>,
        up: bool,
    },
    AddRule {
        v6: bool,
    },
}

/// The steps from `snapshot` to `wanted`, in the order in which they are safe.
pub fn plan(snapshot: &Snapshot, wanted: &Wanted<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    guards_up(snapshot, wanted, &mut steps);
    if let Some(interface) = wanted.interface {
        link(snapshot, interface, &mut steps);
        addresses(snapshot, wanted, interface.index, &mut steps);
    }
    marked_table(snapshot, wanted, &mut steps);
    pins(snapshot, wanted, &mut steps);
    if let Some(interface) = wanted.interface {
        mesh_routes(snapshot, wanted, interface.index, &mut steps);
    }
    guards_down(snapshot, wanted, &mut steps);
    steps
}

/// The own prefixes that need a host-side route: covered by a mesh route, and without a route of the
/// host's own for exactly that prefix.
pub fn wanted_pins(snapshot: &Snapshot, wanted: &Wanted<'_>) -> BTreeMap<IpNet, RouteMessage> {
    let (kernel, index) = (wanted.kernel, wanted.index());
    let covered = kernel
        .own
        .iter()
        .filter(|own| kernel.routes.iter().any(|r| r.prefix.contains(*own)));
    covered
        .filter_map(|own| Some((*own, pin(snapshot, own, index)?)))
        .collect()
}

fn pin(snapshot: &Snapshot, own: &IpNet, index: Option<u32>) -> Option<RouteMessage> {
    let best = snapshot
        .routes
        .iter()
        .filter(|r| r.in_main() && r.is_host_route() && (index.is_none() || r.oif != index))
        .filter(|r| r.prefix.contains(own) && r.kind == RouteType::Unicast)
        .min_by_key(|r| (std::cmp::Reverse(r.prefix.prefix_len()), r.metric))?;
    (best.prefix != *own).then(|| message::pinned(&best.message, *own, crate::desired::MESH_METRIC))
}

fn guards_up(snapshot: &Snapshot, wanted: &Wanted<'_>, steps: &mut Vec<Step>) {
    let present: BTreeSet<IpNet> = snapshot
        .routes
        .iter()
        .filter(|r| r.is_guard())
        .map(|r| r.prefix)
        .collect();
    let missing = wanted
        .kernel
        .guards
        .iter()
        .filter(|g| usable(g, wanted.ipv6) && !present.contains(*g));
    steps.extend(missing.map(|prefix| Step::AddRoute(message::guard(*prefix))));
}

fn guards_down(snapshot: &Snapshot, wanted: &Wanted<'_>, steps: &mut Vec<Step>) {
    let stale = snapshot.routes.iter().filter(|r| {
        r.is_guard() && wanted.owned.guards.contains(&r.prefix) && !wanted.kernel.guards.contains(&r.prefix)
    });
    steps.extend(stale.map(|r| Step::DeleteRoute(message::guard(r.prefix))));
}

fn link(snapshot: &Snapshot, interface: &Interface, steps: &mut Vec<Step>) {
    // A link that is gone is reported by whoever holds its descriptor: nothing to repair here.
    let Some(Link { name, up, mtu, .. }) = snapshot.links.get(&interface.index) else {
        return;
    };
    let name = (*name != interface.name).then(|| interface.name.clone());
    let mtu = (*mtu != interface.mtu).then_some(interface.mtu);
    if name.is_some() || mtu.is_some() || !up {
        steps.push(Step::SetLink {
            index: interface.index,
            name,
            mtu,
            up: true,
        });
    }
}

fn addresses(snapshot: &Snapshot, wanted: &Wanted<'_>, index: u32, steps: &mut Vec<Step>) {
    let present: BTreeSet<IpNet> = snapshot
        .addresses
        .iter()
        .filter(|a| a.link == index)
        .map(|a| a.net)
        .collect();
    let missing = wanted
        .kernel
        .addresses
        .iter()
        .filter(|a| usable(a, wanted.ipv6) && !present.contains(*a));
    steps.extend(missing.map(|net| Step::AddAddress(index, *net)));
    let stale = wanted
        .previous
        .iter()
        .filter(|a| present.contains(*a) && !wanted.kernel.addresses.contains(a));
    steps.extend(stale.map(|net| Step::DeleteAddress(index, *net)));
}

/// The copy of the host's routes, its floor, and the rule that leads there.
fn marked_table(snapshot: &Snapshot, wanted: &Wanted<'_>, steps: &mut Vec<Step>) {
    // What leaves by our own interface is the mesh, not the underlay.
    let index = wanted.index();
    let host = snapshot
        .routes
        .iter()
        .filter(|r| r.is_host_route() && (index.is_none() || r.oif != index));
    let copies = host.map(|r| message::marked_copy(&r.message));
    let mut missing: Vec<(Vec<u8>, RouteMessage)> = copies.map(|c| (message::identity(&c), c)).collect();
    let present = snapshot
        .routes
        .iter()
        .filter(|r| r.table == MARKED_TABLE && r.is_ours() && !is_floor(r));
    for route in present {
        let identity = message::identity(&route.message);
        match missing.iter().position(|(wanted, _)| *wanted == identity) {
            Some(found) => drop(missing.swap_remove(found)),
            None => steps.push(Step::DeleteRoute(exact(route))),
        }
    }
    // A gateway is only accepted once the subnet it lies in is known.
    missing.sort_by_key(|(_, copy)| needs_gateway(copy));
    steps.extend(missing.into_iter().map(|(_, copy)| Step::AppendRoute(copy)));
    for v6 in [false, true].into_iter().filter(|v6| !v6 || wanted.ipv6) {
        if !snapshot
            .routes
            .iter()
            .any(|r| is_floor(r) && matches!(r.prefix, IpNet::V6(_)) == v6)
        {
            steps.push(Step::AddRoute(message::floor(v6)));
        }
        if !(if v6 { snapshot.rule_v6 } else { snapshot.rule_v4 }) {
            steps.push(Step::AddRule { v6 });
        }
    }
}

fn needs_gateway(route: &RouteMessage) -> bool {
    SeenRoute::read(route.clone()).is_some_and(|r| r.gateway)
}

fn is_floor(route: &SeenRoute) -> bool {
    route.table == MARKED_TABLE
        && route.is_ours()
        && route.kind == RouteType::Unreachable
        && route.metric == message::GUARD_METRIC
        && route.prefix.prefix_len() == 0
}

fn pins(snapshot: &Snapshot, wanted: &Wanted<'_>, steps: &mut Vec<Step>) {
    let pins = wanted_pins(snapshot, wanted);
    let index = wanted.index();
    let present: Vec<&SeenRoute> = snapshot
        .routes
        .iter()
        .filter(|r| r.is_ours() && r.in_main() && r.kind == RouteType::Unicast && r.oif != index)
        .filter(|r| wanted.owned.pins.contains(&r.prefix))
        .collect();
    for route in &present {
        if !pins.contains_key(&route.prefix) {
            steps.push(Step::DeleteRoute(exact(route)));
        }
    }
    for (prefix, pin) in pins {
        let same = |r: &&&SeenRoute| message::identity(&r.message) == message::identity(&pin);
        match present.iter().filter(|r| r.prefix == prefix).find(same) {
            Some(_) => {}
            None => steps.push(Step::ReplaceRoute(pin)),
        }
    }
}

fn mesh_routes(snapshot: &Snapshot, wanted: &Wanted<'_>, index: u32, steps: &mut Vec<Step>) {
    let mut missing: BTreeMap<IpNet, RouteMessage> = wanted
        .kernel
        .routes
        .iter()
        .filter(|r| usable(&r.prefix, wanted.ipv6))
        .map(|r| (r.prefix, message::mesh_route(r, index)))
        .collect();
    let mut stale = Vec::new();
    for route in snapshot
        .routes
        .iter()
        .filter(|r| r.is_ours() && r.in_main() && r.oif == Some(index))
    {
        match missing.get(&route.prefix) {
            Some(message) if message::identity(message) == message::identity(&route.message) => {
                missing.remove(&route.prefix);
            }
            Some(_) => {
                if let Some(message) = missing.remove(&route.prefix) {
                    steps.push(Step::ReplaceRoute(message));
                }
            }
            None => stale.push(Step::DeleteRoute(exact(route))),
        }
    }
    steps.extend(missing.into_values().map(Step::AddRoute));
    steps.extend(stale);
}

/// The message that deletes exactly this route.
pub fn exact(route: &SeenRoute) -> RouteMessage {
    let mut message = message::marked_copy(&route.message);
    message
        .attributes
        .retain(|a| !matches!(a, RouteAttribute::Table(_)));
    message.header.table = route.message.header.table;
    if route.table == MARKED_TABLE {
        message.attributes.push(RouteAttribute::Table(MARKED_TABLE));
    }
    message
}

fn usable(prefix: &IpNet, ipv6: bool) -> bool {
    ipv6 || matches!(prefix, IpNet::V4(_))
}
