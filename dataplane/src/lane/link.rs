//! What ties the lanes of a node together: bounded queues, and the eventfd that ends the other's wait.
//!
//! Lane 0 talks to every other lane and every other lane to lane 0; the others have nothing to say to each other.
//! Handed-over packets travel a turn's worth at a time, in memory that comes back empty.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Instant;

use super::command::Commander;
use super::engine::LaneEngine;
use super::handoff::Handoff;
use crate::batch::{SendBatch, WriteBatch};
use crate::drop::{DropCounters, DropReason};
use crate::table::PeerId;

/// Notices that may wait for a lane: one for each of so many peers with traffic.
const NOTICES: usize = 1_024;

/// Turns' worths of packets that may wait for lane 0, from all lanes.
const HANDOFFS: usize = 8;

/// Packets pass between us and a peer; see [`LaneEngine::handle_active`].
type Notice = (PeerId, Option<SocketAddr>);

/// Where a lane is told something.
#[derive(Debug, Clone)]
struct Neighbour {
    notices: SyncSender<Notice>,
    waker: Commander,
}

/// One lane's end of all that.
#[derive(Debug)]
pub(crate) struct Link {
    notices: Receiver<Notice>,
    side: Side,
}

#[derive(Debug)]
enum Side {
    First {
        own: Commander,
        others: Vec<Neighbour>,
        handoffs: Receiver<Parcel>,
    },
    Extra {
        first: Neighbour,
        handoffs: SyncSender<Parcel>,
        emptied: Receiver<Handoff>,
        home: SyncSender<Handoff>,
    },
}

/// Packets for lane 0, and where their memory goes back to.
#[derive(Debug)]
struct Parcel {
    packets: Handoff,
    home: SyncSender<Handoff>,
}

impl Link {
    /// One link for each lane, lane 0 first.
    pub(crate) fn connect(commanders: &[Commander]) -> Vec<Link> {
        let (to_first, handoffs) = sync_channel(HANDOFFS);
        let (mut neighbours, mut inboxes) = (Vec::new(), Vec::new());
        for waker in commanders.iter().cloned() {
            let (notices, inbox) = sync_channel(NOTICES);
            neighbours.push(Neighbour { notices, waker });
            inboxes.push(inbox);
        }
        let mut neighbours = neighbours.into_iter();
        let mut inboxes = inboxes.into_iter();
        let (Some(first), Some(notices)) = (neighbours.next(), inboxes.next()) else {
            return Vec::new();
        };
        let side = Side::First {
            own: first.waker.clone(),
            others: neighbours.collect(),
            handoffs,
        };
        let extra = inboxes.map(|notices| {
            let (home, emptied) = sync_channel(HANDOFFS);
            let (first, handoffs) = (first.clone(), to_first.clone());
            let side = Side::Extra {
                first,
                handoffs,
                emptied,
                home,
            };
            Link { notices, side }
        });
        std::iter::once(Link { notices, side }).chain(extra).collect()
    }

    /// Whether this is lane 0's.
    pub(crate) fn is_first(&self) -> bool {
        matches!(self.side, Side::First { .. })
    }

    /// Has the engine take what other lanes said: one parcel a turn, which is as much as a turn reads from the TUN.
    pub(crate) fn take(
        &mut self,
        engine: &mut LaneEngine,
        now: Instant,
        send: &mut SendBatch,
        write: &mut WriteBatch,
    ) {
        while let Ok((peer, at)) = self.notices.try_recv() {
            engine.handle_active(&peer, at, now);
        }
        let Side::First { own, handoffs, .. } = &self.side else {
            return;
        };
        let Ok(mut parcel) = handoffs.try_recv() else {
            return;
        };
        engine.handle_handoff(&mut parcel.packets, now, send, write);
        parcel.packets.clear();
        if parcel.home.try_send(parcel.packets).is_err() {
            tracing::trace!("the memory of a parcel is given up: there is enough");
        }
        own.wake();
    }

    /// Passes on what the engine hands over.
    pub(crate) fn hand_over(&mut self, engine: &mut LaneEngine, drops: &DropCounters) {
        let Side::Extra {
            first,
            handoffs,
            emptied,
            home,
        } = &self.side
        else {
            return;
        };
        if engine.handoff().is_empty() {
            return;
        }
        let empty = emptied.try_recv().unwrap_or_default();
        let parcel = Parcel {
            packets: std::mem::replace(engine.handoff(), empty),
            home: home.clone(),
        };
        match handoffs.try_send(parcel) {
            Ok(()) => first.waker.wake(),
            Err(TrySendError::Full(mut parcel) | TrySendError::Disconnected(mut parcel)) => {
                (0..parcel.packets.len()).for_each(|_| drops.count(DropReason::HandoffFull));
                parcel.packets.clear();
                *engine.handoff() = parcel.packets;
            }
        }
    }

    /// Tells the lanes that this one talks to.
    pub(crate) fn tell(&self, peer: PeerId, at: Option<SocketAddr>) {
        let listeners = match &self.side {
            Side::First { others, .. } => others.as_slice(),
            Side::Extra { first, .. } => std::slice::from_ref(first),
        };
        for neighbour in listeners {
            match neighbour.notices.try_send((peer, at)) {
                Ok(()) => neighbour.waker.wake(),
                // It is told again within a second.
                Err(error) => tracing::debug!(%error, "a lane does not keep up with what it is told"),
            }
        }
    }
}
