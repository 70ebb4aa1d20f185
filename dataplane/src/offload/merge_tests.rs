//! Packets as hosts send them, merged here and split again: by this crate's own split, the kernel's in the shell tests.

use etherparse::{PacketBuilder, TcpHeader};
use proptest::prelude::*;

use super::*;
use crate::offload::Frame;
use segment::{FIN, PSH, SYN};

const BOTH: Mergeable = Mergeable { tcp: true, udp: true };

fn batch_of(packets: &[Vec<u8>]) -> WriteBatch {
    let mut batch = WriteBatch::default();
    packets.iter().for_each(|packet| batch.push(packet));
    batch
}

/// The frames that are written for these packets.
fn merged(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    merged_as(packets, BOTH)
}

fn merged_as(packets: &[Vec<u8>], mergeable: Mergeable) -> Vec<Vec<u8>> {
    let batch = batch_of(packets);
    let mut merger = Merger::default();
    merger.plan(&batch, mergeable);
    let frame = |group: &Group| match merger.head(group, &batch) {
        Some(head) => {
            let payloads: Vec<u8> = merger.payloads(group, &batch).flatten().copied().collect();
            [head.as_bytes(), &payloads].concat()
        }
        None => batch.frame(group.first as usize).to_vec(),
    };
    merger.groups().iter().map(frame).collect()
}

/// What the kernel makes of frames.
fn split(frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for mut frame in frames {
        let mut segments = Frame::read(&mut frame).unwrap().segments().unwrap();
        while let Some(packet) = segments.pop() {
            packets.push(packet.to_vec());
        }
    }
    packets
}

/// One end of what is said in a test.
#[derive(Debug, Clone, Copy)]
struct Host {
    ipv6: bool,
    port: u16,
}

const V4: Host = Host { ipv6: false, port: 1 };
const V6: Host = Host { ipv6: true, port: 1 };

impl Host {
    fn ip(self, identification: u16) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
        if self.ipv6 {
            return PacketBuilder::ipv6([1; 16], [2; 16], 64);
        }
        let mut header =
            etherparse::Ipv4Header::new(0, 64, 6u8.into(), [10, 0, 0, 1], [10, 0, 0, 2]).unwrap();
        header.identification = identification;
        header.dont_fragment = true;
        PacketBuilder::ip(etherparse::IpHeaders::Ipv4(header, Default::default()))
    }

    fn udp(self, identification: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = self.ip(identification).udp(self.port, 9);
        builder.write(&mut packet, payload).unwrap();
        packet
    }

    fn tcp(self, identification: u16, header: &TcpHeader, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = self.ip(identification).tcp_header(header.clone());
        builder.write(&mut packet, payload).unwrap();
        packet
    }

    /// A stream cut into segments of `mss`.
    fn stream(self, payload: &[u8], mss: usize) -> Vec<Vec<u8>> {
        let pieces = payload.chunks(mss).enumerate();
        let segment = |(index, piece): (usize, &[u8])| {
            let mut header = TcpHeader::new(self.port, 2, 5_000 + (index * mss) as u32, 1_000);
            (header.ack, header.acknowledgment_number) = (true, 77);
            self.tcp(index as u16, &header, piece)
        };
        pieces.map(segment).collect()
    }

    /// Datagrams of one exchange.
    fn datagrams(self, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
        let pieces = payload.chunks(size).enumerate();
        pieces
            .map(|(index, piece)| self.udp(index as u16, piece))
            .collect()
    }
}

#[path = "kernel_tests.rs"]
mod kernel;

/// Writes the flags of a TCP segment of IPv4 or IPv6, and the checksum anew.
fn with_flags(packet: &mut [u8], flags: u8) {
    let at = transport(packet);
    packet[at + 13] = flags;
    correct(packet);
}

fn transport(packet: &[u8]) -> usize {
    if packet[0] >> 4 == 4 { 20 } else { 40 }
}

