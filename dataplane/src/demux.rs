//! What a datagram is, by its first bytes: one UDP port carries WireGuard and QUIC.
//!
//! | first byte | is |
//! |---|---|
//! | 1–4, then three zeros | WireGuard |
//! | 0x10 | a relay frame in a later version; today nothing |
//! | 0x00–0x3f otherwise | nothing |
//! | 0x40–0x7f, 0xc0–0xff | QUIC (fixed bit set, RFC 9000 §17) |
//! | 0x80–0xbf | nothing: our QUIC never greases the fixed bit |

/// A WireGuard message type with a length that fits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Type 1, 148 bytes.
    Initiation,
    /// Type 2, 92 bytes.
    Response,
    /// Type 3, 64 bytes.
    Cookie,
    /// Type 4, at least 32 bytes.
    Data,
}

/// Who gets a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The tunnels.
    WireGuard(Message),
    /// The control transport.
    Quic,
    /// Nobody.
    Garbage,
}

/// Classifies one datagram; of a GRO batch, each segment on its own, for one batch can mix them.
pub fn classify(datagram: &[u8]) -> Class {
    match datagram {
        [1..=4, 0, 0, 0, ..] => wireguard(datagram),
        [first, ..] if first & 0x40 != 0 => Class::Quic,
        _ => Class::Garbage,
    }
}

fn wireguard(datagram: &[u8]) -> Class {
    match (datagram[0], datagram.len()) {
        (1, 148) => Class::WireGuard(Message::Initiation),
        (2, 92) => Class::WireGuard(Message::Response),
        (3, 64) => Class::WireGuard(Message::Cookie),
        (4, 32..) => Class::WireGuard(Message::Data),
        _ => Class::Garbage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn datagram(first: [u8; 4], len: usize) -> Vec<u8> {
        let mut d = vec![0; len];
        d[..4.min(len)].copy_from_slice(&first[..4.min(len)]);
        d
    }

    #[test]
    fn wireguard_messages_have_their_exact_sizes() {
        for (kind, len, message) in [
            (1, 148, Message::Initiation),
            (2, 92, Message::Response),
            (3, 64, Message::Cookie),
            (4, 32, Message::Data),
            (4, 1452, Message::Data),
        ] {
            assert_eq!(
                classify(&datagram([kind, 0, 0, 0], len)),
                Class::WireGuard(message)
            );
            assert_eq!(classify(&datagram([kind, 0, 0, 0], 31)), Class::Garbage);
            assert_eq!(classify(&datagram([kind, 0, 1, 0], len)), Class::Garbage);
        }
        assert_eq!(classify(&datagram([1, 0, 0, 0], 149)), Class::Garbage);
    }

    #[test]
    fn the_fixed_bit_makes_it_quic() {
        for first in 0..=255u8 {
            let class = classify(&[first, 1, 2, 3, 4]);
            let quic = (0x40..0x80).contains(&first) || first >= 0xc0;
            assert_eq!(
                class,
                if quic { Class::Quic } else { Class::Garbage },
                "{first:#x}"
            );
        }
        assert_eq!(classify(&[]), Class::Garbage);
    }

    proptest! {
        #[test]
        fn any_bytes_are_classified(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Class::WireGuard(_) = classify(&bytes) {
                prop_assert!(bytes.len() >= 32 && (1..=4).contains(&bytes[0]));
            }
        }
    }
}
