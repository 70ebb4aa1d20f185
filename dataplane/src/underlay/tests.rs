//! The underlay on loopback.

use std::future::poll_fn;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::drop::DropReason;
use crate::offload::switch::Offload;

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "real sockets, real time")]
    Instant::now()
}

fn loopback() -> Underlay {
    with_offloads(Offloads::ALL)
}

fn with_offloads(offloads: Offloads) -> Underlay {
    Underlay::bind(&["127.0.0.1:0".parse().unwrap()], 0, offloads).unwrap()
}

fn receive_one(underlay: &Underlay, batch: &mut ReceiveBatch) -> usize {
    let socket = &underlay.sockets()[0];
    let mut fds = [rustix::event::PollFd::new(socket, rustix::event::PollFlags::IN)];
    let patience = rustix::event::Timespec::try_from(Duration::from_secs(10)).unwrap();
    assert_eq!(
        rustix::event::poll(&mut fds, Some(&patience)).unwrap(),
        1,
        "nothing arrived"
    );
    socket.receive(batch).unwrap()
}

#[test]
fn port_in_use_names_its_holder() {
    let first = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = first.local_addr().unwrap();
    let error = Underlay::bind(&[address], 0, Offloads::ALL).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&format!("port {}/udp is in use by ", address.port())),
        "{text}"
    );
    assert!(text.contains(&format!("(pid {})", std::process::id())), "{text}");
}

#[test]
fn address_of_another_host_is_refused_by_name() {
    let error = Underlay::bind(&["192.0.2.1:0".parse().unwrap()], 0, Offloads::ALL).unwrap_err();
    assert!(
        error.to_string().contains("cannot listen on 192.0.2.1:0"),
        "{error}"
    );
}

#[test]
fn without_an_address_nothing_is_sent() {
    let nowhere = Underlay::bind(&[], 0, Offloads::ALL).unwrap();
    assert_eq!(nowhere.local_addr(), None);
    let transmit = Transmit {
        destination: SocketAddr::from(([127, 0, 0, 1], 9)),
        ecn: None,
        contents: b"x",
        segment_size: None,
        src_ip: None,
    };
    assert_eq!(nowhere.send(&transmit, WhenFull::Wait), 1);
}

const SEGMENT: usize = 1_200;

/// Sends ten whole segments and a short one as one run; returns first byte and length of what arrives.
fn send_run(sender: &Underlay) -> Vec<(u8, usize)> {
    let receiver = loopback();
    let contents: Vec<u8> = (0..10u8).flat_map(|n| vec![n; SEGMENT]).chain([99; 7]).collect();
    let transmit = Transmit {
        destination: receiver.local_addr().unwrap(),
        ecn: None,
        contents: &contents,
        segment_size: Some(SEGMENT),
        src_ip: None,
    };
    assert_eq!(sender.send(&transmit, WhenFull::Wait), 0);
    let (mut batch, mut seen) = (ReceiveBatch::new(), Vec::new());
    while seen.len() < 11 {
        let filled = receive_one(&receiver, &mut batch);
        seen.extend(batch.datagrams(filled).map(|d| (d.payload[0], d.payload.len())));
    }
    seen
}

fn whole_run() -> Vec<(u8, usize)> {
    (0..10u8).map(|n| (n, SEGMENT)).chain([(99, 7)]).collect()
}

#[test]
fn run_of_segments_arrives_as_the_datagrams_it_was_made_of() {
    assert_eq!(send_run(&loopback()), whole_run());
}

#[test]
fn run_leaves_singly_while_the_kernel_refuses_offload_and_together_later() {
    let sender = loopback();
    let socket = &sender.sockets()[0];
    crate::sys::omit_checksums(socket).unwrap();
    assert_eq!(send_run(&sender), whole_run());
    assert_eq!(send_run(&sender), whole_run());
    assert_eq!(socket.max_segments(), 1);
    let stats = || {
        let mut stats = Stats::default();
        sender.add_to(&mut stats);
        stats.offloads
    };
    assert_eq!(stats().active, Offloads::ALL.without(Offload::Gso));
    assert_eq!(stats().refused[Offload::Gso as usize], 1);
    socket.restore_offload().unwrap();
    assert!(socket.max_segments() > 1);
    assert_eq!(stats().active, Offloads::ALL);
}

/// How many datagrams the kernel hands over together, of one run.
fn received_together(receiver: &Underlay) -> usize {
    let contents = vec![1; 5 * SEGMENT];
    let transmit = Transmit {
        destination: receiver.local_addr().unwrap(),
        ecn: None,
        contents: &contents,
        segment_size: Some(SEGMENT),
        src_ip: None,
    };
    assert_eq!(loopback().send(&transmit, WhenFull::Wait), 0);
    let mut batch = ReceiveBatch::new();
    receive_one(receiver, &mut batch);
    batch.datagrams(1).count()
}

