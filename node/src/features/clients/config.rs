//! The configuration that a client's wg-quick understands.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use meshnode_crypto::WgPublicKey;
use zeroize::Zeroizing;

use crate::state::ClientEntry;

/// Seconds between keepalives, so that a client behind NAT stays reachable.
const KEEPALIVE: u16 = 25;

/// What goes into a configuration.
#[derive(Debug)]
pub struct ConfigInput<'a> {
    /// The client.
    pub entry: &'a ClientEntry,
    /// Its private key.
    pub private_key: &'a [u8; 32],
    /// The node's client key.
    pub node_key: WgPublicKey,
    /// Where the node can be reached, if that is known.
    pub endpoint: Option<SocketAddr>,
    /// What lies behind the tunnel.
    pub allowed: &'a [IpNet],
    /// Largest inner packet, in bytes.
    pub mtu: u16,
}

/// The text of a wg-quick configuration. It holds the private key.
pub fn render(input: &ConfigInput<'_>) -> Zeroizing<String> {
    let secret = Zeroizing::new(STANDARD.encode(input.private_key));
    let allowed = IpNet::aggregate(&input.allowed.to_vec());
    // Sized once, so that growing leaves no copies of the key behind in freed memory.
    let mut text = Zeroizing::new(String::with_capacity(512 + 48 * allowed.len()));
    text.push_str("[Interface]\nPrivateKey = ");
    text.push_str(&secret);
    let lines = [
        String::new(),
        format!("Address = {}", list(&super::addresses(input.entry))),
        format!("MTU = {}", input.mtu),
        String::new(),
        "[Peer]".to_owned(),
        format!("PublicKey = {}", input.node_key),
        format!("AllowedIPs = {}", list(&allowed)),
        endpoint(input.endpoint),
        format!("PersistentKeepalive = {KEEPALIVE}"),
        String::new(),
    ];
    text.push_str(&lines.join("\n"));
    text
}

fn endpoint(endpoint: Option<SocketAddr>) -> String {
    match endpoint {
        Some(address) => format!("Endpoint = {address}"),
        None => "# Endpoint = this node's public address and UDP port; give it with `--advertise`".to_owned(),
    }
}

fn list(nets: &[IpNet]) -> String {
    let texts: Vec<String> = nets.iter().map(IpNet::to_string).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshnode_crypto::Name;

    fn entry() -> ClientEntry {
        ClientEntry {
            name: Name::parse("phone").unwrap(),
            public_key: WgPublicKey::from_bytes([1; 32]).to_string(),
            address_v4: Some([100, 96, 7, 2].into()),
            address_v6: "fd00::5:101".parse().unwrap(),
            added_ms: 0,
        }
    }

    #[test]
    fn configuration_is_what_wg_quick_reads() {
        let allowed = ["172.18.0.0/16", "172.18.5.0/24", "fd00::/48"].map(|n| n.parse().unwrap());
        let text = render(&ConfigInput {
            entry: &entry(),
            private_key: &[0; 32],
            node_key: WgPublicKey::from_bytes([2; 32]),
            endpoint: Some("203.0.113.1:51820".parse().unwrap()),
            allowed: &allowed,
            mtu: 1420,
        });
        let expected = "[Interface]\nPrivateKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\
                        Address = 100.96.7.2/32, fd00::5:101/128\nMTU = 1420\n\n[Peer]\n\
                        PublicKey = AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n\
                        AllowedIPs = 172.18.0.0/16, fd00::/48\nEndpoint = 203.0.113.1:51820\n\
                        PersistentKeepalive = 25\n";
        assert_eq!(text.as_str(), expected);
    }
}