/// Makes the checksums right after an edit.
fn correct(packet: &mut [u8]) {
    let at = transport(packet);
    let protocol = if at == 20 { packet[9] } else { packet[6] };
    let field = at + if protocol == TCP { 16 } else { 6 };
    let addresses = if at == 20 { 12..20 } else { 8..40 };
    put(packet, field, 0);
    let pseudo = sum(&packet[addresses]) + u64::from(protocol) + (packet.len() - at) as u64;
    let checksum = !fold(sum(&packet[at..]) + pseudo);
    put(packet, field, checksum);
    if at == 20 {
        put(packet, 10, 0);
        let checksum = !fold(sum(&packet[..20]));
        put(packet, 10, checksum);
    }
}

#[test]
fn stream_is_written_at_once_and_splits_into_the_same_segments() {
    for host in [V4, V6] {
        let packets = host.stream(&[7; 10_000], 1_360);
        let frames = merged(&packets);
        assert_eq!(frames.len(), 1);
        assert_eq!(
            frames[0].len(),
            VNET_HEADER + transport(&packets[0]) + 20 + 10_000
        );
        assert_eq!(split(frames), packets);
    }
}

#[test]
fn interleaved_streams_are_told_apart() {
    let other = Host { port: 8, ..V4 };
    let (a, b, c) = (
        V4.stream(&[1; 3_000], 1_000),
        other.stream(&[2; 3_000], 1_000),
        V6.stream(&[3; 3_000], 1_000),
    );
    let mixed: Vec<_> = (0..3)
        .flat_map(|at| [a[at].clone(), b[at].clone(), c[at].clone()])
        .collect();
    let frames = merged(&mixed);
    assert_eq!(frames.len(), 3);
    assert_eq!(split(frames), [a, b, c].concat());
}

#[test]
fn more_flows_than_are_watched_lose_nothing() {
    let hosts = || (0..40).map(|port| Host { port, ..V4 });
    let streams: Vec<_> = hosts().map(|host| host.stream(&[1; 300], 100)).collect();
    let mixed: Vec<_> = (0..3)
        .flat_map(|at| streams.iter().map(move |stream| stream[at].clone()))
        .collect();
    let mut out = split(merged(&mixed));
    out.sort();
    let mut all = mixed;
    all.sort();
    assert_eq!(out, all);
}

#[test]
fn push_and_fin_end_a_group_and_stay_on_its_last_segment() {
    for flags in [PSH, FIN, PSH | FIN] {
        let mut packets = V4.stream(&[7; 4_000], 1_000);
        with_flags(&mut packets[1], segment::ACK | flags);
        let frames = merged(&packets);
        assert_eq!(frames.len(), 2, "{flags:#x}");
        assert_eq!(split(frames), packets);
    }
}

/// What makes the third of four segments one that cannot join, and how many frames are written.
fn third_stands_out(edit: impl Fn(&mut Vec<u8>), frames: usize) {
    for host in [V4, V6] {
        let mut packets = host.stream(&[7; 4_000], 1_000);
        edit(&mut packets[2]);
        let written = merged(&packets);
        assert_eq!(written.len(), frames);
        assert_eq!(split(written), packets);
    }
}

#[test]
fn segment_with_a_wrong_checksum_goes_alone_as_it_is() {
    third_stands_out(|packet| *packet.last_mut().unwrap() ^= 1, 3);
}

#[test]
fn segments_of_another_kind_go_alone() {
    for flag in [SYN, segment::RST, segment::URG, segment::CWR] {
        third_stands_out(|packet| with_flags(packet, segment::ACK | flag), 3);
    }
    third_stands_out(|packet| with_flags(packet, 0), 3);
}

#[test]
fn other_header_begins_another_group() {
    let tcp = |packet: &mut Vec<u8>, at: usize| {
        let at = transport(packet) + at;
        packet[at] ^= 1;
        correct(packet);
    };
    // Sequence: what is missing, or comes twice; then the fourth fits neither.
    third_stands_out(|packet| tcp(packet, 5), 3);
    for (name, at) in [("acknowledgement", 11), ("window", 15)] {
        let mut packets = V4.stream(&[7; 4_000], 1_000);
        packets[2..].iter_mut().for_each(|packet| tcp(packet, at));
        let written = merged(&packets);
        assert_eq!(written.len(), 2, "{name}");
        assert_eq!(split(written), packets);
    }
    // Hop limit.
    third_stands_out(
        |packet| {
            let at = if transport(packet) == 20 { 8 } else { 7 };
            packet[at] -= 1;
            correct(packet);
        },
        3,
    );
}

