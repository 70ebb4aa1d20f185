//! Dialling a member at all its addresses, or a seed at one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use meshnode_crypto::NodeId;
use quinn::Connection;
use tokio::time::{Instant, sleep, timeout};

use super::super::endpoint::{CloseReason, DialError, peer_key};
use super::link::{self, Link};
use super::{Shared, lock};

/// How long after one address the next is tried.
const STAGGER: Duration = Duration::from_millis(150);
/// How long all addresses of a member may take together.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// A record holds 16 addresses, members saw a few more.
const MAX_ADDRESSES: usize = 20;

/// No connection could be made.
#[derive(Debug)]
pub(super) struct Unreachable;

/// The connection to use for `node`, dialling it if there is none.
pub(super) async fn link_to(shared: &Arc<Shared>, node: NodeId) -> Result<Arc<Link>, Unreachable> {
    if let Some(link) = shared.standing_link(&node) {
        return Ok(link);
    }
    let addresses = shared.book.load().get(&node).cloned().unwrap_or_default();
    let permit = shared.dials.acquire().await.map_err(|_| Unreachable)?;
    if let Some(link) = shared.standing_link(&node) {
        return Ok(link);
    }
    shared.make_room();
    let dialled = timeout(DIAL_TIMEOUT, race(shared, node, &addresses)).await;
    drop(permit);
    match dialled {
        Ok(Some(connection)) => Ok(start(shared, connection, node)),
        _ => shared.standing_link(&node).ok_or_else(|| back_off(shared, &node)),
    }
}

/// Dials an address whose key is not known; the link stays a stranger until its node says hello.
pub(super) async fn seed(shared: Arc<Shared>, address: SocketAddr) {
    let Ok(_permit) = shared.dials.acquire().await else {
        return;
    };
    match timeout(DIAL_TIMEOUT, shared.endpoint.dial(address, None)).await {
        Ok(Ok(connection)) => greet_seed(&shared, connection),
        Ok(Err(error)) => tracing::debug!(%address, %error, "seed not reached"),
        Err(_) => tracing::debug!(%address, "seed did not answer"),
    }
}

fn greet_seed(shared: &Arc<Shared>, connection: Connection) {
    match peer_key(&connection) {
        Some(node) if node != shared.endpoint.node() => {
            start(shared, connection, node);
        }
        _ => connection.close(CloseReason::NotMember.code(), b"that is this node itself"),
    }
}

fn start(shared: &Arc<Shared>, connection: Connection, node: NodeId) -> Arc<Link> {
    let link = Link::new(connection, node, true);
    if shared.book.load().contains_key(&node) {
        link.admit();
    }
    shared.adopt(&link);
    tokio::spawn(link::run(shared.clone(), link.clone(), None));
    link
}

// The first address whose node proves the expected key wins; the others are dropped, which closes them.
async fn race(shared: &Shared, node: NodeId, addresses: &[SocketAddr]) -> Option<Connection> {
    let attempts = addresses
        .iter()
        .take(MAX_ADDRESSES)
        .enumerate()
        .map(|(index, address)| async move {
            sleep(STAGGER * index as u32).await;
            let dialled = shared.endpoint.dial(*address, Some(node)).await;
            dialled.inspect_err(|error: &DialError| tracing::trace!(%address, %error, "dial failed"))
        });
    let mut attempts: FuturesUnordered<_> = attempts.collect();
    while let Some(attempt) = attempts.next().await {
        if let Ok(connection) = attempt {
            return Some(connection);
        }
    }
    None
}

fn back_off(shared: &Shared, node: &NodeId) -> Unreachable {
    let mut peers = lock(&shared.peers);
    if let Some(peer) = peers.get_mut(node) {
        peer.back_off(Instant::now());
    }
    Unreachable
}
