//! The lane's tunnels, found by receiver index.

use super::engine::KeyPair;
use crate::tunnel::Seal;

/// One tunnel and what the lane knows about it.
pub(super) struct Tunnel<S> {
    pub(super) seal: S,
    pub(super) pair: KeyPair,
    /// Index of its peer in the table.
    pub(super) peer: u32,
    /// Whether packets can be sealed, as of the last thing that could change it.
    pub(super) live: bool,
    /// We answered an initiation, and no packet under that session came yet.
    pub(super) answered: bool,
    /// Receiver index and counter of the newest authenticated packet.
    newest: Option<(u32, u64)>,
}

impl<S: Seal> Tunnel<S> {
    pub(super) fn new(seal: S, pair: KeyPair, peer: u32) -> Tunnel<S> {
        Tunnel {
            seal,
            pair,
            peer,
            live: false,
            answered: false,
            newest: None,
        }
    }

    /// Notes an authenticated packet. A late one must not move the endpoint back to where it came from.
    pub(super) fn note(&mut self, index: u32, counter: u64) -> Newness {
        let newness = match self.newest {
            None => Newness::Session,
            Some((last, _)) if last != index => {
                let newer = (index as u8).wrapping_sub(last as u8).cast_signed() > 0;
                if newer { Newness::Session } else { Newness::Late }
            }
            Some((_, last)) if counter > last => Newness::Packet,
            Some(_) => Newness::Late,
        };
        if newness != Newness::Late {
            self.newest = Some((index, counter));
        }
        newness
    }
}

/// How new an authenticated packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Newness {
    /// The first of a session newer than all before.
    Session,
    /// The newest of its session.
    Packet,
    /// Overtaken by another.
    Late,
}

/// A slab. A tunnel's index on the wire is its slot under a secret mask: found without hashing, and not to be guessed.
pub(super) struct Tunnels<S> {
    slots: Vec<Option<Tunnel<S>>>,
    free: Vec<u32>,
    mask: u32,
}

const INDEX_BITS: u32 = 0x00ff_ffff;

impl<S: Seal> Tunnels<S> {
    pub(super) fn new(seed: u32) -> Tunnels<S> {
        Tunnels {
            slots: Vec::new(),
            free: Vec::new(),
            mask: seed & INDEX_BITS,
        }
    }

    /// Adds a tunnel that is made for the wire index it is given. `None`: there are 2^24 already.
    pub(super) fn insert(&mut self, make: impl FnOnce(u32) -> Tunnel<S>) -> Option<u32> {
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        if slot > INDEX_BITS {
            return None;
        }
        let tunnel = make(slot ^ self.mask);
        match self.slots.get_mut(slot as usize) {
            Some(place) => *place = Some(tunnel),
            None => self.slots.push(Some(tunnel)),
        }
        Some(slot)
    }

    pub(super) fn remove(&mut self, slot: u32) {
        if self.slots.get_mut(slot as usize).and_then(Option::take).is_some() {
            self.free.push(slot);
        }
    }

    /// The tunnel that a receiver index names.
    pub(super) fn find(&self, receiver_index: u32) -> Option<&Tunnel<S>> {
        self.get((receiver_index >> 8) ^ self.mask)
    }

    /// The same, with its slot.
    pub(super) fn find_mut(&mut self, receiver_index: u32) -> Option<(u32, &mut Tunnel<S>)> {
        let slot = (receiver_index >> 8) ^ self.mask;
        self.get_mut(slot).map(|tunnel| (slot, tunnel))
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Tunnel<S>> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Tunnel<S>> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    pub(super) fn is_live(&self, slot: u32) -> bool {
        self.get(slot).is_some_and(|t| t.live)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.iter().flatten().count()
    }
}
