//! Received packets on their way to the TUN: merged here, split again as the kernel would.

use etherparse::{PacketBuilder, TcpHeader};
use meshnode_dataplane::{Frame, Group, Mergeable, Merger, WriteBatch};

/// Any packets, each behind its length in two bytes: nothing is lost, doubled or changed by merging.
pub fn merge(data: &[u8]) {
    let packets = packets(data);
    let mut batch = WriteBatch::default();
    packets.iter().for_each(|packet| batch.push(packet));
    let mut merger = Merger::default();
    merger.plan(&batch, Mergeable { tcp: true, udp: true });
    let mut members: Vec<usize> = merger
        .groups()
        .iter()
        .flat_map(|group| merger.members(group).collect::<Vec<_>>())
        .collect();
    merger
        .groups()
        .iter()
        .for_each(|group| check(&merger, group, &batch));
    members.sort_unstable();
    assert!(
        members.into_iter().eq(0..packets.len()),
        "each packet is written once"
    );
}

/// A merged packet splits into its members.
fn check(merger: &Merger, group: &Group, batch: &WriteBatch) {
    let Some(head) = merger.head(group, batch) else {
        assert_eq!(merger.members(group).count(), 1);
        return;
    };
    let payloads = merger.payloads(group, batch).flatten().copied();
    let mut frame: Vec<u8> = head.as_bytes().iter().copied().chain(payloads).collect();
    let Ok(mut segments) = Frame::read(&mut frame).and_then(Frame::segments) else {
        unreachable!("what was merged cannot be split");
    };
    for member in merger.members(group) {
        let segment = segments.pop().map(|segment| normal(segment));
        assert_eq!(segment, Some(normal(batch.packet(member))));
    }
    assert!(segments.pop().is_none());
}

/// Without the identification of an IPv4 packet that is never fragmented: it means nothing (RFC 6864 §4.1).
fn normal(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 && packet[6] & 0x40 != 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

fn packets(mut data: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (packet, behind) = rest.split_at(length);
        packets.push(packet.to_vec());
        data = behind;
    }
    packets
}

/// Streams and datagrams of both families, cut as hosts cut them.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let flows = [(false, false), (false, true), (true, false), (true, true)];
    let mut seeds: Vec<Vec<u8>> = flows.map(|(ipv6, udp)| listed(&flow(ipv6, udp))).to_vec();
    let all = flows.map(|(ipv6, udp)| flow(ipv6, udp));
    let mixed: Vec<_> = (0..4)
        .flat_map(|at| all.iter().map(move |flow| flow[at].clone()))
        .collect();
    seeds.push(listed(&mixed));
    seeds
}

fn flow(ipv6: bool, udp: bool) -> Vec<Vec<u8>> {
    let sizes = [40usize, 40, 40, 13];
    let packet = |(index, size): (usize, usize)| {
        let builder = match ipv6 {
            true => PacketBuilder::ipv6([1; 16], [2; 16], 64),
            false => PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64),
        };
        let payload = vec![index as u8; size];
        let mut bytes = Vec::new();
        let written = match udp {
            true => builder.udp(7, 9).write(&mut bytes, &payload),
            false => {
                let mut header = TcpHeader::new(7, 9, 40 * index as u32, 1_000);
                (header.ack, header.psh) = (true, index == 3);
                builder.tcp_header(header).write(&mut bytes, &payload)
            }
        };
        written.expect("a vector takes everything");
        bytes
    };
    sizes.into_iter().enumerate().map(packet).collect()
}

fn listed(packets: &[Vec<u8>]) -> Vec<u8> {
    let listed = packets.iter().flat_map(|packet| {
        let length = (packet.len() as u16).to_be_bytes();
        length.into_iter().chain(packet.iter().copied())
    });
    listed.collect()
}
