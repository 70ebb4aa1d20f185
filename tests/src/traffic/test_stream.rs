//! A stream of numbered datagrams, one each millisecond, one way: what a failure does to a flow.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::arrivals::{Arrival, Arrivals};
use super::{BLOCK, fill, unspecified};
use crate::wait::eventually;
use crate::world::Host;

/// Between two datagrams.
const BEAT: Duration = Duration::from_millis(1);
/// Payload: a block with the number, nanoseconds since the stream began, then nothing of interest.
const SIZE: usize = 200;
/// Room in the receiving socket for seconds of the stream: a late reader is no loss.
const ROOM: usize = 4 << 20;
/// How often a silent receiver looks whether the stream is over.
const TICK: Duration = Duration::from_millis(100);
/// Nothing for this long after the last datagram was sent: nothing more will come.
const DRAINS: Duration = Duration::from_millis(500);

/// A running stream. Dropping it ends it.
#[derive(Debug)]
pub struct TestStream {
    name: String,
    begin: Instant,
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    arrivals: Arc<Mutex<Arrivals>>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl TestStream {
    /// Begins to send from `from` to `address` of `to`.
    ///
    /// # Errors
    /// The address is not one of `to`.
    pub fn start(from: &Host, to: &Host, address: IpAddr) -> Result<TestStream> {
        let server = to
            .inside(|| UdpSocket::bind((address, 0)))?
            .context("cannot bind")?;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&server, ROOM)?;
        let (target, begin) = (server.local_addr()?, Instant::now());
        let over: Arc<AtomicBool> = Arc::default();
        let sent: Arc<AtomicU64> = Arc::default();
        let arrivals = Arc::new(Mutex::new(Arrivals::new(BEAT)));
        let receiver = to.background({
            let (over, arrivals) = (over.clone(), arrivals.clone());
            move || receive(&server, begin, &over, &arrivals)
        })?;
        let sender = from.background({
            let (over, sent) = (over.clone(), sent.clone());
            move || send(target, begin, &over, &sent)
        })?;
        Ok(TestStream {
            name: format!("the stream from {} to {}", from.name(), to.name()),
            begin,
            over,
            sent,
            arrivals,
            threads: vec![sender, receiver],
        })
    }

    /// Ends the account so far and begins another.
    pub fn turn_page(&self) -> Arrivals {
        self.arrivals().turn_page()
    }

    /// How many were sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// The time on the clock of [`Arrival`]s.
    pub fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// When the last datagram arrived, on that clock.
    pub fn last_received(&self) -> Option<Duration> {
        self.arrivals().last_received()
    }

    /// Waits until a datagram that is sent from now on arrives.
    ///
    /// # Errors
    /// None does within `within`.
    pub fn flows(&self, within: Duration) -> Result<()> {
        let now = self.sent();
        eventually(&format!("{} flows", self.name), within, || {
            let highest = self.arrivals().highest();
            ensure!(highest > now, "the last one heard was {highest}, sent was {now}");
            Ok(())
        })
    }

    /// Waits until the last `count` datagrams arrived without a hole or a pause, some of them sent from now on.
    ///
    /// # Errors
    /// They do not within `within`.
    pub fn flows_steadily(&self, count: u64, within: Duration) -> Result<()> {
        let now = self.sent();
        eventually(&format!("{} flows steadily", self.name), within, || {
            let arrivals = self.arrivals();
            let (steady, highest) = (arrivals.steady(), arrivals.highest());
            ensure!(
                highest > now && steady >= count,
                "{steady} in a row, the last one was {highest}, sent was {now}"
            );
            Ok(())
        })
    }

    /// Ends the stream, waits for what is under way, and returns the account of the last page.
    ///
    /// # Errors
    /// A thread failed.
    pub fn finish(mut self) -> Result<Arrivals> {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().ok().context("a thread of the stream panicked")??;
        }
        let mut arrivals = self.turn_page();
        arrivals.end(self.sent());
        Ok(arrivals)
    }

    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        lock(&self.arrivals)
    }
}

impl Drop for TestStream {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Keeps the beat; after a pause it does not catch up, for a burst would hide it. What cannot be sent is lost.
fn send(target: SocketAddr, begin: Instant, over: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let socket = UdpSocket::bind((unspecified(target.ip()), 0))?;
    let (mut datagram, mut block) = ([0; SIZE], [0; BLOCK]);
    let mut next = Instant::now();
    while !over.load(Ordering::Relaxed) {
        let number = sent.fetch_add(1, Ordering::Relaxed) + 1;
        fill(&mut block, 0, number);
        datagram[..BLOCK].copy_from_slice(&block);
        let nanoseconds = u64::try_from(begin.elapsed().as_nanos())?;
        datagram[BLOCK..BLOCK + 8].copy_from_slice(&nanoseconds.to_be_bytes());
        let _counted_as_lost = socket.send_to(&datagram, target);
        next = (next + BEAT).max(Instant::now());
        std::thread::sleep(next.saturating_duration_since(Instant::now()).max(BEAT / 2));
    }
    Ok(())
}

fn receive(socket: &UdpSocket, begin: Instant, over: &AtomicBool, arrivals: &Mutex<Arrivals>) -> Result<()> {
    socket.set_read_timeout(Some(TICK))?;
    let mut datagram = [0; SIZE];
    let mut silent_since = Instant::now();
    loop {
        match socket.recv(&mut datagram) {
            Ok(SIZE) => {
                silent_since = Instant::now();
                let seen = read(&datagram, begin.elapsed())?;
                lock(arrivals).see(seen);
            }
            Ok(_) => {}
            Err(_) if over.load(Ordering::Relaxed) && silent_since.elapsed() >= DRAINS => return Ok(()),
            Err(_) => {}
        }
    }
}

fn read(datagram: &[u8; SIZE], received: Duration) -> Result<Arrival> {
    Ok(Arrival {
        number: u64::from_be_bytes(datagram[16..24].try_into()?),
        sent: Duration::from_nanos(u64::from_be_bytes(datagram[BLOCK..BLOCK + 8].try_into()?)),
        received,
    })
}

fn lock(arrivals: &Mutex<Arrivals>) -> MutexGuard<'_, Arrivals> {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}
