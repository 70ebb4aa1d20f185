//! What crosses the local socket. `status --json` prints [`Status`] as it came, so its fields are
//! stable: new ones may be added, none renamed.
//!
//! Prefixes, addresses and ids are texts in JSON; times are milliseconds or seconds as the field says.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use super::seeing::*;

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The mesh: the authority's public key, 64 hex digits.
    pub mesh: String,
    /// This node.
    pub node: NodeStatus,
    /// The others, by shown name.
    pub peers: Vec<PeerStatus>,
    /// Every known prefix of the mesh.
    pub routes: Vec<RouteStatus>,
    /// The stock WireGuard devices attached here.
    pub clients: Vec<ClientStatus>,
    /// What the user should know: settings of the host, a skewed clock, a full disk.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// This node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Shown name.
    pub name: String,
    /// The node's public key, 64 hex digits.
    pub id: String,
    /// Its address in the mesh.
    pub mesh_ip: Ipv6Addr,
    /// Its TUN interface.
    pub interface: String,
    /// Where its UDP port is bound.
    pub listen: Vec<SocketAddr>,
    /// Where others can reach it.
    pub endpoints: Vec<SocketAddr>,
    /// What it announces.
    pub cidrs: Vec<IpNet>,
    /// Whether the others were asked to send elsewhere.
    #[serde(default)]
    pub draining: bool,
    /// Version of the program.
    pub version: String,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Wall time at which its grant ends, unless renewed: Unix milliseconds.
    #[serde(default)]
    pub grant_expires_ms: Option<u64>,
    /// Where its metrics are, if anywhere.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
    /// The offloads and how they do.
    #[serde(default)]
    pub offloads: Vec<OffloadStatus>,
    /// Its lanes, lane 0 first.
    #[serde(default)]
    pub lanes: Vec<LaneStatus>,
}

/// One offload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffloadStatus {
    /// `tso`, `uso`, `merge`, `gso` or `gro`.
    pub name: String,
    /// Whether the settings want it.
    pub wanted: bool,
    /// Whether it is at work on every lane.
    pub active: bool,
    /// How often the kernel refused it, or it was switched off because it corrupted.
    pub refused: u64,
}

/// One lane: a core, a UDP port, a tunnel to each busy peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneStatus {
    /// Which one.
    pub lane: u8,
    /// Its UDP port.
    pub port: u16,
    /// Sent in tunnels of this lane.
    pub tx_bytes: u64,
    /// Received in tunnels of this lane.
    pub rx_bytes: u64,
    /// Sent in tunnels of this lane.
    pub tx_packets: u64,
    /// Received in tunnels of this lane.
    pub rx_packets: u64,
    /// Given to lane 0, because this lane has no tunnel to the peer.
    pub handed_off: u64,
}

/// Whether packets can go to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// A session stands and probes come back.
    Up,
    /// No session yet.
    Connecting,
    /// There was one.
    Down,
}

