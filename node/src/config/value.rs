//! From the text of a flag, a variable or a line of the file to a value.
//!
//! Each function takes what a person wrote and answers with the value, or with a sentence that says what
//! was expected instead and, where there is an obvious one, the corrected form.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use meshnode_crypto::Name;
use meshnode_dataplane::{Offloads, UnknownOffload};

/// The port that everything uses unless told otherwise.
pub const DEFAULT_PORT: u16 = 51820;

/// The smallest MTU that carries IPv6 (RFC 8200 §5).
const MIN_MTU: u16 = 1280;

/// An address under which other nodes can reach this one; without a port, the one it listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Advertise {
    /// The address.
    pub host: IpAddr,
    /// The port, if it differs from the one listened on.
    pub port: Option<u16>,
}

/// A prefix without host bits.
pub fn prefix(text: &str) -> Result<IpNet, String> {
    let net: IpNet = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(net), _) => net,
        (_, Ok(address)) => {
            let host = IpNet::from(address);
            return Err(format!(
                "`{text}` has no length: write {host} for that address alone"
            ));
        }
        _ => {
            return Err(format!(
                "`{text}` is no prefix: write it like 172.18.0.0/16 or fd00:18::/64"
            ));
        }
    };
    match net.trunc() == net {
        true => Ok(net),
        false => Err(format!("{net} has host bits: write {}", net.trunc())),
    }
}

/// A prefix of private IPv4 addresses for clients, from which nodes get a /24 each.
pub fn client_range(text: &str) -> Result<ipnet::Ipv4Net, String> {
    match prefix(text)? {
        IpNet::V4(range) if (8..=24).contains(&range.prefix_len()) => Ok(range),
        IpNet::V4(range) => Err(format!(
            "{range} cannot be cut into /24 pools: its length must be 8 to 24"
        )),
        IpNet::V6(range) => Err(format!(
            "{range} is IPv6: clients get IPv6 addresses without a range"
        )),
    }
}

/// Where to listen: `ADDR:PORT`, `[ADDR]:PORT`, an address, or a port for all addresses of both families.
pub fn listen(text: &str) -> Result<Vec<SocketAddr>, String> {
    if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        return Ok(everywhere(port));
    }
    let parsed = text
        .parse::<SocketAddr>()
        .or_else(|_| bare_address(text).map(|address| SocketAddr::new(address, DEFAULT_PORT)));
    match parsed {
        Ok(address) if address.ip().is_multicast() => Err(format!("{address} is a multicast address")),
        Ok(address) => Ok(vec![address]),
        Err(()) => Err(format!(
            "`{text}` is no address: write 0.0.0.0:51820, [::]:51820 or a port"
        )),
    }
}

/// All addresses of both families, on one port.
pub fn everywhere(port: u16) -> Vec<SocketAddr> {
    vec![
        (Ipv4Addr::UNSPECIFIED, port).into(),
        (Ipv6Addr::UNSPECIFIED, port).into(),
    ]
}

/// An address to be reached at, with or without a port.
pub fn advertise(text: &str) -> Result<Advertise, String> {
    let wanted = |why: &str| {
        format!("`{text}` {why}: write an address of this node, like 203.0.113.7 or [2001:db8::7]:51820")
    };
    let (host, port) = match text.parse::<SocketAddr>() {
        Ok(socket) => (socket.ip(), Some(socket.port())),
        Err(_) => (bare_address(text).map_err(|()| wanted("is no address"))?, None),
    };
    if host.is_unspecified() || host.is_multicast() || port == Some(0) {
        return Err(wanted("cannot be reached by others"));
    }
    Ok(Advertise { host, port })
}

/// Where to serve metrics; `none` for nowhere.
pub fn metrics(text: &str) -> Result<Option<SocketAddr>, String> {
    if matches!(text, "none" | "off") {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| format!("`{text}` is no address: write 127.0.0.1:9586, or none"))
}

/// A name for a network interface (Linux: at most 15 bytes, no slash, no blank).
pub fn interface(text: &str) -> Result<String, String> {
    let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    match text {
        "" | "." | ".." => Err("an interface needs a name".to_owned()),
        text if text.len() > 15 => Err(format!("`{text}` is too long: Linux allows 15 bytes")),
        text if text.contains(odd) => Err(format!(
            "`{text}` has a character that Linux does not allow there"
        )),
        text => Ok(text.to_owned()),
    }
}

/// A node's name.
pub fn name(text: &str) -> Result<Name, String> {
    Name::from_str(text).map_err(|error| error.to_string())
}

/// The MTU of the mesh interface.
pub fn mtu(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(mtu) if mtu >= MIN_MTU => Ok(mtu),
        _ => Err(format!(
            "`{text}` is no usable MTU: write a whole number, {MIN_MTU} to 65535"
        )),
    }
}

