//! What membership borrows from its host: a wall clock, durable storage and a datagram port.

use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use bytes::Bytes;
use meshnode_crypto::UnixMillis;

/// Wall time, as records and grants are dated with.
pub trait WallClock: Send + Sync {
    /// Now.
    fn now(&self) -> UnixMillis;
}

/// What membership keeps across restarts; each item is one opaque blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreItem {
    /// This node's own grant chain.
    Chain,
    /// The signed peer cache (see [`crate::cache`]).
    Peers,
    /// Every revocation known, signed.
    Revocations,
    /// The ledger of used one-use tokens.
    Admissions,
    /// The tokens that this node issued.
    Tokens,
    /// Start counter and the last published sequence.
    Counter,
}

/// Durable storage of small blobs. Called from one task; may block for as long as an fsync takes.
pub trait Store: Send + Sync {
    /// The blob last saved, `None` if there never was one.
    fn load(&self, item: StoreItem) -> io::Result<Option<Vec<u8>>>;

    /// Replaces the blob; durable when this returns `Ok`, the old one intact when it returns `Err`.
    fn save(&self, item: StoreItem, bytes: &[u8]) -> io::Result<()>;
}

/// One datagram that came in, without its UDP header.
#[derive(Clone, Debug)]
pub struct ReceivedDatagram {
    /// Where it came from.
    pub source: SocketAddr,
    /// The local address that it was sent to, where the kernel says so.
    pub local: Option<IpAddr>,
    /// The two ECN bits.
    pub ecn: u8,
    /// The UDP payload.
    pub payload: Bytes,
}

/// A bounded share of somebody else's UDP socket.
pub trait DatagramPort: Send + Sync + Debug {
    /// The next datagram; `Ready(None)` when the port is closed for good.
    fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Option<ReceivedDatagram>>;

    /// Sends now or never: a full or failing socket is loss, counted by the port itself.
    fn try_send(&self, destination: SocketAddr, source: Option<IpAddr>, ecn: u8, payload: &[u8]);

    /// The socket's address; an IPv6 one when it is dual stack.
    fn local_addr(&self) -> SocketAddr;
}
