//! Stands where the engine will be, until that is in: it forwards nothing and answers no ping.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::{Datagram, SendBatch, WriteBatch};
use crate::error::PingError;
use crate::table::{CompiledTable, PeerId};

pub(crate) struct LaneEngine;

pub(crate) struct Pong {
    pub(crate) id: u32,
    pub(crate) rtt: Duration,
}

impl LaneEngine {
    pub(crate) fn handle_outbound(&mut self, _: &[u8], _: Instant, _: &mut SendBatch) {}

    pub(crate) fn handle_inbound(
        &mut self,
        _: Datagram<'_>,
        _: Instant,
        _: &mut WriteBatch,
        _: &mut SendBatch,
    ) {
    }

    pub(crate) fn handle_timeout(&mut self, _: Instant, _: &mut SendBatch) {}

    pub(crate) fn handle_table(&mut self, _: Arc<CompiledTable>, _: Instant, _: &mut SendBatch) {}

    pub(crate) fn poll_timeout(&self) -> Option<(Instant, ())> {
        None
    }

    pub(crate) fn poll_event(&mut self) -> Option<Pong> {
        None
    }

    pub(crate) fn ping(&mut self, _: PeerId, _: Instant, _: &mut SendBatch) -> Result<u32, PingError> {
        Err(PingError::UnknownPeer)
    }
}
