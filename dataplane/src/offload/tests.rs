//! Frames as a kernel would hand them over, judged by etherparse.

use etherparse::{NetHeaders, PacketBuilder, PacketHeaders, TcpHeader, TransportHeader};
use proptest::prelude::*;

use super::*;

fn vnet(flags: u8, gso_type: u8, gso_size: u16, csum_start: u16, csum_offset: u16) -> Vec<u8> {
    let mut header = vec![flags, gso_type, 0, 0];
    for field in [gso_size, csum_start, csum_offset] {
        header.extend(field.to_ne_bytes());
    }
    header
}

fn packets(mut frame: Vec<u8>) -> Result<Vec<Vec<u8>>, DropReason> {
    let mut segments = Frame::read(&mut frame)?.segments()?;
    let mut packets = Vec::new();
    while let Some(packet) = segments.pop() {
        packets.push(packet.to_vec());
    }
    Ok(packets)
}

/// A UDP packet as the kernel hands it over with NEEDS_CSUM, and as it should leave.
fn udp(payload: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut whole = Vec::new();
    PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(7, 9)
        .write(&mut whole, payload)
        .unwrap();
    let pseudo = checksum::fold(checksum::sum(&whole[12..20]) + 17 + (8 + payload.len()) as u64);
    let mut half = whole.clone();
    half[26..28].copy_from_slice(&pseudo.to_be_bytes());
    (half, whole)
}

#[test]
fn half_done_checksum_is_completed() {
    for payload in [&b""[..], b"x", b"even", b"odd size"] {
        let (half, whole) = udp(payload);
        assert_eq!(
            packets([vnet(NEEDS_CSUM, GSO_NONE, 0, 20, 6), half].concat()).unwrap(),
            [whole]
        );
    }
}

#[test]
fn udp_checksum_is_never_written_as_none() {
    for filler in 0..=u16::MAX {
        let (half, _) = udp(&filler.to_be_bytes());
        let out = packets([vnet(NEEDS_CSUM, GSO_NONE, 0, 20, 6), half].concat()).unwrap();
        assert_ne!(out[0][26..28], [0, 0]);
    }
}

#[test]
fn finished_packet_is_untouched() {
    let (_, whole) = udp(b"payload");
    assert_eq!(
        packets([vnet(0, GSO_NONE, 0, 0, 0), whole.clone()].concat()).unwrap(),
        [whole]
    );
}

#[test]
fn frames_that_were_not_asked_for_are_refused() {
    let unsupported = Err(DropReason::TunFrameUnsupported);
    assert_eq!(packets(vec![0; 9]), Err(DropReason::Truncated));
    assert_eq!(
        packets([vnet(1, 3, 1_000, 20, 6), vec![0x45; 2_000]].concat()),
        unsupported,
        "UFO"
    );
    assert_eq!(
        packets([vnet(1, GSO_UDP_L4, 0, 20, 6), vec![0x45; 200]].concat()),
        unsupported,
        "datagrams of nothing"
    );
    assert_eq!(
        packets([vnet(1, GSO_NONE, 0, 20, 6), vec![0; 27]].concat()),
        unsupported,
        "no room for a checksum"
    );
    assert_eq!(
        packets([vnet(1, GSO_NONE, 0, u16::MAX, u16::MAX), vec![0; 40]].concat()),
        unsupported,
        "far outside"
    );
    assert_eq!(
        packets([vnet(1, GSO_TCPV4, 0, 20, 16), vec![0x45; 200]].concat()),
        unsupported,
        "segments of nothing"
    );
    assert_eq!(
        packets([vnet(1, GSO_TCPV4, 100, 20, 16), vec![0x45; 39]].concat()),
        unsupported,
        "no TCP header"
    );
}

fn tcp_packet(ipv6: bool, header: &TcpHeader, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    if ipv6 {
        PacketBuilder::ipv6([1; 16], [2; 16], 64)
            .tcp_header(header.clone())
            .write(&mut packet, payload)
            .unwrap();
    } else {
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp_header(header.clone())
            .write(&mut packet, payload)
            .unwrap();
    }
    packet
}

