//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use std::net::{IpAddr, Ipv6Addr};

/// One's complement sum of 16-bit big-endian words onto `sum`; an odd last byte is padded with zero.
pub fn add(mut sum: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    for word in words {
        sum += u32::from(u16::from_be_bytes(*word));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    if let [last] = rest {
        sum += u32::from(*last) << 8;
    }
    (sum & 0xffff) + (sum >> 16)
}

/// The checksum field for a sum.
pub fn finish(sum: u32) -> u16 {
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

/// The sum of the IPv6 pseudo header (RFC 8200 §8.1).
pub fn pseudo_v6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, len: usize) -> u32 {
    let sum = add(add(0, &source.octets()), &destination.octets());
    add(sum + u32::from(protocol), &(len as u32).to_be_bytes())
}

/// The same of whichever version the two addresses are (RFC 9293 §3.1 for IPv4).
pub fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> u32 {
    match (source, destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => pseudo_v6(source, destination, protocol, len),
        _ => {
            let sum = [source, destination]
                .iter()
                .fold(0, |sum, address| match address {
                    IpAddr::V4(v4) => add(sum, &v4.octets()),
                    IpAddr::V6(v6) => add(sum, &v6.octets()),
                });
            add(sum + u32::from(protocol), &(len as u32).to_be_bytes())
        }
    }
}

/// The field after one 16-bit word under it changed (RFC 1624, equation 3).
pub fn update(field: u16, old: u16, new: u16) -> u16 {
    finish(u32::from(!field) + u32::from(!old) + u32::from(new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_rfc_1071() {
        let sum = add(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(finish(sum), !0xddf2);
    }

    proptest! {
        #[test]
        fn an_update_equals_a_new_sum(mut words in prop::collection::vec(any::<u16>(), 2..30), at in 0usize..30, new: u16) {
            let at = at % words.len();
            let bytes = |w: &[u16]| w.iter().flat_map(|x| x.to_be_bytes()).collect::<Vec<u8>>();
            prop_assume!(words.iter().enumerate().any(|(i, w)| i != at && *w != 0));
            let before = finish(add(0, &bytes(&words)));
            let updated = update(before, words[at], new);
            words[at] = new;
            prop_assert_eq!(updated, finish(add(0, &bytes(&words))));
        }
    }
}
