//! The socket that `wg show` asks: WireGuard's cross-platform configuration protocol.
//!
//! A request is lines up to an empty one; several may follow each other on one connection. Reading
//! is answered; what should be comes from the mesh, so setting is not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use meshnode_dataplane::uapi::{self, DeviceView, PeerView, Request};
use meshnode_dataplane::{Peer, Stats};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::adapt::netlink::MARK;
use crate::api::server;
use crate::daemon::node::{Node, wall_now};

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
        .and_then(|()| server::private_socket(&path))
        .with_context(|| format!("cannot make the socket {}", path.display()))
}

/// Removes it at the end.
pub fn unbind(directory: &Path, interface: &str) {
    server::unbind(&path(directory, interface));
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
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read.take(MAX_REQUEST));
    while let Some(request) = next_request(&mut lines).await? {
        write.write_all(answer(&request, node).as_bytes()).await?;
        lines.get_mut().set_limit(MAX_REQUEST);
    }
    Ok(())
}

/// The lines up to an empty one; `None` at the end of the connection.
async fn next_request(lines: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> std::io::Result<Option<String>> {
    let mut request = String::new();
    loop {
        let before = request.len();
        if lines.read_line(&mut request).await? == 0 {
            return Ok(None);
        }
        if request[before..].trim_end_matches(['\r', '\n']).is_empty() {
            return Ok(Some(request));
        }
    }
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
        listen_port,
        fwmark: MARK,
        peers: peers.iter().filter_map(view).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_end_at_an_empty_line_and_may_follow_each_other() {
        let mut input = BufReader::new(&b"get=1\n\nset=1\nlisten_port=1\n\nget=1\n"[..]);
        assert_eq!(
            next_request(&mut input).await.unwrap().as_deref(),
            Some("get=1\n\n")
        );
        assert_eq!(
            next_request(&mut input).await.unwrap().as_deref(),
            Some("set=1\nlisten_port=1\n\n")
        );
        assert_eq!(next_request(&mut input).await.unwrap(), None);
    }

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
