//! The way to the TUN: what was opened is merged and written, each super-packet at once.
//!
//! A kernel that refuses a merged packet (6.6.44 answers EINVAL to some) gets its packets one by one, at
//! once and then for a while; nothing is lost over it.

use std::io::IoSlice;

use rustix::io::Errno;

use super::counters::LaneCounters;
use crate::batch::WriteBatch;
use crate::drop::DropReason;
use crate::interface::TunQueue;
use crate::offload::switch::{Offload, Offloads};
use crate::offload::{Head, MAX_MEMBERS, Mergeable, Merger, Protocol};

/// Takes frames, a whole one with each call: a TUN queue, or a test's.
pub(super) trait FrameSink {
    /// One frame: vnet header and packet.
    fn write(&self, frame: &[u8]) -> Result<(), Errno>;
    /// The same in pieces.
    fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> Result<(), Errno>;
}

impl FrameSink for TunQueue {
    fn write(&self, frame: &[u8]) -> Result<(), Errno> {
        TunQueue::write(self, frame)
    }

    fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> Result<(), Errno> {
        TunQueue::write_vectored(self, pieces)
    }
}

/// Packets on their way to the TUN queue of a lane.
#[derive(Debug)]
pub(super) struct TunWriter {
    /// What waits.
    pub(super) batch: WriteBatch,
    merger: Merger,
    wanted: Mergeable,
    mergeable: Mergeable,
}

impl TunWriter {
    /// `capacity` bytes are held without growing.
    pub(super) fn new(capacity: usize, offloads: Offloads) -> TunWriter {
        let wanted = offloads.contains(Offload::Merge);
        let wanted = Mergeable {
            tcp: wanted,
            udp: wanted,
        };
        TunWriter {
            batch: WriteBatch::with_capacity(capacity),
            merger: Merger::default(),
            wanted,
            mergeable: wanted,
        }
    }

    /// Writes all that waits to `sink`; without one it is dropped.
    pub(super) fn flush(&mut self, sink: Option<&impl FrameSink>, counters: &LaneCounters) {
        match sink {
            Some(sink) => self.write_out(sink, counters),
            None => (0..self.batch.len()).for_each(|_| counters.drops.count(DropReason::NoTun)),
        }
        self.batch.clear();
    }

    /// Merges again, after a refusal some time ago or for a new queue.
    pub(super) fn restore(&mut self, counters: &LaneCounters) {
        self.mergeable = self.wanted;
        self.publish(counters);
    }

    fn publish(&self, counters: &LaneCounters) {
        counters.offloads.set_active(Offload::Merge, self.mergeable.tcp);
    }

    fn write_out(&mut self, sink: &impl FrameSink, counters: &LaneCounters) {
        let (batch, merger) = (&self.batch, &mut self.merger);
        merger.plan(batch, self.mergeable);
        let mut refused = None;
        for group in merger.groups() {
            let members = merger.members(group);
            let Some(head) = merger.head(group, batch).filter(|_| refused.is_none()) else {
                write_singly(members, batch, sink, counters);
                continue;
            };
            match write_merged(&head, merger.payloads(group, batch), sink) {
                Ok(()) => {}
                // The interface is down or gone: one by one would fail the same way.
                Err(Errno::IO | Errno::BADFD) => {
                    members.for_each(|_| counters.drops.count(DropReason::TunWriteFailed));
                }
                // Short of memory for so large a packet, which passes.
                Err(Errno::NOBUFS | Errno::NOMEM | Errno::AGAIN) => {
                    write_singly(members, batch, sink, counters);
                }
                Err(error) => {
                    write_singly(members, batch, sink, counters);
                    refused = Some((head.protocol, error));
                }
            }
        }
        if let Some((protocol, error)) = refused {
            self.note_refusal(protocol, error, counters);
        }
    }

    /// Merging stays off until [`TunWriter::restore`], for this protocol.
    fn note_refusal(&mut self, protocol: Protocol, error: Errno, counters: &LaneCounters) {
        match protocol {
            Protocol::Tcp => self.mergeable.tcp = false,
            Protocol::Udp => self.mergeable.udp = false,
        }
        if counters.offloads.count_refusal(Offload::Merge) == 1 {
            tracing::info!(
                ?protocol,
                %error,
                "the kernel refuses merged packets on the TUN: writing singly for a while"
            );
        }
        self.publish(counters);
    }
}

/// One call: the head made by the merger, and the payloads from where they lie.
fn write_merged<'a>(
    head: &'a Head,
    payloads: impl Iterator<Item = &'a [u8]>,
    sink: &impl FrameSink,
) -> Result<(), Errno> {
    let mut pieces = [IoSlice::new(head.as_bytes()); 1 + MAX_MEMBERS];
    let mut used = 1;
    for (piece, payload) in pieces[1..].iter_mut().zip(payloads) {
        *piece = IoSlice::new(payload);
        used += 1;
    }
    sink.write_vectored(&pieces[..used])
}

fn write_singly(
    members: impl Iterator<Item = usize>,
    batch: &WriteBatch,
    sink: &impl FrameSink,
    counters: &LaneCounters,
) {
    for member in members {
        if sink.write(batch.frame(member)).is_err() {
            counters.drops.count(DropReason::TunWriteFailed);
        }
    }
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
