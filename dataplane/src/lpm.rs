//! Longest prefix: one trie per address family.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;
use std::net::IpAddr;

/// A map from prefixes to values, asked by address.
#[derive(Clone, Debug)]
pub(crate) struct LongestPrefix<T> {
    v4: PrefixMap<Ipv4Net, T>,
    v6: PrefixMap<Ipv6Net, T>,
}

impl<T> Default for LongestPrefix<T> {
    fn default() -> LongestPrefix<T> {
        LongestPrefix {
            v4: PrefixMap::default(),
            v6: PrefixMap::default(),
        }
    }
}

impl<T> LongestPrefix<T> {
    /// Host bits are cut off. A prefix that is there already keeps its first value.
    pub(crate) fn insert_first(&mut self, prefix: IpNet, value: T) {
        match prefix.trunc() {
            IpNet::V4(p) => {
                self.v4.entry(p).or_insert(value);
            }
            IpNet::V6(p) => {
                self.v6.entry(p).or_insert(value);
            }
        }
    }

    pub(crate) fn get(&self, address: IpAddr) -> Option<&T> {
        match address {
            IpAddr::V4(a) => self.v4.get_lpm(&Ipv4Net::from(a)).map(|(_, value)| value),
            IpAddr::V6(a) => self.v6.get_lpm(&Ipv6Net::from(a)).map(|(_, value)| value),
        }
    }

    /// The longest prefix that holds an address.
    pub(crate) fn longest(&self, address: IpAddr) -> Option<IpNet> {
        match address {
            IpAddr::V4(a) => self
                .v4
                .get_lpm(&Ipv4Net::from(a))
                .map(|(prefix, _)| IpNet::V4(prefix)),
            IpAddr::V6(a) => self
                .v6
                .get_lpm(&Ipv6Net::from(a))
                .map(|(prefix, _)| IpNet::V6(prefix)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

/// A set of prefixes, asked whether an address lies in any of them.
pub(crate) type PrefixSet = LongestPrefix<()>;

impl FromIterator<IpNet> for PrefixSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(prefixes: I) -> PrefixSet {
        let mut set = PrefixSet::default();
        for prefix in prefixes {
            set.insert_first(prefix, ());
        }
        set
    }
}

impl PrefixSet {
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.get(address).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn naive(routes: &[(IpNet, usize)], address: IpAddr) -> Option<usize> {
        let mut best: Option<(u8, usize)> = None;
        for (prefix, value) in routes {
            let longer = best.is_none_or(|(len, _)| prefix.prefix_len() > len);
            if prefix.contains(&address) && longer {
                best = Some((prefix.prefix_len(), *value));
            }
        }
        best.map(|(_, value)| value)
    }

    // Few distinct leading bits, so that prefixes nest and addresses hit them.
    fn v4() -> impl Strategy<Value = Ipv4Addr> {
        (0u32..16, any::<u32>(), 0u32..28)
            .prop_map(|(top, low, keep)| Ipv4Addr::from((top << 28) | (low >> 4 >> keep)))
    }

    fn v6() -> impl Strategy<Value = Ipv6Addr> {
        (0u128..16, any::<u128>(), 0u32..120)
            .prop_map(|(top, low, keep)| Ipv6Addr::from((top << 124) | (low >> 4 >> keep)))
    }

    fn prefix() -> impl Strategy<Value = IpNet> {
        prop_oneof![
            (v4(), 0u8..=32).prop_map(|(a, len)| IpNet::new(a.into(), len).unwrap().trunc()),
            (v6(), 0u8..=128).prop_map(|(a, len)| IpNet::new(a.into(), len).unwrap().trunc()),
        ]
    }

    proptest! {
        #[test]
        fn longest_prefix_agrees_with_a_linear_search(
            prefixes in prop::collection::vec(prefix(), 0..60),
            addresses in prop::collection::vec(prop_oneof![v4().prop_map(IpAddr::from), v6().prop_map(IpAddr::from)], 1..60),
        ) {
            let routes: Vec<(IpNet, usize)> = prefixes.into_iter().enumerate().map(|(i, p)| (p, i)).collect();
            let mut trie = LongestPrefix::default();
            for (p, i) in &routes {
                trie.insert_first(*p, *i);
            }
            for address in addresses {
                prop_assert_eq!(trie.get(address).copied(), naive(&routes, address));
            }
        }
    }
}
