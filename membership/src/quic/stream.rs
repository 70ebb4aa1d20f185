//! Reading and writing bounded frames on QUIC streams, each within a time limit.
//!
//! A uni-stream is one message from its first byte to its end. A bi-stream is a kind byte, then frames of
//! a little-endian u32 length and that many bytes, each way.

use std::time::Duration;

use quinn::{ReadToEndError, RecvStream, SendStream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::message::{self, Malformed, Message};

/// How long a peer may take over one frame: a slow sender holds one of its own few streams, no longer.
pub(crate) const FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// A bi-stream on which a stranger asks to be admitted.
pub(crate) const ADMISSION: u8 = 1;
/// A bi-stream that holds one [`crate::message::Request`] and its answer.
pub(crate) const REQUEST: u8 = 2;

/// Why a frame did not come or go.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("the peer took too long")]
    TimedOut,
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("the peer sent at least {length} bytes where {cap} are allowed")]
    TooLarge { length: usize, cap: usize },
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// Writes one message and ends the stream.
pub(crate) async fn write_message(stream: &mut SendStream, message: &Message) -> Result<(), StreamError> {
    let bytes = message.encode();
    within(async { stream.write_all(&bytes).await.map_err(broken) }).await?;
    stream.finish().map_err(broken)
}

/// Reads the first byte of a stream.
pub(crate) async fn read_kind(stream: &mut RecvStream) -> Result<u8, StreamError> {
    let mut kind = [0];
    within(async { stream.read_exact(&mut kind).await.map_err(broken) }).await?;
    Ok(kind[0])
}

/// Reads the rest of a message whose first byte was `kind`.
pub(crate) async fn read_message(stream: &mut RecvStream, kind: u8) -> Result<Message, StreamError> {
    let cap = Message::cap(kind).ok_or(Malformed)?;
    let body = within(async {
        stream
            .read_to_end(cap)
            .await
            .map_err(|error| too_long(&error, cap))
    })
    .await?;
    let mut bytes = Vec::with_capacity(1 + body.len());
    bytes.push(kind);
    bytes.extend_from_slice(&body);
    Ok(Message::decode(&bytes)?)
}

/// Writes the first byte of a bi-stream.
pub(crate) async fn write_kind(stream: &mut SendStream, kind: u8) -> Result<(), StreamError> {
    within(async { stream.write_all(&[kind]).await.map_err(broken) }).await
}

/// Writes one frame.
pub(crate) async fn write_frame<T: Serialize>(stream: &mut SendStream, value: &T) -> Result<(), StreamError> {
    let body = message::encode(value);
    let mut bytes = Vec::with_capacity(4 + body.len());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&body);
    within(async { stream.write_all(&bytes).await.map_err(broken) }).await
}

/// Reads one frame of at most `cap` bytes, waiting at most `wait`.
pub(crate) async fn read_frame<T: DeserializeOwned>(
    stream: &mut RecvStream,
    cap: usize,
    wait: Duration,
) -> Result<T, StreamError> {
    let read = async {
        let mut length = [0; 4];
        stream.read_exact(&mut length).await.map_err(broken)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > cap {
            return Err(StreamError::TooLarge { length, cap });
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.map_err(broken)?;
        Ok(message::decode(&body)?)
    };
    timeout(wait, read).await.map_err(|_| StreamError::TimedOut)?
}

async fn within<T>(work: impl Future<Output = Result<T, StreamError>>) -> Result<T, StreamError> {
    timeout(FRAME_TIMEOUT, work)
        .await
        .map_err(|_| StreamError::TimedOut)?
}

fn too_long(error: &ReadToEndError, cap: usize) -> StreamError {
    match error {
        ReadToEndError::TooLong => StreamError::TooLarge { length: cap + 1, cap },
        ReadToEndError::Read(error) => broken(error),
    }
}

fn broken(error: impl std::fmt::Display) -> StreamError {
    StreamError::Broken(error.to_string())
}
