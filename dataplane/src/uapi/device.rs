//! A plain WireGuard device as its owner configured it: takes changes, becomes a [`Table`], is shown by `wg`.

use super::UapiError;
use super::change::{Change, PeerChange, Sign};
use super::view::{DeviceView, PeerView};
use crate::stats::Stats;
use crate::table::{Forwarding, Keys, LaneSecret, MtuPolicy, Peer, PeerKind, Table};
use crate::tunnel;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use zeroize::Zeroizing;

/// Most peers: each that talks has a tunnel of 11 KB.
const MAX_PEERS: usize = 1 << 16;

/// Most allowed prefixes of all peers: what one request can make us hold has a bound.
const MAX_PREFIXES: usize = 1 << 20;

type PublicKey = [u8; 32];

/// What a device should be.
#[derive(Clone, Default)]
pub struct DeviceConfig {
    key: Option<LaneSecret>,
    /// The port that was asked for, or that the kernel chose instead of 0.
    pub listen_port: u16,
    /// Mark of the sockets' packets; 0 for none.
    pub mark: u32,
    peers: BTreeMap<PublicKey, PeerConfig>,
    /// Whose each allowed prefix is: nobody else's.
    owners: BTreeMap<IpNet, PublicKey>,
    endpoints_set: u64,
    epoch: u64,
}

#[derive(Clone, Default)]
struct PeerConfig {
    preshared_key: Option<Zeroizing<[u8; 32]>>,
    endpoint: Option<SocketAddr>,
    endpoint_set: u64,
    keepalive: u16,
}

impl DeviceConfig {
    /// The device after `changes`; `self` stays as it is.
    pub fn after(&self, changes: Vec<Change>) -> Result<DeviceConfig, UapiError> {
        let mut next = self.clone();
        next.epoch += 1;
        for change in changes {
            next.change(change);
        }
        if next.peers.len() > MAX_PEERS || next.owners.len() > MAX_PREFIXES {
            return Err(UapiError::TooMany {
                peers: MAX_PEERS,
                prefixes: MAX_PREFIXES,
            });
        }
        Ok(next)
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::PrivateKey(key) => self.set_key(key),
            Change::ListenPort(port) => self.listen_port = port,
            Change::Mark(mark) => self.mark = mark,
            Change::ReplacePeers => {
                self.peers.clear();
                self.owners.clear();
            }
            Change::Peer(peer) => self.change_peer(peer),
        }
    }

    /// A device is no peer of itself.
    fn set_key(&mut self, private: Option<Zeroizing<[u8; 32]>>) {
        self.key = private.map(tunnel::secret);
        if let Some(own) = self.key.as_ref().map(|key| key.public) {
            self.remove(&own);
        }
    }

    fn change_peer(&mut self, change: PeerChange) {
        let id = change.public_key;
        let known = self.peers.contains_key(&id);
        if self.key.as_ref().is_some_and(|key| key.public == id) || (change.update_only && !known) {
            return;
        }
        if change.remove {
            return self.remove(&id);
        }
        if change.replace_allowed_ips && known {
            self.owners.retain(|_, owner| *owner != id);
        }
        for (sign, prefix) in change.allowed_ips {
            match sign {
                Sign::Add => drop(self.owners.insert(prefix, id)),
                Sign::Remove if self.owners.get(&prefix) == Some(&id) => drop(self.owners.remove(&prefix)),
                Sign::Remove => {}
            }
        }
        let peer = self.peers.entry(id).or_default();
        if let Some(key) = change.preshared_key {
            peer.preshared_key = key;
        }
        if let Some(seconds) = change.keepalive {
            peer.keepalive = seconds;
        }
        if let Some(endpoint) = change.endpoint {
            self.endpoints_set += 1;
            (peer.endpoint, peer.endpoint_set) = (Some(endpoint), self.endpoints_set);
        }
    }

    fn remove(&mut self, id: &PublicKey) {
        if self.peers.remove(id).is_some() {
            self.owners.retain(|_, owner| owner != id);
        }
    }

    /// What the data plane should do.
    pub fn table(&self) -> Table {
        Table {
            epoch: self.epoch,
            forwarding: Forwarding::Device,
            // Its owner sets the MTU of the interface: what comes from there is meant to be sent.
            mtu: MtuPolicy {
                clients: u16::MAX,
                ..MtuPolicy::default()
            },
            peers: self.peers.iter().map(|(id, peer)| peer.as_peer(*id)).collect(),
            routes: self
                .owners
                .iter()
                .map(|(prefix, owner)| (*prefix, (*owner).into()))
                .collect(),
            keys: Keys {
                client: self.key.clone(),
                ..Keys::default()
            },
            ..Table::default()
        }
    }

    /// What `get=1` answers, secrets included. `since_1970`: now.
    pub fn view(&self, stats: &Stats, since_1970: Duration) -> DeviceView {
        let mut prefixes: BTreeMap<PublicKey, Vec<IpNet>> = BTreeMap::new();
        for (prefix, owner) in &self.owners {
            prefixes.entry(*owner).or_default().push(*prefix);
        }
        let peers = self.peers.iter().map(|(id, peer)| {
            let measured = stats.peers.get(id).cloned().unwrap_or_default();
            PeerView {
                public_key: *id,
                preshared_key: Some(peer.preshared_key.clone().unwrap_or_default()),
                endpoint: measured.endpoint.or(peer.endpoint),
                last_handshake: measured.last_handshake.map(|ago| since_1970.saturating_sub(ago)),
                rx_bytes: measured.rx_bytes,
                tx_bytes: measured.tx_bytes,
                keepalive: peer.keepalive,
                allowed_ips: prefixes.remove(id).unwrap_or_default(),
            }
        });
        DeviceView {
            private_key: self.key.as_ref().map(|key| key.private.clone()),
            listen_port: self.listen_port,
            fwmark: self.mark,
            peers: peers.collect(),
        }
    }
}

