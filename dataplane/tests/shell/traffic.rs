//! Two networks, each behind a node, on one cable: what is sent arrives whole, from its true source.
//!
//! ```text
//!   10.1.0.1, fd01::1 ─ mesh0 ─ 192.0.2.1 ═══ veth ═══ 192.0.2.2 ─ mesh0 ─ 10.2.0.1, fd02::1
//! ```

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::channel;

use crate::node::{Identity, MARK, PATIENCE, in_namespace, ip, mesh0, started, table, wait_up};
use meshnode_dataplane::Dataplane;

const LEFT: Identity = Identity(1);
const RIGHT: Identity = Identity(2);

/// Bytes of one stream each way: many super-packets, and no multiple of any segment.
const STREAM: usize = 10_000_003;

const PORT: u16 = 7;

fn inner(node: Identity) -> [IpAddr; 2] {
    [
        format!("10.{}.0.1", node.0).parse().unwrap(),
        format!("fd0{}::1", node.0).parse().unwrap(),
    ]
}

fn underlay(node: Identity) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, node.0], 51820))
}

/// Sets up the node's end in the namespace of this thread, whose cable is plugged in.
fn network(me: Identity, peer: Identity) -> Dataplane {
    ip(&format!("address add {}/24 dev eth0", underlay(me).ip()));
    ip("link set eth0 up");
    let dataplane = started("0.0.0.0:51820", MARK);
    dataplane.attach_tun(mesh0()).unwrap();
    for (address, bits) in inner(me).into_iter().zip([32, 128]) {
        ip(&format!("address add {address}/{bits} dev lo"));
    }
    ip(&format!(
        "route add 10.{}.0.0/16 dev mesh0 src {}",
        peer.0,
        inner(me)[0]
    ));
    ip(&format!(
        "route add fd0{}::/32 dev mesh0 src {}",
        peer.0,
        inner(me)[1]
    ));
    dataplane.apply(table(me, peer, underlay(peer)));
    dataplane
}

/// Bytes that differ at every place where a segment could be lost, doubled or moved.
fn pattern(seed: u8) -> Vec<u8> {
    (0..STREAM)
        .map(|at| seed ^ (at as u8) ^ ((at >> 8) as u8).wrapping_mul(31) ^ ((at >> 16) as u8))
        .collect()
}

#[test]
fn streams_and_datagrams_pass_between_two_networks() {
    let (thread_in, thread) = channel::<i32>();
    let (cabled_in, cabled) = channel::<()>();
    let (ready_in, ready) = channel::<()>();
    let (done_in, done) = channel::<()>();
    let left = std::thread::spawn(move || {
        in_namespace(async move || {
            thread_in.send(nix::unistd::gettid().as_raw()).unwrap();
            cabled.recv().unwrap();
            let dataplane = network(LEFT, RIGHT);
            for address in inner(LEFT) {
                echo(address);
            }
            ready_in.send(()).unwrap();
            done.recv().unwrap();
            let stats = dataplane.stats();
            assert!(stats.peers[&RIGHT.id()].rx_packets > 0, "{stats:?}");
        });
    });
    in_namespace(async move || {
        let left = thread.recv().unwrap();
        ip(&format!("link add eth0 type veth peer name eth0 netns {left}"));
        cabled_in.send(()).unwrap();
        let dataplane = network(RIGHT, LEFT);
        ready.recv().unwrap();
        wait_up(&dataplane, LEFT).await;
        for address in inner(LEFT) {
            exchange_stream(address);
            exchange_datagrams(address);
        }
        done_in.send(()).unwrap();
    });
    left.join().unwrap();
}

/// Answers one stream and every datagram with the same bytes, on threads of this namespace.
fn echo(address: IpAddr) {
    let listener = TcpListener::bind((address, PORT)).unwrap();
    let datagrams = UdpSocket::bind((address, PORT)).unwrap();
    std::thread::spawn(move || {
        let (mut stream, source) = listener.accept().unwrap();
        assert!(inner(RIGHT).contains(&source.ip()), "{source}");
        let mut back = stream.try_clone().unwrap();
        std::io::copy(&mut stream, &mut back).unwrap();
        back.shutdown(std::net::Shutdown::Write).unwrap();
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 2_000];
        while let Ok((length, source)) = datagrams.recv_from(&mut buffer) {
            datagrams.send_to(&buffer[..length], source).unwrap();
        }
    });
}

fn exchange_stream(address: IpAddr) {
    let mut stream = TcpStream::connect_timeout(&(address, PORT).into(), PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut out = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        out.write_all(&pattern(1)).unwrap();
        out.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut echoed = Vec::with_capacity(STREAM);
    stream.read_to_end(&mut echoed).unwrap();
    sender.join().unwrap();
    assert!(
        echoed == pattern(1),
        "{} of {STREAM} bytes came back, not the same",
        echoed.len()
    );
}

fn exchange_datagrams(address: IpAddr) {
    let any: IpAddr = if address.is_ipv4() {
        [0; 4].into()
    } else {
        [0; 16].into()
    };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.connect((address, PORT)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // Up to what fits an IPv6 packet of the MTU, empty ones included.
    for length in [0, 1, 2, 3, 500, 1_371, 1_372] {
        let sent: Vec<u8> = (0..length).map(|at| at as u8).collect();
        socket.send(&sent).unwrap();
        let mut buffer = [0; 2_000];
        let received = socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..received], sent);
    }
}
