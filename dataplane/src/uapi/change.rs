//! What `set=1` asks for.
//!
//! A request is read to its end before anything of it counts, so that one with a bad line changes nothing.

use super::UapiError;
use ipnet::IpNet;
use std::net::SocketAddr;
use std::str::FromStr;
use zeroize::Zeroizing;

/// One change of a device, in the order in which they were asked for.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// `private_key`; `None` (all zeros) forgets it.
    PrivateKey(Option<Zeroizing<[u8; 32]>>),
    /// `listen_port`; 0 lets the kernel choose.
    ListenPort(u16),
    /// `fwmark`; 0 for none.
    Mark(u32),
    /// `replace_peers`: peers that are not named behind it go.
    ReplacePeers,
    /// `public_key`, and what follows up to the next one.
    Peer(PeerChange),
}

/// What is asked for one peer. What is `None`, false or empty stays as it is.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PeerChange {
    /// Who.
    pub public_key: [u8; 32],
    /// Nothing happens unless it is there already.
    pub update_only: bool,
    /// It goes.
    pub remove: bool,
    /// Mixed into handshakes; `Some(None)` (all zeros): not any more.
    pub preshared_key: Option<Option<Zeroizing<[u8; 32]>>>,
    /// Where it is.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keepalives; 0: none.
    pub keepalive: Option<u16>,
    /// What it had of prefixes goes first.
    pub replace_allowed_ips: bool,
    /// Prefixes that become its own, or cease to be. Host bits are cut off.
    pub allowed_ips: Vec<(Sign, IpNet)>,
}

/// What happens to a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It becomes the peer's, whosever it was.
    Add,
    /// It is nobody's, if it was the peer's.
    Remove,
}

/// Reads the lines of a `set=1` request, up to an empty one. `zone` gives the index of a named interface, for endpoints
/// such as `[fe80::1%eth0]:51820`.
pub fn parse_set(text: &str, zone: &dyn Fn(&str) -> Option<u32>) -> Result<Vec<Change>, UapiError> {
    let mut changes = Vec::new();
    let lines = text.split('\n').take_while(|line| !line.is_empty());
    for (number, line) in (1..).zip(lines).skip(1) {
        let (key, value) = line.split_once('=').ok_or(UapiError::NotALine { line: number })?;
        let pair = Pair { number, key, value };
        if key == "public_key" {
            changes.push(Change::Peer(PeerChange {
                public_key: *pair.key()?,
                ..PeerChange::default()
            }));
        } else if let Some(Change::Peer(peer)) = changes.last_mut() {
            peer_line(&pair, peer, zone)?;
        } else {
            changes.push(device_line(&pair)?);
        }
    }
    Ok(changes)
}

fn device_line(pair: &Pair<'_>) -> Result<Change, UapiError> {
    Ok(match pair.key {
        "private_key" => Change::PrivateKey(pair.key_or_none()?),
        "listen_port" => Change::ListenPort(pair.number("a port, 0 to 65535")?),
        "fwmark" => Change::Mark(pair.number("a number below 2^32")?),
        "replace_peers" => {
            pair.yes()?;
            Change::ReplacePeers
        }
        _ => return Err(pair.unknown()),
    })
}

fn peer_line(
    pair: &Pair<'_>,
    peer: &mut PeerChange,
    zone: &dyn Fn(&str) -> Option<u32>,
) -> Result<(), UapiError> {
    match pair.key {
        "update_only" => peer.update_only = pair.yes()?,
        "remove" => peer.remove = pair.yes()?,
        "preshared_key" => peer.preshared_key = Some(pair.key_or_none()?),
        "endpoint" => peer.endpoint = Some(pair.endpoint(zone)?),
        "persistent_keepalive_interval" => peer.keepalive = Some(pair.number("seconds, 0 to 65535")?),
        "replace_allowed_ips" => {
            peer.replace_allowed_ips = pair.yes()?;
            peer.allowed_ips.clear();
        }
        "allowed_ip" => peer.allowed_ips.push(pair.prefix()?),
        "protocol_version" if pair.value == "1" => {}
        "protocol_version" => return Err(pair.bad("1, the only version there is")),
        _ => return Err(pair.unknown()),
    }
    Ok(())
}

/// One line.
struct Pair<'a> {
    number: usize,
    key: &'a str,
    value: &'a str,
}

impl Pair<'_> {
    fn yes(&self) -> Result<bool, UapiError> {
        match self.value {
            "true" => Ok(true),
            _ => Err(self.bad("true")),
        }
    }

    fn number<T: FromStr>(&self, takes: &'static str) -> Result<T, UapiError> {
        let digits = !self.value.is_empty() && self.value.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| self.value.parse().ok()).flatten();
        number.ok_or_else(|| self.bad(takes))
    }

    fn key(&self) -> Result<Zeroizing<[u8; 32]>, UapiError> {
        hex(self.value).ok_or_else(|| self.bad("a key of 64 hexadecimal digits"))
    }

    fn key_or_none(&self) -> Result<Option<Zeroizing<[u8; 32]>>, UapiError> {
        Ok(Some(self.key()?).filter(|key| **key != [0; 32]))
    }

    fn endpoint(&self, zone: &dyn Fn(&str) -> Option<u32>) -> Result<SocketAddr, UapiError> {
        let parsed = self.value.parse().ok();
        let endpoint = parsed.or_else(|| zoned(self.value, zone));
        endpoint
            .filter(|endpoint| endpoint.port() != 0)
            .ok_or_else(|| self.bad("an address and a port, such as 192.0.2.1:51820 or [2001:db8::1]:51820"))
    }

    fn prefix(&self) -> Result<(Sign, IpNet), UapiError> {
        let (sign, text) = match self.value.strip_prefix('-') {
            Some(rest) => (Sign::Remove, rest),
            None => (Sign::Add, self.value),
        };
        let prefix: Option<IpNet> = text.parse().ok();
        let prefix = prefix.ok_or_else(|| self.bad("a prefix, such as 10.0.0.0/8 or fd00::/8"))?;
        Ok((sign, prefix.trunc()))
    }

    fn bad(&self, takes: &'static str) -> UapiError {
        UapiError::BadValue {
            line: self.number,
            key: self.key.to_owned(),
            takes,
        }
    }

    fn unknown(&self) -> UapiError {
        UapiError::UnknownKey {
            line: self.number,
            key: self.key.chars().take(40).collect(),
        }
    }
}

