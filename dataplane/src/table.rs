//! What the data plane should do, as one immutable snapshot.
//!
//! The node composes a [`Table`] whenever its view changes; [`Table::compile`] turns it into tries and dense indices once,
//! away from the packet path; lanes take the result between two batches. A lane never changes a table.

use crate::check::{Check, MAX_CHECKS};
use crate::flow::balance;
use crate::lpm::{LongestPrefix, PrefixSet};
use crate::relay::RelayPolicy;
use ipnet::IpNet;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use zeroize::Zeroizing;

/// A node's ed25519 key, or a client's WireGuard key.
pub type PeerId = [u8; 32];

/// Most endpoint candidates kept of one peer.
pub const MAX_ENDPOINTS: usize = 16;

/// One WireGuard key pair of ours.
#[derive(Clone, PartialEq, Eq)]
pub struct LaneSecret {
    /// X25519 scalar.
    pub private: Zeroizing<[u8; 32]>,
    /// Its public key.
    pub public: [u8; 32],
}

impl fmt::Debug for LaneSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LaneSecret({:02x?}…)", &self.public[..4])
    }
}

/// Our WireGuard keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// The current epoch's key of each lane.
    pub lanes: Vec<LaneSecret>,
    /// Keys of the epoch before, for peers that do not know the new ones yet.
    pub previous: Vec<LaneSecret>,
    /// The stable key that clients see.
    pub client: Option<LaneSecret>,
}

/// What kind of peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerKind {
    /// Another node: uses our lane keys, is probed, is kept warm.
    Node,
    /// A stock WireGuard device attached to this node: uses our client key.
    Client,
}

/// By which rules packets pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// A node of a mesh: both ends of every packet are checked, clients are forwarded for.
    #[default]
    Mesh,
    /// A plain WireGuard device: the routes say which peer a packet goes to, and whose packet may come from where.
    Device,
}

/// How large packets may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MtuPolicy {
    /// Largest outer packet that this host's own links take. Bytes.
    pub link: u16,
    /// Largest inner packet wanted, whatever paths carry. Bytes.
    pub most: u16,
    /// Largest inner packet to a client, whose path answers no probes; its outer packets may be fragmented. Bytes.
    pub clients: u16,
}

impl Default for MtuPolicy {
    fn default() -> MtuPolicy {
        MtuPolicy {
            link: u16::MAX,
            most: u16::MAX,
            clients: CLIENT_MTU,
        }
    }
}

/// What fits Ethernet in every version of IP: WireGuard's usual MTU.
pub const CLIENT_MTU: u16 = 1_420;

/// One peer that should have a tunnel.
#[derive(Clone)]
pub struct Peer {
    /// Who.
    pub id: PeerId,
    /// Node or client.
    pub kind: PeerKind,
    /// Where its probes come from and go to; clients have none.
    pub mesh_address: Option<Ipv6Addr>,
    /// Its WireGuard public key of each lane; a client has one.
    pub lanes: Vec<[u8; 32]>,
    /// Where it may be reached, best first; at most [`MAX_ENDPOINTS`] are used.
    pub endpoints: Vec<SocketAddr>,
    /// How often an operator said where it is: when this grows, the first endpoint replaces what the peer has proven.
    pub endpoint_set: u64,
    /// Inner sources accepted from it; a plain device goes by the routes instead.
    pub sources: Vec<IpNet>,
    /// Mixed into the handshake.
    pub preshared_key: Option<Zeroizing<[u8; 32]>>,
    /// Send something at least this often.
    pub keepalive: Option<Duration>,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("id", &format_args!("{:02x?}…", &self.id[..4]))
            .field("kind", &self.kind)
            .field("endpoints", &self.endpoints)
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}

/// Where packets for a prefix go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To one peer.
    Peer(PeerId),
    /// To one of several, each flow always to the same.
    Balanced(Vec<PeerId>),
    /// Nowhere: nobody can take them, and no wider prefix may.
    Drop,
}

impl From<PeerId> for Target {
    fn from(peer: PeerId) -> Target {
        Target::Peer(peer)
    }
}

