//! Plain forwarding, checked both ways.
//!
//! | in from | may use the source | goes to |
//! |---|---|---|
//! | TUN | anything: the kernel routed it here | an own client, or the peer that serves the destination |
//! | node | prefixes of its record, its mesh address, its client pool | an own client, or the TUN if the destination is ours |
//! | own client | its addresses | an own client, the TUN, or the peer that serves the destination |
//!
//! So a packet from a node never re-enters a tunnel but to an own client.

use super::{FlowKey, Ingress, Plan, Verdict};
use crate::drop::DropReason;
use crate::table::{CompiledTable, PeerKind};

pub(super) fn admit(key: &FlowKey, table: &CompiledTable) -> Option<Plan> {
    let Ingress::Peer(index) = key.ingress else {
        return None;
    };
    let allowed = table
        .peers()
        .get(index as usize)
        .is_some_and(|peer| peer.may_use(key.source));
    (!allowed).then_some(Plan::drop(DropReason::SourceNotAllowed))
}

pub(super) fn steer(key: &FlowKey, table: &CompiledTable) -> Option<Plan> {
    if let Some(client) = table.client(key.destination) {
        return Some(Plan::All(Verdict::Tunnel(client)));
    }
    let Ingress::Peer(index) = key.ingress else {
        return Plan::route(key.destination, table);
    };
    if table.is_local(key.destination) {
        return Some(Plan::All(Verdict::Deliver));
    }
    let client = table
        .peers()
        .get(index as usize)
        .is_some_and(|peer| peer.peer.kind == PeerKind::Client);
    let onward = client.then(|| Plan::route(key.destination, table)).flatten();
    Some(onward.unwrap_or(Plan::drop(DropReason::DestinationNotOurs)))
}