/// `[address%interface]:port`; numbers for the interface are understood by the standard library already.
fn zoned(text: &str, zone: &dyn Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    let (address, rest) = text.strip_prefix('[')?.split_once('%')?;
    let (interface, port) = rest.split_once("]:")?;
    let index = zone(interface)?;
    format!("[{address}%{index}]:{port}").parse().ok()
}

fn hex(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut key = Zeroizing::new([0; 32]);
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Vec<Change>, UapiError> {
        parse_set(text, &|name| (name == "eth0").then_some(3))
    }

    fn one_peer(lines: &str) -> Result<PeerChange, UapiError> {
        let text = format!("set=1\npublic_key={}\n{lines}\n", "ab".repeat(32));
        let changes = parse(&text)?;
        match <[Change; 1]>::try_from(changes) {
            Ok([Change::Peer(peer)]) => Ok(peer),
            _ => panic!("not one peer"),
        }
    }

    #[test]
    fn a_device_and_its_peers_are_read_in_order() {
        let key = "01".repeat(32);
        let text = format!(
            "set=1\nprivate_key={key}\nlisten_port=7\nfwmark=4294967295\nreplace_peers=true\n\
             public_key={key}\nallowed_ip=10.0.0.1/8\npublic_key={key}\nremove=true\n\nlisten_port=9\n"
        );
        let changes = parse(&text).unwrap();
        let peers = |change: &&Change| matches!(change, Change::Peer(_));
        assert_eq!((changes.len(), changes.iter().filter(peers).count()), (6, 2));
        assert!(changes[0] == Change::PrivateKey(Some(Zeroizing::new([1; 32]))));
        assert!(
            changes[1..4]
                == [
                    Change::ListenPort(7),
                    Change::Mark(u32::MAX),
                    Change::ReplacePeers
                ]
        );
    }

    #[test]
    fn zeros_clear_keys() {
        let zeros = "0".repeat(64);
        assert!(parse(&format!("set=1\nprivate_key={zeros}\n")).unwrap() == [Change::PrivateKey(None)]);
        let peer = one_peer(&format!("preshared_key={zeros}")).unwrap();
        assert_eq!(peer.preshared_key, Some(None));
    }

    #[test]
    fn prefixes_are_added_and_removed_and_forgotten_when_all_are_replaced() {
        let peer =
            one_peer("allowed_ip=10.9.8.7/8\nreplace_allowed_ips=true\nallowed_ip=-fd00::1/64\n").unwrap();
        assert_eq!(peer.allowed_ips, [(Sign::Remove, "fd00::/64".parse().unwrap())]);
        assert!(peer.replace_allowed_ips);
    }

    #[test]
    fn endpoints_may_name_an_interface() {
        let endpoint = |text: &str| one_peer(&format!("endpoint={text}")).map(|peer| peer.endpoint.unwrap());
        assert_eq!(endpoint("[fe80::1%eth0]:5"), Ok("[fe80::1%3]:5".parse().unwrap()));
        assert_eq!(endpoint("[fe80::1%7]:5"), Ok("[fe80::1%7]:5".parse().unwrap()));
        assert_eq!(endpoint("192.0.2.1:5"), Ok("192.0.2.1:5".parse().unwrap()));
        for wrong in [
            "[fe80::1%eth9]:5",
            "192.0.2.1",
            "192.0.2.1:0",
            "[192.0.2.1%eth0]:5",
            "example.net:5",
            "",
        ] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_without_secrets() {
        let error = parse("set=1\nlisten_port=1\nprivate_key=secret\n").err().unwrap();
        assert_eq!(
            error.to_string(),
            "line 3: `private_key` takes a key of 64 hexadecimal digits"
        );
        for line in [
            "listen_port=65536",
            "listen_port=+1",
            "fwmark=-1",
            "replace_peers=yes",
            "public_key=ab",
            "allowed_ip=10.0.0.0/8",
            "color=blue",
            "nothing",
        ] {
            assert!(parse(&format!("set=1\n{line}\n")).is_err(), "{line}");
        }
        for line in [
            "listen_port=1",
            "protocol_version=2",
            "allowed_ip=10.0.0.0/33",
            "update_only=false",
        ] {
            assert!(one_peer(line).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_request_or_an_error(text in ".{0,200}") {
            let _ = parse(&format!("set=1\n{text}"));
        }

        #[test]
        fn any_lines_are_a_request_or_an_error(
            lines in prop::collection::vec(
                (
                    prop::sample::select(vec![
                        "private_key", "listen_port", "fwmark", "replace_peers", "public_key", "preshared_key",
                        "endpoint", "persistent_keepalive_interval", "replace_allowed_ips", "allowed_ip", "remove",
                    ]),
                    prop_oneof!["[0-9a-f]{64}", "true|[0-9]{1,6}", "-?[0-9.:]{1,9}/[0-9]{1,3}", r"\[[0-9a-f:%]{0,9}\]:[0-9]{1,5}"],
                ),
                0..12,
            )
        ) {
            let text: String = lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
            let _ = parse(&format!("set=1\n{text}"));
        }
    }
}
