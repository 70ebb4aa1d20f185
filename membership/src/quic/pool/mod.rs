//! At most one connection for each pair of members, made when there is something to say.
//!
//! ```text
//! send(node, message) ─► that node's queue (16, oldest lost) ─► its sender task ─► dial if need be
//!                                                                    │              (8 at once)
//! events ◄─ reader of each stream ◄─ link (one per connection) ◄─────┴─ accept (Retry passed)
//! ```
//!
//! A link is a *stranger* until its node stands in the book. A stranger may say hello (show its grant
//! chain) and open admission streams; everything else waits for its standing and is then dropped.
//! When two members dial each other at once, both keep the connection that the lower id dialled.

mod accept;
mod dial;
mod link;
mod peer;
mod sender;
mod strangers;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use meshnode_crypto::NodeId;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use self::link::Link;
use self::peer::Peer;
use self::strangers::Strangers;
use super::endpoint::{CloseReason, QuicEndpoint};
use super::stream;
use crate::carrier::{Book, Carrier, CarrierEvent, CarrierStats, RequestError};
use crate::message::{Answer, MAX_ANSWER, Message, Request};

/// Connections that we dialled and that stand.
const MAX_OUTBOUND: usize = 64;
/// Handshakes that we have under way.
const MAX_DIALS: usize = 8;
/// How long an answer may take: an issuer may have to be dialled and its disk to sync.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection that lost against another stays open for what is still on its way.
const RETIREMENT: Duration = Duration::from_secs(3);
/// How long closing connections may take to tell the other ends.
const CLOSE_WAIT: Duration = Duration::from_millis(300);

/// The pool; see the module documentation. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: QuicEndpoint,
    events: mpsc::Sender<CarrierEvent>,
    book: ArcSwap<Book>,
    hello: ArcSwap<Bytes>,
    peers: Mutex<BTreeMap<NodeId, Peer>>,
    dials: Semaphore,
    strangers: Strangers,
    counters: Counters,
    acceptor: Mutex<Option<AbortHandle>>,
}

#[derive(Default)]
struct Counters {
    gossip_sent: AtomicU64,
    gossip_received: AtomicU64,
    queue_full: AtomicU64,
    unreachable: AtomicU64,
    malformed: AtomicU64,
    strangers_refused: AtomicU64,
}

impl Pool {
    /// A pool over `endpoint` that reports to `events` and answers dials from now on.
    pub(crate) fn start(endpoint: QuicEndpoint, hello: Bytes, events: mpsc::Sender<CarrierEvent>) -> Self {
        let shared = Arc::new(Shared {
            endpoint,
            events,
            book: ArcSwap::default(),
            hello: ArcSwap::from_pointee(hello),
            peers: Mutex::default(),
            dials: Semaphore::new(MAX_DIALS),
            strangers: Strangers::default(),
            counters: Counters::default(),
            acceptor: Mutex::default(),
        });
        let acceptor = tokio::spawn(accept::run(shared.clone())).abort_handle();
        *lock(&shared.acceptor) = Some(acceptor);
        Pool { shared }
    }
}

impl Carrier for Pool {
    fn send(&self, to: NodeId, message: Message) {
        if !self.shared.book.load().contains_key(&to) {
            count(&self.shared.counters.unreachable);
            return;
        }
        let mut peers = lock(&self.shared.peers);
        let peer = peers.entry(to).or_default();
        if peer.is_given_up(Instant::now()) {
            count(&self.shared.counters.unreachable);
            return;
        }
        if peer.enqueue(message) {
            count(&self.shared.counters.queue_full);
        }
        if !std::mem::replace(&mut peer.sending, true) {
            tokio::spawn(sender::run(self.shared.clone(), to));
        }
    }

