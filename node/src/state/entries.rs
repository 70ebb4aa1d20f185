//! The small JSON files: what is announced, who is attached, what of the kernel's is ours.

use std::fs::DirBuilder;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::DirBuilderExt;

use ipnet::IpNet;
use meshnode_crypto::Name;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::adapt::netlink::Owned;

use super::StateDir;
use super::atomic;
use super::error::StateError;
use super::keys::{self, Seed};

/// Priority of a prefix unless said otherwise.
pub const DEFAULT_PRIORITY: u16 = 100;

/// `announced.json`: what `init`, `join` and `cidr add` were given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// The node's name, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// The prefixes, each once.
    #[serde(default)]
    pub prefixes: Vec<Announcement>,
    /// Whether the node was drained and not undrained since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
}

/// One announced prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The prefix.
    pub prefix: IpNet,
    /// Among owners of one prefix the highest wins.
    pub priority: u16,
}

impl Announcement {
    /// A prefix at the usual priority.
    pub fn usual(prefix: IpNet) -> Announcement {
        Announcement {
            prefix,
            priority: DEFAULT_PRIORITY,
        }
    }
}

/// One line of `clients.json`: an attached WireGuard device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientEntry {
    /// Its name.
    pub name: Name,
    /// Its WireGuard public key, base64.
    pub public_key: String,
    /// Its address from the node's pool, if the node has one.
    pub address_v4: Option<Ipv4Addr>,
    /// Its address in the mesh's ULA.
    pub address_v6: Ipv6Addr,
    /// When it was added: Unix milliseconds.
    pub added_ms: u64,
}

impl StateDir {
    /// What was announced; nothing if never.
    pub fn announced(&self) -> Result<Announced, StateError> {
        self.json("announced.json")
    }

    /// Replaces it.
    pub fn set_announced(&self, announced: &Announced) -> Result<(), StateError> {
        self.set_json("announced.json", announced)
    }

    /// The attached devices.
    pub fn clients(&self) -> Result<Vec<ClientEntry>, StateError> {
        self.json("clients.json")
    }

    /// Replaces the list.
    pub fn set_clients(&self, clients: &[ClientEntry]) -> Result<(), StateError> {
        self.set_json("clients.json", &clients)
    }

    /// The private key made for a device, if it is kept.
    pub fn client_secret(&self, name: &Name) -> Result<Option<Seed>, StateError> {
        keys::read(&self.file(&format!("clients/{name}.key")))
    }

    /// Keeps it, so that `client show` can print the configuration again.
    pub fn set_client_secret(&self, name: &Name, secret: &[u8; 32]) -> Result<(), StateError> {
        let directory = self.file("clients");
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(StateError::io("make", &directory)(error));
            }
            _ => {}
        }
        keys::write_seed(&self.file(&format!("clients/{name}.key")), secret)
    }

    /// Forgets it.
    pub fn forget_client_secret(&self, name: &Name) -> Result<(), StateError> {
        let file = self.file(&format!("clients/{name}.key"));
        atomic::remove(&file).map_err(StateError::io("remove", &file))
    }

    /// What of the kernel's is ours.
    pub fn owned(&self) -> Result<Owned, StateError> {
        self.json("owned.json")
    }

    fn json<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, StateError> {
        let file = self.file(name);
        match self.read(name).map_err(StateError::io("read", &file))? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| StateError::corrupt(&file, error)),
            None => Ok(T::default()),
        }
    }

    fn set_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), StateError> {
        let file = self.file(name);
        let mut bytes =
            serde_json::to_vec_pretty(value).map_err(|error| StateError::corrupt(&file, error))?;
        bytes.push(b'\n');
        self.write(name, &bytes)
    }
}
