//! Two data planes and the tunnel between them, over real sockets on loopback, without a TUN.

use std::time::Duration;

use crate::node::{Identity, PATIENCE, started, table, wait_up};
use meshnode_dataplane::{Dataplane, DataplaneEvent, PingError};

const ONE: Identity = Identity(1);
const TWO: Identity = Identity(2);

fn pair(listen: &str) -> (Dataplane, Dataplane) {
    let (one, two) = (started(listen, 0), started(listen, 0));
    one.apply(table(ONE, TWO, two.listen_addrs()[0]));
    two.apply(table(TWO, ONE, one.listen_addrs()[0]));
    (one, two)
}

#[tokio::test]
async fn probe_passes_through_the_tunnel_both_ways() {
    let (one, two) = pair("127.0.0.1:0");
    assert!(one.ping(TWO.id(), PATIENCE).await.unwrap() > Duration::ZERO);
    assert!(two.ping(ONE.id(), PATIENCE).await.unwrap() > Duration::ZERO);
    let stats = one.stats();
    let peer = &stats.peers[&TWO.id()];
    assert_eq!(peer.endpoint, Some(two.listen_addrs()[0]));
    assert!(peer.rx_bytes > 0 && peer.tx_bytes > 0 && peer.last_handshake.is_some());
}

#[tokio::test]
async fn tunnel_works_over_ipv6() {
    let (one, two) = pair("[::1]:0");
    assert!(one.ping(TWO.id(), PATIENCE).await.is_ok());
    assert!(two.ping(ONE.id(), PATIENCE).await.is_ok());
}

#[tokio::test]
async fn coming_up_and_leaving_are_told() {
    let (one, two) = pair("127.0.0.1:0");
    let mut events = one.events().unwrap();
    let next = async |events: &mut tokio::sync::mpsc::Receiver<_>| {
        tokio::time::timeout(PATIENCE, events.recv())
            .await
            .unwrap()
            .unwrap()
    };
    while next(&mut events).await != (DataplaneEvent::PeerUp { peer: TWO.id() }) {}
    drop(two);
    loop {
        if let DataplaneEvent::PeerDown { peer, .. } = next(&mut events).await {
            assert_eq!(peer, TWO.id());
            break;
        }
    }
}

#[tokio::test]
async fn peer_that_left_the_table_is_unknown_at_once() {
    let (one, two) = pair("127.0.0.1:0");
    wait_up(&one, TWO).await;
    one.apply(Default::default());
    assert_eq!(one.ping(TWO.id(), PATIENCE).await, Err(PingError::UnknownPeer));
    assert!(one.stats().peers.is_empty());
    assert_eq!(
        two.ping(ONE.id(), Duration::from_millis(300)).await,
        Err(PingError::TimedOut)
    );
}
