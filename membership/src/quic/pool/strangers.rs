//! How many connections may be without standing at a time, in all and for each source.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use super::lock;

/// Connections without standing, handshakes included.
const MAX_STRANGERS: usize = 256;
/// Of these, from one IPv4 address or IPv6 /64: one flood must not keep everybody else out.
const MAX_FROM_ONE_SOURCE: usize = 16;

#[derive(Clone, Default)]
pub(super) struct Strangers {
    sources: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// One place among the strangers, given back when dropped.
pub(super) struct Stranger {
    source: IpAddr,
    strangers: Strangers,
}

impl Strangers {
    /// A place for a connection from `address`, which has proved that it is there; `None` if all are taken.
    pub(super) fn let_in(&self, address: IpAddr) -> Option<Stranger> {
        let source = source(address);
        let mut sources = lock(&self.sources);
        let here = sources.get(&source).copied().unwrap_or(0);
        if here >= MAX_FROM_ONE_SOURCE || sources.values().sum::<usize>() >= MAX_STRANGERS {
            return None;
        }
        sources.insert(source, here + 1);
        Some(Stranger {
            source,
            strangers: self.clone(),
        })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut sources = lock(&self.strangers.sources);
        if let Some(count) = sources.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_cannot_take_every_place() {
        let strangers = Strangers::default();
        let flood: Vec<_> = (0..100u16)
            .filter_map(|n| strangers.let_in(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n).into()))
            .collect();
        assert_eq!(flood.len(), MAX_FROM_ONE_SOURCE);
        assert!(strangers.let_in("192.0.2.1".parse().unwrap()).is_some());
    }

    #[test]
    fn places_are_given_back() {
        let strangers = Strangers::default();
        for _ in 0..1000 {
            assert!(strangers.let_in("::ffff:192.0.2.1".parse().unwrap()).is_some());
        }
        assert!(lock(&strangers.sources).is_empty());
    }
}
