//! The answer of `explain`: names become addresses, and what is known at the moment is put together.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use meshnode_crypto::{NodeId, WgPublicKey, mesh_address};
use meshnode_dataplane::PeerId;

use super::refuse::Refuse;
use super::types::{ExplainQuery, Explanation};
use crate::daemon::composed::Composed;
use crate::daemon::node::Node;
use crate::desired::explain::{Facts, Question, explain as tell};

/// Tells what happens to the packet.
pub fn explain(node: &Node, query: &ExplainQuery) -> Result<Explanation, Refuse> {
    let composed = node.now_composed();
    let destination = address(&composed, &query.destination)?;
    let source = match &query.source {
        Some(source) => address(&composed, source)?,
        None => own_address(&composed, destination),
    };
    if source.is_ipv4() != destination.is_ipv4() {
        return Err(Refuse::wrong(format!(
            "{source} and {destination} are of different IP versions"
        )));
    }
    let from = query
        .from
        .as_deref()
        .map(|name| peer(&composed, name))
        .transpose()?;
    let question = Question {
        source,
        destination,
        from,
    };
    let announced: Vec<IpNet> = composed.announced.iter().map(|a| a.prefix).collect();
    Ok(tell(
        &question,
        &Facts {
            view: &composed.view,
            announced: &announced,
            host: &composed.host,
            kernel: &composed.kernel,
            interface: &composed.settings.interface,
            routes: &composed.routes,
            table: &node.dataplane.table(),
            stats: &node.dataplane.stats(),
            paths: &node.dataplane.health(),
            clients: &clients(&composed),
            now: Instant::now(),
        },
    ))
}

/// An address, or the mesh address of a node.
fn address(composed: &Composed, text: &str) -> Result<IpAddr, Refuse> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let view = &composed.view;
    if view.own.as_ref().is_some_and(|own| own.name == text) {
        return Ok(mesh_address(&view.mesh, &view.me).into());
    }
    named(composed, text).map(|id| mesh_address(&view.mesh, &id).into())
}

fn peer(composed: &Composed, text: &str) -> Result<PeerId, Refuse> {
    named(composed, text).map(|id| *id.as_bytes())
}

fn named(composed: &Composed, text: &str) -> Result<NodeId, Refuse> {
    let mut nodes = composed.view.nodes.values();
    let found = nodes.find(|node| node.name == text || node.mesh_address.to_string() == text);
    found.map(|node| node.id).ok_or_else(|| {
        Refuse::wrong(format!("`{text}` is neither an address nor the name of a node"))
            .fix("use an IP address, or a name from `meshnode peers`")
    })
}

/// What this node itself, or else the first host behind it, would send from.
fn own_address(composed: &Composed, destination: IpAddr) -> IpAddr {
    let view = &composed.view;
    let serves = |address: &&IpAddr| composed.announced.iter().any(|a| a.prefix.contains(*address));
    let same = |address: &&IpAddr| address.is_ipv4() == destination.is_ipv4();
    let own = composed.host.addresses.iter().filter(same).find(serves);
    let behind = || {
        let prefixes = composed.announced.iter().map(|a| a.prefix);
        prefixes
            .filter(|p| p.addr().is_ipv4() == destination.is_ipv4())
            .find_map(|p| p.hosts().next())
    };
    let mesh = || IpAddr::V6(mesh_address(&view.mesh, &view.me));
    match destination {
        IpAddr::V6(_) => own.copied().unwrap_or_else(mesh),
        IpAddr::V4(_) => own
            .copied()
            .or_else(behind)
            .unwrap_or_else(|| [0, 0, 0, 0].into()),
    }
}

fn clients(composed: &Composed) -> BTreeMap<PeerId, String> {
    let key = |text: &str| text.parse().ok().map(|key: WgPublicKey| *key.as_bytes());
    let named = composed
        .clients
        .iter()
        .filter_map(|c| Some((key(&c.public_key)?, c.name.to_string())));
    named.collect()
}
