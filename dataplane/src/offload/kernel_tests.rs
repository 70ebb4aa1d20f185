//! Merged here, split by the kernel: a merged packet is written to one TUN, forwarded, and read from another that offers
//! no offloads. Needs root; without it the test says so and passes.

use std::os::fd::OwnedFd;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;

/// What the merged packets arrive on, and where the kernel sends them on.
const IN: &str = "in0";
const OUT: &str = "out0";

fn ip(words: &str) {
    let status = Command::new("ip")
        .args(words.split_whitespace())
        .status()
        .unwrap();
    assert!(status.success(), "ip {words}");
}

/// A TUN with these offloads for its reader.
fn tun(name: &str, offloads: u32) -> OwnedFd {
    let queue = crate::sys::open_tun_queue(name, true).unwrap();
    crate::sys::set_offloads(&queue, offloads).unwrap();
    ip(&format!("link set {name} up"));
    queue
}

/// Two TUNs in a namespace that forwards from [`V4`]'s and [`V6`]'s source to their destination.
#[expect(clippy::disallowed_methods, reason = "a test sets up its own namespace")]
fn router() -> Option<(OwnedFd, OwnedFd)> {
    if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).is_err() {
        println!("skipped: no right to make a network namespace");
        return None;
    }
    for family in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        std::fs::write(format!("/proc/sys/net/{family}"), "1").unwrap();
    }
    let (from, to) = (tun(IN, 0), tun(OUT, 0));
    ip(&format!("route add 10.0.0.1/32 dev {IN}"));
    ip(&format!("route add 10.0.0.2/32 dev {OUT}"));
    ip(&format!("route add 101:101:101:101:101:101:101:101/128 dev {IN}"));
    ip(&format!(
        "route add 202:202:202:202:202:202:202:202/128 dev {OUT}"
    ));
    Some((from, to))
}

/// Reads packets of the test's own traffic until there are `count`.
fn read(queue: &OwnedFd, count: usize) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let patience = Timespec::try_from(std::time::Duration::from_secs(10)).unwrap();
    while packets.len() < count {
        let ready = poll(&mut [PollFd::new(queue, PollFlags::IN)], Some(&patience)).unwrap();
        assert_eq!(ready, 1, "only {} of {count} packets came", packets.len());
        let mut frame = vec![0; VNET_HEADER + MAX_PACKET];
        let length = rustix::io::read(queue, &mut frame).unwrap();
        assert_eq!(frame[1], 0, "a TUN without offloads gets no super-packets");
        let packet = frame[VNET_HEADER..length].to_vec();
        let protocol = if transport(&packet) == 20 {
            packet[9]
        } else {
            packet[6]
        };
        if protocol == TCP || protocol == UDP {
            packets.push(packet);
        }
    }
    packets
}

/// What a router makes of a packet.
fn one_hop_on(mut packet: Vec<u8>) -> Vec<u8> {
    crate::packet::decrement_hop_limit(&mut packet).unwrap();
    packet
}

#[test]
fn kernel_splits_what_was_merged_into_the_same_packets() {
    std::thread::spawn(|| {
        let Some((from, to)) = router() else { return };
        let payload: Vec<u8> = (0..30_000u32).map(|at| (at * 7 + (at >> 8)) as u8).collect();
        let mut pushed = V4.stream(&payload, 1_400);
        with_flags(pushed.last_mut().unwrap(), segment::ACK | PSH | FIN);
        for packets in [
            V4.stream(&payload, 1_400),
            V6.stream(&payload, 1_237),
            pushed,
            V4.datagrams(&payload, 1_000),
            V6.datagrams(&payload, 1_111),
        ] {
            let frames = merged(&packets);
            assert_eq!(frames.len(), 1);
            rustix::io::write(&from, &frames[0]).unwrap();
            let expected: Vec<_> = packets.into_iter().map(one_hop_on).collect();
            let out = read(&to, expected.len());
            assert!(
                out == expected,
                "{:02x?}\n{:02x?}",
                &out[1][..60],
                &expected[1][..60]
            );
        }
    })
    .join()
    .unwrap();
}
