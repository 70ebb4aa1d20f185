//! Round trips, one at a time, in fractions of a microsecond: ICMP echo, which the far kernel answers, or UDP, which a
//! thread over there does.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use meshnode_tests::world::Host;
use rustix::net::{AddressFamily, SocketType, ipproto, socket};

use crate::pair::{Pair, RIGHT};

/// Bytes of a question, the ICMP header included: what ping(8) sends.
const SIZE: usize = 64;
/// Where the number of a question stands, in both kinds. The eight bytes before are an ICMP header's.
const NUMBER: std::ops::Range<usize> = 8..12;
/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the answering thread looks whether it is still needed.
const TICK: Duration = Duration::from_millis(100);

/// What carries the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Carrier {
    /// Answered by the kernel
    Icmp,
    /// Answered by a thread
    Udp,
}

/// How to ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Questions {
    pub(crate) carrier: Carrier,
    /// From one answer to the next question; zero: at once.
    pub(crate) pause: Duration,
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    /// Microseconds of each round trip.
    pub(crate) times: Vec<f64>,
    /// Questions without an answer.
    pub(crate) lost: u64,
}

impl Questions {
    /// Asks from the left host of a pair until `over` says so (asked before each question, with the count so far).
    pub(crate) fn ask(&self, pair: &Pair, over: impl Fn(u64) -> bool + Send) -> Result<Answers> {
        match self.carrier {
            Carrier::Icmp => {
                allow_ping_sockets(&pair.left)?;
                let target = SocketAddr::from((RIGHT, 0));
                pair.left
                    .inside(|| self.exchange(&ping_socket()?, target, over))?
            }
            Carrier::Udp => {
                let answering = Answering::start(&pair.right)?;
                let target = answering.address;
                pair.left
                    .inside(|| self.exchange(&UdpSocket::bind("0.0.0.0:0")?, target, over))?
            }
        }
    }

    fn exchange(
        &self,
        socket: &UdpSocket,
        target: SocketAddr,
        over: impl Fn(u64) -> bool,
    ) -> Result<Answers> {
        socket.connect(target).context("no route")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let (mut answers, mut number) = (Answers::default(), 0);
        while !over(number) {
            let question = question(number as u32);
            let start = Instant::now();
            socket.send(&question).context("cannot send a question")?;
            match answered(socket, &question, start) {
                Some(time) => answers.times.push(time.as_secs_f64() * 1e6),
                None => answers.lost += 1,
            }
            number += 1;
            std::thread::sleep(self.pause);
        }
        Ok(answers)
    }
}

/// Late answers to earlier questions are passed over.
fn answered(socket: &UdpSocket, question: &[u8; SIZE], start: Instant) -> Option<Duration> {
    let mut answer = [0; SIZE];
    loop {
        let length = socket.recv(&mut answer).ok()?;
        let time = start.elapsed();
        if length == SIZE && answer[NUMBER] == question[NUMBER] {
            return Some(time);
        }
        if time > PATIENCE {
            return None;
        }
    }
}

/// An ICMP echo request (RFC 792) whose identifier and checksum the kernel fills in, or the same bytes in a datagram.
fn question(number: u32) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    bytes[0] = 8;
    bytes[NUMBER].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// See ping_group_range in icmp(7).
fn allow_ping_sockets(host: &Host) -> Result<()> {
    host.sysctl("ipv4/ping_group_range", "0 0")
}

/// A socket of kind "ping": unlike a raw one it gets the answers to its own questions only.
fn ping_socket() -> Result<UdpSocket> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, Some(ipproto::ICMP));
    Ok(UdpSocket::from(socket.context("cannot open a ping socket")?))
}

/// A thread on a host that sends each datagram back. Dropping it ends it.
struct Answering {
    address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl Answering {
    fn start(host: &Host) -> Result<Answering> {
        let socket = host.inside(|| UdpSocket::bind((RIGHT, 0)))??;
        socket.set_read_timeout(Some(TICK))?;
        let (address, over) = (socket.local_addr()?, Arc::new(AtomicBool::new(false)));
        ensure!(address.port() != 0, "the answering socket has no port");
        let until = over.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; SIZE];
            while !until.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut bytes) {
                    let _lost = socket.send_to(&bytes[..length], from);
                }
            }
        });
        Ok(Answering { address, over })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
