//! The smallest HTTP client that tests need: one GET, one answer, over any stream.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

const PATIENCE: Duration = Duration::from_secs(5);

/// The body of `GET path` on a Unix socket.
///
/// # Errors
/// Nobody listens, the answer is not HTTP, or its status is not 200.
pub fn get_unix(socket: &Path, path: &str) -> Result<String> {
    let stream = UnixStream::connect(socket).with_context(|| format!("cannot reach {}", socket.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    get(stream, path)
}

/// The body of `GET path` on a TCP address, from the calling thread's network namespace.
///
/// # Errors
/// As for [`get_unix`].
pub fn get_tcp(address: SocketAddr, path: &str) -> Result<String> {
    let stream =
        TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("cannot reach {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    get(stream, path)
}

fn get(mut stream: impl Read + Write, path: &str) -> Result<String> {
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: meshnode\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .context("the answer was cut short")?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let status = head.split(' ').nth(1).unwrap_or("none");
    if status != "200" {
        bail!("GET {path} was answered with status {status}: {body}");
    }
    Ok(body.to_owned())
}
