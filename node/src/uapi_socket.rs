//! The socket that `wg show` asks: WireGuard's cross-platform configuration protocol.
//!
//! Reading is answered, without secrets; what should be comes from the mesh, so setting is not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use meshnode_dataplane::uapi::{self, DeviceView, PeerView, Request};
use meshnode_dataplane::{Peer, Stats};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::adapt::netlink::MARK;
use crate::daemon::node::{Node, wall_now};
use crate::private_socket;
use crate::uapi_requests::Conversation;

/// Longest request, in bytes: one that sets a thousand peers is longer, but setting is refused anyhow.
const MAX_REQUEST: u64 = 64 << 10;
/// Connections at once.
const MAX_CONNECTIONS: usize = 8;
/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(30);

/// Makes `<directory>/<interface>.sock`, 0600.
pub fn bind(directory: &Path, interface: &str) -> anyhow::Result<UnixListener> {
    let path = path(directory, interface);
    std::fs::create_dir_all(directory)
        .and_then(|()| private_socket::bind(&path))
        .with_context(|| format!("cannot make the socket {}", path.display()))
}

/// Removes it at the end.
pub fn unbind(directory: &Path, interface: &str) {
    private_socket::unbind(&path(directory, interface));
}

fn path(directory: &Path, interface: &str) -> PathBuf {
    directory.join(format!("{interface}.sock"))
}

/// Answers until aborted.
pub async fn serve(listener: UnixListener, node: Arc<Node>) -> anyhow::Result<()> {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await?;
        let (stream, _) = listener.accept().await?;
        let node = Arc::clone(&node);
        tokio::spawn(async move {
            match tokio::time::timeout(IDLE, converse(stream, &node)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a UAPI connection broke off"),
                Err(_) => tracing::debug!("a UAPI connection was idle for too long"),
            }
            drop(slot);
        });
    }
}

async fn converse(stream: UnixStream, node: &Node) -> std::io::Result<()> {
    let mut conversation = Conversation::new(stream, MAX_REQUEST);
    while let Some(request) = conversation.next().await? {
        conversation.answer(&answer(&request, node)).await?;
    }
    Ok(())
}

fn answer(request: &str, node: &Node) -> String {
    match uapi::parse_request(request) {
        Ok(Request::Get) => {
            let port = node
                .dataplane
                .listen_addrs()
                .first()
                .map_or(0, std::net::SocketAddr::port);
            let since_1970 = Duration::from_millis(wall_now().0);
            uapi::render_get(&device(
                port,
                &node.now_composed().peers,
                &node.dataplane.stats(),
                since_1970,
            ))
        }
        Ok(Request::Set) => uapi::render_errno(uapi::EOPNOTSUPP),
        Err(error) => uapi::render_errno(error.errno()),
    }
}

/// The tunnels as `wg` understands them: a node by its lane 0.
fn device(listen_port: u16, peers: &[Peer], stats: &Stats, since_1970: Duration) -> DeviceView {
    let view = |peer: &Peer| {
        let measured = stats.peers.get(&peer.id).cloned().unwrap_or_default();
        Some(PeerView {
            public_key: *peer.lanes.first()?,
            preshared_key: None,
            endpoint: measured.endpoint,
            last_handshake: measured.last_handshake.map(|ago| since_1970.saturating_sub(ago)),
            rx_bytes: measured.rx_bytes,
            tx_bytes: measured.tx_bytes,
            keepalive: peer
                .keepalive
                .map_or(0, |k| u16::try_from(k.as_secs()).unwrap_or(u16::MAX)),
            allowed_ips: peer.sources.clone(),
        })
    };
    DeviceView {
        private_key: None,
        listen_port,
        fwmark: MARK,
        peers: peers.iter().filter_map(view).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let _listener = bind(&dir.path().join("wireguard"), "mesh0").unwrap();
        let mode = std::fs::metadata(dir.path().join("wireguard/mesh0.sock"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        unbind(&dir.path().join("wireguard"), "mesh0");
        assert!(!dir.path().join("wireguard/mesh0.sock").exists());
    }
}
