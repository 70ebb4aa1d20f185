//! What a datagram is, by its first bytes: one UDP port carries WireGuard and QUIC.
//!
//! | first byte | is |
//! |---|---|
//! | 1–4, then three zeros | WireGuard |
//! | 0x10 | a relay frame: 12 bytes of header, then WireGuard ([`crate::relay::frame`]) |
//! | 0x00–0x3f otherwise | nothing |
//! | 0x40–0x7f, 0xc0–0xff | QUIC (fixed bit set, RFC 9000 §17) |
//! | 0x80–0xbf | nothing: our QUIC never greases the fixed bit |

use crate::relay::frame::{self, Frame};

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
    /// A relay frame with a WireGuard message in it: lane 0.
    Relay,
    /// The control transport.
    Quic,
    /// Nobody.
    Garbage,
}

/// Classifies one datagram; of a GRO batch, each segment on its own, for one batch can mix them.
pub fn classify(datagram: &[u8]) -> Class {
    match datagram {
        [1..=4, 0, 0, 0, ..] => wireguard(datagram),
        [frame::TYPE, ..] => relayed(datagram),
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

/// Only WireGuard is relayed, so no frame stands in another.
fn relayed(datagram: &[u8]) -> Class {
    let message = Frame::parse(datagram).map_or(&[][..], |frame| frame.message);
    match message {
        [1..=4, 0, 0, 0, ..] if wireguard(message) != Class::Garbage => Class::Relay,
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
    fn a_relay_frame_holds_one_wireguard_message_and_nothing_else() {
        let framed = |message: &[u8]| {
            let header = frame::header(crate::relay::Session(7), false);
            classify(&[&header[..], message].concat())
        };
        let data = datagram([4, 0, 0, 0], 32);
        assert_eq!(framed(&data), Class::Relay);
        assert_eq!(framed(&data[..31]), Class::Garbage);
        assert_eq!(framed(&[0x40; 40]), Class::Garbage);
        let header = frame::header(crate::relay::Session(7), false);
        assert_eq!(framed(&[&header[..], &data[..]].concat()), Class::Garbage);
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
