//! Packets that were received together become super-packets, as the kernel's receive offload makes them.
//!
//! ```text
//!   received   a0 │ b0 │ a1 │ a2 │ ping │ b1 │ a3
//!   written    vnet·headers(a)·a0·a1·a2·a3   vnet·headers(b)·b0·b1   ping
//! ```
//!
//! Pure. A plan names the packets of each group; no payload moves: one `writev` takes a header made here and
//! the payloads where they lie. Packets of one flow keep their order, flows among each other need none. What
//! would not be the same bytes after the kernel splits it again is left alone, and so is every packet
//! whose checksum is wrong: that is for its receiver to see.

use super::checksum::{fold, sum};
use super::segment::{self, Flow, IPV6_HEADER, LAST_ONLY, Segment, Shape, TCP, UDP, UDP_HEADER};
use super::{GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, TCP_CHECKSUM_OFFSET, UDP_CHECKSUM_OFFSET};
use crate::batch::WriteBatch;
use crate::sys::VNET_HEADER;

/// Most packets in a group: what the kernel allows of UDP (`UDP_GRO_CNT_MAX`), and far below IOV_MAX.
pub const MAX_MEMBERS: usize = 64;

/// Flows that are watched at once; one more closes the oldest, which costs nothing but a merge.
const MAX_OPEN: usize = 16;

/// The largest IP packet, which every length field can say.
const MAX_PACKET: usize = 65_535;

/// Headers of a merged packet: IPv6, and TCP with all options.
const MAX_HEADERS: usize = IPV6_HEADER + 60;

/// What may be merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mergeable {
    /// Streams.
    pub tcp: bool,
    /// Datagrams; kernels before 6.2 refuse them.
    pub udp: bool,
}

/// The protocol of a merged packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// With `VIRTIO_NET_HDR_GSO_TCPV4` or `…_TCPV6`.
    Tcp,
    /// With `VIRTIO_NET_HDR_GSO_UDP_L4`.
    Udp,
}

/// Plans over the packets of a batch; reused, so that the steady path allocates nothing.
#[derive(Debug, Default)]
pub struct Merger {
    groups: Vec<Group>,
    /// For each packet of the batch, the next one of its group.
    next: Vec<Option<u32>>,
    /// Groups that may still grow, oldest first.
    open: Vec<u32>,
}

/// Packets that are written as one.
#[derive(Debug)]
pub struct Group {
    first: u32,
    last: u32,
    count: u32,
    shared: Option<Shared>,
}

/// What the members of a group have in common.
#[derive(Debug)]
struct Shared {
    /// The first packet.
    segment: Segment,
    /// Bytes of payload of all members.
    payload: usize,
    flags: u8,
    /// All have one identification; else each has one more than the one before.
    fixed_id: bool,
    /// The first packet's checksums were found right. Looked at when a second one comes.
    verified: bool,
}

/// The head of a merged packet: vnet header and IP and transport headers.
#[derive(Debug)]
pub struct Head {
    /// What follows it.
    pub protocol: Protocol,
    bytes: [u8; VNET_HEADER + MAX_HEADERS],
    length: usize,
}

/// What became of a packet that could have joined a group.
enum Joined {
    /// It is part of it, and more may come.
    Open,
    /// It is part of it, as the last.
    Full,
    /// It does not fit.
    No,
}

impl Merger {
    /// Plans anew, for this batch.
    pub fn plan(&mut self, batch: &WriteBatch, mergeable: Mergeable) {
        self.groups.clear();
        self.next.clear();
        self.open.clear();
        for (index, packet) in (0..).zip(batch.packets()) {
            self.next.push(None);
            match segment::parse(packet) {
                Shape::Segment(segment) if mergeable.covers(&segment) => {
                    self.place(batch, index, packet, segment);
                }
                Shape::Segment(Segment { flow, .. }) | Shape::Alone(flow) => {
                    self.close(&flow);
                    self.groups.push(Group::of(index, None));
                }
                Shape::Opaque => {
                    self.open.clear();
                    self.groups.push(Group::of(index, None));
                }
                Shape::Other => self.groups.push(Group::of(index, None)),
            }
        }
    }

    /// The groups, in the order in which they are to be written.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Indices of the packets of a group, in order.
    pub fn members(&self, group: &Group) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(group.first), |at| self.next[*at as usize]).map(|at| at as usize)
    }

    /// What stands before the payloads when a group of more than one is written; none for a packet alone.
    pub fn head(&self, group: &Group, batch: &WriteBatch) -> Option<Head> {
        let shared = group.shared.as_ref().filter(|_| group.count > 1)?;
        Some(Head::new(shared, batch.packet(group.first as usize)))
    }

    /// The payload of each member.
    pub fn payloads<'a>(&self, group: &Group, batch: &'a WriteBatch) -> impl Iterator<Item = &'a [u8]> {
        let headers = group.shared.as_ref().map_or(0, |shared| shared.segment.headers);
        self.members(group)
            .map(move |member| &batch.packet(member)[headers..])
    }

    fn place(&mut self, batch: &WriteBatch, index: u32, packet: &[u8], segment: Segment) {
        let slot = self.slot(&segment.flow);
        if let Some(slot) = slot {
            let group = &mut self.groups[self.open[slot] as usize];
            let joined = group.join(batch, index, packet, &segment, &mut self.next);
            if !matches!(joined, Joined::Open) {
                self.open.remove(slot);
            }
            if !matches!(joined, Joined::No) {
                return;
            }
        }
        if segment.last_only == 0 {
            if self.open.len() == MAX_OPEN {
                self.open.remove(0);
            }
            self.open.push(self.groups.len() as u32);
        }
        self.groups.push(Group::of(index, Some(segment)));
    }

    fn slot(&self, flow: &Flow) -> Option<usize> {
        let is_of = |open: &u32| self.groups[*open as usize].is_of(flow);
        // Most packets follow one of their own flow.
        self.open.iter().rposition(is_of)
    }

    fn close(&mut self, flow: &Flow) {
        if let Some(slot) = self.slot(flow) {
            self.open.remove(slot);
        }
    }
}

