//! The table of prefixes: one lookup, and making it anew when something changes.

use std::net::{IpAddr, Ipv4Addr};

use divan::Bencher;
use divan::counter::ItemsCount;
use ipnet::{IpNet, Ipv4Net};
use meshnode_dataplane::Table;

use crate::link;

const SIZES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
/// Destinations that are looked up in turn: more than any cache of the processor makes up for.
const DESTINATIONS: usize = 1 << 16;

/// The longest prefix of one destination of many; half of them have a prefix.
#[divan::bench(args = SIZES, sample_size = 1000)]
fn lookup(bencher: Bencher<'_, '_>, prefixes: usize) {
    let table = table(prefixes);
    let mut numbers = Numbers(7);
    let destinations: Vec<IpAddr> = (0..DESTINATIONS)
        .map(|number| match number % 2 {
            0 => IpAddr::from(Ipv4Addr::from(numbers.next())),
            _ => table.routes[numbers.next() as usize % prefixes].0.addr(),
        })
        .collect();
    let table = table.compile();
    let mut next = 0;
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        next = (next + 1) % destinations.len();
        divan::black_box(table.route(destinations[next]))
    });
}

/// A new table, from the list of prefixes to the snapshot that lanes take.
#[divan::bench(args = SIZES, sample_count = 10, sample_size = 1)]
fn compile(bencher: Bencher<'_, '_>, prefixes: usize) {
    let table = table(prefixes);
    bencher
        .with_inputs(|| table.clone())
        .bench_local_values(Table::compile);
}

/// One peer with so many prefixes of /16 to /32 all over the address space.
fn table(prefixes: usize) -> Table {
    let (peer, mut numbers) = (link::peer(1), Numbers(1));
    let mut random = || {
        let length = 16 + (numbers.next() % 17) as u8;
        IpNet::from(Ipv4Net::new_assert(Ipv4Addr::from(numbers.next()), length).trunc())
    };
    Table {
        routes: (0..prefixes).map(|_| (random(), peer.id.into())).collect(),
        peers: vec![peer],
        ..Table::default()
    }
}

/// The same numbers in every run (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 32) as u32
    }
}