/// What the data plane should do.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Grows with every table; what was planned under another epoch is planned again.
    pub epoch: u64,
    /// By which rules packets pass.
    pub forwarding: Forwarding,
    /// Our own mesh address, where probes are answered.
    pub mesh_address: Option<Ipv6Addr>,
    /// How large packets may be.
    pub mtu: MtuPolicy,
    /// Inner destinations accepted for this node: own prefixes and the own mesh address.
    pub local: Vec<IpNet>,
    /// All peers.
    pub peers: Vec<Peer>,
    /// Who serves each prefix; the first of two equal prefixes counts.
    pub routes: Vec<(IpNet, Target)>,
    /// Our keys.
    pub keys: Keys,
    /// Addresses whose QUIC has its own queue.
    pub member_addresses: Vec<IpAddr>,
    /// Targets behind peers that this node asks for an answer; at most [`MAX_CHECKS`], and of two of one peer and target the
    /// first counts.
    pub checks: Vec<Check>,
    /// What this node relays for others.
    pub relay: RelayPolicy,
    /// Peers that relay for others.
    pub relays: BTreeSet<PeerId>,
}

impl Table {
    /// Builds the tries and indices. Routes to peers that are not in the table are left out; of two peers with one id the
    /// first counts.
    pub fn compile(self) -> CompiledTable {
        let mut index = BTreeMap::new();
        let mut peers = Vec::with_capacity(self.peers.len());
        for peer in self.peers {
            if let Entry::Vacant(free) = index.entry(peer.id) {
                free.insert(peers.len() as u32);
                peers.push(CompiledPeer::new(peer));
            }
        }
        let (mut routes, mut groups) = (LongestPrefix::default(), Groups::default());
        for (prefix, target) in &self.routes {
            if let Some(hop) = groups.hop(target, &index) {
                routes.insert_first(*prefix, hop);
            }
        }
        CompiledTable {
            epoch: self.epoch,
            forwarding: self.forwarding,
            mtu: self.mtu,
            mesh_address: self.mesh_address,
            local: self.local.into_iter().collect(),
            clients: client_routes(&peers),
            peers,
            routes,
            groups: groups.all,
            keys: self.keys,
            members: self
                .member_addresses
                .into_iter()
                .map(|ip| ip.to_canonical())
                .collect(),
            checks: checks(self.checks, &index),
            index,
            relay: self.relay,
            relays: self.relays,
        }
    }
}

/// Where packets for a prefix go, in the indices of a compiled table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// To this peer.
    Peer(u32),
    /// To one of this group, by flow: [`CompiledTable::pick`].
    Group(u32),
    /// Nowhere.
    Drop,
}

/// Peers that share flows: index, and what their draws begin with.
type Group = Vec<(u32, u64)>;

/// Equal groups are one: ten thousand prefixes behind one pair are one group.
#[derive(Default)]
struct Groups {
    all: Vec<Group>,
    known: BTreeMap<Vec<u32>, u32>,
}

impl Groups {
    /// `None`: of its peers none is in the table.
    fn hop(&mut self, target: &Target, index: &BTreeMap<PeerId, u32>) -> Option<Hop> {
        match target {
            Target::Peer(id) => index.get(id).copied().map(Hop::Peer),
            Target::Balanced(ids) => self.group(ids, index),
            Target::Drop => Some(Hop::Drop),
        }
    }

    fn group(&mut self, ids: &[PeerId], index: &BTreeMap<PeerId, u32>) -> Option<Hop> {
        let group: Group = ids
            .iter()
            .filter_map(|id| Some((*index.get(id)?, balance::seed(id))))
            .collect();
        if let [] | [_] = group[..] {
            return group.first().map(|(peer, _)| Hop::Peer(*peer));
        }
        let peers = group.iter().map(|(peer, _)| *peer).collect();
        let number = *self.known.entry(peers).or_insert(self.all.len() as u32);
        if number as usize == self.all.len() {
            self.all.push(group);
        }
        Some(Hop::Group(number))
    }
}

fn checks(mut wanted: Vec<Check>, index: &BTreeMap<PeerId, u32>) -> Vec<Check> {
    let mut seen = BTreeSet::new();
    wanted.retain(|check| {
        index.contains_key(&check.owner)
            && seen.len() < MAX_CHECKS
            && seen.insert((check.owner, check.target))
    });
    wanted
}

fn client_routes(peers: &[CompiledPeer]) -> LongestPrefix<u32> {
    let mut clients = LongestPrefix::default();
    for (i, peer) in peers
        .iter()
        .enumerate()
        .filter(|(_, p)| p.peer.kind == PeerKind::Client)
    {
        for prefix in &peer.peer.sources {
            clients.insert_first(*prefix, i as u32);
        }
    }
    clients
}

