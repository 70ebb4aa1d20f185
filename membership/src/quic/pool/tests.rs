//! The pool over real QUIC on a wire in memory, with peers that keep to nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meshnode_crypto::{NodeId, SigningKey};
use quinn::{Connection, ConnectionError};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::Pool;
use crate::carrier::{Book, Carrier, CarrierEvent};
use crate::message::Message;
use crate::quic::endpoint::{CloseReason, DialError, QuicEndpoint};
use crate::quic::stream::write_message;
use crate::simulation::SimWire;

struct Member {
    pool: Pool,
    events: mpsc::Receiver<CarrierEvent>,
    node: NodeId,
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_seed([number; 32])
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, number], 51820))
}

fn endpoint(wire: &SimWire, number: u8) -> QuicEndpoint {
    QuicEndpoint::new(wire.port(address(number)), &key(number)).unwrap()
}

fn member(wire: &SimWire, number: u8) -> Member {
    let (sender, events) = mpsc::channel(64);
    let pool = Pool::start(endpoint(wire, number), Bytes::from_static(b"chain"), sender);
    Member {
        pool,
        events,
        node: key(number).public_key(),
    }
}

fn book(numbers: &[u8]) -> Arc<Book> {
    Arc::new(
        numbers
            .iter()
            .map(|number| (key(*number).public_key(), vec![address(*number)]))
            .collect(),
    )
}

fn gossip(text: &'static [u8]) -> Message {
    Message::Gossip(Bytes::from_static(text))
}

impl Member {
    async fn next_gossip(&mut self) -> Bytes {
        loop {
            let event = timeout(Duration::from_secs(20), self.events.recv()).await;
            match event.expect("a message arrives").expect("the pool runs") {
                CarrierEvent::Message {
                    message: Message::Gossip(bytes),
                    ..
                } => return bytes,
                _ => continue,
            }
        }
    }
}

