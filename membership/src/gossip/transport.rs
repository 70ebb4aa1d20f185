//! What chitchat takes for its network: a gate, a bounded inbox and an outbox that never waits.
//!
//! Chitchat awaits `send` inside its only loop, so sending here means handing over. The gate stays shut
//! until the supervisor has raised our row above what others may remember of an earlier life.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatMessage, Serializable};
use tokio::sync::{Mutex, mpsc, watch};

/// The port that every gossip address carries. It means nothing: QUIC carries the messages.
pub(crate) const GOSSIP_PORT: u16 = 1;
/// Messages that passed the guard and that chitchat has not taken yet.
pub(crate) const INBOX: usize = 256;

type Work<'a, T> = Pin<Box<dyn Future<Output = anyhow::Result<T>> + Send + 'a>>;
type Inbox = mpsc::Receiver<(SocketAddr, ChitchatMessage)>;

/// Where chitchat's messages go; must not wait.
pub(crate) type Outbox = Arc<dyn Fn(Ipv6Addr, Bytes) + Send + Sync>;

/// The gossip address of a node.
pub(crate) fn gossip_address(node: Ipv6Addr) -> SocketAddr {
    SocketAddrV6::new(node, GOSSIP_PORT, 0, 0).into()
}

/// A transport that opens one socket, once.
pub(crate) struct GossipTransport {
    parts: Mutex<Option<GossipSocket>>,
}

/// The supervisor's end of a [`GossipTransport`].
pub(crate) struct Controls {
    /// Messages to chitchat.
    pub(crate) inbox: mpsc::Sender<(SocketAddr, ChitchatMessage)>,
    /// Set to true to let messages through.
    pub(crate) gate: watch::Sender<bool>,
}

struct GossipSocket {
    inbox: Inbox,
    gate: watch::Receiver<bool>,
    outbox: Outbox,
    largest: Arc<AtomicU64>,
}

impl GossipTransport {
    /// `largest`: where the size of the largest digest-bearing message sent last is noted.
    pub(crate) fn new(outbox: Outbox, largest: Arc<AtomicU64>) -> (Self, Controls) {
        let (inbox, messages) = mpsc::channel(INBOX);
        let (gate, opened) = watch::channel(false);
        let socket = GossipSocket {
            inbox: messages,
            gate: opened,
            outbox,
            largest,
        };
        (
            GossipTransport {
                parts: Mutex::new(Some(socket)),
            },
            Controls { inbox, gate },
        )
    }
}

impl Transport for GossipTransport {
    fn open<'a, 'b>(&'a self, _: SocketAddr) -> Work<'b, Box<dyn Socket>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async {
            let socket = self.parts.lock().await.take();
            let socket = socket.ok_or_else(|| anyhow::anyhow!("a gossip transport opens once"))?;
            Ok(Box::new(socket) as Box<dyn Socket>)
        })
    }
}

impl Socket for GossipSocket {
    fn send<'a, 'b>(&'a mut self, to: SocketAddr, message: ChitchatMessage) -> Work<'b, ()>
    where
        'a: 'b,
        Self: 'b,
    {
        if let (SocketAddr::V6(to), true) = (to, *self.gate.borrow()) {
            if let ChitchatMessage::Syn { digest, .. } = &message {
                self.largest
                    .store(digest.serialized_len() as u64, Ordering::Relaxed);
            }
            (self.outbox)(*to.ip(), message.serialize_to_vec().into());
        }
        Box::pin(async { Ok(()) })
    }

    fn recv<'a, 'b>(&'a mut self) -> Work<'b, (SocketAddr, ChitchatMessage)>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async {
            self.gate.wait_for(|open| *open).await?;
            self.inbox
                .recv()
                .await
                .ok_or_else(|| anyhow::anyhow!("the supervisor is gone"))
        })
    }
}
