//! What the kernel leaves to us, alone: splitting, merging and checksums.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use meshnode_dataplane::{Frame, Mergeable, Merger, WriteBatch};

use crate::packets::{self, SEGMENTS};

/// A TSO frame becomes 47 finished packets.
#[divan::bench(sample_size = 16)]
fn split(bencher: Bencher<'_, '_>) {
    let template = packets::super_packet(1);
    bencher
        .counter(ItemsCount::new(SEGMENTS))
        .with_inputs(|| template.clone())
        .bench_local_refs(|bytes| finish(bytes));
}

/// The same 47 packets become one again: their checksums looked at, and the plan made. No payload moves.
#[divan::bench(sample_size = 16)]
fn merge(bencher: Bencher<'_, '_>) {
    let (mut bytes, mut batch) = (packets::super_packet(1), WriteBatch::default());
    let frame = Frame::read(&mut bytes).expect("a frame");
    let mut segments = frame.segments().expect("segments");
    while let Some(packet) = segments.pop() {
        batch.push(packet);
    }
    let (mut merger, all) = (Merger::default(), Mergeable { tcp: true, udp: true });
    merger.plan(&batch, all);
    assert_eq!(merger.groups().len(), 1, "the stream is not merged");
    bencher
        .counter(ItemsCount::new(SEGMENTS))
        .bench_local(|| merger.plan(divan::black_box(&batch), all));
}

/// The checksum of one packet of 1,420 bytes.
#[divan::bench(sample_size = 256)]
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