/// A peer with its sources as a trie.
#[derive(Clone, Debug)]
pub struct CompiledPeer {
    /// The peer as the table gave it, with at most [`MAX_ENDPOINTS`] endpoints.
    pub peer: Peer,
    sources: PrefixSet,
}

impl CompiledPeer {
    fn new(mut peer: Peer) -> CompiledPeer {
        peer.endpoints.truncate(MAX_ENDPOINTS);
        let sources = peer.sources.iter().copied().collect();
        CompiledPeer { peer, sources }
    }

    /// Whether a packet from this peer may carry this inner source.
    pub fn may_use(&self, source: IpAddr) -> bool {
        self.sources.contains(source)
    }
}

/// A [`Table`] ready for lookups: immutable, shared by all lanes.
#[derive(Clone, Debug, Default)]
pub struct CompiledTable {
    epoch: u64,
    forwarding: Forwarding,
    mtu: MtuPolicy,
    mesh_address: Option<Ipv6Addr>,
    peers: Vec<CompiledPeer>,
    keys: Keys,
    index: BTreeMap<PeerId, u32>,
    local: PrefixSet,
    routes: LongestPrefix<Hop>,
    groups: Vec<Group>,
    clients: LongestPrefix<u32>,
    members: BTreeSet<IpAddr>,
    relay: RelayPolicy,
    relays: BTreeSet<PeerId>,
    checks: Vec<Check>,
}

impl CompiledTable {
    /// The epoch of the table it was made of.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// By which rules packets pass.
    pub fn forwarding(&self) -> Forwarding {
        self.forwarding
    }

    /// Our own mesh address.
    pub fn mesh_address(&self) -> Option<Ipv6Addr> {
        self.mesh_address
    }

    /// How large packets may be.
    pub fn mtu(&self) -> MtuPolicy {
        self.mtu
    }

    /// What this node relays for others.
    pub fn relay(&self) -> RelayPolicy {
        self.relay
    }

    /// The targets that are checked.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Whether a peer relays for others.
    pub fn relays(&self, peer: &PeerId) -> bool {
        self.relays.contains(peer)
    }

    /// Our keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// All peers, in the order of their indices.
    pub fn peers(&self) -> &[CompiledPeer] {
        &self.peers
    }

    /// Whether QUIC from this address has the members' queue.
    pub fn is_member_address(&self, address: IpAddr) -> bool {
        self.members.contains(&address.to_canonical())
    }

    /// Whether an inner destination is this node's: own prefixes and mesh address.
    pub fn is_local(&self, destination: IpAddr) -> bool {
        self.local.contains(destination)
    }

    /// The longest prefix that holds a destination.
    pub fn matched(&self, destination: IpAddr) -> Option<IpNet> {
        self.routes.longest(destination)
    }

    /// The peers of a group, by their indices in this table.
    pub fn group(&self, group: u32) -> Vec<u32> {
        let group = self.groups.get(group as usize);
        group.into_iter().flatten().map(|(peer, _)| *peer).collect()
    }

    /// Who serves a destination, by longest prefix.
    pub fn route(&self, destination: IpAddr) -> Option<Hop> {
        self.routes.get(destination).copied()
    }

    /// The peer of a group that takes a flow: its index in this table.
    pub fn pick(&self, group: u32, flow: u64) -> Option<u32> {
        let group = self.groups.get(group as usize)?;
        let place = balance::pick(flow, group.iter().map(|(_, seed)| *seed));
        group.get(place).map(|(peer, _)| *peer)
    }

    /// The own client that has this address: its index in this table.
    pub fn client(&self, destination: IpAddr) -> Option<u32> {
        if self.clients.is_empty() {
            None
        } else {
            self.clients.get(destination).copied()
        }
    }

    /// The index of a peer.
    pub fn peer_index(&self, id: &PeerId) -> Option<u32> {
        self.index.get(id).copied()
    }

