//! The handle over real sockets on loopback, without a TUN and without privileges.

use std::future::poll_fn;
use std::net::{SocketAddr, UdpSocket};

use crate::node::{self, PATIENCE};
use meshnode_dataplane::{
    Dataplane, DataplaneConfig, DropReason, Offloads, PingError, ReceivedDatagram, StartError, TunConfig,
    TunError, UnderlayPort,
};

fn started() -> Dataplane {
    node::started("127.0.0.1:0", 0)
}

async fn next(port: &UnderlayPort) -> ReceivedDatagram {
    let received = tokio::time::timeout(PATIENCE, poll_fn(|cx| port.poll_recv(cx))).await;
    received
        .expect("nothing arrived")
        .expect("the data plane stopped")
}

fn address(dataplane: &Dataplane) -> SocketAddr {
    dataplane.listen_addrs()[0]
}

#[tokio::test]
async fn quic_passes_between_two_ports() {
    let (first, second) = (started(), started());
    let (a, b) = (first.port(), second.port());
    a.try_send(b.local_addr(), None, 0, b"\xc0 there");
    let there = next(&b).await;
    assert_eq!(
        (there.source, &there.payload[..]),
        (address(&first), &b"\xc0 there"[..])
    );
    b.try_send(there.source, there.local, 0, b"\x40 and back");
    assert_eq!(&next(&a).await.payload[..], b"\x40 and back");
}

#[tokio::test]
async fn garbage_is_counted_and_does_not_reach_quic() {
    let dataplane = started();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for garbage in [
        &b""[..],
        b"\x00",
        b"\x10relay",
        b"\x04\x00\x00\x00short",
        b"\x80not quic",
    ] {
        stranger.send_to(garbage, address(&dataplane)).unwrap();
    }
    stranger.send_to(b"\xc0quic", address(&dataplane)).unwrap();
    assert_eq!(&next(&dataplane.port()).await.payload[..], b"\xc0quic");
    // An empty datagram has no bytes to classify: the kernel hands over no segment.
    assert_eq!(dataplane.stats().dropped(DropReason::Garbage), 4);
}

#[tokio::test]
async fn ports_end_with_the_data_plane() {
    let dataplane = started();
    let port = dataplane.port();
    dataplane.shutdown();
    assert!(poll_fn(|cx| port.poll_recv(cx)).await.is_none());
}

#[tokio::test]
async fn lane_answers_while_it_turns() {
    assert!(started().answers(PATIENCE).await);
}

#[tokio::test]
async fn ping_of_nobody_says_so() {
    let dataplane = started();
    assert_eq!(
        dataplane.ping([7; 32], PATIENCE).await,
        Err(PingError::UnknownPeer)
    );
}

#[test]
fn events_are_taken_once() {
    let dataplane = started();
    assert!(dataplane.events().is_some());
    assert!(dataplane.events().is_none());
}

#[test]
fn second_node_on_one_port_is_told_of_the_first() {
    let first = started();
    let listen = first.listen_addrs();
    let error = Dataplane::start(DataplaneConfig {
        listen,
        mark: 0,
        lanes: 1,
        offloads: Offloads::ALL,
    })
    .unwrap_err();
    let StartError::PortInUse {
        holder: Some(holder), ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(holder.pid, std::process::id());
}

#[tokio::test]
async fn lanes_have_the_ports_above_and_end_before_one_that_is_taken() {
    let base = started().listen_addrs()[0];
    let at = |lane: u16| SocketAddr::new(base.ip(), base.port() + lane);
    let _taken = UdpSocket::bind(at(2)).unwrap();
    let dataplane = Dataplane::start(DataplaneConfig {
        listen: vec![base],
        mark: 0,
        lanes: 4,
        offloads: Offloads::default(),
    })
    .unwrap();
    assert_eq!((dataplane.lanes(), dataplane.listen_addrs()), (2, vec![base]));
    let ports: Vec<u16> = dataplane.stats().lanes.iter().map(|lane| lane.port).collect();
    assert_eq!(ports, [at(0).port(), at(1).port()]);
    assert!(dataplane.answers(PATIENCE).await);
}

#[test]
fn no_lane_and_more_than_eight_are_refused() {
    for lanes in [0, 9] {
        let listen = vec!["127.0.0.1:0".parse().unwrap()];
        let refused = Dataplane::start(DataplaneConfig {
            listen,
            mark: 0,
            lanes,
            offloads: Offloads::default(),
        });
        assert!(matches!(refused, Err(StartError::Lanes(n)) if n == lanes));
    }
}

#[test]
fn impossible_interface_name_is_refused() {
    let config = TunConfig {
        name: "mesh/0".into(),
        mtu: 1420,
        up: true,
    };
    assert!(matches!(
        started().attach_tun(config),
        Err(TunError::BadName { .. })
    ));
}

#[test]
fn hundred_starts_and_stops_leave_no_descriptor() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    drop(started());
    let before = descriptors();
    (0..100).for_each(|_| drop(started()));
    // Other tests of this process open a few at the same time; a leak would be hundreds.
    assert!(descriptors() < before + 60);
}
