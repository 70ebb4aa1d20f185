//! What arrives on the UDP port and from tunnels.

use meshnode_dataplane::demux::{Class, Message, classify};

/// Any bytes as a datagram on the shared port.
pub fn demux(data: &[u8]) {
    let starts_as_wireguard = matches!(data, [1..=4, 0, 0, 0, ..]);
    match classify(data) {
        Class::WireGuard(message) => assert!(starts_as_wireguard && fits(message, data.len())),
        Class::Quic => assert!(
            !starts_as_wireguard && data[0] & 0x40 != 0,
            "QUIC has its fixed bit set"
        ),
        Class::Garbage => assert!(data.first().is_none_or(|first| first & 0x40 == 0)),
    }
}

fn fits(message: Message, length: usize) -> bool {
    match message {
        Message::Initiation => length == 148,
        Message::Response => length == 92,
        Message::Cookie => length == 64,
        Message::Data => length >= 32,
    }
}

pub(super) fn demux_seeds() -> Vec<Vec<u8>> {
    let wireguard = [(1, 148), (2, 92), (3, 64), (4, 32), (4, 1452)].map(|(kind, length)| {
        let mut datagram = vec![0xa5; length];
        datagram[..4].copy_from_slice(&[kind, 0, 0, 0]);
        datagram
    });
    let other = [0xc3, 0x43, 0x10, 0x00, 0x80].map(|first| [&[first][..], &[0; 40]].concat());
    wireguard.into_iter().chain(other).collect()
}
