//! The WireGuard cross-platform configuration protocol, text to types and back (<https://www.wireguard.com/xplatform/>).
//!
//! `wg show` asks `get=1` on a Unix socket and reads `key=value` lines up to an empty one. The answer here never holds a
//! private or pre-shared key. Whoever serves the socket reads up to the empty line, parses, and writes what is rendered.

use ipnet::IpNet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

/// Longest request that is read: what `wg` sends to ask is 7 bytes.
pub const MAX_REQUEST: usize = 64 << 10;

/// `EINVAL`, as the answer to what is no request.
const EINVAL: i32 = 22;

/// `EPROTO`, as the answer to a version that is not 1.
const EPROTO: i32 = 71;

/// `EOPNOTSUPP`, as the answer to `set=1`.
pub const EOPNOTSUPP: i32 = 95;

/// The device as `wg show` sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceView {
    /// The UDP port that tunnels share.
    pub listen_port: u16,
    /// Mark of the sockets' packets; 0: none.
    pub fwmark: u32,
    /// All peers.
    pub peers: Vec<PeerView>,
}

/// One peer as `wg show` sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerView {
    /// Its WireGuard key.
    pub public_key: [u8; 32],
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

/// What a client of the socket asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// `get=1`: answer with [`render_get`].
    Get,
    /// `set=1`: answer with [`render_errno`] and [`EOPNOTSUPP`].
    Set,
}

/// Text that is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UapiError {
    /// The first line is neither `get=1` nor `set=1`.
    #[error("not a request of the WireGuard configuration protocol: it begins with get=1 or set=1")]
    NotARequest,
    /// A version other than 1.
    #[error("only version 1 of the WireGuard configuration protocol is spoken (get=1)")]
    Version,
    /// `get=1` with more behind it.
    #[error("get=1 takes no further lines")]
    Trailing,
}

impl UapiError {
    /// The number to answer with.
    pub const fn errno(self) -> i32 {
        match self {
            UapiError::Version => EPROTO,
            UapiError::NotARequest | UapiError::Trailing => EINVAL,
        }
    }
}

/// Parses one request: the lines before the empty line that ends it, or all of `text`.
pub fn parse_request(text: &str) -> Result<Request, UapiError> {
    let mut lines = text.split('\n').take_while(|line| !line.is_empty());
    match lines.next().unwrap_or_default().split_once('=') {
        Some(("get", "1")) if lines.next().is_some() => Err(UapiError::Trailing),
        Some(("get", "1")) => Ok(Request::Get),
        Some(("set", "1")) => Ok(Request::Set),
        Some(("get" | "set", _)) => Err(UapiError::Version),
        _ => Err(UapiError::NotARequest),
    }
}

/// The answer to `get=1`, with the `errno=0` and the empty line that end it.
pub fn render_get(device: &DeviceView) -> String {
    let mut text = String::new();
    line(&mut text, "listen_port", device.listen_port);
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
    let hex: String = peer.public_key.iter().map(|byte| format!("{byte:02x}")).collect();
    line(text, "public_key", hex);
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

fn line(text: &mut String, key: &str, value: impl std::fmt::Display) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "{key}={value}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_device_reads_as_wg_expects_it() {
        let device = DeviceView {
            listen_port: 51820,
            fwmark: 0x6d77,
            peers: vec![
                PeerView {
                    public_key: [0xab; 32],
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
            "listen_port=51820\nfwmark=28023\n\
             public_key={}\nprotocol_version=1\nendpoint=[2001:db8::1]:51820\n\
             last_handshake_time_sec=1800000000\nlast_handshake_time_nsec=5\ntx_bytes=9\nrx_bytes=7\n\
             persistent_keepalive_interval=25\nallowed_ip=10.1.0.0/16\nallowed_ip=fd00::/48\n\
             public_key={}\nprotocol_version=1\n\
             last_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\n\
             persistent_keepalive_interval=0\nerrno=0\n\n",
            "ab".repeat(32),
            "00".repeat(32)
        );
        assert_eq!(render_get(&device), expected);
    }

    #[test]
    fn requests_are_told_apart() {
        assert_eq!(parse_request("get=1\n\n"), Ok(Request::Get));
        assert_eq!(parse_request("get=1"), Ok(Request::Get));
        assert_eq!(parse_request("set=1\nlisten_port=1\n\n"), Ok(Request::Set));
        assert_eq!(parse_request("get=2\n\n"), Err(UapiError::Version));
        assert_eq!(parse_request("get=1\nx=y\n\n"), Err(UapiError::Trailing));
        for text in ["", "\n", "hello", "GET / HTTP/1.1\r\n\r\n"] {
            assert_eq!(parse_request(text), Err(UapiError::NotARequest), "{text:?}");
        }
        assert_eq!(UapiError::Version.errno(), 71);
    }

    proptest! {
        #[test]
        fn any_text_is_a_request_or_an_error(text in ".{0,200}") {
            let _ = parse_request(&text);
        }
    }
}
