//! Addresses for clients. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use meshnode_crypto::WgPublicKey;

/// The lowest free address of the pool; its first one is left for the node.
pub fn v4(pool: Ipv4Net, taken: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
    pool.hosts().skip(1).find(|a| !taken(*a))
}

/// An address that the device's key alone decides, unless that one is taken: then the next free one.
/// A /112 has far more addresses than a node has clients.
pub fn v6(prefix: Ipv6Net, key: &WgPublicKey, taken: impl Fn(Ipv6Addr) -> bool) -> Ipv6Addr {
    let [high, low, ..] = *key.as_bytes();
    let start = u16::from_be_bytes([high, low]);
    let base = u128::from(prefix.trunc().addr());
    let at = |offset: u16| Ipv6Addr::from(base | u128::from(start.wrapping_add(offset)));
    // The all-zero host part is the subnet's anycast address (RFC 4291 section 2.6.1).
    let usable = |a: &Ipv6Addr| u128::from(*a) != base && !taken(*a);
    (0..u16::MAX).map(at).find(usable).unwrap_or_else(|| at(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_gets_the_same_address_unless_it_is_taken() {
        let (prefix, key) = ("fd00::/112".parse().unwrap(), WgPublicKey::from_bytes([0xab; 32]));
        let first = v6(prefix, &key, |_| false);
        assert_eq!(first, "fd00::abab".parse::<Ipv6Addr>().unwrap());
        assert_eq!(
            v6(prefix, &key, |a| a == first),
            "fd00::abac".parse::<Ipv6Addr>().unwrap()
        );
    }

    #[test]
    fn the_subnet_anycast_address_is_never_given() {
        let key = WgPublicKey::from_bytes([0; 32]);
        assert_eq!(
            v6("fd00::/112".parse().unwrap(), &key, |_| false),
            "fd00::1".parse::<Ipv6Addr>().unwrap()
        );
    }

    #[test]
    fn an_exhausted_pool_gives_nothing() {
        let pool: Ipv4Net = "100.96.1.0/24".parse().unwrap();
        assert_eq!(v4(pool, |_| false), Some(Ipv4Addr::new(100, 96, 1, 2)));
        assert_eq!(v4(pool, |_| true), None);
    }
}
