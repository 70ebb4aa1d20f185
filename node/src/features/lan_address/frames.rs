//! What is said on a LAN about an address: whole Ethernet frames, made and read. Pure.
//!
//! ARP announcements and probes as in RFC 5227 §1.1 and §2.1.1, unsolicited neighbour advertisements as in RFC 4861
//! §7.2.6.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A hardware address.
pub type Mac = [u8; 6];

/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;

const EVERYBODY: Mac = [0xff; 6];
/// All nodes of the link, ff02::1 (RFC 4291 §2.7.1) and its hardware address (RFC 2464 §7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];

const ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// It overrides what is cached; it answers nobody.
const OVERRIDE: u32 = 0x2000_0000;
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;

/// Everybody on the LAN: `address` is at `mac` from now on.
pub fn announcement(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    arp(mac, address, address)
}

/// Does anybody have `address`? Asked without an address of our own, so that nobody learns one.
pub fn probe(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    arp(mac, Ipv4Addr::UNSPECIFIED, address)
}

/// A request (RFC 826): the sender's addresses, then whom it is about.
fn arp(mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(EVERYBODY, mac, ARP);
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

/// The address that an ARP frame claims and who does; `None` for probes and for what is no ARP of IPv4 on Ethernet.
pub fn claim(frame: &[u8]) -> Option<(Mac, Ipv4Addr)> {
    let body = frame.get(14..42)?;
    if frame[12..14] != ARP.to_be_bytes() || body[..6] != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let mac = body[8..14].try_into().ok()?;
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(&body[14..18]).ok()?);
    (!address.is_unspecified()).then_some((mac, address))
}

/// Everybody on the LAN: `address` is at `mac` from now on.
pub fn advertisement(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0];
    message.extend(OVERRIDE.to_be_bytes());
    message.extend(address.octets());
    message.extend([TARGET_LINK_LAYER_ADDRESS, 1]);
    message.extend(mac);
    let sum = checksum(address, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = ethernet(ALL_NODES_MAC, mac, IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((message.len() as u16).to_be_bytes());
    // Hop limit 255: it has not passed a router.
    frame.extend([ICMPV6, 255]);
    frame.extend(address.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}

fn ethernet(to: Mac, from: Mac, kind: u16) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes()].concat()
}

/// Over the pseudo-header too (RFC 8200 §8.1).
fn checksum(source: Ipv6Addr, message: &[u8]) -> u16 {
    let length = (message.len() as u32).to_be_bytes();
    let pseudo = [
        &source.octets()[..],
        &ALL_NODES.octets(),
        &length,
        &[0, 0, 0, ICMPV6],
    ]
    .concat();
    let words = pseudo.chunks(2).chain(message.chunks(2));
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u32 = words.map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 7];

    #[test]
    fn an_announcement_claims_and_a_probe_does_not() {
        let address = Ipv4Addr::new(10, 0, 0, 1);
        let frame = announcement(MAC, address);
        assert_eq!((frame.len(), &frame[..6]), (42, &EVERYBODY[..]));
        assert_eq!(claim(&frame), Some((MAC, address)));
        assert_eq!(claim(&probe(MAC, address)), None);
    }

    #[test]
    fn what_is_no_arp_claims_nothing() {
        let good = announcement(MAC, Ipv4Addr::new(10, 0, 0, 1));
        for length in 0..good.len() {
            assert_eq!(claim(&good[..length]), None);
        }
        for at in 12..20 {
            let mut other = good.clone();
            other[at] ^= 0x10;
            assert_eq!(claim(&other), None, "byte {at}");
        }
    }

    #[test]
    fn an_advertisement_is_a_packet_with_a_good_checksum() {
        let address: Ipv6Addr = "fd00::1".parse().unwrap();
        let frame = advertisement(MAC, address);
        assert_eq!((&frame[..6], frame.len()), (&ALL_NODES_MAC[..], 14 + 40 + 32));
        let message = &frame[54..];
        assert_eq!(
            (message[0], &message[8..24]),
            (NEIGHBOUR_ADVERTISEMENT, &address.octets()[..])
        );
        // Over a message with its own checksum the sum is all ones (RFC 1071 §1).
        assert_eq!(checksum(address, message), 0);
    }
}
