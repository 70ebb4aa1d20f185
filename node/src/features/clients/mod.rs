//! Stock WireGuard devices attached to this node.
//!
//! A client gets an IPv4 address from the node's pool and an IPv6 address from the node's /112, and a
//! tunnel of its own under the node's stable client key. To the other members its addresses are this
//! node's: they route the pool here and accept it as a source from here.

mod allocate;
mod config;

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use meshnode_crypto::{Name, UnixMillis, WgPublicKey};
use meshnode_dataplane::table::{Peer, PeerKind};
use meshnode_membership::view::View;

pub use config::{ConfigInput, render};

use super::Feature;
use crate::desired::{Desired, KernelRoute, MESH_METRIC};
use crate::state::ClientEntry;

/// Most clients of one node: what a /24 holds.
pub const MAX_CLIENTS: usize = 250;

/// Why a client cannot be added or found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The name is taken.
    #[error("there is already a client {0}")]
    Exists(Name),
    /// No client has that name.
    #[error("there is no client {0}")]
    Unknown(Name),
    /// All addresses are taken.
    #[error("this node has {MAX_CLIENTS} clients, and no address for another")]
    Full,
}

/// The attached devices.
#[derive(Debug, Clone)]
pub struct Clients {
    entries: Vec<ClientEntry>,
    pool: Option<Ipv4Net>,
    prefix_v6: Ipv6Net,
}

impl Clients {
    /// The clients of a node with these pools, as they were stored.
    pub fn new(entries: Vec<ClientEntry>, pool: Option<Ipv4Net>, prefix_v6: Ipv6Net) -> Clients {
        Clients {
            entries,
            pool,
            prefix_v6: prefix_v6.trunc(),
        }
    }

    /// All of them, in the order in which they were added.
    pub fn entries(&self) -> &[ClientEntry] {
        &self.entries
    }

    /// The one of that name.
    pub fn get(&self, name: &Name) -> Result<&ClientEntry, ClientError> {
        self.entries
            .iter()
            .find(|c| c.name == *name)
            .ok_or_else(|| ClientError::Unknown(name.clone()))
    }

    /// Gives addresses to a new device. `node` is the node's own mesh address, which lies in the same /112.
    pub fn add(
        &mut self,
        name: &Name,
        key: WgPublicKey,
        node: std::net::Ipv6Addr,
        now: UnixMillis,
    ) -> Result<ClientEntry, ClientError> {
        if self.get(name).is_ok() {
            return Err(ClientError::Exists(name.clone()));
        }
        if self.entries.len() >= MAX_CLIENTS {
            return Err(ClientError::Full);
        }
        let entry = ClientEntry {
            name: name.clone(),
            public_key: key.to_string(),
            address_v4: self.free_v4()?,
            address_v6: allocate::v6(self.prefix_v6, &key, |a| {
                a == node || self.entries.iter().any(|c| c.address_v6 == a)
            }),
            added_ms: now.0,
        };
        self.entries.push(entry.clone());
        Ok(entry)
    }

    /// Forgets a device.
    pub fn remove(&mut self, name: &Name) -> Result<ClientEntry, ClientError> {
        let found = self.entries.iter().position(|c| c.name == *name);
        found
            .map(|at| self.entries.remove(at))
            .ok_or_else(|| ClientError::Unknown(name.clone()))
    }

    fn free_v4(&self) -> Result<Option<std::net::Ipv4Addr>, ClientError> {
        let Some(pool) = self.pool else { return Ok(None) };
        let taken = |a| self.entries.iter().any(|c| c.address_v4 == Some(a));
        allocate::v4(pool, taken).map(Some).ok_or(ClientError::Full)
    }

    fn peers(&self) -> impl Iterator<Item = Peer> + '_ {
        self.entries.iter().filter_map(|entry| {
            let key: WgPublicKey = entry.public_key.parse().ok()?;
            Some(peer(entry, key))
        })
    }
}

/// What packets of a client may come from, and what goes to it.
pub fn addresses(entry: &ClientEntry) -> Vec<IpNet> {
    let v4 = entry.address_v4.map(IpAddr::V4);
    v4.into_iter()
        .chain([IpAddr::V6(entry.address_v6)])
        .map(IpNet::from)
        .collect()
}

