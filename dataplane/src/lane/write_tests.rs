//! TUN queues that take merged packets, refuse them, are short of memory, or gone.

use std::cell::RefCell;
use std::time::Instant;

use super::*;
use crate::stats::Stats;

/// A queue that answers a merged frame as it is told, and remembers what it took.
#[derive(Default)]
struct Queue {
    merged: Option<Errno>,
    single: Option<Errno>,
    taken: RefCell<Vec<usize>>,
}

impl FrameSink for Queue {
    fn write(&self, frame: &[u8]) -> Result<(), Errno> {
        self.single.map_or(Ok(()), Err)?;
        self.taken.borrow_mut().push(frame.len());
        Ok(())
    }

    fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> Result<(), Errno> {
        self.merged.map_or(Ok(()), Err)?;
        let length = pieces.iter().map(|piece| piece.len()).sum();
        self.taken.borrow_mut().push(length);
        Ok(())
    }
}

struct Lane {
    writer: TunWriter,
    counters: LaneCounters,
}

impl Lane {
    fn new(offloads: Offloads) -> Lane {
        #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
        let counters = LaneCounters::new(Instant::now());
        let mut writer = TunWriter::new(1_000, offloads);
        writer.restore(&counters);
        Lane { writer, counters }
    }

    /// Writes four datagrams of one flow; returns the sizes of the frames that the queue took.
    fn write(&mut self, queue: &Queue) -> Vec<usize> {
        for _ in 0..4 {
            let mut packet = Vec::new();
            let builder = etherparse::PacketBuilder::ipv6([1; 16], [2; 16], 64).udp(7, 9);
            builder.write(&mut packet, &[1; 100]).unwrap();
            self.writer.batch.push(&packet);
        }
        self.writer.flush(Some(queue), &self.counters);
        assert!(self.writer.batch.is_empty());
        queue.taken.take()
    }

    fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        #[expect(clippy::disallowed_methods, reason = "not looked at")]
        self.counters.add_to(&mut stats, Instant::now());
        stats
    }

    fn refusals(&self) -> u64 {
        self.stats().offloads.refused[Offload::Merge as usize]
    }
}

const SINGLY: [usize; 4] = [158; 4];
const AT_ONCE: [usize; 1] = [58 + 400];

#[test]
fn packets_of_a_flow_are_written_at_once() {
    let mut lane = Lane::new(Offloads::ALL);
    assert_eq!(lane.write(&Queue::default()), AT_ONCE);
    assert!(lane.stats().offloads.active.contains(Offload::Merge));
}

#[test]
fn refused_merge_is_written_singly_at_once_and_merging_rests_until_restored() {
    let mut lane = Lane::new(Offloads::ALL);
    let refusing = Queue {
        merged: Some(Errno::INVAL),
        ..Queue::default()
    };
    assert_eq!(lane.write(&refusing), SINGLY);
    assert_eq!(lane.refusals(), 1);
    assert_eq!(lane.write(&Queue::default()), SINGLY, "it rests");
    lane.writer.restore(&lane.counters);
    assert_eq!(lane.write(&Queue::default()), AT_ONCE);
    assert_eq!(lane.stats().drops.iter().sum::<u64>(), 0);
}

#[test]
fn shortage_of_memory_is_no_refusal() {
    for error in [Errno::NOBUFS, Errno::NOMEM, Errno::AGAIN] {
        let mut lane = Lane::new(Offloads::ALL);
        let short = Queue {
            merged: Some(error),
            ..Queue::default()
        };
        assert_eq!(lane.write(&short), SINGLY);
        assert_eq!(lane.write(&Queue::default()), AT_ONCE);
        assert_eq!(lane.refusals(), 0);
    }
}

#[test]
fn every_packet_that_a_closed_interface_does_not_take_is_counted() {
    for error in [Errno::IO, Errno::BADFD] {
        let mut lane = Lane::new(Offloads::ALL);
        let down = Queue {
            merged: Some(error),
            single: Some(error),
            ..Queue::default()
        };
        assert_eq!(lane.write(&down), []);
        assert_eq!(lane.stats().dropped(DropReason::TunWriteFailed), 4);
        assert_eq!(lane.refusals(), 0);
    }
}

#[test]
fn nothing_is_merged_that_shall_not_be() {
    let mut lane = Lane::new(Offloads::ALL.without(Offload::Merge));
    assert_eq!(lane.write(&Queue::default()), SINGLY);
    assert!(!lane.stats().offloads.active.contains(Offload::Merge));
}

#[test]
fn packets_without_an_interface_are_counted() {
    let mut lane = Lane::new(Offloads::ALL);
    lane.writer.batch.push(&[0; 20]);
    lane.writer.flush(None::<&Queue>, &lane.counters);
    assert_eq!(lane.stats().dropped(DropReason::NoTun), 1);
}
