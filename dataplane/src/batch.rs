//! What crosses between a lane's loop and its engine: datagrams in, and two reused output buffers.
//!
//! Both batches keep one contiguous buffer that grows to the largest batch ever needed and is never given back, so the
//! steady path allocates nothing. The engine writes straight into them; the loop drains and clears them each wake-up.

use std::net::{IpAddr, SocketAddr};

/// Bytes in front of every packet of a [`WriteBatch`]: room for a `virtio_net_hdr`, zeroed.
pub const VNET_HEADER: usize = 10;

/// Most segments in one [`Run`]: the kernel's `UDP_MAX_SEGMENTS`.
pub const MAX_RUN_SEGMENTS: usize = 64;

/// Most bytes in one [`Run`]: the largest UDP payload over IPv4.
pub const MAX_RUN_BYTES: usize = 65_507;

/// One received UDP datagram (one segment of a GRO batch, never a whole batch).
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Who sent it, as the socket said (may be IPv4-mapped).
    pub source: SocketAddr,
    /// Which of our addresses it came to, if the socket knows.
    pub local: Option<IpAddr>,
    /// The UDP payload.
    pub payload: &'a [u8],
}

impl Datagram<'_> {
    /// Where an answer to this datagram goes: its source, normalised, from the address it came to.
    pub fn reply_to(&self) -> Endpoint {
        Endpoint {
            remote: normalise(self.source),
            local: self.local.map(|ip| ip.to_canonical()),
        }
    }
}

/// A place on the underlay, and the address of ours to send from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where datagrams go; never IPv4-mapped.
    pub remote: SocketAddr,
    /// Our source address, when a datagram told us which one works; `None` lets the kernel choose.
    pub local: Option<IpAddr>,
}

impl From<SocketAddr> for Endpoint {
    fn from(remote: SocketAddr) -> Endpoint {
        Endpoint {
            remote: normalise(remote),
            local: None,
        }
    }
}

/// `[::ffff:a.b.c.d]:p` is `a.b.c.d:p`: a dual-stack socket and a v4 socket must name a peer alike. Flow labels go too.
pub fn normalise(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(v4.into(), v6.port()),
            None => SocketAddr::V6(std::net::SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id())),
        },
    }
}

/// How a datagram travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// It may be fragmented on its way (the DF bit is clear).
    pub fragment: bool,
    /// It shares no call with others.
    pub alone: bool,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    to: Endpoint,
    manner: Manner,
    start: usize,
    len: usize,
}

/// Datagrams to send, in order, in one contiguous buffer, so that equal neighbours can leave with one `UDP_SEGMENT` call.
#[derive(Debug, Default)]
pub struct SendBatch {
    buffer: Vec<u8>,
    used: usize,
    segments: Vec<Segment>,
}

impl SendBatch {
    /// A batch whose buffer starts at `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> SendBatch {
        SendBatch {
            buffer: vec![0; capacity],
            ..SendBatch::default()
        }
    }

    /// `len` writable bytes behind what is in the batch; nothing is in the batch until [`SendBatch::commit`].
    pub fn reserve(&mut self, len: usize) -> &mut [u8] {
        grow(&mut self.buffer, self.used + len);
        &mut self.buffer[self.used..self.used + len]
    }

    /// Puts the first `len` reserved bytes into the batch as one datagram to `to`.
    pub fn commit(&mut self, to: Endpoint, len: usize) {
        self.commit_as(to, Manner::default(), len);
    }

    /// The same for a datagram that travels in a `manner` of its own.
    pub fn commit_as(&mut self, to: Endpoint, manner: Manner, len: usize) {
        self.segments.push(Segment {
            to,
            manner,
            start: self.used,
            len,
        });
        self.used += len;
    }

    /// Appends a copy of `payload` as one datagram.
    pub fn push(&mut self, to: Endpoint, payload: &[u8]) {
        self.reserve(payload.len()).copy_from_slice(payload);
        self.commit(to, payload.len());
    }

    /// Each datagram with its destination, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Endpoint, &[u8])> {
        self.segments
            .iter()
            .map(|s| (s.to, &self.buffer[s.start..s.start + s.len]))
    }

    /// The batch as runs that one GSO send each can carry, in order.
    pub fn runs(&self) -> Runs<'_> {
        Runs { batch: self, next: 0 }
    }

    /// Datagrams in the batch.
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// Whether nothing is to be sent.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Payload bytes in the batch: what a loop compares to its budget.
    pub fn bytes(&self) -> usize {
        self.used
    }

    /// Forgets the datagrams and keeps the buffer.
    pub fn clear(&mut self) {
        self.used = 0;
        self.segments.clear();
    }
}