fn peer(entry: &ClientEntry, key: WgPublicKey) -> Peer {
    Peer {
        id: *key.as_bytes(),
        kind: PeerKind::Client,
        mesh_address: None,
        lanes: vec![*key.as_bytes()],
        endpoints: Vec::new(),
        endpoint_set: 0,
        sources: addresses(entry),
        preshared_key: None,
        keepalive: None,
    }
}

impl Feature for Clients {
    fn name(&self) -> &'static str {
        "clients"
    }

    /// A renewed grant may bring another pool; addresses that were given stay until the client is removed.
    fn on_view(&mut self, view: &View, _now: UnixMillis) {
        if let Some(own) = &view.own {
            self.pool = own.client_pool;
        }
    }

    /// A tunnel for each client, and both pools into the TUN as long as there is one.
    fn desired(&self, desired: &mut Desired) {
        desired.peers.extend(self.peers());
        if self.entries.is_empty() {
            return;
        }
        desired.kernel.routes.push(KernelRoute {
            prefix: IpNet::V6(self.prefix_v6),
            metric: MESH_METRIC,
            source_hint: None,
        });
        if let Some(pool) = self.pool.map(IpNet::V4) {
            desired.kernel.routes.push(KernelRoute {
                prefix: pool,
                metric: MESH_METRIC,
                source_hint: desired.source_hint_v4,
            });
            desired.kernel.guards.insert(pool);
            desired.guarded.insert(pool);
        }
        desired.kernel.routes.sort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients() -> Clients {
        Clients::new(
            Vec::new(),
            Some("100.96.7.0/24".parse().unwrap()),
            "fd00::5:0/112".parse().unwrap(),
        )
    }

    fn add(clients: &mut Clients, n: u8) -> Result<ClientEntry, ClientError> {
        let name = Name::parse(&format!("c{n}")).unwrap();
        let key = WgPublicKey::from_bytes([n; 32]);
        clients.add(&name, key, "fd00::5:aaaa".parse().unwrap(), UnixMillis(7))
    }

    #[test]
    fn each_client_has_addresses_of_its_own_from_the_pools() {
        let mut clients = clients();
        let (one, two) = (add(&mut clients, 1).unwrap(), add(&mut clients, 2).unwrap());
        assert_ne!(one.address_v4, two.address_v4);
        assert_ne!(one.address_v6, two.address_v6);
        assert!(clients.pool.unwrap().contains(&one.address_v4.unwrap()));
        assert!(clients.prefix_v6.contains(&one.address_v6));
    }

    #[test]
    fn removed_client_leaves_no_tunnel_and_its_address_is_free_again() {
        let mut clients = clients();
        let one = add(&mut clients, 1).unwrap();
        clients.remove(&one.name).unwrap();
        let mut desired = Desired::default();
        clients.desired(&mut desired);
        assert!(desired.peers.is_empty() && desired.kernel.routes.is_empty());
        assert_eq!(add(&mut clients, 3).unwrap().address_v4, one.address_v4);
        assert_eq!(clients.remove(&one.name), Err(ClientError::Unknown(one.name)));
    }

    #[test]
    fn one_name_names_one_client() {
        let mut clients = clients();
        add(&mut clients, 1).unwrap();
        assert!(matches!(add(&mut clients, 1), Err(ClientError::Exists(_))));
    }

    #[test]
    fn a_full_pool_refuses() {
        let mut clients = clients();
        (0..250).for_each(|n| drop(add(&mut clients, n).unwrap()));
        assert_eq!(add(&mut clients, 251), Err(ClientError::Full));
    }

    #[test]
    fn tunnels_accept_only_the_clients_own_addresses() {
        let mut clients = clients();
        let one = add(&mut clients, 1).unwrap();
        let mut desired = Desired::default();
        clients.desired(&mut desired);
        assert_eq!(desired.peers[0].sources, addresses(&one));
        assert_eq!(desired.peers[0].kind, PeerKind::Client);
        assert_eq!(desired.kernel.routes.len(), 2);
    }
}
