//! What the kernel leaves to us on a TUN queue: checksums to complete, super-packets to split.
//!
//! Before every packet stands a `virtio_net_hdr` (linux/virtio_net.h), in host order:
//!
//! ```text
//! flags u8 · gso_type u8 · hdr_len u16 · gso_size u16 · csum_start u16 · csum_offset u16
//! ```
//!
//! Pure. With TSO and USO one read brings up to 64 KiB of one TCP or UDP stream; it leaves as packets of the size that the
//! kernel would have made, so that nobody on the way can tell. A [`Frame`] is what was read, headers understood and nothing
//! done yet: the engine looks at it once, and [`Frame::segments`] does the work when it is known that the packets leave.

mod checksum;
mod merge;
mod segment;
mod split;
pub(crate) mod switch;

pub use merge::{Group, Head, MAX_MEMBERS, Mergeable, Merger, Protocol};
pub use split::Segments;

use crate::drop::DropReason;
use crate::packet::mss;
use crate::sys::VNET_HEADER;

/// What we take over from the kernel: checksums and the splitting of TCP (linux/if_tun.h).
pub(crate) const TSO: u32 = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

/// The same for UDP; kernels before 6.2 refuse it.
pub(crate) const USO: u32 = TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6;

const TUN_F_CSUM: u32 = 0x01;
const TUN_F_TSO4: u32 = 0x02;
const TUN_F_TSO6: u32 = 0x04;
const TUN_F_TSO_ECN: u32 = 0x08;
const TUN_F_USO4: u32 = 0x20;
const TUN_F_USO6: u32 = 0x40;

const NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// Beside a TCP type: CWR is set. We split such packets like all others.
const GSO_ECN: u8 = 0x80;

/// Where the checksum field of UDP stands in its header: only there zero means "none".
const UDP_CHECKSUM_OFFSET: usize = 6;

/// Where the checksum field of TCP stands in its header.
const TCP_CHECKSUM_OFFSET: usize = 16;

/// One packet or super-packet from a TUN queue, and what is left to be done to it.
#[derive(Debug)]
pub struct Frame<'a> {
    packet: &'a mut [u8],
    todo: Todo,
    /// Where its TCP header begins, if that is known.
    tcp: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Todo {
    /// It is finished.
    Nothing,
    /// Its checksum field holds the pseudo header's sum.
    Checksum { start: usize, offset: usize },
    /// It is to become packets of `size` bytes of payload each.
    Split {
        upper: Upper,
        transport: usize,
        size: usize,
    },
}

/// What a super-packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upper {
    Tcp,
    Udp,
}

impl<'a> Frame<'a> {
    /// A frame as it was read: vnet header and packet.
    pub fn read(bytes: &'a mut [u8]) -> Result<Frame<'a>, DropReason> {
        let (header, packet) = bytes
            .split_at_mut_checked(VNET_HEADER)
            .ok_or(DropReason::Truncated)?;
        let todo = Todo::parse(header).ok_or(DropReason::TunFrameUnsupported)?;
        Ok(Frame {
            packet,
            todo,
            tcp: None,
        })
    }

    /// A finished packet, without a vnet header.
    pub fn whole(packet: &'a mut [u8]) -> Frame<'a> {
        Frame {
            packet,
            todo: Todo::Nothing,
            tcp: None,
        }
    }

    /// The packet or super-packet; its checksums may be unfinished.
    pub fn packet(&self) -> &[u8] {
        self.packet
    }

    /// Whether it is one of IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.packet.first().is_some_and(|first| first >> 4 == 6)
    }

    /// Takes what parsing found: how long the packet is, and where its TCP header begins if it is one of TCP.
    pub fn describe(&mut self, len: usize, tcp: Option<usize>) {
        let packet = std::mem::take(&mut self.packet);
        let len = len.min(packet.len());
        self.packet = &mut packet[..len];
        self.tcp = tcp;
    }

    /// Makes TCP fit a path that takes packets of `mtu` bytes: the maximum segment size in a SYN is clamped, and what is too
    /// large is split into smaller segments. Other packets stay as they are.
    pub fn fit(&mut self, mtu: u16) {
        let Some(tcp) = self.tcp else { return };
        let room = || split::room(self.packet, tcp, mtu.into());
        match &mut self.todo {
            Todo::Split { size, .. } => *size = room().map_or(*size, |room| room.min(*size)),
            Todo::Nothing | Todo::Checksum { .. } if self.packet.len() > mtu.into() => {
                let (Some(size), true) = (room(), split::may_be_split(self.packet, tcp)) else {
                    return;
                };
                if self.todo != Todo::Nothing || split::is_intact(self.packet, tcp) {
                    self.todo = Todo::Split {
                        upper: Upper::Tcp,
                        transport: tcp,
                        size,
                    };
                }
            }
            Todo::Nothing => self.clamp(tcp, mtu, mss::Checksum::Complete),
            Todo::Checksum { .. } => self.clamp(tcp, mtu, mss::Checksum::Later),
        }
    }

    fn clamp(&mut self, tcp: usize, mtu: u16, checksum: mss::Checksum) {
        let ipv6 = self.is_ipv6();
        mss::clamp(&mut self.packet[tcp..], ipv6, mtu, checksum);
    }

    /// The finished packets that the frame stands for.
    pub fn segments(self) -> Result<Segments<'a>, DropReason> {
        let segments = match self.todo {
            Todo::Nothing => Some(Segments::one(self.packet)),
            Todo::Checksum { start, offset } => {
                complete(self.packet, start, offset).map(|()| Segments::one(self.packet))
            }
            Todo::Split {
                upper,
                transport,
                size,
            } => Segments::many(self.packet, upper, transport, size),
        };
        segments.ok_or(DropReason::TunFrameUnsupported)
    }
}

impl Todo {
    /// Understands a vnet header; `None`: it asks for what we never offered.
    fn parse(header: &[u8]) -> Option<Todo> {
        let field = |at: usize| usize::from(u16::from_ne_bytes([header[at], header[at + 1]]));
        let (size, start, offset) = (field(4), field(6), field(8));
        let split = |upper| Todo::Split {
            upper,
            transport: start,
            size,
        };
        match header[1] & !GSO_ECN {
            GSO_NONE if header[0] & NEEDS_CSUM == 0 => Some(Todo::Nothing),
            GSO_NONE => Some(Todo::Checksum { start, offset }),
            GSO_TCPV4 | GSO_TCPV6 => Some(split(Upper::Tcp)),
            GSO_UDP_L4 => Some(split(Upper::Udp)),
            _ => None,
        }
    }
}

/// Sums the transport part, whose checksum field holds the pseudo header's sum.
fn complete(packet: &mut [u8], start: usize, offset: usize) -> Option<()> {
    let sum = !checksum::fold(checksum::sum(packet.get(start..)?));
    let sum = if sum == 0 && offset == UDP_CHECKSUM_OFFSET {
        u16::MAX
    } else {
        sum
    };
    let field = start + offset;
    packet
        .get_mut(field..field + 2)?
        .copy_from_slice(&sum.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests;