/// One other node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Shown name.
    pub name: String,
    /// Public key, 64 hex digits.
    pub id: String,
    /// Whether packets can go there.
    pub state: PeerState,
    /// What is known of the path in use: `up`, `degraded`, `suspect`, `down`, `connecting`.
    #[serde(default)]
    pub health: String,
    /// Why it is so, as a stable word.
    #[serde(default)]
    pub health_cause: Option<String>,
    /// Seconds in this health.
    #[serde(default)]
    pub health_s: Option<f64>,
    /// Where its packets come from now.
    pub endpoint: Option<SocketAddr>,
    /// `direct`, or `relay:<name>`.
    pub path: String,
    /// Its address in the mesh.
    pub mesh_ip: Ipv6Addr,
    /// What it announces.
    pub cidrs: Vec<IpNet>,
    /// Smoothed round trip.
    pub rtt_ms: Option<f64>,
    /// Variation of the round trip.
    pub jitter_ms: Option<f64>,
    /// Lost probes of the last seconds, 0 to 1, the worse of both directions.
    pub loss: Option<f64>,
    /// Lost on the way there, 0 to 1.
    #[serde(default)]
    pub loss_out: Option<f64>,
    /// Lost on the way back, 0 to 1.
    #[serde(default)]
    pub loss_in: Option<f64>,
    /// Lost over one minute, 0 to 1, the worse of both directions.
    #[serde(default)]
    pub loss_1m: Option<f64>,
    /// Lost over five minutes.
    #[serde(default)]
    pub loss_5m: Option<f64>,
    /// How much the one-way delay there differs from packet to packet (RFC 3393).
    #[serde(default)]
    pub variation_out_ms: Option<f64>,
    /// The same of the way back.
    #[serde(default)]
    pub variation_in_ms: Option<f64>,
    /// Inner MTU of its path.
    pub mtu: Option<u16>,
    /// Seconds since the last handshake.
    pub last_handshake_s: Option<f64>,
    /// Bytes sent in the tunnel.
    pub tx_bytes: u64,
    /// Bytes received in the tunnel.
    pub rx_bytes: u64,
    /// Version of its program.
    #[serde(default)]
    pub version: String,
}

/// What became of a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteState {
    /// Packets go there.
    Active,
    /// Another owner is preferred.
    Standby,
    /// Not taken; the reason says why.
    Rejected,
}

/// One prefix of one owner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// The prefix.
    pub prefix: IpNet,
    /// Shown name of its owner.
    pub via: String,
    /// What became of it.
    pub state: RouteState,
    /// Why, where that is not plain.
    pub reason: Option<String>,
    /// Among owners of one prefix the highest wins.
    #[serde(default)]
    pub priority: Option<u16>,
    /// Health of the path to its owner: `up`, `degraded`, `suspect`, `down`, `connecting`.
    #[serde(default)]
    pub health: Option<String>,
    /// Seconds in its state.
    #[serde(default)]
    pub since_s: Option<f64>,
}

/// One attached WireGuard device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientStatus {
    /// Name given at `client add`.
    pub name: String,
    /// Its IPv4 address in the mesh.
    pub address: IpAddr,
    /// Its IPv6 address in the mesh.
    #[serde(default)]
    pub address_v6: Option<Ipv6Addr>,
    /// Where its packets come from.
    pub endpoint: Option<SocketAddr>,
    /// Seconds since the last handshake.
    pub last_handshake_s: Option<f64>,
    /// Bytes sent to it.
    pub tx_bytes: u64,
    /// Bytes received from it.
    pub rx_bytes: u64,
}

/// `GET /v1/peers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peers {
    /// Shown name of this node.
    pub node: String,
    /// Public key of this node.
    pub id: String,
    /// The others.
    pub peers: Vec<PeerStatus>,
    /// Records that arrived and do not count.
    pub rejected: Vec<RejectedRecord>,
}

/// A record that does not count, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RejectedRecord {
    /// The name in it, if one could be read.
    pub name: Option<String>,
    /// The node's id, or where the record came from if none could be read.
    pub source: String,
    /// Label of the reason, as in `meshnode_gossip_rejected_total`.
    pub reason: String,
    /// How many came.
    pub count: u64,
    /// Seconds since the last one.
    pub last_s: f64,
}

/// `GET /v1/routes`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Routes {
    /// Every known prefix of the mesh.
    pub routes: Vec<RouteStatus>,
}

/// `GET /v1/clients`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Clients {
    /// The attached devices.
    pub clients: Vec<ClientStatus>,
}

/// `POST /v1/invite`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteRequest {
    /// Prefixes the invited may announce; empty: whatever it asks for, inside what this node delegates.
    pub cidrs: Vec<IpNet>,
    /// True if the invited may invite others.
    pub inviter: bool,
    /// Within which prefixes it may; empty with `inviter`: within all that this node may.
    pub delegate: Vec<IpNet>,
    /// How many nodes may use the token; 0: any number, admitted by any member with the right.
    pub uses: u32,
    /// How long the token is good, in seconds.
    pub ttl_s: u64,
    /// A name bound to the invited node.
    pub name: Option<String>,
}