    fn deliver(&self, to: NodeId, message: Message) -> BoxFuture<'static, bool> {
        let link = self.shared.standing_link(&to);
        async move {
            match link {
                Some(link) => link.deliver(&message).await,
                None => false,
            }
        }
        .boxed()
    }

    fn request(&self, to: NodeId, request: Request) -> BoxFuture<'static, Result<Answer, RequestError>> {
        let shared = self.shared.clone();
        async move {
            let work = ask(&shared, to, &request);
            timeout(ANSWER_TIMEOUT, work)
                .await
                .map_err(|_| RequestError::TimedOut)?
        }
        .boxed()
    }

    fn set_book(&self, book: Arc<Book>) {
        self.shared.book.store(book.clone());
        lock(&self.shared.peers).retain(|node, peer| {
            let is_member = book.contains_key(node);
            peer.settle(is_member);
            is_member || peer.is_busy()
        });
    }

    fn refuse(&self, node: NodeId) {
        if let Some(peer) = lock(&self.shared.peers).get(&node) {
            peer.refuse();
        }
    }

    fn set_hello(&self, chain: Bytes) {
        self.shared.hello.store(Arc::new(chain));
    }

    fn dial_seed(&self, address: SocketAddr) {
        tokio::spawn(dial::seed(self.shared.clone(), address));
    }

    fn connected(&self) -> Vec<NodeId> {
        let peers = lock(&self.shared.peers);
        peers
            .iter()
            .filter(|(_, peer)| peer.standing_link().is_some())
            .map(|(node, _)| *node)
            .collect()
    }

    fn stats(&self) -> CarrierStats {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CarrierStats {
            connections: self.shared.endpoint.open_connections(),
            gossip_sent: read(&counters.gossip_sent),
            gossip_received: read(&counters.gossip_received),
            queue_full: read(&counters.queue_full),
            unreachable: read(&counters.unreachable),
            malformed: read(&counters.malformed),
            strangers_refused: read(&counters.strangers_refused),
        }
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let shared = self.shared.clone();
        async move {
            if let Some(acceptor) = lock(&shared.acceptor).take() {
                acceptor.abort();
            }
            shared.endpoint.close(CLOSE_WAIT).await;
        }
        .boxed()
    }
}

impl Shared {
    fn standing_link(&self, node: &NodeId) -> Option<Arc<Link>> {
        lock(&self.peers).get(node).and_then(Peer::standing_link)
    }

    // Takes a new connection in; the one that it loses against, or that loses against it, is closed later.
    fn adopt(self: &Arc<Self>, link: &Arc<Link>) {
        let node = link.node;
        let crowded = {
            let mut peers = lock(&self.peers);
            let peer = peers.entry(node).or_default();
            peer.adopt(link.clone(), self.endpoint.node() < node);
            peer.has_spare_links()
        };
        if crowded {
            let shared = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(RETIREMENT).await;
                if let Some(peer) = lock(&shared.peers).get_mut(&node) {
                    peer.close_spare_links();
                }
            });
        }
    }

    fn forget(&self, link: &Arc<Link>) {
        let mut peers = lock(&self.peers);
        let Some(peer) = peers.get_mut(&link.node) else {
            return;
        };
        peer.forget(link);
        if !peer.is_busy() && !self.book.load().contains_key(&link.node) {
            peers.remove(&link.node);
        }
    }

    // Makes room for one more dialled connection by closing the one that was silent for longest.
    fn make_room(&self) {
        let peers = lock(&self.peers);
        let dialled = || {
            peers
                .values()
                .filter_map(Peer::standing_link)
                .filter(|link| link.dialled)
        };
        if dialled().count() >= MAX_OUTBOUND
            && let Some(idlest) = dialled().min_by_key(|link| link.last_used())
        {
            idlest.close(CloseReason::TooMany);
        }
    }
}

async fn ask(shared: &Arc<Shared>, to: NodeId, request: &Request) -> Result<Answer, RequestError> {
    let link = dial::link_to(shared, to)
        .await
        .map_err(|_| RequestError::Unreachable)?;
    let (mut send, mut receive) = link.open_bi().await.map_err(|_| RequestError::Unreachable)?;
    let sent = async {
        stream::write_kind(&mut send, stream::REQUEST).await?;
        stream::write_frame(&mut send, request).await
    };
    sent.await.map_err(|_| RequestError::Unreachable)?;
    stream::read_frame(&mut receive, MAX_ANSWER, ANSWER_TIMEOUT)
        .await
        .map_err(|_| RequestError::Malformed)
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

// No code panics while it holds one of these locks, and what they guard stays whole if one did.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
