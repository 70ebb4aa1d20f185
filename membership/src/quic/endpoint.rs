//! A node's one QUIC endpoint, which both dials and answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meshnode_crypto::{NodeId, SigningKey};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, ConnectionError, IdleTimeout, TransportConfig, VarInt};

use super::identity::{self, SERVER_NAME, TlsIdentity};
use super::port::{PortSocket, canonical};
use super::reset;
use crate::ports::DatagramPort;

/// Silence after which a connection is given up by both ends.
pub(crate) const IDLE: Duration = Duration::from_secs(30);
/// Handshakes that may wait to be accepted; more are refused.
const MAX_INCOMING: usize = 256;
/// Bytes of client hello that one waiting handshake may hold.
const INCOMING_BUFFER: u64 = 16 * 1024;
/// Streams that one peer may have open towards us.
const MAX_UNI_STREAMS: u32 = 16;
const MAX_BIDI_STREAMS: u32 = 8;
/// One stream holds one message of at most 128 KiB and its header.
const STREAM_WINDOW: u32 = 160 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;

/// Why no connection came to be.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address cannot be dialled at all, as port 0 or a family that the socket lacks.
    #[error("{address} cannot be dialled: {reason}")]
    Unusable {
        /// What was dialled.
        address: SocketAddr,
        /// Why not, in quinn's words.
        reason: String,
    },
    /// Nothing came back: nobody there, filtered, or not QUIC.
    #[error("{0} did not answer: it is down, filtered, or not a meshnode")]
    NoAnswer(SocketAddr),
    /// Something answered that does not hold the expected key.
    #[error("{0} is another node than expected")]
    WrongKey(SocketAddr),
    /// Something answered and refused, or does not speak our protocol.
    #[error("{address} refused the connection: {reason}")]
    Refused {
        /// What was dialled.
        address: SocketAddr,
        /// Why, in quinn's words.
        reason: String,
    },
}

/// The endpoint could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The node key or the cryptographic provider does not serve for TLS.
    #[error("no TLS configuration can be made from the node key: {0}")]
    Tls(#[from] rustls::Error),
    /// No QUIC cipher suite in the provider.
    #[error("the TLS provider lacks the cipher suite that QUIC starts with")]
    NoInitialCipher,
    /// The port has no address.
    #[error("the datagram port gave no local address: {0}")]
    Port(#[from] std::io::Error),
}

/// QUIC over one datagram port under one node key. Cheap to clone; the clones are one endpoint.
#[derive(Clone, Debug)]
pub struct QuicEndpoint {
    endpoint: quinn::Endpoint,
    identity: TlsIdentity,
    node: NodeId,
    transport: Arc<TransportConfig>,
}

impl QuicEndpoint {
    /// Starts the endpoint on `port`; must be called inside a tokio runtime.
    pub fn new(port: Arc<dyn DatagramPort>, key: &SigningKey) -> Result<Self, EndpointError> {
        let identity = TlsIdentity::new(key)?;
        let transport = Arc::new(transport());
        let crypto = QuicServerConfig::try_from(identity.server_config()?)
            .map_err(|_| EndpointError::NoInitialCipher)?;
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        server
            .transport_config(transport.clone())
            .max_incoming(MAX_INCOMING)
            .incoming_buffer_size(INCOMING_BUFFER)
            .incoming_buffer_size_total(INCOMING_BUFFER * MAX_INCOMING as u64);
        let mut config = reset::config_that_outlives(key);
        config.grease_quic_bit(false);
        let socket = Arc::new(PortSocket::new(port));
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint = quinn::Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime)?;
        Ok(QuicEndpoint {
            endpoint,
            identity,
            node: key.public_key(),
            transport,
        })
    }

    /// The node whose key this endpoint proves.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Connections now open, whoever they are with.
    pub fn open_connections(&self) -> usize {
        self.endpoint.open_connections()
    }

    /// Dials `address`. `expected`: the only key to accept, `None` for a seed whose key is not known.
    pub(crate) async fn dial(
        &self,
        address: SocketAddr,
        expected: Option<NodeId>,
    ) -> Result<Connection, DialError> {
        let unusable = |reason: String| DialError::Unusable { address, reason };
        let tls = self
            .identity
            .client_config(expected)
            .map_err(|error| unusable(error.to_string()))?;
        let crypto = QuicClientConfig::try_from(tls).map_err(|error| unusable(error.to_string()))?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(self.transport.clone());
        let connecting = self
            .endpoint
            .connect_with(config, address, SERVER_NAME)
            .map_err(|error| unusable(error.to_string()))?;
        connecting.await.map_err(|error| dial_error(address, &error))
    }

    /// The next connection attempt whose source address is proven; `None` when the endpoint is closed.
    ///
    /// An unproven source gets a Retry packet and no state, so that spoofed ones cost nothing.
    pub(crate) async fn accept(&self) -> Option<quinn::Incoming> {
        loop {
            let incoming = self.endpoint.accept().await?;
            if incoming.remote_address_validated() {
                return Some(incoming);
            }
            if let Err(error) = incoming.retry() {
                error.into_incoming().ignore();
            }
        }
    }

    /// Closes every connection and waits until the other ends could hear of it, at most `wait`.
    pub(crate) async fn close(&self, wait: Duration) {
        self.endpoint.close(CloseReason::Stopping.code(), b"stopping");
        // Nobody is owed more than the attempt.
        let _ = tokio::time::timeout(wait, self.endpoint.wait_idle()).await;
    }
}

/// Why we close a connection; the codes cross the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    Stopping = 1,
    NotMember = 2,
    Revoked = 3,
    Superseded = 4,
    Misbehaved = 5,
    TooMany = 6,
}

impl CloseReason {
    pub(crate) fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }
}

/// The peer's address as everything outside quinn knows it.
pub(crate) fn remote(connection: &Connection) -> SocketAddr {
    canonical(connection.remote_address())
}

pub(crate) use identity::peer_key;

fn dial_error(address: SocketAddr, error: &ConnectionError) -> DialError {
    match error {
        ConnectionError::TimedOut => DialError::NoAnswer(address),
        // Our own verifier's refusal comes back as the alert that it raised: 0x100 + access_denied
        // (RFC 9001, 4.8).
        ConnectionError::TransportError(failure) if u64::from(failure.code) == 0x100 + 49 => {
            DialError::WrongKey(address)
        }
        other => DialError::Refused {
            address,
            reason: other.to_string(),
        },
    }
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE.as_millis() as u32))))
        .keep_alive_interval(None)
        .max_concurrent_uni_streams(MAX_UNI_STREAMS.into())
        .max_concurrent_bidi_streams(MAX_BIDI_STREAMS.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(u64::from(CONNECTION_WINDOW))
        .datagram_receive_buffer_size(None)
        .initial_mtu(1200)
        .mtu_discovery_config(None);
    transport
}