/// Consecutive datagrams to one endpoint, all of `segment_size` but the last, which may be shorter. One `quinn_udp::Transmit`.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Where all of them go.
    pub to: Endpoint,
    /// Whether they may be fragmented on their way.
    pub fragment: bool,
    /// Size of every datagram but the last.
    pub segment_size: usize,
    /// The datagrams, one behind the other.
    pub bytes: &'a [u8],
}

impl<'a> Run<'a> {
    /// How many datagrams the run holds; at least one.
    pub fn count(&self) -> usize {
        self.bytes.len().div_ceil(self.segment_size.max(1)).max(1)
    }

    /// The datagrams one by one: what to send when GSO is refused.
    pub fn segments(&self) -> impl Iterator<Item = &'a [u8]> {
        self.bytes.chunks(self.segment_size.max(1))
    }
}

/// Iterator of [`SendBatch::runs`].
#[derive(Debug)]
pub struct Runs<'a> {
    batch: &'a SendBatch,
    next: usize,
}

impl<'a> Iterator for Runs<'a> {
    type Item = Run<'a>;

    fn next(&mut self) -> Option<Run<'a>> {
        let segments = &self.batch.segments[self.next..];
        let first = segments.first()?;
        let mut end = first.start + first.len;
        let mut count = 1;
        let mut previous = first.len;
        for s in &segments[1..] {
            let joins = s.to == first.to
                && s.manner == first.manner
                && !s.manner.alone
                && previous == first.len
                && s.len <= first.len
                && s.len > 0
                && count < MAX_RUN_SEGMENTS
                && s.start + s.len - first.start <= MAX_RUN_BYTES;
            if !joins {
                break;
            }
            (previous, end, count) = (s.len, s.start + s.len, count + 1);
        }
        self.next += count;
        let bytes = &self.batch.buffer[first.start..end];
        Some(Run {
            to: first.to,
            fragment: first.manner.fragment,
            segment_size: first.len,
            bytes,
        })
    }
}

/// Packets to write to the TUN, in order, each behind [`VNET_HEADER`] zero bytes.
#[derive(Debug, Default)]
pub struct WriteBatch {
    buffer: Vec<u8>,
    used: usize,
    packets: Vec<(usize, usize)>,
}

