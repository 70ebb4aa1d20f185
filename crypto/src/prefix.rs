//! Lists of prefixes: parsed, kept in one order, and compared by what they cover.

use ipnet::IpNet;

use crate::error::PrefixError;

/// Most prefixes in one list; protects a receiver's memory and its routing table.
pub const MAX_PREFIXES: usize = 500;

/// Parses `10.1.0.0/16`. Host bits are an error that names the prefix without them; a bare address too.
pub fn parse(text: &str) -> Result<IpNet, PrefixError> {
    let prefix: IpNet = text.parse().map_err(|_| PrefixError::Malformed {
        text: text.to_owned(),
    })?;
    check(&prefix)?;
    Ok(prefix)
}

/// Refuses a prefix with bits set beyond its length.
pub fn check(prefix: &IpNet) -> Result<(), PrefixError> {
    let corrected = prefix.trunc();
    if corrected == *prefix {
        Ok(())
    } else {
        Err(PrefixError::HostBits {
            given: *prefix,
            corrected,
        })
    }
}

/// Refuses a list that is too long or has a prefix with host bits.
pub fn check_list(list: &[IpNet]) -> Result<(), PrefixError> {
    if list.len() > MAX_PREFIXES {
        return Err(PrefixError::TooMany { count: list.len() });
    }
    list.iter().try_for_each(check)
}

/// Sorted (IPv4 first, then by address, shorter first) and without repeats. Prefixes inside others stay:
/// they are routes of their own.
pub fn normalise(mut list: Vec<IpNet>) -> Result<Vec<IpNet>, PrefixError> {
    list.sort_unstable();
    list.dedup();
    check_list(&list)?;
    Ok(list)
}

/// Whether every address of `prefix` lies in some prefix of `list`, be it in several together.
pub fn covers(list: &[IpNet], prefix: &IpNet) -> bool {
    list.iter().any(|wide| wide.contains(prefix)) || PrefixSet::new(list).covers(prefix)
}

/// The first of `wanted` that `list` does not cover.
pub fn first_outside(list: &[IpNet], wanted: &[IpNet]) -> Option<IpNet> {
    let set = PrefixSet::new(list);
    wanted.iter().find(|prefix| !set.covers(prefix)).copied()
}

/// Whether two prefixes share an address.
pub fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// The addresses of a prefix list: siblings joined, repeats gone, so that one lookup answers containment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixSet {
    /// Disjoint and ascending.
    disjoint: Vec<IpNet>,
}

impl PrefixSet {
    /// The union of the prefixes in `list`.
    pub fn new(list: &[IpNet]) -> PrefixSet {
        let mut disjoint = IpNet::aggregate(&list.to_vec());
        disjoint.sort_unstable();
        PrefixSet { disjoint }
    }

    /// Whether every address of `prefix` is in the set.
    pub fn covers(&self, prefix: &IpNet) -> bool {
        let after = self
            .disjoint
            .partition_point(|known| known.network() <= prefix.network());
        after > 0 && self.disjoint[after - 1].contains(prefix)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn host_bits_are_refused_with_the_corrected_prefix() {
        let refusal = parse("10.1.2.3/16").unwrap_err();
        assert!(refusal.to_string().contains("10.1.0.0/16"), "{refusal}");
        let refusal = parse("fd00::1/64").unwrap_err();
        assert!(refusal.to_string().contains("fd00::/64"), "{refusal}");
    }

    #[test]
    fn what_is_no_prefix_is_refused_by_name() {
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0/8",
            "fd00::/129",
            "hello",
            "10.0.0.0/ 8",
        ] {
            let refusal = parse(text).unwrap_err();
            assert!(refusal.to_string().contains(&format!("{text:?}")), "{refusal}");
        }
    }

    #[test]
    fn two_halves_cover_the_whole() {
        assert!(covers(
            &list(&["10.0.0.0/9", "10.128.0.0/9"]),
            &"10.0.0.0/8".parse().unwrap()
        ));
        assert!(!covers(
            &list(&["10.0.0.0/9", "10.128.0.0/10"]),
            &"10.0.0.0/8".parse().unwrap()
        ));
    }

    #[test]
    fn families_never_cover_each_other() {
        assert!(!covers(&list(&["0.0.0.0/0"]), &"fd00::/8".parse().unwrap()));
        assert!(!covers(&list(&["::/0"]), &"10.0.0.0/8".parse().unwrap()));
        assert!(!covers(&[], &"10.0.0.0/8".parse().unwrap()));
    }

    #[test]
    fn normal_form_is_sorted_without_repeats_but_keeps_nested_prefixes() {
        let normal = normalise(list(&["fd00::/8", "10.1.0.0/16", "10.0.0.0/8", "10.1.0.0/16"])).unwrap();
        assert_eq!(normal, list(&["10.0.0.0/8", "10.1.0.0/16", "fd00::/8"]));
    }

    #[test]
    fn a_list_of_501_is_refused() {
        let many = |n: u32| {
            (0..n)
                .map(|i| IpNet::new(std::net::Ipv4Addr::from(i).into(), 32).unwrap())
                .collect()
        };
        assert!(normalise(many(500)).is_ok());
        assert_eq!(normalise(many(501)), Err(PrefixError::TooMany { count: 501 }));
    }

    /// Prefixes inside a space of 256 addresses, so that they often meet.
    fn small_prefix() -> impl Strategy<Value = IpNet> {
        (any::<u8>(), 24u8..=32, any::<bool>()).prop_map(|(host, length, v6)| {
            let net = if v6 {
                IpNet::new(
                    std::net::Ipv6Addr::from(0xfd00_u128 << 112 | u128::from(host)).into(),
                    length + 96,
                )
            } else {
                IpNet::new(std::net::Ipv4Addr::new(10, 0, 0, host).into(), length)
            };
            net.unwrap().trunc()
        })
    }

    proptest! {
        #[test]
        fn covering_means_that_every_single_address_is_inside(
            list in prop::collection::vec(small_prefix(), 0..12), wanted in small_prefix()
        ) {
            let addresses = wanted.subnets(wanted.max_prefix_len()).unwrap();
            let naive = addresses.into_iter().all(|one| list.iter().any(|wide| wide.contains(&one)));
            prop_assert_eq!(covers(&list, &wanted), naive);
            prop_assert_eq!(PrefixSet::new(&list).covers(&wanted), naive);
            prop_assert_eq!(first_outside(&list, &[wanted]).is_none(), naive);
        }

        #[test]
        fn a_list_covers_its_own_members(list in prop::collection::vec(small_prefix(), 0..30)) {
            prop_assert_eq!(first_outside(&list, &list), None);
        }
    }
}
