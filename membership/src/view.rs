//! What the rest of the node sees of the mesh: an immutable view, replaced when something changes.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use meshnode_crypto::{MeshId, NodeId, UnixMillis, WgPublicKey};

use crate::record::AnnouncedPrefix;
use crate::record::serving::Serving;

/// The mesh as this node knows it. Equal inputs give equal views, in whatever order they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Which mesh.
    pub mesh: MeshId,
    /// This node.
    pub me: NodeId,
    /// Grows with every change.
    pub version: u64,
    /// The other nodes whose record is valid, not expired, not revoked and not departed.
    pub nodes: BTreeMap<NodeId, NodeView>,
    /// What this node published itself; `None` before it did.
    pub own: Option<NodeView>,
    /// Refused records, by the signer's identity in hex, or by what is known of the source.
    pub rejected: BTreeMap<String, RejectedView>,
    /// The members' clock minus ours in milliseconds, only when it is more than ten minutes off: then
    /// nobody is removed by expiry, and nobody is admitted.
    pub clock_skew: Option<i64>,
    /// Most members that fit.
    pub capacity: usize,
}

/// A node in the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its key.
    pub id: NodeId,
    /// Its name as shown: unique in the view.
    pub name: String,
    /// Its address inside the mesh.
    pub mesh_address: Ipv6Addr,
    /// Where it may be reached, best first.
    pub endpoints: Vec<SocketAddr>,
    /// What it serves.
    pub prefixes: Vec<AnnouncedPrefix>,
    /// How.
    pub serving: Serving,
    /// WireGuard keys of its lanes.
    pub lanes: Vec<WgPublicKey>,
    /// Which set of lane keys.
    pub epoch: u32,
    /// Its /24 for stock clients; `None` too when a node with a lower identity has the same.
    pub client_pool: Option<Ipv4Net>,
    /// The /112 for its stock clients.
    pub client_prefix_v6: Ipv6Net,
    /// It has left; only ever true of our own node.
    pub departed: bool,
    /// How many times it has started.
    pub generation: u64,
    /// Orders its records.
    pub sequence: u64,
    /// When its record was signed.
    pub issued_at: UnixMillis,
    /// When its grant ends.
    pub grant_not_after: UnixMillis,
    /// Bits for abilities.
    pub capabilities: u64,
    /// Its software version.
    pub version: String,
    /// Prefixes that it may announce.
    pub grant_serve: Vec<IpNet>,
    /// Prefixes within which it may grant; empty: it cannot invite.
    pub grant_delegate: Vec<IpNet>,
}

/// Refused records from one signer or source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedView {
    /// Why the last one was refused: a metric label.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
    /// When the last one came.
    pub last: UnixMillis,
    /// The name in it, where the signer is certain.
    pub name: Option<String>,
}