impl Mergeable {
    fn covers(self, segment: &Segment) -> bool {
        if segment.flow.protocol == TCP {
            self.tcp
        } else {
            self.udp
        }
    }
}

impl Group {
    fn of(index: u32, segment: Option<Segment>) -> Group {
        let shared = segment.map(|segment| Shared {
            payload: segment.payload,
            flags: segment.last_only,
            fixed_id: false,
            verified: false,
            segment,
        });
        Group {
            first: index,
            last: index,
            count: 1,
            shared,
        }
    }

    fn is_of(&self, flow: &Flow) -> bool {
        self.shared
            .as_ref()
            .is_some_and(|shared| shared.segment.flow == *flow)
    }

    fn join(
        &mut self,
        batch: &WriteBatch,
        index: u32,
        packet: &[u8],
        segment: &Segment,
        next: &mut [Option<u32>],
    ) -> Joined {
        let first = batch.packet(self.first as usize);
        let count = self.count;
        let Some(shared) = self.shared.as_mut() else {
            return Joined::No;
        };
        if !shared.admits(first, packet, segment, count) {
            return Joined::No;
        }
        next[self.last as usize] = Some(index);
        self.last = index;
        self.count += 1;
        shared.payload += segment.payload;
        shared.flags |= segment.last_only;
        let full = segment.last_only != 0
            || segment.payload < shared.segment.payload
            || self.count as usize == MAX_MEMBERS;
        if full { Joined::Full } else { Joined::Open }
    }
}

impl Shared {
    /// Whether `packet` continues the group of `count` packets that begins with `first`.
    fn admits(&mut self, first: &[u8], packet: &[u8], segment: &Segment, count: u32) -> bool {
        let fits = segment.headers == self.segment.headers
            && segment.payload <= self.segment.payload
            && self.segment.headers + self.payload + segment.payload <= MAX_PACKET
            && self.continues(first, packet)
            && self.segment.shares_headers(first, packet);
        if !fits || !self.admits_identification(first, packet, count) {
            return false;
        }
        self.verified = self.verified || self.segment.is_intact(first);
        self.verified && segment.is_intact(packet)
    }

    fn continues(&self, first: &[u8], packet: &[u8]) -> bool {
        let sequence = |packet| segment::sequence(packet, &self.segment);
        self.segment.flow.protocol == UDP
            || sequence(packet) == sequence(first).wrapping_add(self.payload as u32)
    }

    /// Counting up from the first, as the kernel does when it splits, or one for all where it means nothing.
    fn admits_identification(&mut self, first: &[u8], packet: &[u8], count: u32) -> bool {
        if !self.segment.flow.is_ipv4() {
            return true;
        }
        let ahead = segment::identification(packet).wrapping_sub(segment::identification(first));
        let fixed = ahead == 0 && segment::is_atomic(first);
        if count == 1 {
            self.fixed_id = fixed;
        }
        if self.fixed_id {
            fixed
        } else {
            u32::from(ahead) == count
        }
    }
}

impl Head {
    /// The vnet header, and behind it those of the packet.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn new(shared: &Shared, first: &[u8]) -> Head {
        let Segment {
            flow,
            headers,
            payload,
            ..
        } = shared.segment;
        let mut head = Head {
            protocol: if flow.protocol == TCP {
                Protocol::Tcp
            } else {
                Protocol::Udp
            },
            bytes: [0; VNET_HEADER + MAX_HEADERS],
            length: VNET_HEADER + headers,
        };
        let (vnet, packet) = head.bytes.split_at_mut(VNET_HEADER);
        let packet = &mut packet[..headers];
        packet.copy_from_slice(&first[..headers]);
        let checksum_offset = describe(packet, shared);
        let gso_type = match (flow.protocol, flow.is_ipv4()) {
            (TCP, true) => GSO_TCPV4,
            (TCP, false) => GSO_TCPV6,
            _ => GSO_UDP_L4,
        };
        vnet[..2].copy_from_slice(&[NEEDS_CSUM, gso_type]);
        let fields = [headers, payload, usize::from(flow.transport), checksum_offset];
        for (slot, field) in vnet[2..].chunks_exact_mut(2).zip(fields) {
            slot.copy_from_slice(&(field as u16).to_ne_bytes());
        }
        head
    }
}

/// Makes the first packet's headers those of the whole; returns where the checksum stands in the transport header.
fn describe(packet: &mut [u8], shared: &Shared) -> usize {
    let flow = &shared.segment.flow;
    let transport = usize::from(flow.transport);
    let length = shared.segment.headers + shared.payload;
    if flow.is_ipv4() {
        put(packet, 2, length as u16);
        put(packet, 10, 0);
        let checksum = !fold(sum(&packet[..transport]));
        put(packet, 10, checksum);
    } else {
        put(packet, 4, (length - IPV6_HEADER) as u16);
    }
    let checksum_offset = match flow.protocol {
        TCP => {
            packet[transport + 13] = packet[transport + 13] & !LAST_ONLY | shared.flags;
            TCP_CHECKSUM_OFFSET
        }
        _ => {
            put(packet, transport + 4, (UDP_HEADER + shared.payload) as u16);
            UDP_CHECKSUM_OFFSET
        }
    };
    // The kernel, or the network card, sums the rest.
    let partial = fold(flow.pseudo_header(length - transport));
    put(packet, transport + checksum_offset, partial);
    checksum_offset
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
