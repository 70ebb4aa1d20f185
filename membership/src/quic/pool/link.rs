//! One connection: its standing, its streams out, the readers of its streams in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use meshnode_crypto::NodeId;
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};

use super::super::endpoint::{CloseReason, remote};
use super::super::stream::{self, FRAME_TIMEOUT, StreamError};
use super::strangers::Stranger;
use super::{ANSWER_TIMEOUT, Shared, count};
use crate::admission::server;
use crate::carrier::CarrierEvent;
use crate::message::{MAX_REQUEST, Malformed, Message, Request};

/// How long a node may stay a stranger: enough for an admission whose issuer has to be dialled.
const STRANGER_TIME: Duration = Duration::from_secs(30);
/// How long a pushed message may take to arrive.
const DELIVERY: Duration = Duration::from_secs(1);

pub(super) struct Link {
    pub(super) node: NodeId,
    pub(super) dialled: bool,
    pub(super) since: Instant,
    connection: Connection,
    member: watch::Sender<bool>,
    used: AtomicU64,
}

impl Link {
    pub(super) fn new(connection: Connection, node: NodeId, dialled: bool) -> Arc<Self> {
        Arc::new(Link {
            node,
            dialled,
            since: Instant::now(),
            connection,
            member: watch::Sender::new(false),
            used: AtomicU64::new(0),
        })
    }

    pub(super) fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    pub(super) fn is_member(&self) -> bool {
        *self.member.borrow()
    }

    pub(super) fn stands(&self) -> bool {
        self.is_open() && self.is_member()
    }

    pub(super) fn admit(&self) {
        self.member
            .send_if_modified(|member| !std::mem::replace(member, true));
    }

    pub(super) fn close(&self, reason: CloseReason) {
        self.connection
            .close(reason.code(), format!("{reason:?}").as_bytes());
    }

    /// When something was last sent.
    pub(super) fn last_used(&self) -> Instant {
        self.since + Duration::from_millis(self.used.load(Ordering::Relaxed))
    }

    pub(super) async fn open_bi(&self) -> Result<(SendStream, RecvStream), StreamError> {
        self.touch();
        let opened = timeout(FRAME_TIMEOUT, self.connection.open_bi()).await;
        opened
            .map_err(|_| StreamError::TimedOut)?
            .map_err(|error| StreamError::Broken(error.to_string()))
    }

    pub(super) async fn say(&self, message: &Message) -> Result<SendStream, StreamError> {
        self.touch();
        let opened = timeout(FRAME_TIMEOUT, self.connection.open_uni()).await;
        let broken = |error: ConnectionError| StreamError::Broken(error.to_string());
        let mut stream = opened.map_err(|_| StreamError::TimedOut)?.map_err(broken)?;
        stream::write_message(&mut stream, message).await?;
        Ok(stream)
    }

    /// Whether the peer acknowledged all of `message` in time.
    pub(super) async fn deliver(&self, message: &Message) -> bool {
        let work = async {
            let stream = self.say(message).await.ok()?;
            stream.stopped().await.ok()
        };
        matches!(timeout(DELIVERY, work).await, Ok(Some(None)))
    }

