//! How large packets to a peer may be: probes of the path out, their answers in, and word to who sends more than fits.

use super::engine::LaneEngine;
use super::outbound::Way;
use super::path::{Path, PathId};
use crate::batch::{Manner, SendBatch};
use crate::packet::udp::{Port, UdpV6};
use crate::packet::{Packet, icmp, ipv6};
use crate::path::pmtu::{self, FLOOR, SURELY_WHOLE};
use crate::path::runs::RunWatch;
use crate::path::stamp::{self, Report};
use crate::table::PeerKind;
use crate::tunnel::Seal;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sizes of inner packets to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// The largest that is sent, but for IPv6: see [`Sizes::limit`].
    pub(super) mtu: u16,
    /// The largest that travels in one piece; the outer packet of a larger one may be fragmented.
    pub(super) whole: u16,
}

impl Sizes {
    /// The largest packet of this version that is sent: no IPv6 link may take less than 1,280 bytes (RFC 8200 §5).
    pub(super) fn limit(self, ipv6: bool) -> u16 {
        if ipv6 { self.mtu.max(FLOOR) } else { self.mtu }
    }
}

impl<S: Seal> LaneEngine<S> {
    pub(super) fn sizes(&self, peer: u32) -> Sizes {
        let state = &self.peers[peer as usize];
        self.sizes_of(state.kind, state.path_in_use())
    }

    pub(super) fn sizes_of(&self, kind: PeerKind, path: &Path) -> Sizes {
        let policy = self.table.mtu();
        if kind == PeerKind::Client {
            return Sizes {
                mtu: policy.clients.min(policy.most),
                whole: SURELY_WHOLE,
            };
        }
        Sizes {
            mtu: path.pmtu.mtu(),
            whole: path.pmtu.whole(),
        }
    }

    /// Probes what the path to a node takes, if it is time.
    pub(super) fn probe_mtu(&mut self, id: PathId, peer: u32, now: Instant, send: &mut SendBatch) {
        let way = self.way_over(id, peer);
        let state = &mut self.peers[peer as usize];
        let used = state.using() == id;
        let busy = used && state.is_busy(now);
        let (Some(way), Some(to), Some(from)) = (way, state.mesh_address, self.table.mesh_address()) else {
            return;
        };
        let policy = self.table.mtu();
        let bounds = pmtu::Path {
            to: Some(way.hop.to.remote),
            link: policy.link,
            most: policy.most,
            in_front: way.hop.in_front() as u16,
        };
        let counters = Arc::clone(&state.counters);
        let Some(path) = state.path_mut(id) else { return };
        path.pmtu.set_path(bounds, now);
        let ask = path.pmtu.handle_timeout(busy, now);
        if used {
            counters.mtu.set(path.pmtu.mtu().into());
        }
        let Some(ask) = ask else { return };
        let from = Port {
            address: from,
            port: stamp::MTU_SENDER_PORT,
        };
        let mut packet = std::mem::take(&mut self.scratch);
        let large = (
            ask.sequence,
            usize::from(ask.size),
            Manner {
                fragment: false,
                alone: true,
            },
        );
        let control = (ask.sequence.wrapping_add(1), stamp::PROBE, Manner::default());
        for (sequence, size, manner) in [large, control] {
            stamp::write_test(&mut packet[..size], from, to, sequence, &self.clock, now);
            self.seal_as(way, manner, peer, &packet[..size], now, send);
        }
        self.scratch = packet;
    }

    /// When [`LaneEngine::probe_mtu`] has something to do.
    pub(super) fn mtu_due(&self, peer: u32, now: Instant) -> Option<Instant> {
        let state = &self.peers[peer as usize];
        let addresses = state.mesh_address.is_some() && self.table.mesh_address().is_some();
        let probed = |id: &PathId| addresses && self.way_over(*id, peer).is_some();
        let due = |id: PathId| {
            let busy = id == state.using() && state.is_busy(now);
            Some(state.path(id)?.pmtu.poll_timeout(busy))
        };
        state.path_ids().filter(probed).filter_map(due).min()
    }