async fn closed_with(connection: &Connection) -> Option<u64> {
    match connection.closed().await {
        ConnectionError::ApplicationClosed(close) => Some(close.error_code.into_inner()),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn members_that_dial_each_other_at_once_keep_one_connection() {
    let wire = SimWire::default();
    let (mut a, mut b) = (member(&wire, 1), member(&wire, 2));
    a.pool.set_book(book(&[2]));
    b.pool.set_book(book(&[1]));
    a.pool.send(b.node, gossip(b"from a"));
    b.pool.send(a.node, gossip(b"from b"));
    assert_eq!(b.next_gossip().await, "from a");
    assert_eq!(a.next_gossip().await, "from b");
    sleep(Duration::from_secs(10)).await;
    assert_eq!((a.pool.stats().connections, b.pool.stats().connections), (1, 1));
    assert_eq!(
        (a.pool.connected(), b.pool.connected()),
        (vec![b.node], vec![a.node])
    );
}

#[tokio::test(start_paused = true)]
async fn member_that_crashed_and_came_back_at_once_is_heard_and_hears() {
    let wire = SimWire::default();
    let (mut a, former) = (member(&wire, 1), member(&wire, 2));
    a.pool.set_book(book(&[2]));
    former.pool.set_book(book(&[1]));
    former.pool.send(a.node, gossip(b"before"));
    assert_eq!(a.next_gossip().await, "before");
    // Its port goes to the new life: the former one says and hears nothing any more, as after SIGKILL.
    let mut b = member(&wire, 2);
    b.pool.set_book(book(&[1]));
    b.pool.send(a.node, gossip(b"again"));
    assert_eq!(a.next_gossip().await, "again");
    for _ in 0..8 {
        a.pool.send(b.node, gossip(b"do you hear me"));
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(b.next_gossip().await, "do you hear me");
    assert_eq!(b.pool.connected(), vec![a.node]);
    assert_eq!(a.pool.stats().connections, 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_stranger_says_is_not_heard() {
    let wire = SimWire::default();
    let mut a = member(&wire, 1);
    let connection = endpoint(&wire, 9).dial(address(1), None).await.unwrap();
    let mut stream = connection.open_uni().await.unwrap();
    write_message(&mut stream, &gossip(b"let me in")).await.unwrap();
    assert_eq!(
        closed_with(&connection).await,
        Some(CloseReason::NotMember as u64)
    );
    assert!(a.events.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_hello_that_is_too_long_ends_the_connection() {
    let wire = SimWire::default();
    let a = member(&wire, 1);
    let connection = endpoint(&wire, 9).dial(address(1), None).await.unwrap();
    let mut stream = connection.open_uni().await.unwrap();
    write_message(&mut stream, &Message::Hello(Bytes::from(vec![0; 20_000])))
        .await
        .unwrap();
    assert_eq!(
        closed_with(&connection).await,
        Some(CloseReason::Misbehaved as u64)
    );
    drop(a);
}

#[tokio::test(start_paused = true)]
async fn streams_and_slow_senders_are_capped() {
    let wire = SimWire::default();
    let a = member(&wire, 1);
    let connection = endpoint(&wire, 9).dial(address(1), None).await.unwrap();
    let mut open = Vec::new();
    while let Ok(Ok(stream)) = timeout(Duration::from_secs(1), connection.open_uni()).await {
        open.push(stream);
        assert!(open.len() <= 16, "as many streams as one likes");
    }
    assert_eq!(open.len(), 16);
    drop(a);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_the_book_is_cut_off_at_once() {
    let wire = SimWire::default();
    let (a, mut b) = (member(&wire, 1), member(&wire, 2));
    a.pool.set_book(book(&[2]));
    b.pool.set_book(book(&[1]));
    a.pool.send(b.node, gossip(b"hello"));
    b.next_gossip().await;
    b.pool.set_book(book(&[]));
    assert!(b.pool.connected().is_empty());
    sleep(Duration::from_secs(1)).await;
    assert!(a.pool.connected().is_empty());
}

#[tokio::test(start_paused = true)]
async fn another_node_at_the_address_is_not_talked_to() {
    let wire = SimWire::default();
    let b = member(&wire, 2);
    let dialled = endpoint(&wire, 1)
        .dial(address(2), Some(key(3).public_key()))
        .await;
    assert!(
        matches!(dialled, Err(DialError::WrongKey(at)) if at == address(2)),
        "{dialled:?}"
    );
    drop(b);
}

#[tokio::test(start_paused = true)]
async fn a_member_is_found_at_its_second_address() {
    let wire = SimWire::default();
    let (a, mut b) = (member(&wire, 1), member(&wire, 2));
    b.pool.set_book(book(&[1]));
    let addresses = vec![address(77), address(2)];
    a.pool.set_book(Arc::new(Book::from([(b.node, addresses)])));
    a.pool.send(b.node, gossip(b"found"));
    assert_eq!(b.next_gossip().await, "found");
}

#[tokio::test(start_paused = true)]
async fn messages_for_a_silent_member_are_bounded_and_counted() {
    let wire = SimWire::default();
    let a = member(&wire, 1);
    a.pool.set_book(book(&[2]));
    for _ in 0..100 {
        a.pool.send(key(2).public_key(), gossip(b"anybody there?"));
    }
    sleep(Duration::from_secs(60)).await;
    let stats = a.pool.stats();
    assert!(stats.queue_full >= 80, "{stats:?}");
    assert_eq!(stats.queue_full + stats.unreachable, 100);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_restarts_is_heard_again_at_once() {
    let wire = SimWire::default();
    let (mut a, b) = (member(&wire, 1), member(&wire, 2));
    a.pool.set_book(book(&[2]));
    b.pool.set_book(book(&[1]));
    b.pool.send(a.node, gossip(b"first life"));
    a.next_gossip().await;
    sleep(Duration::from_secs(5)).await;
    // It crashes: nothing closes the old connection.
    let reborn = member(&wire, 2);
    reborn.pool.set_book(book(&[1]));
    reborn.pool.send(a.node, gossip(b"second life"));
    assert_eq!(a.next_gossip().await, "second life");
    let mut reborn = reborn;
    a.pool.send(reborn.node, gossip(b"welcome back"));
    assert_eq!(reborn.next_gossip().await, "welcome back");
    drop(b);
}
