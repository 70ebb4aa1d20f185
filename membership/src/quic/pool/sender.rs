//! The task that empties one peer's queue; it lives while there is something in it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use meshnode_crypto::NodeId;

use super::link::Link;
use super::peer::Peer;
use super::{Shared, count, dial, lock};
use crate::message::Message;

pub(super) async fn run(shared: Arc<Shared>, node: NodeId) {
    while let Some(message) = next(&shared, &node) {
        match dial::link_to(&shared, node).await {
            Ok(link) => say(&shared, &link, &message).await,
            Err(dial::Unreachable) => give_up(&shared, &node),
        }
    }
}

// Whether there is a next message and whether this task lives are decided under one lock.
fn next(shared: &Shared, node: &NodeId) -> Option<Message> {
    lock(&shared.peers).get_mut(node).and_then(Peer::dequeue)
}

async fn say(shared: &Shared, link: &Link, message: &Message) {
    if let Message::Gossip(bytes) = message {
        shared
            .counters
            .gossip_sent
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
    if let Err(error) = link.say(message).await {
        count(&shared.counters.unreachable);
        tracing::debug!(node = %link.node.short(), %error, "message lost");
    }
}

fn give_up(shared: &Shared, node: &NodeId) {
    let lost = lock(&shared.peers).get_mut(node).map_or(0, Peer::clear_queue);
    shared
        .counters
        .unreachable
        .fetch_add(1 + lost as u64, Ordering::Relaxed);
}