    /// A probe of ours was answered.
    pub(super) fn handle_mtu_answer(&mut self, id: PathId, peer: u32, payload: &[u8], now: Instant) -> bool {
        let Some(sequence) = stamp::answered(payload) else {
            return false;
        };
        let state = &mut self.peers[peer as usize];
        let used = state.using() == id;
        let busy = used && state.is_busy(now);
        let Some(path) = state.path_mut(id) else {
            return false;
        };
        if RunWatch::owns(sequence) {
            path.runs.handle_answer(sequence);
            return true;
        }
        path.pmtu.handle_answer(sequence, now);
        let (mtu, due) = (path.pmtu.mtu(), path.pmtu.poll_timeout(busy));
        if used {
            state.counters.mtu.set(mtu.into());
        }
        if due <= now {
            self.wake(peer, now);
        }
        true
    }

    /// Answers a probe of the peer's, shortly: how large an answer the way back takes is not what it asks.
    pub(super) fn reflect_mtu(
        &mut self,
        id: PathId,
        peer: u32,
        probe: &UdpV6<'_>,
        packet: &[u8],
        now: Instant,
        send: &mut SendBatch,
    ) -> bool {
        let short = UdpV6 {
            payload: &probe.payload[..probe.payload.len().min(stamp::PAYLOAD)],
            ..*probe
        };
        let mut answer = [0; stamp::PROBE];
        let Some(path) = self.peers[peer as usize].path_mut(id) else {
            return false;
        };
        let (hops, none) = (ipv6::hop_limit(packet), Report::default());
        let len = path
            .mtu_reflector
            .reflect(&short, hops, &none, &self.clock, now, &mut answer);
        if let Some(len) = len {
            self.seal_over(id, peer, &answer[..len], now, send);
        }
        len.is_some()
    }

    /// Writes to `scratch` what the sender of a packet that does not fit is to know. Returns its length; `None`: it is not
    /// told, or was told often enough.
    pub(super) fn refuse(&mut self, packet: &[u8], mtu: u16, now: Instant) -> Option<usize> {
        let packet = Packet::parse(packet).ok()?;
        if !self.refusals.take(now) {
            return None;
        }
        icmp::too_big(&packet, mtu, &mut self.scratch)
    }
}

impl Way {
    /// How a packet of this size travels.
    pub(super) fn manner(&self, len: usize) -> Manner {
        let fragment = len > usize::from(self.whole);
        Manner {
            fragment,
            // The kernel splits no call into datagrams that it has to fragment.
            alone: self.single || fragment && len > usize::from(self.joins.min(self.mtu)),
        }
    }
}

/// At most so many refusals at once, and one more every [`REFILL`] (RFC 1812 §4.3.2.8, RFC 4443 §2.4 f).
const BURST: u32 = 50;
const REFILL: Duration = Duration::from_millis(10);

/// The allowance of refusals.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// When the allowance is full again.
    full: Option<Instant>,
}

impl Refusals {
    fn take(&mut self, now: Instant) -> bool {
        let full = self.full.map_or(now, |full| full.max(now));
        let allowed = full.saturating_duration_since(now) + REFILL <= REFILL * BURST;
        if allowed {
            self.full = Some(full + REFILL);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_come_in_a_burst_and_then_at_their_rate() {
        #[expect(clippy::disallowed_methods, reason = "a test's first instant")]
        let start = Instant::now();
        let mut refusals = Refusals::default();
        assert_eq!((0..100).filter(|_| refusals.take(start)).count(), 50);
        assert_eq!((0..100).filter(|_| refusals.take(start + 5 * REFILL)).count(), 5);
        assert_eq!(
            (0..100).filter(|_| refusals.take(start + 1_000 * REFILL)).count(),
            50
        );
    }
}