    fn touch(&self) {
        self.used
            .store(self.since.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    async fn becomes_member(&self) -> bool {
        let mut member = self.member.subscribe();
        let wait = async { member.wait_for(|member| *member).await.is_ok() };
        timeout(STRANGER_TIME, wait).await.unwrap_or(false)
    }
}

/// Serves a connection to its end. A `stranger` counts as one until it has standing.
pub(super) async fn run(shared: Arc<Shared>, link: Arc<Link>, stranger: Option<Stranger>) {
    tokio::spawn(greet(shared.clone(), link.clone(), stranger));
    loop {
        tokio::select! {
            stream = link.connection.accept_uni() => match stream {
                Ok(stream) => { tokio::spawn(read_uni(shared.clone(), link.clone(), stream)); }
                Err(_) => break,
            },
            streams = link.connection.accept_bi() => match streams {
                Ok((send, receive)) => { tokio::spawn(serve_bi(shared.clone(), link.clone(), send, receive)); }
                Err(_) => break,
            },
        }
    }
    shared.forget(&link);
    tracing::debug!(node = %link.node.short(), reason = ?link.connection.close_reason(), "connection closed");
}

// Whoever dials shows its chain at once; whoever answers does so to members only, so that a scanner
// learns nothing.
async fn greet(shared: Arc<Shared>, link: Arc<Link>, stranger: Option<Stranger>) {
    let hello = |shared: &Shared| Message::Hello(Bytes::clone(&shared.hello.load()));
    if link.dialled && link.say(&hello(&shared)).await.is_err() {
        return;
    }
    if !link.becomes_member().await {
        count(&shared.counters.strangers_refused);
        link.close(CloseReason::NotMember);
        return;
    }
    drop(stranger);
    if !link.dialled && link.say(&hello(&shared)).await.is_err() {
        return;
    }
    let connected = CarrierEvent::Connected {
        node: link.node,
        remote: remote(&link.connection),
        dialled: link.dialled,
    };
    // The actor is gone only when everything stops.
    let _ = shared.events.send(connected).await;
}

async fn read_uni(shared: Arc<Shared>, link: Arc<Link>, mut stream: RecvStream) {
    if let Err(error) = try_read_uni(&shared, &link, &mut stream).await {
        note(&shared, &link, &error);
    }
}

async fn try_read_uni(shared: &Shared, link: &Arc<Link>, stream: &mut RecvStream) -> Result<(), StreamError> {
    let kind = stream::read_kind(stream).await?;
    if !Message::open_to_strangers(kind) && !link.becomes_member().await {
        return Err(Malformed.into());
    }
    let message = stream::read_message(stream, kind).await?;
    if let Message::Gossip(bytes) = &message {
        shared
            .counters
            .gossip_received
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
    if matches!(message, Message::Hello(_)) && link.is_member() {
        return Ok(());
    }
    let event = CarrierEvent::Message {
        from: link.node,
        message,
    };
    shared
        .events
        .send(event)
        .await
        .map_err(|_| StreamError::Broken("stopping".to_owned()))
}

async fn serve_bi(shared: Arc<Shared>, link: Arc<Link>, mut send: SendStream, mut receive: RecvStream) {
    if let Err(error) = try_serve_bi(&shared, &link, &mut send, &mut receive).await {
        note(&shared, &link, &error);
    }
}

async fn try_serve_bi(
    shared: &Shared,
    link: &Arc<Link>,
    send: &mut SendStream,
    receive: &mut RecvStream,
) -> Result<(), StreamError> {
    match stream::read_kind(receive).await? {
        stream::ADMISSION => server::serve(&link.connection, link.node, &shared.events, send, receive).await,
        stream::REQUEST => {
            if !link.becomes_member().await {
                return Err(Malformed.into());
            }
            let request: Request = stream::read_frame(receive, MAX_REQUEST, FRAME_TIMEOUT).await?;
            answer(shared, link, request, send).await
        }
        _ => Err(Malformed.into()),
    }
}

async fn answer(
    shared: &Shared,
    link: &Link,
    request: Request,
    send: &mut SendStream,
) -> Result<(), StreamError> {
    let (reply, answered) = oneshot::channel();
    let event = CarrierEvent::Request {
        from: link.node,
        request,
        answer: reply,
    };
    let gone = || StreamError::Broken("stopping".to_owned());
    shared.events.send(event).await.map_err(|_| gone())?;
    let answer = timeout(ANSWER_TIMEOUT, answered)
        .await
        .map_err(|_| StreamError::TimedOut)?;
    stream::write_frame(send, &answer.map_err(|_| gone())?).await?;
    send.finish()
        .map_err(|error| StreamError::Broken(error.to_string()))
}

// A peer that breaks the framing is wrong about everything that follows on this connection.
fn note(shared: &Shared, link: &Link, error: &StreamError) {
    tracing::debug!(node = %link.node.short(), %error, "stream dropped");
    if matches!(error, StreamError::Malformed(_) | StreamError::TooLarge { .. }) {
        count(&shared.counters.malformed);
        link.close(CloseReason::Misbehaved);
    }
}