impl PeerConfig {
    fn as_peer(&self, id: PublicKey) -> Peer {
        Peer {
            id,
            kind: PeerKind::Client,
            mesh_address: None,
            lanes: vec![id],
            endpoints: self.endpoint.into_iter().collect(),
            endpoint_set: self.endpoint_set,
            sources: Vec::new(),
            preshared_key: self.preshared_key.clone(),
            keepalive: Some(self.keepalive)
                .filter(|seconds| *seconds != 0)
                .map(|seconds| Duration::from_secs(seconds.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uapi::parse_set;
    use std::fmt::Write;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn set(device: &DeviceConfig, lines: &str) -> DeviceConfig {
        let changes = parse_set(&format!("set=1\n{lines}\n"), &|_| None).unwrap();
        device.after(changes).unwrap()
    }

    fn made(lines: &str) -> DeviceConfig {
        set(&DeviceConfig::default(), lines)
    }

    fn view(device: &DeviceConfig) -> DeviceView {
        device.view(&Stats::default(), Duration::ZERO)
    }

    fn prefixes(device: &DeviceConfig) -> Vec<Vec<String>> {
        let text = |peer: &PeerView| peer.allowed_ips.iter().map(IpNet::to_string).collect();
        view(device).peers.iter().map(text).collect()
    }

    #[test]
    fn a_prefix_belongs_to_the_peer_that_got_it_last() {
        let device = made(&format!(
            "public_key={A}\nallowed_ip=10.0.0.0/8\nallowed_ip=fd00::/8\npublic_key={B}\nallowed_ip=10.0.0.0/8"
        ));
        assert_eq!(prefixes(&device), [vec!["fd00::/8"], vec!["10.0.0.0/8"]]);
        let device = set(&device, &format!("public_key={A}\nallowed_ip=-10.0.0.0/8"));
        assert_eq!(prefixes(&device), [vec!["fd00::/8"], vec!["10.0.0.0/8"]]);
        let device = set(&device, &format!("public_key={B}\nallowed_ip=-10.0.0.0/8"));
        assert_eq!(prefixes(&device), [vec!["fd00::/8"], vec![]]);
    }

    #[test]
    fn what_is_not_named_stays() {
        let device = made(&format!(
            "listen_port=5\npublic_key={A}\nendpoint=192.0.2.1:1\npreshared_key={B}\n\
             persistent_keepalive_interval=7\nallowed_ip=10.0.0.0/8"
        ));
        let again = set(
            &device,
            &format!("fwmark=3\npublic_key={A}\nallowed_ip=10.1.0.0/16"),
        );
        let (before, after) = (view(&device), view(&again));
        assert_eq!((after.listen_port, after.fwmark), (5, 3));
        assert_eq!(after.peers[0].endpoint, before.peers[0].endpoint);
        assert_eq!(after.peers[0].keepalive, 7);
        assert!(after.peers[0].preshared_key == before.peers[0].preshared_key);
        assert_eq!(prefixes(&again), [["10.0.0.0/8", "10.1.0.0/16"]]);
    }

    #[test]
    fn an_endpoint_counts_as_set_each_time_it_is_named() {
        let named = format!("public_key={A}\nendpoint=192.0.2.1:1");
        let first = made(&named);
        let generation = |device: &DeviceConfig| device.table().peers[0].endpoint_set;
        assert_eq!(
            generation(&set(&first, &format!("public_key={A}"))),
            generation(&first)
        );
        assert!(generation(&set(&first, &named)) > generation(&first));
    }

    #[test]
    fn peers_are_removed_replaced_and_not_made_by_an_update() {
        let both = made(&format!(
            "public_key={A}\nallowed_ip=10.0.0.0/8\npublic_key={B}\nallowed_ip=11.0.0.0/8"
        ));
        assert_eq!(
            prefixes(&set(&both, &format!("public_key={A}\nremove=true"))),
            [["11.0.0.0/8"]]
        );
        assert_eq!(
            prefixes(&set(
                &both,
                &format!("replace_peers=true\npublic_key={A}\nallowed_ip=12.0.0.0/8")
            )),
            [["12.0.0.0/8"]]
        );
        let stranger = "cc".repeat(32);
        let updated = set(
            &both,
            &format!("public_key={stranger}\nupdate_only=true\nallowed_ip=10.0.0.0/8"),
        );
        assert_eq!(prefixes(&updated), prefixes(&both));
        assert_eq!(
            prefixes(&set(
                &both,
                &format!("public_key={A}\nreplace_allowed_ips=true\nallowed_ip=1.0.0.0/8")
            )),
            [["1.0.0.0/8"], ["11.0.0.0/8"]]
        );
    }

    #[test]
    fn a_device_is_no_peer_of_itself() {
        let private = "11".repeat(32);
        let own = tunnel::secret(Zeroizing::new([0x11; 32])).public;
        let own: String = own.iter().map(|byte| format!("{byte:02x}")).collect();
        let device = made(&format!(
            "private_key={private}\npublic_key={own}\nallowed_ip=10.0.0.0/8"
        ));
        assert!(view(&device).peers.is_empty());
        let device = made(&format!("public_key={own}\nallowed_ip=10.0.0.0/8"));
        assert_eq!(view(&device).peers.len(), 1);
        assert!(
            view(&set(&device, &format!("private_key={private}")))
                .peers
                .is_empty()
        );
    }

    #[test]
    fn a_private_key_is_clamped_as_curve25519_wants_it() {
        let device = made(&format!("private_key={}", "ff".repeat(32)));
        let key = view(&device).private_key.unwrap();
        assert_eq!((key[0], key[31]), (0xf8, 0x7f));
        let without = set(&device, &format!("private_key={}", "00".repeat(32)));
        assert!(view(&without).private_key.is_none() && without.table().keys.client.is_none());
    }

    #[test]
    fn a_hundred_and_thirty_thousand_prefixes_of_one_peer_are_read_back_exactly() {
        let mut lines = format!("public_key={A}\n");
        for a in 1..=255 {
            for b in 0..=255 {
                let _ = writeln!(lines, "allowed_ip={a}.{b}.0.0/16\nallowed_ip={a}::{b}/128");
            }
        }
        let device = made(lines.trim_end());
        assert_eq!(view(&device).peers[0].allowed_ips.len(), 255 * 256 * 2);
        assert_eq!(device.table().routes.len(), 255 * 256 * 2);
    }

    #[test]
    fn more_than_a_device_takes_changes_nothing() {
        let peer = |n: usize| {
            let mut public_key = [0; 32];
            public_key[..8].copy_from_slice(&n.to_le_bytes());
            Change::Peer(PeerChange {
                public_key,
                ..PeerChange::default()
            })
        };
        let refused = DeviceConfig::default().after((0..=MAX_PEERS).map(peer).collect());
        assert!(matches!(refused.err(), Some(UapiError::TooMany { .. })));
    }
}
