//! One TCP connection, all of its bytes compared.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{BLOCK, fill};
use crate::world::Host;

/// A TCP connection that makes no progress for this long has failed. At 20 % loss each way a segment is lost
/// seven times in a row once in a thousand, and by then TCP waits 26 s (RFC 6298 §5.5).
const PATIENCE: Duration = Duration::from_secs(90);

/// What a finished transfer showed.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// The sender's address as the receiver saw it.
    pub source: IpAddr,
    /// From the connection's start to the last byte.
    pub took: Duration,
}

/// Sends `bytes` (rounded up to whole blocks) from a host to an address of another, over TCP, and compares each
/// byte there.
///
/// # Errors
/// No connection, no progress, or bytes that differ.
pub fn transfer(from: &Host, to: &Host, address: IpAddr, bytes: usize) -> Result<Transfer> {
    let listener = to
        .inside(|| TcpListener::bind((address, 0)))?
        .context("cannot listen")?;
    let target = listener.local_addr()?;
    let (seed, blocks) = (u64::from(target.port()), bytes.div_ceil(BLOCK) as u64);
    let start = Instant::now();
    let sender = from.background(move || send(target, seed, blocks))?;
    listener.set_nonblocking(true)?;
    let received = accept(&listener).and_then(|(stream, peer)| receive(stream, seed, blocks).map(|()| peer));
    let sent = sender
        .join()
        .unwrap_or_else(|_| Err(anyhow::anyhow!("the sender panicked")));
    let both = format!("TCP from {} to {} at {address}", from.name(), to.name());
    // When both failed, the receiver knows why: the sender only sees it go.
    let source = received.with_context(|| both.clone())?.ip();
    sent.context(both)?;
    Ok(Transfer {
        source,
        took: start.elapsed(),
    })
}

fn send(target: SocketAddr, seed: u64, blocks: u64) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE).context("cannot connect")?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = Vec::with_capacity(BLOCK * 1024);
    for number in 0..blocks {
        let mut block = [0; BLOCK];
        fill(&mut block, seed, number);
        buffer.extend_from_slice(&block);
        if buffer.len() == buffer.capacity() || number + 1 == blocks {
            stream.write_all(&buffer).context("sending stopped")?;
            buffer.clear();
        }
    }
    // The receiver's last word: it compared everything.
    stream.read_exact(&mut [0]).context("the receiver gave up")
}

/// Waits for a connection with an end: `accept` itself has no timeout.
fn accept(listener: &TcpListener) -> Result<(TcpStream, SocketAddr)> {
    crate::wait::eventually("a connection", PATIENCE, || Ok(listener.accept()?))
}

fn receive(mut stream: TcpStream, seed: u64, blocks: u64) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = std::io::BufReader::with_capacity(1 << 16, stream.try_clone()?);
    let (mut got, mut expected) = ([0; BLOCK], [0; BLOCK]);
    for number in 0..blocks {
        reader
            .read_exact(&mut got)
            .with_context(|| format!("only {number} of {blocks} blocks came"))?;
        fill(&mut expected, seed, number);
        ensure!(got == expected, "block {number} is not what was sent");
    }
    stream.write_all(&[1]).context("the sender is gone")
}
