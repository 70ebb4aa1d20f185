//! The Internet checksum (RFC 1071), fast enough for every byte that leaves.

/// The one's complement sum of big-endian 16-bit words, an odd last byte padded. Fold it before use.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    // The sum is the same in either byte order but for a final swap (RFC 1071 §2 B), and words of the
    // host's order and double width take a third of the instructions.
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let wide = words
        .iter()
        .map(|word| u128::from(u64::from_ne_bytes(*word)))
        .sum::<u128>()
        + u128::from(u64::from_ne_bytes(last));
    let narrow = (wide & u128::from(u32::MAX)) + (wide >> 32 & u128::from(u32::MAX)) + (wide >> 64);
    u64::from(u16::from_be(fold(narrow as u64)))
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
