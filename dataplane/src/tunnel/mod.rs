//! WireGuard: one [`Seal`] per pair of keys.
//!
//! This is the only file that names boringtun, whose facts decide the shape of the seam:
//! - It never queues a packet for us: nothing is sealed without a session, so its own queue stays empty. Handshakes start
//!   by [`Seal::initiate`] alone, when the [`handshake`] driver says so; what waits for a session waits in [`pending`].
//! - Its result does not say whether anything was authenticated; together with the message type it does, and [`Opened`]
//!   is that answer.
//! - It does not check inner addresses; the lane does.
//! - It has clocks of its own inside. What must run in virtual time uses another [`Seal`].

pub mod handshake;
pub mod pending;
pub mod stand_in;

use crate::demux::Message;
use crate::table::LaneSecret;
use boringtun::noise::errors::WireGuardError;
use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use zeroize::Zeroizing;

/// Bytes that sealing adds to a packet.
pub const OVERHEAD: usize = 32;

/// Bytes of the largest handshake message; an output buffer is never smaller.
pub const HANDSHAKE: usize = 148;

/// Counters from here on are refused (WireGuard paper §6.1); boringtun's window arithmetic overflows on the last of them.
const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);

/// Bytes of a cookie reply.
pub const COOKIE: usize = 64;

/// What opening a datagram of a known tunnel came to. Every variant but the last two says that its sender holds the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// A data packet: its inner packet, padding included, stands at the start of the output.
    Packet,
    /// An authenticated empty data packet.
    Keepalive,
    /// The same, of a packet that boringtun takes for none.
    Malformed,
    /// An initiation was accepted; `len` bytes of response stand in the output. There is no session to send on yet.
    Respond {
        /// Bytes of the response.
        len: usize,
    },
    /// Our initiation was answered: there is a session, and `len` bytes of keepalive that confirm it stand in the output.
    Established {
        /// Bytes of the keepalive.
        len: usize,
    },
    /// A cookie was accepted: the next initiation carries it.
    Cookie,
    /// Nothing came of it.
    Rejected(Rejected),
}

/// Why a datagram of a known tunnel was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// A counter that was seen or is too old.
    Replayed,
    /// It does not decrypt.
    Unauthentic,
    /// Its session has ended.
    NoSession,
    /// A handshake message that is stale, replayed or forged.
    Handshake,
}

/// What the tunnel's own timers came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticked {
    /// Nothing to send.
    Idle,
    /// `len` bytes of initiation to send.
    Initiation {
        /// Bytes of the initiation.
        len: usize,
    },
    /// `len` bytes of keepalive to send.
    Keepalive {
        /// Bytes of the keepalive.
        len: usize,
    },
}

/// Whether a handshake message shows that its sender receives what is sent to its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieCheck {
    /// Its MAC2 holds.
    Valid,
    /// It does not; `len` bytes of cookie reply stand in the output.
    Reply {
        /// Bytes of the cookie reply.
        len: usize,
    },
    /// Not even its MAC1 holds.
    Forged,
}

/// One tunnel: the cryptographic state between one key of ours and one of a peer.
///
/// Output buffers are at least [`HANDSHAKE`] bytes, and [`OVERHEAD`] more than the packet when sealing.
pub trait Seal: Sized {
    /// A key of ours, with what its tunnels share.
    type Local: Clone;

    /// Prepares a key of ours.
    fn local(secret: &LaneSecret) -> Self::Local;

    /// Whether a handshake message is meant for this key of ours, by its MAC1.
    fn is_for(local: &Self::Local, message: &[u8]) -> bool;

    /// Checks MAC2, and makes a cookie reply if it does not hold. `source`: where the message came from.
    fn check_cookie(local: &Self::Local, source: IpAddr, message: &[u8], out: &mut [u8]) -> CookieCheck;

    /// Whose key an initiation claims, at the cost of one key exchange; `None` if it is forged.
    fn initiator(local: &Self::Local, message: &[u8]) -> Option<[u8; 32]>;

    /// A tunnel without a session. `index`: 24 bits, the upper part of every receiver index that the peer will use.
    fn new(
        local: &Self::Local,
        remote: [u8; 32],
        preshared_key: Option<[u8; 32]>,
        index: u32,
        now: Instant,
    ) -> Self;

    /// Whether there is a session that packets can be sealed with.
    fn has_session(&self, now: Instant) -> bool;

    /// Seals one inner packet (empty: a keepalive). `None` without a session.
    fn seal(&mut self, packet: &[u8], out: &mut [u8], now: Instant) -> Option<usize>;

    /// Opens one datagram whose receiver index, or initiator, is this tunnel's. `out` is at least as long as the datagram.
    fn open(
        &mut self,
        message: Message,
        datagram: &[u8],
        source: IpAddr,
        out: &mut [u8],
        now: Instant,
    ) -> Opened;

    /// Begins a handshake, also when one is under way.
    fn initiate(&mut self, out: &mut [u8], now: Instant) -> Option<usize>;

    /// Runs the tunnel's own timers; at least every 250 ms.
    fn tick(&mut self, out: &mut [u8], now: Instant) -> Ticked;
}

/// The tunnel of the real world.
pub struct WireGuard {
    /// 11 KB, which a table of tunnels should not move about.
    tunn: Box<Tunn>,
}

/// A key of ours and its two limiters: one that never triggers, which all its tunnels share, and one that always does.
#[derive(Clone)]
pub struct LocalKey {
    private: StaticSecret,
    public: PublicKey,
    open: Arc<RateLimiter>,
    strict: Arc<RateLimiter>,
}

