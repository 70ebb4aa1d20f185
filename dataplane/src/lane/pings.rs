//! Who waits for the answer to which ping. The asker keeps the time: a lost probe answers nobody.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::engine::LaneEngine;
use crate::error::PingError;
use crate::table::PeerId;

/// Pings that may wait for an answer.
const MAX_WAITING: usize = 1_024;

/// Where the answer goes.
pub(crate) type PingReply = oneshot::Sender<Result<Duration, PingError>>;

/// The pings under way.
#[derive(Debug, Default)]
pub(crate) struct Pings {
    waiting: BTreeMap<u32, PingReply>,
}

impl Pings {
    /// Has the engine probe `peer`.
    pub(super) fn ask(&mut self, engine: &mut LaneEngine, peer: PeerId, reply: PingReply, now: Instant) {
        self.waiting.retain(|_, waiting| !waiting.is_closed());
        if self.waiting.len() >= MAX_WAITING {
            return answer(reply, Err(PingError::TooMany));
        }
        match engine.ping(peer, now) {
            Ok(id) => drop(self.waiting.insert(id, reply)),
            Err(refused) => answer(reply, Err(refused.into())),
        }
    }

    /// A probe was answered.
    pub(super) fn handle_pong(&mut self, id: u32, rtt: Duration) {
        if let Some(reply) = self.waiting.remove(&id) {
            answer(reply, Ok(rtt));
        }
    }
}

/// Whoever asked may have given up meanwhile.
fn answer(reply: PingReply, result: Result<Duration, PingError>) {
    if reply.send(result).is_err() {
        tracing::trace!("ping answered too late");
    }
}