#[test]
fn wrong_ipv4_header_checksum_is_never_mended() {
    let mut packets = V4.stream(&[7; 3_000], 1_000);
    packets[0][10] ^= 1;
    let written = merged(&packets);
    assert_eq!(written.len(), 2, "the first alone");
    assert_eq!(split(written), packets);
}

#[test]
fn fragments_and_options_let_nothing_pass_them() {
    let mut fragment = V4.udp(9, &[1; 64]);
    fragment[6] = 0x20;
    correct(&mut fragment);
    let mut packets = V4.stream(&[7; 4_000], 1_000);
    packets.insert(2, fragment);
    let written = merged(&packets);
    assert_eq!(written.len(), 3);
    assert_eq!(split(written), packets);
}

#[test]
fn ping_between_segments_parts_nothing() {
    let mut ping = Vec::new();
    let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).icmpv4_echo_request(1, 1);
    builder.write(&mut ping, b"ping").unwrap();
    let mut packets = V4.stream(&[7; 4_000], 1_000);
    packets.insert(2, ping);
    assert_eq!(merged(&packets).len(), 2);
}

#[test]
fn identification_may_stand_still_only_where_it_means_nothing() {
    let still = |atomic: bool| {
        let mut packets = V4.stream(&[7; 3_000], 1_000);
        for packet in &mut packets {
            put(packet, 4, 0);
            packet[6] = if atomic { 0x40 } else { 0 };
            correct(packet);
        }
        merged(&packets).len()
    };
    assert_eq!(still(true), 1);
    assert_eq!(still(false), 3);
}

#[test]
fn group_ends_before_a_length_field_overflows() {
    for host in [V4, V6] {
        let packets = host.stream(&[7; 200_000], 1_448);
        let frames = merged(&packets);
        assert!(frames.iter().all(|frame| frame.len() <= VNET_HEADER + MAX_PACKET));
        assert_eq!(frames.len(), 4);
        assert_eq!(split(frames), packets);
    }
    assert_eq!(
        merged(&V4.stream(&[7; 100], 1)).len(),
        100usize.div_ceil(MAX_MEMBERS)
    );
}

#[test]
fn protocol_that_is_not_merged_is_left_alone() {
    let packets = [V4.stream(&[7; 2_000], 1_000), V4.datagrams(&[7; 2_000], 1_000)].concat();
    let frames = |tcp, udp| merged_as(&packets, Mergeable { tcp, udp }).len();
    assert_eq!(
        [
            frames(true, true),
            frames(true, false),
            frames(false, true),
            frames(false, false)
        ],
        [2, 3, 3, 4]
    );
}

#[test]
fn datagram_without_a_checksum_goes_alone() {
    let mut packets = V4.datagrams(&[7; 3_000], 1_000);
    put(&mut packets[1], 26, 0);
    assert_eq!(
        merged(&packets),
        packets
            .iter()
            .map(|p| [&[0; 10], &p[..]].concat())
            .collect::<Vec<_>>()
    );
}

/// Packets of a few flows, with edits that hosts and networks make, and wrong ones.
fn traffic() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let flow = (
        any::<bool>(),
        1u16..4,
        any::<bool>(),
        1usize..600,
        0usize..6_000,
        0u8..,
    );
    let flows = prop::collection::vec(flow, 1..5).prop_map(|flows| {
        flows
            .into_iter()
            .map(|(ipv6, port, udp, size, length, fill)| {
                let host = Host { ipv6, port };
                let payload: Vec<u8> = (0..length).map(|at| fill.wrapping_add(at as u8)).collect();
                if udp {
                    host.datagrams(&payload, size)
                } else {
                    host.stream(&payload, size)
                }
            })
            .collect::<Vec<_>>()
    });
    let edits = prop::collection::vec(
        (
            any::<prop::sample::Index>(),
            any::<prop::sample::Index>(),
            1u8..,
            any::<bool>(),
        ),
        0..6,
    );
    (flows, edits, any::<u64>()).prop_map(|(flows, edits, order)| {
        let mut packets = interleave(flows, order);
        if packets.is_empty() {
            return packets;
        }
        for (which, place, bits, mend) in edits {
            let packet = which.get_mut(&mut packets);
            let at = place.index(packet.len().min(80));
            // Addresses stay, and the version: else the check of what follows would look elsewhere.
            packet[at] ^= bits;
            if mend && packet[0] >> 4 == 4 && packet.len() >= 28 || packet[0] >> 4 == 6 && packet.len() >= 60
            {
                mend_if_plain(packet);
            }
        }
        packets
    })
}

