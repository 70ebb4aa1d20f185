//! The Internet checksum (RFC 1071), fast enough for every byte that leaves.

/// The one's complement sum of big-endian 16-bit words, an odd last byte padded. Fold it before use.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    // The sum is the same in either byte order but for a final swap (RFC 1071 §2 B), and wide words
    // of the host's order are what the compiler can add in parallel.
    let words = bytes.chunks_exact(4);
    let rest = words.remainder();
    let wide: u64 = words
        .map(|word| u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]])))
        .sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    u64::from(u16::from_be(fold(wide + u64::from(u32::from_ne_bytes(last)))))
}

/// Folds the carries in.
pub(super) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_the_definition(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut padded = bytes.clone();
            padded.resize(bytes.len().next_multiple_of(2), 0);
            let naive = padded.chunks(2).map(|w| u64::from(u16::from_be_bytes([w[0], w[1]]))).sum();
            prop_assert_eq!(fold(sum(&bytes)), fold(naive));
        }
    }

    #[test]
    fn no_sum_of_a_large_packet_overflows() {
        assert_eq!(fold(sum(&[0xff; 65_535])), fold(0xffff * 32_767 + 0xff00));
    }
}
