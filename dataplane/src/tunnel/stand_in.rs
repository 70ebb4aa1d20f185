//! A [`Seal`] of counters for virtual time: WireGuard's message sizes, indices, sessions and replay check, no secrets at all.

use super::*;
use std::collections::BTreeSet;
use std::time::Duration;

const SESSION: Duration = Duration::from_secs(180);

/// See the module documentation. Nothing that it seals is secret: for simulations and tests alone.
pub struct StandIn {
    local: [u8; 32],
    remote: [u8; 32],
    next_index: u32,
    initiated: Option<u32>,
    session: Option<Session>,
    /// The one before: packets still come under it, for ever if two handshakes crossed.
    previous: Option<Session>,
    unconfirmed: Option<Session>,
    stamp: u64,
    newest_stamp: u64,
}

struct Session {
    ours: u32,
    theirs: u32,
    since: Instant,
    sent: u64,
    seen: BTreeSet<u64>,
}

impl Session {
    fn new(ours: u32, theirs: u32, since: Instant) -> Session {
        Session {
            ours,
            theirs,
            since,
            sent: 0,
            seen: BTreeSet::new(),
        }
    }
}

/// Messages have their sizes: the lane's classification saw to it.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl StandIn {
    fn index(&mut self) -> u32 {
        self.next_index = (self.next_index & !0xff) | (self.next_index.wrapping_add(1) & 0xff);
        self.next_index
    }

    fn take(&mut self, session: Option<Session>) {
        self.previous = std::mem::replace(&mut self.session, session);
    }

    fn data(&mut self, datagram: &[u8], out: &mut [u8]) -> Opened {
        let index = word(datagram, 4);
        if self.unconfirmed.as_ref().is_some_and(|s| s.ours == index) {
            let confirmed = self.unconfirmed.take();
            self.take(confirmed);
        }
        let mut sessions = self.session.iter_mut().chain(&mut self.previous);
        let Some(session) = sessions.find(|s| s.ours == index) else {
            return Opened::Rejected(Rejected::NoSession);
        };
        if !session.seen.insert(counter(datagram)) {
            return Opened::Rejected(Rejected::Replayed);
        }
        let len = datagram.len() - OVERHEAD;
        out[..len].copy_from_slice(&datagram[16..16 + len]);
        if len == 0 {
            Opened::Keepalive
        } else {
            Opened::Packet
        }
    }
}

impl Seal for StandIn {
    type Local = [u8; 32];

    fn local(secret: &LaneSecret) -> [u8; 32] {
        secret.public
    }

    fn is_for(local: &[u8; 32], message: &[u8]) -> bool {
        message[32..64] == *local
    }

    fn check_cookie(_: &[u8; 32], _: IpAddr, _: &[u8], _: &mut [u8]) -> CookieCheck {
        CookieCheck::Valid
    }

    fn initiator(_: &[u8; 32], message: &[u8]) -> Option<[u8; 32]> {
        message[64..96].try_into().ok()
    }

    fn new(local: &[u8; 32], remote: [u8; 32], _: Option<[u8; 32]>, index: u32, _: Instant) -> StandIn {
        StandIn {
            local: *local,
            remote,
            next_index: index << 8,
            initiated: None,
            session: None,
            previous: None,
            unconfirmed: None,
            stamp: 0,
            newest_stamp: 0,
        }
    }

    fn has_session(&self, _: Instant) -> bool {
        self.session.is_some()
    }

    fn seal(&mut self, packet: &[u8], out: &mut [u8], _: Instant) -> Option<usize> {
        let session = self.session.as_mut()?;
        let len = packet.len() + OVERHEAD;
        out[..len].fill(0);
        out[0] = 4;
        out[4..8].copy_from_slice(&session.theirs.to_le_bytes());
        out[8..16].copy_from_slice(&session.sent.to_le_bytes());
        out[16..16 + packet.len()].copy_from_slice(packet);
        session.sent += 1;
        Some(len)
    }

    fn open(&mut self, message: Message, datagram: &[u8], _: IpAddr, out: &mut [u8], now: Instant) -> Opened {
        match message {
            Message::Data => self.data(datagram, out),
            Message::Initiation => {
                let stamp = counter(&datagram[88..]);
                if stamp <= self.newest_stamp {
                    return Opened::Rejected(Rejected::Handshake);
                }
                self.newest_stamp = stamp;
                let (ours, theirs) = (self.index(), word(datagram, 4));
                self.unconfirmed = Some(Session::new(ours, theirs, now));
                out[..92].fill(0);
                out[0] = 2;
                out[4..8].copy_from_slice(&ours.to_le_bytes());
                out[8..12].copy_from_slice(&theirs.to_le_bytes());
                out[32..64].copy_from_slice(&self.remote);
                Opened::Respond { len: 92 }
            }
            Message::Response if self.initiated == Some(word(datagram, 8)) => {
                self.initiated = None;
                self.take(Some(Session::new(word(datagram, 8), word(datagram, 4), now)));
                match self.seal(&[], out, now) {
                    Some(len) => Opened::Established { len },
                    None => Opened::Rejected(Rejected::NoSession),
                }
            }
            _ => Opened::Rejected(Rejected::Handshake),
        }
    }

    fn initiate(&mut self, out: &mut [u8], _: Instant) -> Option<usize> {
        let index = self.index();
        self.initiated = Some(index);
        self.stamp += 1;
        out[..HANDSHAKE].fill(0);
        out[0] = 1;
        out[4..8].copy_from_slice(&index.to_le_bytes());
        out[32..64].copy_from_slice(&self.remote);
        out[64..96].copy_from_slice(&self.local);
        out[96..104].copy_from_slice(&self.stamp.to_le_bytes());
        Some(HANDSHAKE)
    }

    fn tick(&mut self, _: &mut [u8], now: Instant) -> Ticked {
        if self
            .session
            .as_ref()
            .is_some_and(|s| now.saturating_duration_since(s.since) >= SESSION)
        {
            (self.session, self.previous) = (None, None);
        }
        Ticked::Idle
    }
}
