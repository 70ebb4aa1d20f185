//! Fragmentation of IPv4 (RFC 791 §2.3, §3.2), in place.
//!
//! The header of each fragment is written over the end of the one before, which has left already: no payload is moved.

use super::{checksum, ipv4};

/// IPv4 headers are at most this long.
const MAX_HEADER: usize = 60;
const MORE: u16 = ipv4::MORE_FRAGMENTS;

/// Ends the options, and pads them.
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
/// Options with this bit stand in every fragment.
const COPIED: u8 = 0x80;

/// The fragments of one packet, one after the other.
#[derive(Debug)]
pub struct Fragments<'a> {
    packet: &'a mut [u8],
    first: Header,
    later: Header,
    /// Most bytes of a fragment, header included.
    mtu: usize,
    /// Payload bytes that have left.
    offset: usize,
    /// Flags and offset of the packet, which may be a fragment itself.
    flags: u16,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    bytes: [u8; MAX_HEADER],
    len: usize,
}

impl<'a> Fragments<'a> {
    /// Fragments of at most `mtu` bytes, which has room for 8 bytes behind the longest header. `packet` was parsed as IPv4
    /// and ends with its last byte. `None`: it must not be fragmented, or is none of these.
    pub fn new(packet: &'a mut [u8], mtu: usize) -> Option<Fragments<'a>> {
        if mtu < MAX_HEADER + 8 || !ipv4::may_fragment(packet) {
            return None;
        }
        let len = usize::from(packet[0] & 0x0f) * 4;
        let mut first = Header {
            bytes: [0; MAX_HEADER],
            len,
        };
        first.bytes.get_mut(..len)?.copy_from_slice(packet.get(..len)?);
        Some(Fragments {
            flags: u16::from_be_bytes([packet[6], packet[7]]),
            later: first.for_later(),
            packet,
            first,
            mtu,
            offset: 0,
        })
    }

    /// The next fragment.
    pub fn pop(&mut self) -> Option<&mut [u8]> {
        let begin = self.first.len + self.offset;
        let left = self.packet.len().checked_sub(begin).filter(|left| *left > 0)?;
        let header = if self.offset == 0 {
            &self.first
        } else {
            &self.later
        };
        let room = self.mtu - header.len;
        let size = if left <= room { left } else { room & !7 };
        let more = size < left || self.flags & MORE != 0;
        let flags = ((self.flags & !MORE) + (self.offset / 8) as u16) | if more { MORE } else { 0 };
        let fragment = &mut self.packet[begin - header.len..begin + size];
        header.write(fragment, flags);
        self.offset += size;
        Some(fragment)
    }
}

impl Header {
    fn write(&self, fragment: &mut [u8], flags: u16) {
        let total = fragment.len() as u16;
        let header = &mut fragment[..self.len];
        header.copy_from_slice(&self.bytes[..self.len]);
        header[2..4].copy_from_slice(&total.to_be_bytes());
        header[6..8].copy_from_slice(&flags.to_be_bytes());
        header[10..12].fill(0);
        let field = checksum::finish(checksum::add(0, header));
        header[10..12].copy_from_slice(&field.to_be_bytes());
    }

