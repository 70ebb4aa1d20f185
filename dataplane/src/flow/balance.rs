//! Which gateway of several a packet takes: rendezvous hashing (Thaler and Ravishankar, 1998) over its flow.
//!
//! Every gateway draws a number for every flow, from its identity and the flow's addresses, protocol and ports, and the
//! highest wins. Nothing is stored; when a gateway goes, only its flows move, and when it is back, only those return.

use crate::packet::{Packet, TCP, UDP};
use crate::table::PeerId;
use std::net::IpAddr;

/// Protocols whose payload begins with two ports: TCP, UDP, DCCP, SCTP, UDP-Lite (IANA protocol numbers).
const WITH_PORTS: [u8; 5] = [TCP, UDP, 33, 132, 136];

/// What a gateway's draws begin with: its own in every table and on every node.
pub fn seed(id: &PeerId) -> u64 {
    id.as_chunks::<8>()
        .0
        .iter()
        .fold(0, |seed, part| mix(seed ^ u64::from_le_bytes(*part)))
}

/// The number of a packet's flow. All fragments of a packet have the same, which is not that of whole ones.
pub fn flow(packet: &Packet<'_>) -> u64 {
    let ports = packet
        .bytes
        .get(packet.payload..)
        .and_then(|payload| payload.first_chunk::<4>());
    let ports = ports.filter(|_| !packet.fragment && WITH_PORTS.contains(&packet.protocol));
    let last = u64::from(u32::from_be_bytes(*ports.unwrap_or(&[0; 4]))) << 8 | u64::from(packet.protocol);
    [address(packet.source), address(packet.destination)]
        .as_flattened()
        .iter()
        .fold(mix(last), |flow, half| mix(flow ^ half))
}

/// The gateway with the highest draw for a flow, by its place among `seeds`; 0 where there are none.
pub fn pick(flow: u64, seeds: impl Iterator<Item = u64>) -> usize {
    let draws = seeds.map(|seed| mix(seed ^ flow)).enumerate();
    draws.max_by_key(|(_, draw)| *draw).map_or(0, |(place, _)| place)
}

fn address(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(v4) => [0, u64::from(u32::from(v4))],
        IpAddr::V6(v6) => {
            let bits = u128::from(v6);
            [(bits >> 64) as u64, bits as u64]
        }
    }
}

/// The finaliser of splitmix64 (Steele, Lea and Flood, 2014): every bit of the input changes half of the output.
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// UDP from 10.0.0.1 to 10.0.0.2, with this source port.
    fn udp(port: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend(port.to_be_bytes());
        packet.extend([0, 53, 0, 8, 0, 0]);
        packet
    }

    fn flow_of(bytes: &[u8]) -> u64 {
        flow(&Packet::parse(bytes).unwrap())
    }

    fn seeds(gateways: &[u8]) -> Vec<u64> {
        gateways.iter().map(|id| seed(&[*id; 32])).collect()
    }

    fn gateway(flow: u64, gateways: &[u8]) -> u8 {
        gateways[pick(flow, seeds(gateways).into_iter())]
    }

    #[test]
    fn flows_differ_by_port_and_stay_where_they_are() {
        assert_ne!(flow_of(&udp(1)), flow_of(&udp(2)));
        let (mut later, whole) = (udp(1), udp(1));
        later[5] = 9;
        assert_eq!(
            flow_of(&later),
            flow_of(&whole),
            "the packet's number is no part of its flow"
        );
    }

    #[test]
    fn all_fragments_of_a_packet_take_one_way() {
        let (mut first, mut last) = (udp(1), udp(2));
        (first[6], last[7]) = (0x20, 1);
        assert_eq!(flow_of(&first), flow_of(&last));
    }

    #[test]
    fn flows_are_spread_evenly() {
        let mut count = [0; 3];
        for port in 0..3_000 {
            count[usize::from(gateway(flow_of(&udp(port)), &[0, 1, 2]))] += 1;
        }
        assert!(count.iter().all(|n| (850..1_150).contains(n)), "{count:?}");
    }

    proptest! {
        #[test]
        fn only_the_flows_of_a_gateway_that_goes_move(flow in any::<u64>(), gone in 0_u8..5) {
            let all = [0, 1, 2, 3, 4];
            let left: Vec<u8> = all.into_iter().filter(|id| *id != gone).collect();
            let before = gateway(flow, &all);
            prop_assert!(before == gone || gateway(flow, &left) == before);
        }

        #[test]
        fn the_order_in_which_gateways_are_known_does_not_matter(flow in any::<u64>()) {
            prop_assert_eq!(gateway(flow, &[1, 2, 3]), gateway(flow, &[3, 1, 2]));
        }
    }
}