fn udp_packet(ipv6: bool, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    if ipv6 {
        PacketBuilder::ipv6([1; 16], [2; 16], 64)
            .udp(7, 9)
            .write(&mut packet, payload)
            .unwrap();
    } else {
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(7, 9)
            .write(&mut packet, payload)
            .unwrap();
    }
    packet
}

/// Gives an IPv4 packet its identification, as inet_gso_segment counts it up from the super-packet's.
fn identify(packet: &mut [u8], identification: u16) {
    packet[4..6].copy_from_slice(&identification.to_be_bytes());
    packet[10..12].fill(0);
    let checksum = !checksum::fold(checksum::sum(&packet[..20]));
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// The TCP header and payload of a packet whose lengths and checksums are right.
fn checked(packet: &[u8]) -> (TcpHeader, Vec<u8>) {
    let headers = PacketHeaders::from_ip_slice(packet).unwrap();
    let Some(TransportHeader::Tcp(tcp)) = headers.transport else {
        panic!("no TCP")
    };
    let payload = headers.payload.slice().to_vec();
    let sum = match headers.net.unwrap() {
        NetHeaders::Ipv4(ip, _) => {
            assert_eq!(usize::from(ip.total_len), packet.len());
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            tcp.calc_checksum_ipv4(&ip, &payload)
        }
        NetHeaders::Ipv6(ip, _) => {
            assert_eq!(usize::from(ip.payload_length) + 40, packet.len());
            tcp.calc_checksum_ipv6(&ip, &payload)
        }
        NetHeaders::Arp(_) => panic!("no IP"),
    };
    assert_eq!(tcp.checksum, sum.unwrap());
    (tcp, payload)
}

proptest! {
    #[test]
    fn segments_carry_the_stream_of_the_super_packet(
        ipv6: bool,
        mss in 1usize..3_000,
        payload in prop::collection::vec(any::<u8>(), 1..20_000),
        sequence: u32,
        timestamps: bool,
    ) {
        let mut header = TcpHeader::new(1, 2, sequence, 1_000);
        (header.ack, header.psh, header.fin, header.cwr) = (true, true, true, true);
        if timestamps {
            header.set_options_raw(&[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        }
        let (kind, start) = if ipv6 { (GSO_TCPV6, 40) } else { (GSO_TCPV4, 20) };
        let whole = tcp_packet(ipv6, &header, &payload);
        let out = packets([vnet(NEEDS_CSUM, kind, mss as u16, start, 16), whole].concat()).unwrap();
        prop_assert_eq!(out.len(), payload.len().div_ceil(mss));
        let mut stream = Vec::new();
        for (index, packet) in out.iter().enumerate() {
            let (tcp, part) = checked(packet);
            let last = index + 1 == out.len();
            prop_assert_eq!(tcp.sequence_number, sequence.wrapping_add(stream.len() as u32));
            prop_assert_eq!((tcp.fin, tcp.psh, tcp.cwr, tcp.ack), (last, last, index == 0, true));
            prop_assert_eq!(tcp.options.as_slice(), header.options.as_slice());
            prop_assert!(part.len() == mss || last);
            stream.extend(part);
        }
        prop_assert_eq!(stream, payload);
    }

    #[test]
    fn datagrams_of_a_super_packet_are_those_that_were_sent(
        ipv6: bool,
        size in 1usize..3_000,
        payload in prop::collection::vec(any::<u8>(), 1..20_000),
    ) {
        let start = if ipv6 { 40 } else { 20 };
        let whole = udp_packet(ipv6, &payload);
        let out = packets([vnet(NEEDS_CSUM, GSO_UDP_L4, size as u16, start, 6), whole].concat()).unwrap();
        let mut sent: Vec<Vec<u8>> = payload.chunks(size).map(|part| udp_packet(ipv6, part)).collect();
        if !ipv6 {
            sent.iter_mut().enumerate().for_each(|(index, packet)| identify(packet, index as u16));
        }
        prop_assert_eq!(out, sent);
    }

    #[test]
    fn any_frame_is_taken_or_refused(mut frame in prop::collection::vec(any::<u8>(), 0..300), kind in 0u8..7) {
        if let Some(gso_type) = frame.get_mut(1) {
            *gso_type = kind;
        }
        let size = frame.len();
        if let Ok(out) = packets(frame) {
            prop_assert!(out.iter().all(|packet| packet.len() <= size));
        }
    }
}
