//! The commands' end of the local API.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::output::Failure;

use super::types::Refusal;

/// How long a node may take. `leave` and `invite` wait for the network, so it is not short.
const PATIENCE: Duration = Duration::from_secs(30);

/// Far above the answer of the largest mesh.
const MAX_ANSWER: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Nobody listens there.
    #[error("no node answers on {}: is `meshnode up` running?", socket.display())]
    NoNode {
        /// The socket.
        socket: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The node understood and said no.
    #[error("{}", refusal.error)]
    Refused {
        /// With which HTTP status.
        status: StatusCode,
        /// In which words.
        refusal: Refusal,
    },
    /// Something else listens there, or the node died while it answered.
    #[error("the node on {} gave no usable answer: {why}", socket.display())]
    Unusable {
        /// The socket.
        socket: PathBuf,
        /// What was wrong with it.
        why: String,
    },
}

/// Speaks to the node on one socket; each request is its own connection.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The node that listens on `socket`.
    pub fn new(socket: PathBuf) -> Client {
        Client { socket }
    }

    /// Asks.
    pub async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, ApiError> {
        self.request(Method::GET, path, Bytes::new()).await
    }

    /// Has something done.
    pub async fn post<A: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<A, ApiError> {
        let body = serde_json::to_vec(body).map_err(|error| self.unusable(error))?;
        self.request(Method::POST, path, body.into()).await
    }

    /// Has something removed.
    pub async fn delete<A: DeserializeOwned>(&self, path: &str) -> Result<A, ApiError> {
        self.request(Method::DELETE, path, Bytes::new()).await
    }

    async fn request<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<A, ApiError> {
        let exchange = tokio::time::timeout(PATIENCE, self.exchange(method, path, body));
        let (status, body) = exchange
            .await
            .map_err(|_| self.unusable(format_args!("nothing came for {} s", PATIENCE.as_secs())))??;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| self.unusable(error));
        }
        match serde_json::from_slice(&body) {
            Ok(refusal) => Err(ApiError::Refused { status, refusal }),
            Err(_) => Err(self.unusable(format_args!("{status}"))),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ApiError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| ApiError::NoNode {
                socket: self.socket.clone(),
                source,
            })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unusable(error))?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "meshnode")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| self.unusable(error))?;
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| self.unusable(error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| self.unusable(error))?
            .to_bytes();
        driver.abort();
        Ok((status, body))
    }

    fn unusable(&self, why: impl std::fmt::Display) -> ApiError {
        ApiError::Unusable {
            socket: self.socket.clone(),
            why: why.to_string(),
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Failure {
        match &error {
            ApiError::NoNode { source, .. } => absent(&error, source),
            ApiError::Unusable { .. } => {
                Failure::new(&error).fix("look at the node's log; --socket names another node's socket")
            }
            ApiError::Refused { status, refusal } => {
                let failure = match *status {
                    StatusCode::UNPROCESSABLE_ENTITY => Failure::usage(&error),
                    _ => Failure::new(&error),
                };
                match &refusal.fix {
                    Some(fix) => failure.fix(fix),
                    None => failure,
                }
            }
        }
    }
}

fn absent(error: &ApiError, source: &io::Error) -> Failure {
    match source.kind() {
        io::ErrorKind::NotFound => Failure::new(error)
            .because("there is no such socket")
            .fix("start the node, or name its socket with --socket"),
        io::ErrorKind::ConnectionRefused => Failure::new(error)
            .because("the socket is there, but no process listens on it")
            .fix("start the node, or name its socket with --socket"),
        io::ErrorKind::PermissionDenied => Failure::new(format!("the socket may not be used: {error}"))
            .because(source)
            .fix("run the command as root"),
        _ => Failure::new(error).because(source),
    }
}
