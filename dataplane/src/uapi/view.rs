//! What `get=1` answers.

use ipnet::IpNet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;
use zeroize::Zeroizing;

/// The device as `wg show` sees it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct DeviceView {
    /// Its private key, where it may be told.
    pub private_key: Option<Zeroizing<[u8; 32]>>,
    /// The UDP port that tunnels share.
    pub listen_port: u16,
    /// Mark of the sockets' packets; 0: none.
    pub fwmark: u32,
    /// All peers.
    pub peers: Vec<PeerView>,
}

/// One peer as `wg show` sees it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PeerView {
    /// Its WireGuard key.
    pub public_key: [u8; 32],
    /// Its pre-shared key, where it may be told.
    pub preshared_key: Option<Zeroizing<[u8; 32]>>,
    /// Where it is, if that is proven.
    pub endpoint: Option<SocketAddr>,
    /// Wall time of the last handshake, since 1970.
    pub last_handshake: Option<Duration>,
    /// UDP payload bytes received.
    pub rx_bytes: u64,
    /// UDP payload bytes sent.
    pub tx_bytes: u64,
    /// Seconds between keepalives; 0: none.
    pub keepalive: u16,
    /// Inner prefixes behind it.
    pub allowed_ips: Vec<IpNet>,
}

/// The answer to `get=1`, with the `errno=0` and the empty line that end it.
pub fn render_get(device: &DeviceView) -> String {
    let mut text = String::new();
    if let Some(key) = &device.private_key {
        line(&mut text, "private_key", Hex(key));
    }
    if device.listen_port != 0 {
        line(&mut text, "listen_port", device.listen_port);
    }
    if device.fwmark != 0 {
        line(&mut text, "fwmark", device.fwmark);
    }
    for peer in &device.peers {
        render_peer(&mut text, peer);
    }
    text.push_str(&render_errno(0));
    text
}

/// The answer that consists of nothing but a number; 0 is success.
pub fn render_errno(errno: i32) -> String {
    format!("errno={errno}\n\n")
}

fn render_peer(text: &mut String, peer: &PeerView) {
    line(text, "public_key", Hex(&peer.public_key));
    if let Some(key) = &peer.preshared_key {
        line(text, "preshared_key", Hex(key));
    }
    line(text, "protocol_version", 1);
    if let Some(endpoint) = peer.endpoint {
        line(text, "endpoint", endpoint);
    }
    let at = peer.last_handshake.unwrap_or_default();
    line(text, "last_handshake_time_sec", at.as_secs());
    line(text, "last_handshake_time_nsec", at.subsec_nanos());
    line(text, "tx_bytes", peer.tx_bytes);
    line(text, "rx_bytes", peer.rx_bytes);
    line(text, "persistent_keepalive_interval", peer.keepalive);
    for prefix in &peer.allowed_ips {
        line(text, "allowed_ip", prefix);
    }
}

struct Hex<'a>(&'a [u8; 32]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn line(text: &mut String, key: &str, value: impl std::fmt::Display) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "{key}={value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_reads_as_wg_expects_it() {
        let device = DeviceView {
            private_key: Some(Zeroizing::new([0xcd; 32])),
            listen_port: 51820,
            fwmark: 0x6d77,
            peers: vec![
                PeerView {
                    public_key: [0xab; 32],
                    preshared_key: Some(Zeroizing::new([0xef; 32])),
                    endpoint: Some("[2001:db8::1]:51820".parse().unwrap()),
                    last_handshake: Some(Duration::new(1_800_000_000, 5)),
                    rx_bytes: 7,
                    tx_bytes: 9,
                    keepalive: 25,
                    allowed_ips: vec!["10.1.0.0/16".parse().unwrap(), "fd00::/48".parse().unwrap()],
                },
                PeerView::default(),
            ],
        };
        let expected = format!(
            "private_key={}\nlisten_port=51820\nfwmark=28023\n\
             public_key={}\npreshared_key={}\nprotocol_version=1\nendpoint=[2001:db8::1]:51820\n\
             last_handshake_time_sec=1800000000\nlast_handshake_time_nsec=5\ntx_bytes=9\nrx_bytes=7\n\
             persistent_keepalive_interval=25\nallowed_ip=10.1.0.0/16\nallowed_ip=fd00::/48\n\
             public_key={}\nprotocol_version=1\n\
             last_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\n\
             persistent_keepalive_interval=0\nerrno=0\n\n",
            "cd".repeat(32),
            "ab".repeat(32),
            "ef".repeat(32),
            "00".repeat(32)
        );
        assert_eq!(render_get(&device), expected);
    }
}