#[test]
fn socket_offloads_that_are_not_wanted_stay_off() {
    let plain = with_offloads(Offloads::NONE);
    assert_eq!(send_run(&plain), whole_run());
    assert_eq!(plain.sockets()[0].max_segments(), 1);
    assert_eq!(received_together(&plain), 1);
    plain.sockets()[0].restore_offload().unwrap();
    assert_eq!(plain.sockets()[0].max_segments(), 1);
    assert_eq!(received_together(&plain), 1);
    assert_eq!(received_together(&loopback()), 5);
}

#[test]
fn source_and_destination_of_a_datagram_are_known() {
    let receiver = loopback();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(b"x", receiver.local_addr().unwrap()).unwrap();
    let mut batch = ReceiveBatch::new();
    let filled = receive_one(&receiver, &mut batch);
    let datagram = batch.datagrams(filled).next().unwrap();
    assert_eq!(datagram.source, sender.local_addr().unwrap());
    assert_eq!(datagram.local, Some("127.0.0.1".parse().unwrap()));
}

#[test]
fn sends_survive_a_closed_port_elsewhere() {
    let (sender, receiver) = (loopback(), loopback());
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let transmit = |destination| Transmit {
        destination,
        ecn: None,
        contents: b"x",
        segment_size: None,
        src_ip: None,
    };
    for _ in 0..20 {
        sender.send(&transmit(closed), WhenFull::Wait);
        assert_eq!(
            sender.send(&transmit(receiver.local_addr().unwrap()), WhenFull::Wait),
            0
        );
    }
}

#[test]
fn vanished_source_address_does_not_lose_the_packet() {
    let (sender, receiver) = (loopback(), loopback());
    let transmit = Transmit {
        destination: receiver.local_addr().unwrap(),
        ecn: None,
        contents: b"x",
        segment_size: None,
        src_ip: Some("192.0.2.77".parse().unwrap()),
    };
    assert_eq!(sender.send(&transmit, WhenFull::Wait), 0);
    assert!(
        sender.sockets()[0].max_segments() > 1,
        "segmentation offload was blamed"
    );
}

#[test]
fn port_zero_and_unbound_families_are_losses() {
    let sender = loopback();
    for destination in ["127.0.0.1:0", "[::1]:9"] {
        let destination = destination.parse().unwrap();
        let transmit = Transmit {
            destination,
            ecn: None,
            contents: b"x",
            segment_size: None,
            src_ip: None,
        };
        assert_eq!(sender.send(&transmit, WhenFull::Wait), 1);
    }
}

fn port() -> (UnderlayPort, PortFeeder) {
    let underlay = Arc::new(loopback());
    let local = underlay.local_addr().unwrap();
    open_port(underlay, local, now())
}

fn datagram(source: SocketAddr, payload: &mut [u8]) -> Received<'_> {
    Received {
        source,
        local: None,
        ecn: 0,
        payload,
    }
}

#[test]
fn flood_of_strangers_does_not_keep_members_out() {
    let (port, mut feeder) = port();
    for flood in 0..10_000u16 {
        feeder.feed(
            &datagram(SocketAddr::from(([198, 51, 100, 1], flood)), &mut [0xc0]),
            false,
            now(),
        );
    }
    let member = SocketAddr::from(([192, 0, 2, 1], 51820));
    feeder.feed(&datagram(member, &mut [0xc1]), true, now());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Some(first)) = port.poll_recv(&mut cx) else {
        panic!("the member was kept out")
    };
    assert_eq!(first.source, member);
    assert!(port.drops().get(DropReason::QuicUnknownLimited) > 9_000);
}

#[test]
fn answer_to_our_own_call_is_no_stranger() {
    let (port, mut feeder) = port();
    let called = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    port.try_send(called, None, 0, b"hello");
    for _ in 0..1_000 {
        feeder.feed(&datagram(called, &mut [0xc0]), false, now());
    }
    assert_eq!(port.drops().get(DropReason::QuicUnknownLimited), 0);
}

#[tokio::test]
async fn port_ends_when_its_lane_has_gone() {
    let (port, feeder) = port();
    drop(feeder);
    assert!(poll_fn(|cx| port.poll_recv(cx)).await.is_none());
}

#[tokio::test]
async fn mapped_destination_leaves_by_ipv4() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (port, _feeder) = port();
    let mapped = SocketAddr::new(
        "::ffff:127.0.0.1".parse().unwrap(),
        receiver.local_addr().unwrap().port(),
    );
    port.try_send(mapped, None, 0, b"hello");
    receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut buffer = [0; 16];
    assert_eq!(receiver.recv(&mut buffer).unwrap(), 5);
    assert_eq!(port.stats().sent, 1);
}
