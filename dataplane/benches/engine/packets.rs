//! Packets as a TUN queue brings them.

use std::net::Ipv4Addr;

use etherparse::PacketBuilder;

/// `struct virtio_net_hdr` of linux/virtio_net.h.
const VNET_HEADER: usize = 10;
const NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const IP: usize = 20;
const TCP: usize = 20;

/// Payload of each segment of [`super_packet`]: what an inner MTU of 1,420 leaves.
const SEGMENT: usize = 1420 - IP - TCP;
/// Segments of [`super_packet`]: as many as 64 KiB hold.
pub(crate) const SEGMENTS: usize = 47;

/// The host behind engine `number`.
pub(crate) fn host(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, high, low, 1)
}

/// A packet of `size` bytes from engine 0's host to that of another.
pub(crate) fn udp(to: u16, size: usize) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(host(0).octets(), host(to).octets(), 64).udp(4000, 5000);
    let mut bytes = Vec::new();
    let payload = vec![0x5a; size - builder.size(0)];
    builder.write(&mut bytes, &payload).expect("a packet");
    bytes
}

/// A frame of TSO: 47 TCP segments in one, behind its vnet header.
pub(crate) fn super_packet(to: u16) -> Vec<u8> {
    tcp_frame(to, SEGMENT * SEGMENTS, GSO_TCPV4)
}

/// One TCP packet of 1,420 bytes whose checksum is left to us, behind its vnet header.
pub(crate) fn unfinished(to: u16) -> Vec<u8> {
    tcp_frame(to, SEGMENT, 0)
}

fn tcp_frame(to: u16, payload: usize, gso: u8) -> Vec<u8> {
    let mut bytes = vec![0; VNET_HEADER];
    (bytes[0], bytes[1]) = (NEEDS_CSUM, gso);
    let fields = [IP + TCP, SEGMENT, IP, 16];
    for (field, value) in bytes[2..].chunks_exact_mut(2).zip(fields) {
        field.copy_from_slice(&(value as u16).to_ne_bytes());
    }
    let builder = PacketBuilder::ipv4(host(0).octets(), host(to).octets(), 64).tcp(4000, 5000, 1, 65_000);
    builder
        .ack(1)
        .write(&mut bytes, &vec![0x5a; payload])
        .expect("a packet");
    bytes
}