/// How many lanes.
pub fn lanes(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(lanes @ 1..=8) => Ok(lanes),
        _ => Err(format!("`{text}` is no number of lanes: write 1 to 8")),
    }
}

/// Which offloads to use: names with commas between, `all` or `none`.
pub fn offload(text: &str) -> Result<Offloads, String> {
    text.parse()
        .map_err(|unknown: UnknownOffload| unknown.to_string())
}

/// Yes or no.
pub fn truth(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}

/// Bits a second: a number with or without k, M or G (thousands); `none` for no limit.
pub fn rate(text: &str) -> Result<Option<u64>, String> {
    if text == "none" {
        return Ok(None);
    }
    let wrong = || format!("`{text}` is no rate: write bits per second such as 100M, or none");
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k')) => (&text[..at], 1_000),
        Some((at, 'M')) => (&text[..at], 1_000_000),
        Some((at, 'G')) => (&text[..at], 1_000_000_000),
        _ => (text, 1),
    };
    let bits = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
    match bits {
        Some(bits) if bits > 0 => Ok(Some(bits)),
        _ => Err(wrong()),
    }
}

/// What to log: a level, or directives such as `info,meshnode_membership=debug`.
pub fn log(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "`{text}` is no log filter ({error}): write error, warn, info, debug or trace"
        )),
    }
}

/// A path that is not empty.
pub fn path(text: &str) -> Result<PathBuf, String> {
    match text.is_empty() {
        true => Err("the path is empty".to_owned()),
        false => Ok(PathBuf::from(text)),
    }
}

fn bare_address(text: &str) -> Result<IpAddr, ()> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or(text).parse().map_err(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_bits_a_second() {
        assert_eq!(rate("100M"), Ok(Some(100_000_000)));
        assert_eq!(rate("64k"), Ok(Some(64_000)));
        assert_eq!(rate("9600"), Ok(Some(9_600)));
        assert_eq!(rate("none"), Ok(None));
        for wrong in [
            "",
            "0",
            "M",
            "-1G",
            "10Mbit",
            "99999999999999999999",
            "99999999999G",
        ] {
            assert!(rate(wrong).unwrap_err().contains("is no rate"), "{wrong}");
        }
    }

    #[test]
    fn a_prefix_with_host_bits_names_the_corrected_one() {
        assert_eq!(
            prefix("172.18.1.0/16"),
            Err("172.18.1.0/16 has host bits: write 172.18.0.0/16".to_owned())
        );
        assert_eq!(
            prefix("fd00::1/64"),
            Err("fd00::1/64 has host bits: write fd00::/64".to_owned())
        );
        assert_eq!(
            prefix("10.0.0.1"),
            Err("`10.0.0.1` has no length: write 10.0.0.1/32 for that address alone".to_owned())
        );
        assert!(prefix("0.0.0.0/0").is_ok());
        assert!(prefix("10.0.0.0/33").is_err());
    }

    #[test]
    fn a_port_alone_listens_on_both_families() {
        assert_eq!(listen("7000"), Ok(everywhere(7000)));
        assert_eq!(listen(":7000"), Ok(everywhere(7000)));
        assert_eq!(listen("10.0.0.1"), Ok(vec!["10.0.0.1:51820".parse().unwrap()]));
        assert_eq!(listen("::1"), Ok(vec!["[::1]:51820".parse().unwrap()]));
        assert!(listen("eth0").is_err());
        assert!(listen("70000").is_err());
    }

    #[test]
    fn advertised_addresses_must_be_reachable() {
        assert_eq!(advertise("[2001:db8::7]").unwrap().port, None);
        assert_eq!(advertise("203.0.113.7:99").unwrap().port, Some(99));
        for wrong in [
            "0.0.0.0",
            "[::]:51820",
            "203.0.113.7:0",
            "gateway.example",
            "224.0.0.1",
        ] {
            assert!(advertise(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_keep_to_their_range() {
        assert_eq!(mtu("1280"), Ok(1280));
        assert!(mtu("1279").is_err() && mtu("65536").is_err() && mtu("nan").is_err());
        assert_eq!(lanes("8"), Ok(8));
        assert!(lanes("0").is_err() && lanes("9").is_err());
    }

    #[test]
    fn interface_names_keep_to_linux() {
        assert!(interface("mesh0").is_ok());
        for wrong in ["", "..", "a/b", "mesh 0", "sixteen-bytes-xx", "a:b"] {
            assert!(interface(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn metrics_can_be_switched_off() {
        assert_eq!(metrics("none"), Ok(None));
        assert_eq!(metrics("[::1]:9586"), Ok(Some("[::1]:9586".parse().unwrap())));
        assert!(metrics("9586").is_err());
    }

    #[test]
    fn client_ranges_can_be_cut_into_pools() {
        assert!(client_range("100.96.0.0/12").is_ok());
        assert!(client_range("100.96.0.0/25").is_err());
        assert!(client_range("fd00::/48").is_err());
    }
}
