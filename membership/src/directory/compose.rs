//! From the table to a view.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv4Net;
use meshnode_crypto::{MeshId, NodeId, WgPublicKey, client_prefix_v6};

use super::names::{Claim, shown};
use super::{Directory, Entry};
use crate::api::Now;
use crate::record::{RejectReason, VerifiedRecord};
use crate::view::{NodeView, RejectedView, View};

pub(super) fn view(directory: &Directory, now: Now) -> View {
    let skew = directory.clock.skew(now);
    let is_current = |entry: &&Entry| {
        let in_time = skew.is_some() || !entry.record.is_over(now.wall);
        !entry.expired && !entry.revoked && !entry.record.body.departed && in_time
    };
    let current: Vec<&VerifiedRecord> = directory
        .entries
        .values()
        .filter(is_current)
        .map(|entry| &entry.record)
        .collect();
    let (nodes, taken) = without_taken_keys(directory.own.as_ref(), current);
    let names = shown(nodes.iter().copied().chain(&directory.own).map(claim).collect());
    let pools = pools(nodes.iter().copied().chain(&directory.own));
    let mesh = &directory.config.mesh;
    let node_view = |record: &VerifiedRecord| node_view(record, mesh, &names, &pools);
    View {
        mesh: *mesh,
        me: directory.config.self_id,
        version: directory.version,
        nodes: nodes
            .iter()
            .map(|record| (record.node, node_view(record)))
            .collect(),
        own: directory.own.as_ref().map(node_view),
        rejected: rejected(directory, &taken, now),
        clock_skew: skew,
        capacity: directory.config.max_members,
    }
}

/// Of two nodes with one WireGuard key the one with the lower identity stays. Ours are ours.
fn without_taken_keys<'a>(
    own: Option<&VerifiedRecord>,
    records: Vec<&'a VerifiedRecord>,
) -> (Vec<&'a VerifiedRecord>, Vec<&'a VerifiedRecord>) {
    let mut seen: BTreeSet<WgPublicKey> = own.iter().flat_map(|own| own.wireguard.iter().copied()).collect();
    // The table is ordered by identity.
    records.into_iter().partition(|record| {
        let free = record.wireguard.iter().all(|key| !seen.contains(key));
        if free {
            seen.extend(&record.wireguard);
        }
        free
    })
}

fn claim(record: &VerifiedRecord) -> Claim {
    let bound = record.chain.name();
    let name = bound.unwrap_or(&record.body.name).to_string();
    Claim {
        node: record.node,
        name,
        bound: bound.is_some(),
    }
}

/// Two members may have granted one pool at the same time: the lower identity keeps it.
fn pools<'a>(records: impl Iterator<Item = &'a VerifiedRecord>) -> BTreeMap<Ipv4Net, NodeId> {
    let mut holders = BTreeMap::new();
    for record in records {
        if let Some(pool) = record.chain.client_pool() {
            let holder = holders.entry(pool).or_insert(record.node);
            *holder = record.node.min(*holder);
        }
    }
    holders
}

fn node_view(
    record: &VerifiedRecord,
    mesh: &MeshId,
    names: &BTreeMap<NodeId, String>,
    pools: &BTreeMap<Ipv4Net, NodeId>,
) -> NodeView {
    let (body, chain) = (&record.body, &record.chain);
    let holds = |pool: &Ipv4Net| pools.get(pool) == Some(&record.node);
    NodeView {
        id: record.node,
        name: names
            .get(&record.node)
            .cloned()
            .unwrap_or_else(|| body.name.to_string()),
        mesh_address: record.mesh_address,
        endpoints: body.endpoints.clone(),
        prefixes: body.prefixes.clone(),
        serving: record.serving.clone(),
        lanes: record.wireguard.clone(),
        epoch: body.epoch,
        client_pool: chain.client_pool().filter(holds),
        client_prefix_v6: client_prefix_v6(mesh, &record.node),
        departed: body.departed,
        generation: body.generation,
        sequence: body.sequence,
        issued_at: body.issued_at,
        grant_not_after: chain.not_after(),
        capabilities: body.capabilities,
        version: body.version.clone(),
        grant_serve: chain.serve().to_vec(),
        grant_delegate: chain.delegate().to_vec(),
    }
}

fn rejected(directory: &Directory, taken: &[&VerifiedRecord], now: Now) -> BTreeMap<String, RejectedView> {
    let mut rejected = directory.rejected.by_source().clone();
    for record in taken {
        let name = Some(record.body.name.to_string());
        let reason = RejectReason::LaneKeyTaken.as_str();
        rejected.insert(
            record.node.to_string(),
            RejectedView {
                reason,
                count: 1,
                last: now.wall,
                name,
            },
        );
    }
    rejected
}
