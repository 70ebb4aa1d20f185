//! The seam between the membership actor and what carries its messages: QUIC, or a simulated network.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use meshnode_crypto::{NodeId, Signature};
use tokio::sync::oneshot;

use crate::message::{Admitted, Answer, JoinRequest, Message, Refused, Request};

/// Who is a member, and where to dial it, the most promising address first.
pub(crate) type Book = BTreeMap<NodeId, Vec<SocketAddr>>;

/// Carries messages between members. Nothing here waits but what returns a future.
pub(crate) trait Carrier: Send + Sync + 'static {
    /// Queues `message`, dialling if need be. Full queues lose their oldest message, and count it.
    fn send(&self, to: NodeId, message: Message);

    /// Sends over a connection that stands and waits until the peer has it; false if it cannot be had.
    fn deliver(&self, to: NodeId, message: Message) -> BoxFuture<'static, bool>;

    /// Asks a member.
    fn request(&self, to: NodeId, request: Request) -> BoxFuture<'static, Result<Answer, RequestError>>;

    /// Replaces the members. Connections to those that left it close at once.
    fn set_book(&self, book: Arc<Book>);

    /// Closes the connections of a stranger whose grants do not hold.
    fn refuse(&self, node: NodeId);

    /// Replaces the grant chain that we show to those we dial.
    fn set_hello(&self, chain: Bytes);

    /// Dials an address whose key is not known and says hello there.
    fn dial_seed(&self, address: SocketAddr);

    /// Members that a connection stands with.
    fn connected(&self) -> Vec<NodeId>;

    /// What happened so far.
    fn stats(&self) -> CarrierStats;

    /// Closes every connection.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// Counters of a carrier, all since its start but `connections`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CarrierStats {
    pub(crate) connections: usize,
    pub(crate) gossip_sent: u64,
    pub(crate) gossip_received: u64,
    pub(crate) queue_full: u64,
    pub(crate) unreachable: u64,
    pub(crate) malformed: u64,
    pub(crate) strangers_refused: u64,
}

/// What a carrier tells the actor.
#[derive(Debug)]
pub(crate) enum CarrierEvent {
    /// A connection to a member stands.
    Connected {
        node: NodeId,
        remote: SocketAddr,
        dialled: bool,
    },
    /// A message came in. From strangers only [`Message::Hello`] does.
    Message { from: NodeId, message: Message },
    /// A member asks.
    Request {
        from: NodeId,
        request: Request,
        answer: oneshot::Sender<Answer>,
    },
    /// A stranger shows a token; the answer is our own grant chain, so that it can check us first.
    AdmissionOpened {
        token: Vec<u8>,
        answer: oneshot::Sender<Result<Bytes, Refused>>,
    },
    /// A stranger proves its invitation.
    Admission {
        admission: Box<Admission>,
        answer: oneshot::Sender<Result<Admitted, Refused>>,
    },
}

/// A join request over a connection that has proved `joiner`.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    pub(crate) token: Vec<u8>,
    pub(crate) exporter: [u8; 32],
    pub(crate) joiner: NodeId,
    pub(crate) proof: Signature,
    pub(crate) request: JoinRequest,
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("it cannot be reached")]
    Unreachable,
    #[error("it did not answer in time")]
    TimedOut,
    #[error("its answer makes no sense")]
    Malformed,
}