fn mend_if_plain(packet: &mut [u8]) {
    let at = transport(packet);
    let protocol = if at == 20 { packet[9] } else { packet[6] };
    if protocol == UDP || protocol == TCP && packet.len() >= at + 20 {
        correct(packet);
    }
}

/// The flows mixed, each in its own order.
fn interleave(flows: Vec<Vec<Vec<u8>>>, mut order: u64) -> Vec<Vec<u8>> {
    let mut queues: Vec<std::collections::VecDeque<_>> = flows.into_iter().map(Into::into).collect();
    let mut packets = Vec::new();
    while queues.iter().any(|queue| !queue.is_empty()) {
        order = order.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let at = (order >> 33) as usize % queues.len();
        packets.extend(queues[at].pop_front());
    }
    packets
}

/// Packets of one flow, in order; of those whose flow cannot be told, all.
fn by_flow(packets: &[Vec<u8>]) -> std::collections::BTreeMap<String, Vec<Vec<u8>>> {
    let mut flows = std::collections::BTreeMap::<String, Vec<Vec<u8>>>::new();
    for packet in packets {
        let key = match segment::parse(packet) {
            Shape::Segment(Segment { flow, .. }) | Shape::Alone(flow) => format!("{flow:?}"),
            other => format!("{other:?}"),
        };
        flows
            .entry(key)
            .or_default()
            .push(without_idle_identification(packet));
    }
    flows
}

/// Where it means nothing, the kernel may count up what stood still.
fn without_idle_identification(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet.len() >= 20 && packet[0] == 0x45 && packet[6] == 0x40 && fold(sum(&packet[..20])) == 0xffff {
        put(&mut packet, 4, 0);
        put(&mut packet, 10, 0);
    }
    packet
}

proptest! {
    #[test]
    fn splitting_what_was_merged_gives_the_same_packets_in_the_order_of_their_flows(packets in traffic()) {
        prop_assert_eq!(by_flow(&split(merged(&packets))), by_flow(&packets));
    }

    #[test]
    fn merging_what_was_split_gives_the_same_super_packet(
        ipv6: bool,
        mss in 500usize..1_500,
        payload in prop::collection::vec(any::<u8>(), 1..30_000),
        sequence: u32,
        timestamps: bool,
        last_only in 0u8..4,
    ) {
        let host = Host { ipv6, port: 7 };
        let mut header = TcpHeader::new(7, 2, sequence, 1_000);
        (header.ack, header.psh, header.fin) = (true, last_only & 1 != 0, last_only & 2 != 0);
        if timestamps {
            header.set_options_raw(&[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        }
        let mut whole = host.tcp(40_000, &header, &payload);
        let at = transport(&whole);
        let flow = match segment::parse(&whole) {
            Shape::Segment(segment) => segment.flow,
            other => panic!("{other:?}"),
        };
        let partial = fold(flow.pseudo_header(whole.len() - at));
        put(&mut whole, at + TCP_CHECKSUM_OFFSET, partial);
        let headers = whole.len() - payload.len();
        let kind = if ipv6 { GSO_TCPV6 } else { GSO_TCPV4 };
        let mut frame = vec![NEEDS_CSUM, kind];
        for field in [headers, mss, at, TCP_CHECKSUM_OFFSET] {
            frame.extend((field as u16).to_ne_bytes());
        }
        frame.extend(&whole);
        let packets = split(vec![frame.clone()]);
        prop_assume!(packets.len() > 1);
        prop_assert_eq!(merged(&packets), [frame]);
    }

    #[test]
    fn anything_is_planned(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..20)) {
        let total: usize = merged(&packets).iter().map(|frame| frame.len() - VNET_HEADER).sum();
        prop_assert_eq!(total, packets.iter().map(Vec::len).sum::<usize>());
    }
}
