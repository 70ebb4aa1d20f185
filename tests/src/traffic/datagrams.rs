//! UDP questions and answers: each datagram goes there and comes back, and is compared at both ends.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{BLOCK, fill, unspecified};
use crate::world::Host;

/// How often the answering side looks whether the exchange is over.
const TICK: Duration = Duration::from_millis(50);

/// Exchanges side by side in a delivery.
const LANES: usize = 16;
/// Bytes of a datagram that passes any tunnel in one piece.
const LARGE: usize = 1200;

/// What a finished exchange showed.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// The asking side's address as the answering side saw it.
    pub source: IpAddr,
    /// Datagrams that came back intact.
    pub answered: u64,
}

/// What is asked in an exchange.
#[derive(Clone, Copy, Debug)]
pub struct Questions {
    /// Datagrams, one after the other.
    pub count: u64,
    /// Bytes of each.
    pub size: usize,
    /// How long an answer is waited for.
    pub patience: Duration,
    /// How often one is sent before it counts as lost.
    pub tries: u32,
}

impl Questions {
    /// `count` datagrams of `size` bytes, each sent once and waited for amply.
    pub fn once(count: u64, size: usize) -> Questions {
        Questions {
            count,
            size,
            patience: Duration::from_secs(3),
            tries: 1,
        }
    }
}

/// Sends datagrams from a host to an address of another, which sends each back.
///
/// # Errors
/// Nothing came back at all, or something came that was not sent.
pub fn exchange(from: &Host, to: &Host, address: IpAddr, questions: &Questions) -> Result<Exchange> {
    let server = to
        .inside(|| UdpSocket::bind((address, 0)))?
        .context("cannot bind")?;
    let target = server.local_addr()?;
    let (seed, over) = (u64::from(target.port()), Arc::new(AtomicBool::new(false)));
    let answering = to.background({
        let over = over.clone();
        move || answer(&server, seed, &over)
    })?;
    let answered = from.inside(|| ask(target, seed, questions))?;
    over.store(true, Ordering::Relaxed);
    let source = answering
        .join()
        .unwrap_or_else(|_| Err(anyhow::anyhow!("the answering side panicked")));
    let both = format!("UDP from {} to {} at {address}", from.name(), to.name());
    let answered = answered.with_context(|| both.clone())?;
    let source = source.with_context(|| both.clone())?;
    ensure!(
        answered > 0,
        "{both}: none of {} datagrams came back",
        questions.count
    );
    Ok(Exchange {
        source: source.context(both)?.ip(),
        answered,
    })
}

/// Delivers `bytes` over UDP whatever is lost on the way: many exchanges side by side, each datagram repeated until
/// its answer is there.
///
/// # Errors
/// As for [`exchange`], or a datagram was never answered.
pub fn deliver(from: &Host, to: &Host, address: IpAddr, bytes: usize) -> Result<()> {
    let count = bytes.div_ceil(LANES * LARGE) as u64;
    let questions = Questions {
        count,
        size: LARGE,
        patience: Duration::from_millis(20),
        tries: 100,
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|_| scope.spawn(|| exchange(from, to, address, &questions)))
            .collect();
        for lane in lanes {
            let done = lane
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("a lane panicked")))?;
            ensure!(
                done.answered == count,
                "only {} of {count} datagrams were answered",
                done.answered
            );
        }
        Ok(())
    })
}

fn ask(target: SocketAddr, seed: u64, questions: &Questions) -> Result<u64> {
    let socket = UdpSocket::bind((unspecified(target.ip()), 0))?;
    socket.connect(target).context("no route")?;
    let mut answered = 0;
    for number in 0..questions.count {
        let question = datagram(seed, number, questions.size);
        for _ in 0..questions.tries {
            socket.send(&question).context("cannot send")?;
            if answer_comes(&socket, &question, questions.patience)? {
                answered += 1;
                break;
            }
        }
    }
    Ok(answered)
}

/// Late answers to earlier questions are passed over.
fn answer_comes(socket: &UdpSocket, question: &[u8], patience: Duration) -> Result<bool> {
    let deadline = Instant::now() + patience;
    let mut answer = vec![0; 65_536];
    while let Some(left) = deadline
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
    {
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut answer) {
            Ok(length) if answer[..length] == *question => return Ok(true),
            Ok(length) => ensure!(
                length == question.len(),
                "an answer of {length} bytes to no question of ours"
            ),
            Err(_) => {}
        }
    }
    Ok(false)
}

fn answer(server: &UdpSocket, seed: u64, over: &AtomicBool) -> Result<Option<SocketAddr>> {
    server.set_read_timeout(Some(TICK))?;
    let mut source = None;
    let mut buffer = vec![0; 65_536];
    while !over.load(Ordering::Relaxed) {
        let Ok((length, peer)) = server.recv_from(&mut buffer) else {
            continue;
        };
        let number = buffer[16..24].try_into().map(u64::from_be_bytes)?;
        ensure!(
            buffer[..length] == datagram(seed, number, length),
            "a datagram of {length} bytes was altered"
        );
        ensure!(
            source.is_none_or(|before| before == peer),
            "the source changed to {peer}"
        );
        source = Some(peer);
        server.send_to(&buffer[..length], peer)?;
    }
    Ok(source)
}

/// Datagram `number`: whole blocks of the stream, cut to `size`.
fn datagram(seed: u64, number: u64, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + BLOCK);
    while bytes.len() < size {
        let mut block = [0; BLOCK];
        fill(&mut block, seed ^ (bytes.len() as u64), number);
        bytes.extend_from_slice(&block);
    }
    bytes.truncate(size);
    bytes
}