impl Seal for WireGuard {
    type Local = LocalKey;

    fn local(secret: &LaneSecret) -> LocalKey {
        let private = StaticSecret::from(*secret.private);
        let public = PublicKey::from(&private);
        LocalKey {
            open: Arc::new(RateLimiter::new(&public, u64::MAX)),
            strict: Arc::new(RateLimiter::new(&public, 0)),
            private,
            public,
        }
    }

    fn is_for(local: &LocalKey, message: &[u8]) -> bool {
        local.open.verify_packet(None, message, &mut []).is_ok()
    }

    fn check_cookie(local: &LocalKey, source: IpAddr, message: &[u8], out: &mut [u8]) -> CookieCheck {
        match local.strict.verify_packet(Some(source), message, out) {
            Ok(_) => CookieCheck::Valid,
            Err(TunnResult::WriteToNetwork(reply)) => CookieCheck::Reply { len: reply.len() },
            Err(_) => CookieCheck::Forged,
        }
    }

    fn initiator(local: &LocalKey, message: &[u8]) -> Option<[u8; 32]> {
        match Tunn::parse_incoming_packet(message) {
            Ok(Packet::HandshakeInit(init)) => {
                let half = parse_handshake_anon(&local.private, &local.public, &init).ok()?;
                Some(half.peer_static_public)
            }
            _ => None,
        }
    }

    fn new(
        local: &LocalKey,
        remote: [u8; 32],
        preshared_key: Option<[u8; 32]>,
        index: u32,
        _: Instant,
    ) -> WireGuard {
        let private = local.private.clone();
        let limiter = Some(local.open.clone());
        let mut tunn = Tunn::new(
            private,
            PublicKey::from(remote),
            preshared_key,
            None,
            index,
            limiter,
        );
        // Its clock reads zero until its timers run for the first time.
        let _ = tunn.update_timers(&mut [0; HANDSHAKE]);
        WireGuard { tunn: Box::new(tunn) }
    }

    fn has_session(&self, _: Instant) -> bool {
        self.tunn.time_since_last_handshake().is_some()
    }

    fn seal(&mut self, packet: &[u8], out: &mut [u8], now: Instant) -> Option<usize> {
        debug_assert!(self.has_session(now), "it would queue the packet");
        match self.tunn.encapsulate(packet, out) {
            TunnResult::WriteToNetwork(sealed) => Some(sealed.len()),
            _ => None,
        }
    }

    fn open(
        &mut self,
        message: Message,
        datagram: &[u8],
        source: IpAddr,
        out: &mut [u8],
        _: Instant,
    ) -> Opened {
        if message == Message::Data && counter(datagram) >= REJECT_AFTER_MESSAGES {
            return Opened::Rejected(Rejected::Replayed);
        }
        let result = self.tunn.decapsulate(Some(source), datagram, out);
        match (message, result) {
            (Message::Data, TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..)) => {
                Opened::Packet
            }
            (Message::Data, TunnResult::Done) => Opened::Keepalive,
            // Raised only behind a good tag: framing errors were found before, by the demultiplexer.
            (Message::Data, TunnResult::Err(WireGuardError::InvalidPacket)) => Opened::Malformed,
            (Message::Initiation, TunnResult::WriteToNetwork(reply)) => Opened::Respond { len: reply.len() },
            (Message::Response, TunnResult::WriteToNetwork(reply)) => {
                Opened::Established { len: reply.len() }
            }
            (Message::Cookie, TunnResult::Done) => Opened::Cookie,
            (Message::Data, TunnResult::Err(error)) => Opened::Rejected(rejected_data(&error)),
            _ => Opened::Rejected(Rejected::Handshake),
        }
    }

    fn initiate(&mut self, out: &mut [u8], _: Instant) -> Option<usize> {
        match self.tunn.format_handshake_initiation(out, true) {
            TunnResult::WriteToNetwork(message) => Some(message.len()),
            _ => None,
        }
    }

    fn tick(&mut self, out: &mut [u8], _: Instant) -> Ticked {
        match self.tunn.update_timers(out) {
            TunnResult::WriteToNetwork(message) if message[0] == 1 => {
                Ticked::Initiation { len: message.len() }
            }
            TunnResult::WriteToNetwork(message) => Ticked::Keepalive { len: message.len() },
            _ => Ticked::Idle,
        }
    }
}

fn rejected_data(error: &WireGuardError) -> Rejected {
    match error {
        WireGuardError::DuplicateCounter | WireGuardError::InvalidCounter => Rejected::Replayed,
        WireGuardError::NoCurrentSession | WireGuardError::WrongIndex => Rejected::NoSession,
        _ => Rejected::Unauthentic,
    }
}

/// A private key as X25519 uses it (RFC 7748 §5), with its public key.
pub fn secret(mut private: Zeroizing<[u8; 32]>) -> LaneSecret {
    private[0] &= 0xf8;
    private[31] = (private[31] & 0x7f) | 0x40;
    let public = *PublicKey::from(&StaticSecret::from(*private)).as_bytes();
    LaneSecret { private, public }
}

/// The receiver index of a response, cookie or data packet that the demultiplexer let through.
pub fn receiver_index(message: Message, datagram: &[u8]) -> u32 {
    let at = if message == Message::Response { 8 } else { 4 };
    datagram
        .get(at..at + 4)
        .map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

/// The counter of a data packet that the demultiplexer let through.
pub fn counter(datagram: &[u8]) -> u64 {
    datagram
        .get(8..16)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}
