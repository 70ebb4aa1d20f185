//! Where others may reach us, as far as we can tell ourselves. Pure. What members see of us is added
//! by membership.

use std::net::{IpAddr, SocketAddr};

use crate::config::Advertise;

/// Most endpoints that we name ourselves: a record holds 16, and some are left for observed ones.
const MOST: usize = 12;

/// Advertised ones first, as given; then the host's addresses that we listen on, public ones first.
pub fn endpoints(advertise: &[Advertise], listen: &[SocketAddr], addresses: &[IpAddr]) -> Vec<SocketAddr> {
    let port = listen.first().map_or(0, SocketAddr::port);
    let mut all: Vec<SocketAddr> = advertise
        .iter()
        .map(|a| SocketAddr::new(a.host, a.port.unwrap_or(port)))
        .collect();
    let mut local: Vec<SocketAddr> = addresses.iter().filter_map(|a| reachable(*a, listen)).collect();
    local.sort_by_key(|a| (!is_public(a.ip()), *a));
    all.extend(local);
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|a| seen.insert(*a));
    all.truncate(MOST);
    all
}

/// With the port of the socket that would hear it.
fn reachable(address: IpAddr, listen: &[SocketAddr]) -> Option<SocketAddr> {
    let hears =
        |l: &&SocketAddr| l.ip() == address || (l.ip().is_unspecified() && l.is_ipv4() == address.is_ipv4());
    let socket = listen.iter().find(hears)?;
    is_global_scope(address).then(|| SocketAddr::new(address, socket.port()))
}

fn is_global_scope(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast())
        }
        IpAddr::V6(v6) => {
            !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast())
        }
    }
}

/// Not from a range that is private to a site (RFC 1918, RFC 6598, RFC 4193).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64)),
        IpAddr::V6(v6) => !v6.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    fn sockets(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn advertised_address_without_port_uses_the_listen_port_and_comes_first() {
        let advertise = [
            Advertise {
                host: "203.0.113.9".parse().unwrap(),
                port: None,
            },
            Advertise {
                host: "203.0.113.9".parse().unwrap(),
                port: Some(7),
            },
        ];
        let all = endpoints(
            &advertise,
            &sockets(&["0.0.0.0:51999"]),
            &addresses(&["10.0.0.1"]),
        );
        assert_eq!(
            all,
            sockets(&["203.0.113.9:51999", "203.0.113.9:7", "10.0.0.1:51999"])
        );
    }

    #[test]
    fn public_addresses_come_before_private_ones_and_local_scope_is_left_out() {
        let host = addresses(&[
            "10.0.0.1",
            "169.254.1.1",
            "127.0.0.1",
            "198.51.100.1",
            "fe80::1",
            "fd00::1",
            "2001:db8::1",
        ]);
        let all = endpoints(&[], &sockets(&["0.0.0.0:1", "[::]:1"]), &host);
        assert_eq!(
            all,
            sockets(&["198.51.100.1:1", "[2001:db8::1]:1", "10.0.0.1:1", "[fd00::1]:1"])
        );
    }

    #[test]
    fn only_addresses_that_we_listen_on_are_named() {
        let host = addresses(&["10.0.0.1", "10.0.0.2", "fd00::1"]);
        assert_eq!(
            endpoints(&[], &sockets(&["10.0.0.2:5"]), &host),
            sockets(&["10.0.0.2:5"])
        );
    }

    #[test]
    fn the_list_is_bounded() {
        let host: Vec<IpAddr> = (1..100).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        assert_eq!(endpoints(&[], &sockets(&["0.0.0.0:1"]), &host).len(), MOST);
    }
}