    /// The id of the peer at an index, for which this table gave the index.
    pub fn peer_id(&self, index: u32) -> Option<PeerId> {
        self.peers.get(index as usize).map(|p| p.peer.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: u8, kind: PeerKind, sources: &[&str]) -> Peer {
        Peer {
            id: [id; 32],
            kind,
            mesh_address: None,
            lanes: vec![[id; 32]],
            endpoints: vec![],
            endpoint_set: 0,
            sources: sources.iter().map(|s| s.parse().unwrap()).collect(),
            preshared_key: None,
            keepalive: None,
        }
    }

    #[test]
    fn the_longest_prefix_wins_and_a_route_to_nobody_is_left_out() {
        let table = Table {
            peers: vec![
                peer(1, PeerKind::Node, &["10.0.0.0/8"]),
                peer(2, PeerKind::Node, &[]),
            ],
            routes: vec![
                ("10.0.0.0/8".parse().unwrap(), [1; 32].into()),
                ("10.1.0.0/16".parse().unwrap(), [2; 32].into()),
                ("10.1.2.0/24".parse().unwrap(), [9; 32].into()),
                ("10.0.0.0/8".parse().unwrap(), [2; 32].into()),
            ],
            ..Table::default()
        }
        .compile();
        let via = |a: &str| match table.route(a.parse().unwrap()) {
            Some(Hop::Peer(index)) => table.peer_id(index),
            _ => None,
        };
        assert_eq!(via("10.9.9.9"), Some([1; 32]));
        assert_eq!(via("10.1.2.3"), Some([2; 32]));
        assert_eq!(via("11.0.0.1"), None);
    }

    #[test]
    fn equal_groups_are_one_and_a_group_of_one_is_that_peer() {
        let both = || Target::Balanced(vec![[1; 32], [2; 32]]);
        let table = Table {
            peers: vec![peer(1, PeerKind::Node, &[]), peer(2, PeerKind::Node, &[])],
            routes: vec![
                ("10.1.0.0/16".parse().unwrap(), both()),
                ("10.2.0.0/16".parse().unwrap(), both()),
                (
                    "10.3.0.0/16".parse().unwrap(),
                    Target::Balanced(vec![[2; 32], [9; 32]]),
                ),
                ("10.4.0.0/16".parse().unwrap(), Target::Balanced(vec![[9; 32]])),
                ("10.1.7.0/24".parse().unwrap(), Target::Drop),
            ],
            ..Table::default()
        }
        .compile();
        let hop = |a: &str| table.route(a.parse().unwrap());
        assert_eq!(hop("10.1.0.1"), Some(Hop::Group(0)));
        assert_eq!(hop("10.2.0.1"), Some(Hop::Group(0)));
        assert_eq!(hop("10.3.0.1"), Some(Hop::Peer(1)));
        assert_eq!(hop("10.4.0.1"), None);
        assert_eq!(hop("10.1.7.1"), Some(Hop::Drop));
        let picked: BTreeSet<_> = (0..64).map(|flow| table.pick(0, flow)).collect();
        assert_eq!(picked, BTreeSet::from([Some(0), Some(1)]));
    }

    #[test]
    fn a_target_is_checked_once_behind_a_peer_of_the_table_and_there_is_a_cap() {
        let check = |owner: u8, port: u16| Check {
            owner: [owner; 32],
            target: crate::check::CheckTarget::Tcp(([10, 0, 0, 5], port).into()),
            source: [10, 9, 0, 1].into(),
            seed: u64::from(owner),
        };
        let many = (0..2_000).map(|port| check(1, port));
        let table = Table {
            peers: vec![peer(1, PeerKind::Node, &[])],
            checks: [check(9, 1), check(1, 1), check(1, 1)]
                .into_iter()
                .chain(many)
                .collect(),
            ..Table::default()
        }
        .compile();
        assert_eq!(table.checks().len(), MAX_CHECKS);
        assert_eq!(table.checks()[0], check(1, 1));
        let ports: BTreeSet<_> = table.checks().iter().map(|check| check.target).collect();
        assert_eq!(ports.len(), MAX_CHECKS);
    }

    #[test]
    fn only_clients_are_reached_as_clients() {
        let table = Table {
            peers: vec![
                peer(1, PeerKind::Node, &["100.96.0.0/12"]),
                peer(2, PeerKind::Client, &["100.96.0.2/32"]),
            ],
            ..Table::default()
        }
        .compile();
        assert_eq!(table.client("100.96.0.2".parse().unwrap()), Some(1));
        assert_eq!(table.client("100.96.0.3".parse().unwrap()), None);
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let mut p = peer(1, PeerKind::Node, &[]);
        p.preshared_key = Some(Zeroizing::new([0xab; 32]));
        let secret = LaneSecret {
            private: Zeroizing::new([0xcd; 32]),
            public: [1; 32],
        };
        let shown = format!("{p:?} {secret:?}");
        assert!(
            !shown.contains("171")
                && !shown.contains("205")
                && !shown.contains("cd")
                && !shown.contains("ab,")
        );
    }
}
