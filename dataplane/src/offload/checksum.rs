//! The Internet checksum (RFC 1071), fast enough for every byte that comes and goes.

/// The one's complement sum of big-endian 16-bit words, an odd last byte padded. Fold it before use.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    // The sum is the same in either byte order but for a final swap (RFC 1071 §2 B), so words of the host's
    // order and of any width do. Two chains of add-with-carry are what keeps the loads busy: one waits for
    // itself, four cost more to set up than they win on a packet, and vectors without a carry need twice
    // the instructions.
    let (pairs, rest) = bytes.as_chunks::<16>();
    let [mut even, mut odd] = [0u128; 2];
    for pair in pairs {
        let (words, _) = pair.as_chunks::<8>();
        even += u128::from(u64::from_ne_bytes(words[0]));
        odd += u128::from(u64::from_ne_bytes(words[1]));
    }
    let wide = even + odd;
    let sum = halves(wide as u64) + (wide >> 64) as u64 + short(rest);
    u64::from(u16::from_be(fold(halves(sum))))
}

/// Folds the carries in.
pub(super) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum of fewer than 16 bytes, in the host's order: no copy, for headers are short.
fn short(bytes: &[u8]) -> u64 {
    let (eights, rest) = bytes.as_chunks::<8>();
    let (fours, rest) = rest.as_chunks::<4>();
    let (twos, rest) = rest.as_chunks::<2>();
    let eights = eights.iter().map(|word| halves(u64::from_ne_bytes(*word)));
    let fours = fours.iter().map(|word| u64::from(u32::from_ne_bytes(*word)));
    let twos = twos.iter().map(|word| u64::from(u16::from_ne_bytes(*word)));
    let odd = rest.iter().map(|byte| u64::from(u16::from_ne_bytes([*byte, 0])));
    eights.sum::<u64>() + fours.sum::<u64>() + twos.sum::<u64>() + odd.sum::<u64>()
}

/// 2^32 counts as 1 in this arithmetic.
fn halves(word: u64) -> u64 {
    (word & u64::from(u32::MAX)) + (word >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As the RFC says it.
    fn definition(bytes: &[u8]) -> u16 {
        let word = |pair: &[u8]| u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        fold(bytes.chunks(2).map(word).sum())
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(fold(sum(&bytes)), definition(&bytes));
        }

        #[test]
        fn carries_are_kept_where_all_is_large(bytes in prop::collection::vec(0xf0u8.., 0..2_000)) {
            prop_assert_eq!(fold(sum(&bytes)), definition(&bytes));
        }
    }

    #[test]
    fn every_length_of_tail_agrees() {
        let bytes: Vec<u8> = (0..100u8).map(|at| at.wrapping_mul(37)).collect();
        for length in 0..bytes.len() {
            assert_eq!(
                fold(sum(&bytes[..length])),
                definition(&bytes[..length]),
                "{length}"
            );
        }
    }

    #[test]
    fn no_sum_of_a_large_packet_overflows() {
        assert_eq!(fold(sum(&[0xff; 65_535])), fold(0xffff * 32_767 + 0xff00));
    }
}
