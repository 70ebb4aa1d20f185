//! Answering those who dial us.

use std::sync::Arc;
use std::time::Duration;

use quinn::Incoming;
use tokio::time::timeout;

use super::super::endpoint::{CloseReason, peer_key};
use super::link::{self, Link};
use super::strangers::Stranger;
use super::{Shared, count};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

pub(super) async fn run(shared: Arc<Shared>) {
    while let Some(incoming) = shared.endpoint.accept().await {
        let Some(stranger) = shared.strangers.let_in(incoming.remote_address().ip()) else {
            count(&shared.counters.strangers_refused);
            incoming.refuse();
            continue;
        };
        let shared = shared.clone();
        tokio::spawn(async move { answer(shared, incoming, stranger).await });
    }
}

async fn answer(shared: Arc<Shared>, incoming: Incoming, stranger: Stranger) {
    let connection = match timeout(HANDSHAKE, incoming).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%error, "handshake failed"),
        Err(_) => return tracing::debug!("handshake took too long"),
    };
    let Some(node) = peer_key(&connection).filter(|node| *node != shared.endpoint.node()) else {
        return connection.close(CloseReason::NotMember.code(), b"that is this node itself");
    };
    let link = Link::new(connection, node, false);
    if shared.book.load().contains_key(&node) {
        link.admit();
    }
    shared.adopt(&link);
    link::run(shared, link, Some(stranger)).await;
}