    /// The header of every fragment but the first: without the options that only the first one has.
    fn for_later(&self) -> Header {
        let mut later = Header {
            bytes: self.bytes,
            len: ipv4::HEADER,
        };
        let mut options = &self.bytes[ipv4::HEADER..self.len];
        while let [kind, rest @ ..] = options {
            let len = match *kind {
                END => break,
                NO_OPERATION => 1,
                _ => usize::from(rest.first().copied().unwrap_or(0)),
            };
            let Some((option, behind)) = options.split_at_checked(len).filter(|_| len > 0) else {
                break;
            };
            if *kind & COPIED != 0 {
                later.bytes[later.len..later.len + len].copy_from_slice(option);
                later.len += len;
            }
            options = behind;
        }
        while !later.len.is_multiple_of(4) {
            later.bytes[later.len] = END;
            later.len += 1;
        }
        later.bytes[0] = 0x40 | (later.len / 4) as u8;
        later
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;
    use proptest::prelude::*;

    /// A packet with these options, padded to a multiple of 4, and this payload.
    fn packet(options: &[u8], payload: &[u8], flags: u16) -> Vec<u8> {
        let mut bytes = vec![0; 20];
        bytes.extend(options);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let header = bytes.len();
        bytes[0] = 0x40 | (header / 4) as u8;
        (bytes[4], bytes[5], bytes[8], bytes[9]) = (0xab, 0xcd, 64, 17);
        bytes[6..8].copy_from_slice(&flags.to_be_bytes());
        bytes[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend(payload);
        let total = bytes.len() as u16;
        bytes[2..4].copy_from_slice(&total.to_be_bytes());
        bytes
    }

    fn fragments(mut packet: Vec<u8>, mtu: usize) -> Option<Vec<Vec<u8>>> {
        let mut fragments = Fragments::new(&mut packet, mtu)?;
        let mut out = vec![];
        while let Some(fragment) = fragments.pop() {
            out.push(fragment.to_vec());
        }
        Some(out)
    }

    fn word(bytes: &[u8], at: usize) -> u16 {
        u16::from_be_bytes([bytes[at], bytes[at + 1]])
    }

    proptest! {
        #[test]
        fn fragments_are_the_packet_again(
            payload in prop::collection::vec(any::<u8>(), 1..9_000),
            mtu in 68usize..2_000,
            begins_at in 0u16..100,
            was_fragment: bool,
        ) {
            let more = if was_fragment && payload.len().is_multiple_of(8) { MORE } else { 0 };
            let out = fragments(packet(&[], &payload, begins_at | more), mtu).unwrap();
            let mut stream: Vec<u8> = vec![];
            for (index, fragment) in out.iter().enumerate() {
                let last = index + 1 == out.len();
                prop_assert!(fragment.len() <= mtu);
                prop_assert_eq!(usize::from(word(fragment, 2)), fragment.len());
                prop_assert_eq!(checksum::finish(checksum::add(0, &fragment[..20])), 0);
                prop_assert_eq!(word(fragment, 4), 0xabcd);
                prop_assert_eq!(word(fragment, 6) & 0x1fff, begins_at + (stream.len() / 8) as u16);
                prop_assert_eq!(word(fragment, 6) & MORE != 0, !last || more != 0);
                prop_assert!(Packet::parse(fragment).is_ok());
                stream.extend(&fragment[20..]);
            }
            prop_assert_eq!(stream, payload);
        }

        #[test]
        fn any_options_give_fragments_that_parse(
            options in prop::collection::vec(any::<u8>(), 0..=40),
            len in 1usize..3_000,
        ) {
            let out = fragments(packet(&options, &vec![7; len], 0), 600).unwrap();
            let payload: usize = out.iter().map(|f| f.len() - usize::from(f[0] & 15) * 4).sum();
            prop_assert_eq!(payload, len);
            for fragment in &out {
                prop_assert!(Packet::parse(fragment).is_ok());
            }
        }
    }

    #[test]
    fn only_options_marked_so_are_in_every_fragment() {
        // Record route (7) stands once; security (130) stands everywhere.
        let options = [7, 3, 4, 1, 130, 4, 0xaa, 0xbb];
        let out = fragments(packet(&options, &[1; 1_000], 0), 500).unwrap();
        assert_eq!(out[0][20..28], options);
        assert_eq!(out[1][20..24], [130, 4, 0xaa, 0xbb]);
        assert_eq!(out[1][0], 0x46);
    }

    #[test]
    fn a_packet_that_forbids_it_is_left_alone() {
        assert!(fragments(packet(&[], &[0; 2_000], ipv4::DONT_FRAGMENT), 1_280).is_none());
        assert!(fragments(vec![0x60; 2_000], 1_280).is_none());
    }
}
