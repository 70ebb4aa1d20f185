//! From the TUN to the send batch: parse, route, seal.

use divan::Bencher;
use divan::counter::ItemsCount;
use meshnode_dataplane::Frame;

use crate::link::Link;
use crate::packets::{self, SEGMENTS};

/// Packets between two flushes of the batch: about what one wake-up brings.
const BATCH: usize = 64;

/// One packet.
#[divan::bench(args = [64, 1420], sample_size = 256)]
fn packet(bencher: Bencher<'_, '_>, size: usize) {
    let mut link = Link::with_peers(1);
    let mut packet = packets::udp(1, size);
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        link.left.outbound(Frame::whole(&mut packet));
        if link.left.send.len() >= BATCH {
            link.left.send.clear();
        }
    });
}

/// One TSO frame of 47 segments.
#[divan::bench(sample_size = 16)]
fn super_packet(bencher: Bencher<'_, '_>) {
    let mut link = Link::with_peers(1);
    let template = packets::super_packet(1);
    bencher
        .counter(ItemsCount::new(SEGMENTS))
        .with_inputs(|| template.clone())
        .bench_local_refs(|bytes| {
            link.left.outbound(Frame::read(bytes).expect("a frame"));
            assert_eq!(link.left.send.len(), SEGMENTS);
            link.left.send.clear();
        });
}

/// One packet of 64 bytes to each of so many peers in turn: what more peers cost.
#[divan::bench(args = [1, 10, 100, 1000], sample_size = 1000)]
fn peers(bencher: Bencher<'_, '_>, count: u16) {
    let mut link = Link::with_peers(count);
    let mut all: Vec<Vec<u8>> = (1..=count).map(|number| packets::udp(number, 64)).collect();
    let mut next = 0;
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        next = (next + 1) % all.len();
        link.left.outbound(Frame::whole(&mut all[next]));
        if link.left.send.len() >= BATCH {
            link.left.send.clear();
        }
    });
}
