//! A new table: what is wanted is made, what vanished is dropped at once, what changed its keys is made before it breaks.

use super::engine::{KeyPair, LaneEngine, Local};
use super::liveness::Liveness;
use super::peer::{Old, PeerState, Wanted};
use crate::drop::DropReason;
use crate::table::{CompiledPeer, CompiledTable, LaneSecret, PeerId, PeerKind};
use crate::tunnel::Seal;
use crate::tunnel::handshake::Driver;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// New peers begin this far apart when there are many: one handshake costs about half a millisecond.
const STAGGER: Duration = Duration::from_millis(1);

/// Fewer new peers than this begin at once.
const FEW: usize = 16;

impl<S: Seal> LaneEngine<S> {
    /// Takes a new table. Tunnels of peers that are not in it any more end here; nothing else is interrupted.
    pub fn handle_table(&mut self, table: Arc<CompiledTable>, now: Instant) {
        self.load_keys(&table);
        self.flows.invalidate();
        let mut before: BTreeMap<PeerId, PeerState> = self.peers.drain(..).map(|p| (p.id, p)).collect();
        let fresh = table
            .peers()
            .iter()
            .filter(|p| !before.contains_key(&p.peer.id))
            .count();
        let mut begun = 0;
        for compiled in table.peers() {
            let peer = &compiled.peer;
            let known = before.get(&peer.id).is_some_and(|state| state.kind == peer.kind);
            let state = if known { before.remove(&peer.id) } else { None };
            self.peers.push(state.unwrap_or_else(|| {
                begun += 1;
                let mut state = PeerState::new(peer.id, peer.kind, now);
                if fresh > FEW {
                    state.direct.probing.postpone(now + STAGGER * begun);
                }
                state
            }));
        }
        for (_, gone) in before {
            self.remove_peer(gone);
        }
        self.table = table;
        self.reconcile_relays();
        self.reconcile_peers(now);
        self.reconcile_checks(now);
    }

    fn load_keys(&mut self, table: &CompiledTable) {
        let keys = table.keys();
        // Clients, and peers that do not know our new keys yet, come to lane 0 alone.
        let first = self.lane == 0;
        let lane_0 = keys.previous.iter().chain(&keys.client).filter(|_| first);
        let wanted = keys.lanes.get(self.lane).into_iter().chain(lane_0);
        let mut locals: Vec<Local<S>> = Vec::new();
        for secret in wanted {
            if locals.iter().all(|l| l.public != secret.public) {
                locals.push(self.local(secret));
            }
        }
        self.locals = locals;
    }

    /// What our tunnels under a key share must stay the same object for as long as they live.
    fn local(&mut self, secret: &LaneSecret) -> Local<S> {
        match self.locals.iter().position(|l| l.public == secret.public) {
            Some(known) => self.locals.swap_remove(known),
            None => Local {
                public: secret.public,
                key: S::local(secret),
            },
        }
    }

    fn remove_peer(&mut self, mut gone: PeerState) {
        for slot in gone.current.into_iter().chain(gone.old.map(|old| old.slot)) {
            self.tunnels.remove(slot);
        }
        while gone.pending.pop(&mut self.budget).is_some() {
            self.dropped(DropReason::PeerRemoved);
        }
        self.counters.pending_bytes.set(self.budget.used() as u64);
    }

    fn reconcile_peers(&mut self, now: Instant) {
        let table = Arc::clone(&self.table);
        self.pairs.clear();
        for (index, compiled) in table.peers().iter().enumerate() {
            self.reconcile_peer(index as u32, compiled, now);
        }
        let registry = self
            .peers
            .iter()
            .map(|p| (p.id, Arc::clone(&p.counters)))
            .collect();
        self.counters.peers.store(Arc::new(registry));
        for state in self.peers.iter_mut().filter(|_| self.lane == 0) {
            let probe = state.probing_due(now).max(now);
            state.due = Some(state.due.map_or(probe, |due| due.min(probe)));
        }
        self.deadline = self.peers.iter().filter_map(|p| p.due).min();
    }

    fn reconcile_peer(&mut self, index: u32, compiled: &CompiledPeer, now: Instant) {
        let peer = &compiled.peer;
        let wanted = self.wanted(compiled);
        let state = &mut self.peers[index as usize];
        state.mesh_address = peer.mesh_address;
        state.keepalive = peer.keepalive;
        // Lanes above follow lane 0.
        let more_places = self.lane == 0 && state.endpoints.set_candidates(&peer.endpoints);
        if state.endpoint_set != peer.endpoint_set {
            state.endpoint_set = peer.endpoint_set;
            state.choose_endpoint(peer.endpoints.first().copied());
        }
        if state.wanted != wanted {
            state.wanted = wanted;
            self.replace_tunnel(index, now);
        }
        self.forget_old_keys(index);
        let state = &mut self.peers[index as usize];
        let slots = state.current.into_iter().chain(state.old.map(|old| old.slot));
        for slot in slots {
            if let Some(tunnel) = self.tunnels.get_mut(slot) {
                tunnel.peer = index;
                self.pairs.insert(tunnel.pair, index);
            }
        }
        self.pairs
            .extend(state.wanted.as_ref().map(|wanted| (wanted.pair, index)));
        let tried = state.last_initiation.is_some() && state.sending(&self.tunnels).is_none();
        if more_places && tried && peer.kind == PeerKind::Node {
            state.driver.rest();
            state.driver.want(now);
            state.due = Some(now);
        }
    }

    /// The tunnel that this lane should have with a peer: our key of this lane, or the clients' key, with the peer's.
    fn wanted(&self, compiled: &CompiledPeer) -> Option<Wanted> {
        let (peer, keys) = (&compiled.peer, self.table.keys());
        let (local, remote) = match peer.kind {
            PeerKind::Node => (keys.lanes.get(self.lane)?, peer.lanes.get(self.lane)?),
            PeerKind::Client if self.lane == 0 => (keys.client.as_ref()?, peer.lanes.first()?),
            PeerKind::Client => return None,
        };
        let pair: KeyPair = (local.public, *remote);
        Some(Wanted {
            pair,
            preshared_key: peer.preshared_key.clone(),
        })
    }

    /// Other keys are wanted: the tunnel in use lives on until there is a session under them. A client's does not, for its
    /// keys change only when its owner revokes them.
    fn replace_tunnel(&mut self, index: u32, now: Instant) {
        let state = &mut self.peers[index as usize];
        let side = state.wanted.as_ref().map(|wanted| wanted.side(state.kind));
        let in_use = state.current.take();
        state.liveness = Liveness::default();
        if let Some(side) = side {
            state.driver = Driver::new(side);
        }
        let Some(slot) = in_use else { return };
        let keep =
            self.lane == 0 && state.kind == PeerKind::Node && side.is_some() && self.tunnels.is_live(slot);
        let dropped = if keep {
            state.old.replace(Old { slot, until: None }).map(|old| old.slot)
        } else {
            Some(slot)
        };
        if self.lane == 0 && side.is_some() && state.kind == PeerKind::Node {
            state.driver.want(now);
            state.due = Some(now);
        }
        if let Some(slot) = dropped {
            self.tunnels.remove(slot);
        }
    }

    /// An old tunnel under a key of ours that is not even a previous one any more is gone.
    fn forget_old_keys(&mut self, index: u32) {
        let state = &mut self.peers[index as usize];
        let Some(old) = state.old else { return };
        let known = self
            .tunnels
            .get(old.slot)
            .is_some_and(|t| self.locals.iter().any(|l| l.public == t.pair.0));
        if !known {
            self.tunnels.remove(old.slot);
            state.old = None;
        }
    }
}
