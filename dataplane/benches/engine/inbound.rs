//! From a datagram to the write batch: find the tunnel, open, check, merge.

use divan::Bencher;
use divan::counter::ItemsCount;
use meshnode_dataplane::Frame;

use crate::link::Link;
use crate::packets;

/// Packets between two writes of the batch.
const BATCH: usize = 64;

/// One datagram.
#[divan::bench(args = [64, 1420], sample_size = 256)]
fn datagram(bencher: Bencher<'_, '_>, size: usize) {
    let Link { mut left, mut peers } = Link::with_peers(1);
    let mut packet = packets::udp(1, size);
    let right = &mut peers[0];
    let sealed = || {
        left.outbound(Frame::whole(&mut packet));
        let sealed = left.send.iter().last().map(|(_, payload)| payload.to_vec());
        left.send.clear();
        sealed.expect("a sealed packet")
    };
    bencher
        .counter(ItemsCount::new(1_u32))
        .with_inputs(sealed)
        .bench_local_refs(|payload| {
            right.inbound(payload);
            if right.write.len() >= BATCH {
                right.write.clear();
            }
        });
}
