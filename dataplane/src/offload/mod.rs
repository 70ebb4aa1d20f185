//! What the kernel leaves to us on a TUN queue: checksums to complete, super-packets to split.
//!
//! Before every packet stands a `virtio_net_hdr` (linux/virtio_net.h), in host order:
//!
//! ```text
//! flags u8 · gso_type u8 · hdr_len u16 · gso_size u16 · csum_start u16 · csum_offset u16
//! ```
//!
//! Pure. With TSO one read brings up to 64 KiB of one TCP stream; it leaves as packets of the size that
//! the kernel would have made, so that nobody on the way can tell.

mod checksum;
mod split;

use crate::drop::DropReason;
use crate::sys::VNET_HEADER;

/// What we take over from the kernel: checksums and the splitting of TCP (linux/if_tun.h).
pub(crate) const TSO: u32 = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;

const TUN_F_CSUM: u32 = 1;
const TUN_F_TSO4: u32 = 2;
const TUN_F_TSO6: u32 = 4;

const NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;

/// Where the checksum field of UDP stands in its header: only there zero means "none".
const UDP_CHECKSUM_OFFSET: usize = 6;

struct VnetHeader {
    flags: u8,
    gso_type: u8,
    gso_size: usize,
    csum_start: usize,
    csum_offset: usize,
}

/// Hands each packet of one frame read from a TUN queue to `take`, finished: split and checksummed.
///
/// Works in place: the frame's bytes are used up.
pub(crate) fn for_each_packet(frame: &mut [u8], mut take: impl FnMut(&[u8])) -> Result<(), DropReason> {
    let (header, packet) = frame
        .split_at_mut_checked(VNET_HEADER)
        .ok_or(DropReason::Truncated)?;
    let header = VnetHeader::parse(header);
    match header.gso_type {
        GSO_NONE if header.flags & NEEDS_CSUM == 0 => take(packet),
        GSO_NONE => {
            complete(packet, &header).ok_or(DropReason::TunFrameUnsupported)?;
            take(packet);
        }
        GSO_TCPV4 | GSO_TCPV6 => {
            split::tcp(packet, header.csum_start, header.gso_size, take)
                .ok_or(DropReason::TunFrameUnsupported)?;
        }
        _ => return Err(DropReason::TunFrameUnsupported),
    }
    Ok(())
}

impl VnetHeader {
    fn parse(bytes: &[u8]) -> VnetHeader {
        let field = |at: usize| usize::from(u16::from_ne_bytes([bytes[at], bytes[at + 1]]));
        VnetHeader {
            flags: bytes[0],
            gso_type: bytes[1],
            gso_size: field(4),
            csum_start: field(6),
            csum_offset: field(8),
        }
    }
}

/// Sums the transport part, whose checksum field holds the pseudo header's sum.
fn complete(packet: &mut [u8], header: &VnetHeader) -> Option<()> {
    let sum = !checksum::fold(checksum::sum(packet.get(header.csum_start..)?));
    let sum = if sum == 0 && header.csum_offset == UDP_CHECKSUM_OFFSET {
        0xffff
    } else {
        sum
    };
    let field = header.csum_start + header.csum_offset;
    packet
        .get_mut(field..field + 2)?
        .copy_from_slice(&sum.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests;
