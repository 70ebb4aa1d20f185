//! What the kernel leaves to us, alone: splitting and checksums.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use meshnode_dataplane::Frame;

use crate::packets::{self, SEGMENTS};

/// A TSO frame becomes 47 finished packets.
#[divan::bench]
fn split(bencher: Bencher<'_, '_>) {
    let template = packets::super_packet(1);
    bencher
        .counter(ItemsCount::new(SEGMENTS))
        .with_inputs(|| template.clone())
        .bench_local_refs(|bytes| finish(bytes));
}

/// The checksum of one packet of 1,420 bytes.
#[divan::bench]
fn checksum(bencher: Bencher<'_, '_>) {
    let template = packets::unfinished(1);
    bencher
        .counter(BytesCount::new(template.len()))
        .with_inputs(|| template.clone())
        .bench_local_refs(|bytes| finish(bytes));
}

fn finish(bytes: &mut [u8]) -> usize {
    let frame = Frame::read(bytes).expect("a frame");
    let mut segments = frame.segments().expect("segments");
    let mut all = 0;
    while let Some(packet) = segments.pop() {
        all += divan::black_box(packet).len();
    }
    all
}