impl WriteBatch {
    /// A batch whose buffer starts at `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> WriteBatch {
        WriteBatch {
            buffer: vec![0; capacity],
            ..WriteBatch::default()
        }
    }

    /// `len` writable bytes for the next packet; nothing is in the batch until [`WriteBatch::commit`], so the space is
    /// also the scratch in which packets are opened that turn out to go elsewhere.
    pub fn reserve(&mut self, len: usize) -> &mut [u8] {
        let start = self.used + VNET_HEADER;
        grow(&mut self.buffer, start + len);
        &mut self.buffer[start..start + len]
    }

    /// Puts the first `len` reserved bytes into the batch as one packet.
    pub fn commit(&mut self, len: usize) {
        let header = self.used;
        self.buffer[header..header + VNET_HEADER].fill(0);
        self.used += VNET_HEADER + len;
        self.packets.push((header, self.used));
    }

    /// Appends a copy of `packet`.
    pub fn push(&mut self, packet: &[u8]) {
        self.reserve(packet.len()).copy_from_slice(packet);
        self.commit(packet.len());
    }

    /// Each packet with its [`VNET_HEADER`] in front: exactly what one `write` to the TUN takes.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.packets.iter().map(|&(start, end)| &self.buffer[start..end])
    }

    /// Each packet without its header.
    pub fn packets(&self) -> impl Iterator<Item = &[u8]> {
        self.frames().map(|frame| &frame[VNET_HEADER..])
    }

    /// The packet of this index with its [`VNET_HEADER`] in front. Panics where there is none.
    pub fn frame(&self, index: usize) -> &[u8] {
        let (start, end) = self.packets[index];
        &self.buffer[start..end]
    }

    /// The packet of this index without its header. Panics where there is none.
    pub fn packet(&self, index: usize) -> &[u8] {
        &self.frame(index)[VNET_HEADER..]
    }

    /// Packets in the batch.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Bytes in the batch with headers: what a loop compares to its budget.
    pub fn bytes(&self) -> usize {
        self.used
    }

    /// Forgets the packets and keeps the buffer.
    pub fn clear(&mut self) {
        self.used = 0;
        self.packets.clear();
    }
}

fn grow(buffer: &mut Vec<u8>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len.next_power_of_two(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(port: u16) -> Endpoint {
        Endpoint::from(SocketAddr::from(([192, 0, 2, 1], port)))
    }

    fn shapes(batch: &SendBatch) -> Vec<(u16, usize, usize)> {
        batch
            .runs()
            .map(|r| (r.to.remote.port(), r.segment_size, r.count()))
            .collect()
    }

    #[test]
    fn equal_neighbours_form_one_run_and_a_short_one_ends_it() {
        let mut batch = SendBatch::default();
        for len in [100, 100, 40, 40, 100] {
            batch.push(to(1), &vec![7; len]);
        }
        batch.push(to(2), &[7; 100]);
        assert_eq!(
            shapes(&batch),
            [(1, 100, 3), (1, 40, 1), (1, 100, 1), (2, 100, 1)]
        );
    }

    #[test]
    fn what_travels_alone_or_otherwise_is_in_no_run_with_others() {
        let mut batch = SendBatch::default();
        let manners = [
            (false, false),
            (false, true),
            (false, true),
            (true, false),
            (true, false),
        ];
        for (fragment, alone) in manners {
            batch.reserve(100);
            batch.commit_as(to(1), Manner { fragment, alone }, 100);
        }
        let runs: Vec<_> = batch.runs().map(|run| (run.fragment, run.count())).collect();
        assert_eq!(runs, [(false, 1), (false, 1), (false, 1), (true, 2)]);
    }

    #[test]
    fn a_run_never_exceeds_the_kernel_limits() {
        let mut batch = SendBatch::default();
        for _ in 0..100 {
            batch.push(to(1), &[1; 1432]);
        }
        for run in batch.runs() {
            assert!(run.bytes.len() <= MAX_RUN_BYTES && run.count() <= MAX_RUN_SEGMENTS);
        }
        assert_eq!(batch.runs().map(|r| r.count()).sum::<usize>(), 100);
        batch.clear();
        for _ in 0..65 {
            batch.push(to(1), &[1; 10]);
        }
        assert_eq!(shapes(&batch), [(1, 10, 64), (1, 10, 1)]);
    }

    #[test]
    fn a_cleared_batch_keeps_its_buffer_and_its_headers_stay_zero() {
        let mut batch = WriteBatch::default();
        batch.reserve(50).fill(0xff);
        batch.clear();
        batch.push(&[1, 2, 3]);
        batch.push(&[4]);
        let frames: Vec<&[u8]> = batch.frames().collect();
        assert_eq!(frames[0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
        assert_eq!(batch.packets().collect::<Vec<_>>(), [&[1u8, 2, 3][..], &[4]]);
    }

    #[test]
    fn a_mapped_source_is_the_same_endpoint_as_its_v4_form() {
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:9".parse().unwrap();
        assert_eq!(Endpoint::from(mapped), to(9));
    }
}
