//! Addresses of this host come and go.

use super::engine::LaneEngine;
use crate::table::PeerKind;
use crate::tunnel::Seal;
use std::net::IpAddr;
use std::time::Instant;

impl<S: Seal> LaneEngine<S> {
    /// Addresses of this host changed, and `lost` are gone or without a link. Paths that used one of those are suspect now, the
    /// kernel chooses another address for them, and the peer is looked for at all its places. Every other peer is probed at
    /// once: what arrives from a new address moves our endpoint there.
    pub fn handle_local_change(&mut self, lost: &[IpAddr], now: Instant) {
        for peer in 0..self.peers.len() as u32 {
            let state = &mut self.peers[peer as usize];
            let hit = state.endpoints.forget_local(lost);
            if self.lane > 0 || state.kind == PeerKind::Client {
                continue;
            }
            if hit {
                state.direct.probing.handle_local_loss(now);
                state.driver.rest();
                state.driver.want(now);
            }
            state.paths().for_each(|path| path.probing.hurry(now));
            self.take_verdict(super::path::PathId::Direct, peer, now);
            self.wake(peer, now);
        }
    }
}
