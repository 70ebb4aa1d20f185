//! Clamping of the maximum segment size that TCP ends tell each other (RFC 9293 §3.7.1), v4 and v6.
//!
//! Only SYN segments carry it. The checksum follows by RFC 1624.

use super::checksum;

const SYN: u8 = 0x02;
const FLAGS: usize = 13;
const CHECKSUM: usize = 16;
const HEADER: usize = 20;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MSS: u8 = 2;

/// Bytes of the fixed headers of TCP and IP.
const OVERHEAD_V4: u16 = 40;
const OVERHEAD_V6: u16 = 60;

/// Who finishes the checksum of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// It is complete, and has to follow every change.
    Complete,
    /// It holds the pseudo header's sum, and is completed later.
    Later,
}

/// Lowers the MSS in a SYN so that packets of at most `mtu` bytes come of it. `segment`: the TCP header and what follows, of an
/// unfragmented packet. Leaves alone what is no SYN, says no MSS, or a smaller one. Returns whether it changed anything.
pub fn clamp(segment: &mut [u8], ipv6: bool, mtu: u16, checksum: Checksum) -> bool {
    let syn = segment.get(FLAGS).is_some_and(|flags| flags & SYN != 0);
    let Some(at) = syn.then(|| find(segment)).flatten() else {
        return false;
    };
    let most = mtu.saturating_sub(if ipv6 { OVERHEAD_V6 } else { OVERHEAD_V4 });
    let old = u16::from_be_bytes([segment[at], segment[at + 1]]);
    if old <= most {
        return false;
    }
    segment[at..at + 2].copy_from_slice(&most.to_be_bytes());
    if checksum == Checksum::Complete {
        let field = u16::from_be_bytes([segment[CHECKSUM], segment[CHECKSUM + 1]]);
        // On an odd offset the bytes count in the other halves of their words.
        let (old, new) = if at.is_multiple_of(2) {
            (old, most)
        } else {
            (old.swap_bytes(), most.swap_bytes())
        };
        let field = checksum::update(field, old, new);
        segment[CHECKSUM..CHECKSUM + 2].copy_from_slice(&field.to_be_bytes());
    }
    true
}

/// Where the value of the MSS option stands.
fn find(segment: &[u8]) -> Option<usize> {
    let end = usize::from(segment.get(12)? >> 4) * 4;
    if end > segment.len() {
        return None;
    }
    let mut at = HEADER;
    while at < end {
        match segment[at] {
            END => return None,
            NO_OPERATION => at += 1,
            kind => {
                let len = usize::from(*segment[..end].get(at + 1)?);
                if kind == MSS {
                    return (len == 4 && at + 4 <= end).then_some(at + 2);
                }
                at += len.max(2);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{Ipv4Header, TcpHeader, TcpOptionElement};
    use proptest::prelude::*;

    fn syn(options: &[TcpOptionElement], ip: &Ipv4Header) -> Vec<u8> {
        let mut tcp = TcpHeader::new(1, 2, 3, 4);
        tcp.syn = true;
        tcp.set_options(options).unwrap();
        tcp.checksum = tcp.calc_checksum_ipv4(ip, &[]).unwrap();
        tcp.to_bytes().to_vec()
    }

    fn ip() -> Ipv4Header {
        Ipv4Header::new(20, 64, etherparse::IpNumber::TCP, [10, 0, 0, 1], [10, 0, 0, 2]).unwrap()
    }

    fn checked(segment: &[u8]) -> TcpHeader {
        let (tcp, _) = TcpHeader::from_slice(segment).unwrap();
        let mut ip = ip();
        ip.total_len = 20 + segment.len() as u16;
        assert_eq!(tcp.checksum, tcp.calc_checksum_ipv4(&ip, &[]).unwrap());
        tcp
    }

    proptest! {
        #[test]
        fn a_clamped_syn_keeps_a_right_checksum(mss: u16, mtu in 1_280u16.., nops in 0usize..4) {
            use TcpOptionElement::{MaximumSegmentSize, Noop, SelectiveAcknowledgementPermitted};
            let mut options = vec![Noop; nops];
            options.extend([MaximumSegmentSize(mss), SelectiveAcknowledgementPermitted]);
            let mut segment = syn(&options, &ip());
            let changed = clamp(&mut segment, false, mtu, Checksum::Complete);
            prop_assert_eq!(changed, mss > mtu - 40);
            let tcp = checked(&segment);
            let told = tcp.options_iterator().find_map(|option| match option {
                Ok(MaximumSegmentSize(mss)) => Some(mss),
                _ => None,
            });
            prop_assert_eq!(told, Some(mss.min(mtu - 40)));
        }

        #[test]
        fn any_bytes_are_taken(mut segment in prop::collection::vec(any::<u8>(), 0..80), ipv6: bool, mtu: u16) {
            if let Some(flags) = segment.get_mut(FLAGS) {
                *flags |= SYN;
            }
            clamp(&mut segment, ipv6, mtu, Checksum::Complete);
        }
    }

    #[test]
    fn what_is_no_syn_or_says_no_mss_is_left_alone() {
        let silent = syn(&[TcpOptionElement::WindowScale(7)], &ip());
        let mut other = syn(&[TcpOptionElement::MaximumSegmentSize(9_000)], &ip());
        other[FLAGS] &= !SYN;
        for segment in [silent, other] {
            let mut after = segment.clone();
            assert!(!clamp(&mut after, false, 1_280, Checksum::Complete));
            assert_eq!(after, segment);
        }
    }

    #[test]
    fn an_unfinished_checksum_is_left_to_who_finishes_it() {
        let mut segment = syn(&[TcpOptionElement::MaximumSegmentSize(9_000)], &ip());
        let before = segment[CHECKSUM..CHECKSUM + 2].to_vec();
        assert!(clamp(&mut segment, true, 1_420, Checksum::Later));
        assert_eq!(segment[22..24], 1_360u16.to_be_bytes());
        assert_eq!(segment[CHECKSUM..CHECKSUM + 2], before);
    }
}