/// The token and what it says. The only answer that carries a secret.
#[derive(Clone, Serialize, Deserialize)]
pub struct InviteAnswer {
    /// `mesh1_…`
    pub token: String,
    /// Its serial, for `revoke --token`.
    pub serial: String,
    /// Where the invited will knock.
    pub seeds: Vec<String>,
    /// When it ends: Unix milliseconds.
    pub expires_ms: u64,
}

/// `POST /v1/grant`: more prefixes for a node that is a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRequest {
    /// The node's id, 64 hex digits.
    pub node: String,
    /// What it may announce from now on, beside what it already may.
    pub cidrs: Vec<IpNet>,
}

/// What the node may announce now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantAnswer {
    /// Shown name.
    pub name: String,
    /// All prefixes that it may announce.
    pub cidrs: Vec<IpNet>,
    /// When the grant ends: Unix milliseconds.
    pub expires_ms: u64,
}

/// `POST /v1/revoke`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeRequest {
    /// What ends.
    pub target: RevokeTarget,
    /// True if all that were admitted by the target end with it.
    pub descendants: bool,
}

/// What a revocation ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevokeTarget {
    /// A node, by its id.
    Node(String),
    /// A token, by its serial.
    Token(String),
}

/// What ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeAnswer {
    /// How many of the known nodes it hits.
    pub nodes: u32,
}

/// `POST /v1/cidr`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CidrRequest {
    /// Announces the prefix from now on, also after a restart.
    Add {
        /// The prefix.
        prefix: IpNet,
        /// Among owners of one prefix the highest wins; 100 unless said.
        priority: Option<u16>,
    },
    /// Withdraws it.
    Remove {
        /// The prefix.
        prefix: IpNet,
    },
}

/// What is announced now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CidrAnswer {
    /// False if it already was so.
    pub changed: bool,
    /// All that this node announces.
    pub cidrs: Vec<IpNet>,
}

/// `POST /v1/reload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadAnswer {
    /// Settings that changed and are in force.
    pub applied: Vec<String>,
    /// Settings that changed and need a restart.
    pub restart_needed: Vec<String>,
}

/// `POST /v1/drain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRequest {
    /// True: the others are asked to send elsewhere; false: here again.
    pub drained: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainAnswer {
    /// False if it already was so.
    pub changed: bool,
    /// How many connected peers were told.
    pub told: u32,
    /// Whether packets of the others stopped; `None` where no other node serves the same.
    pub quiet: Option<bool>,
}

/// `POST /v1/leave`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaveAnswer {
    /// How many connected peers were told.
    pub told: u32,
    /// The authority key that was kept, if this was the founder.
    pub kept: Option<String>,
}

/// `POST /v1/ping`: one probe inside the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PingRequest {
    /// The node's id, 64 hex digits.
    pub node: String,
    /// How long to wait for the answer, in milliseconds.
    pub timeout_ms: u64,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PingAnswer {
    /// The round trip; `None` if nothing came back in time.
    pub rtt_ms: Option<f64>,
    /// Why nothing came back, if that is known.
    pub error: Option<String>,
}

/// `POST /v1/guard/clear`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardAnswer {
    /// The guards that were removed.
    pub cleared: Vec<IpNet>,
}

/// `POST /v1/clients`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientAddRequest {
    /// The device's name.
    pub name: String,
}

/// A wg-quick configuration. Holds the device's private key.
#[derive(Clone, Serialize, Deserialize)]
pub struct ClientConfig {
    /// The device's name.
    pub name: String,
    /// The text of its `wg0.conf`.
    pub config: String,
}

/// `DELETE /v1/clients/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRemoved {
    /// The device's name.
    pub name: String,
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What was refused and why.
    pub error: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}
