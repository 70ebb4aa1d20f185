//! Runs under watch: probes that leave together out, their answers in, and what follows for the peer's datagrams.

use super::engine::{EngineEvent, LaneEngine};
use super::path::PathId;
use crate::batch::{Manner, SendBatch};
use crate::offload::switch::Offload;
use crate::packet::udp::Port;
use crate::path::runs::Verdict;
use crate::path::stamp;
use crate::tunnel::Seal;
use std::time::Instant;

/// A little longer than what measures the path.
const SIZE: usize = stamp::PROBE + 4;

impl<S: Seal> LaneEngine<S> {
    /// Judges the runs to a peer, and probes them while packets pass.
    pub(super) fn probe_runs(&mut self, id: PathId, peer: u32, now: Instant, send: &mut SendBatch) {
        let way = self.way_over(id, peer);
        let state = &mut self.peers[peer as usize];
        let busy = state.using() == id && state.is_busy(now);
        let mesh_address = state.mesh_address;
        let Some(path) = state.path_mut(id) else { return };
        let verdict = path.runs.handle_timeout(now);
        let (Some(way), Some(to), Some(from)) = (way, mesh_address, self.table.mesh_address()) else {
            return;
        };
        if let Some(sequence) = busy.then(|| path.runs.ask(now)).flatten() {
            let from = Port {
                address: from,
                port: stamp::MTU_SENDER_PORT,
            };
            let alone = Manner {
                fragment: false,
                alone: true,
            };
            // One more of its size follows the probe, so that it begins a run, if it does not end one.
            let probe = (sequence, Manner::default());
            let (control, filler) = ((sequence + 1, alone), (sequence + 2, Manner::default()));
            for (sequence, manner) in [probe, filler, control] {
                let mut packet = [0; SIZE];
                stamp::write_test(&mut packet, from, to, sequence, &self.clock, now);
                self.seal_as(way, manner, peer, &packet, now, send);
            }
        }
        if let Some(verdict) = verdict {
            self.tell_runs(peer, verdict);
        }
    }

    fn tell_runs(&mut self, peer: u32, verdict: Verdict) {
        let peer = self.peers[peer as usize].id;
        if verdict == Verdict::Lost {
            self.counters.offloads.count_refusal(Offload::Gso);
        }
        self.tell(EngineEvent::Runs { peer, verdict });
    }
}
