//! A steady one-way pulse of small datagrams, to see when traffic stops and when it is back.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{BLOCK, fill, unspecified};
use crate::wait::eventually;
use crate::world::Host;

/// Between two beats.
const BEAT: Duration = Duration::from_millis(10);

/// A pulse from one host to another. Dropping it ends it.
#[derive(Debug)]
pub struct Pulse {
    name: String,
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Debug, Default)]
struct Heard {
    beats: u64,
    source: Option<SocketAddr>,
    last: Option<Instant>,
    longest_silence: Duration,
}

impl Pulse {
    /// Starts sending from `from` to `address` of `to`, every ten milliseconds.
    ///
    /// # Errors
    /// The address is not one of `to`.
    pub fn start(from: &Host, to: &Host, address: IpAddr) -> Result<Pulse> {
        let server = to
            .inside(|| UdpSocket::bind((address, 0)))?
            .context("cannot bind")?;
        let target = server.local_addr()?;
        let pulse = Pulse {
            name: format!("the pulse from {} to {}", from.name(), to.name()),
            over: Arc::default(),
            sent: Arc::default(),
            heard: Arc::default(),
        };
        let (over, heard) = (pulse.over.clone(), pulse.heard.clone());
        to.background(move || hear(&server, &over, &heard))?;
        let (over, sent) = (pulse.over.clone(), pulse.sent.clone());
        from.background(move || beat(target, &over, &sent))?;
        Ok(pulse)
    }

    /// Waits until a beat that is sent from now on arrives.
    ///
    /// # Errors
    /// None does within `within`.
    pub fn flows(&self, within: Duration) -> Result<()> {
        let now = self.sent.load(Ordering::Relaxed);
        self.heard_beyond(now, within)
    }

    /// Waits until the pulse has been silent for `silence`.
    ///
    /// # Errors
    /// It is not, within `within`.
    pub fn falls_silent(&self, silence: Duration, within: Duration) -> Result<()> {
        eventually(&format!("{} falls silent", self.name), within, || {
            let last = self.heard().last;
            ensure!(
                last.is_none_or(|last| last.elapsed() >= silence),
                "it still beats"
            );
            Ok(())
        })
    }

    /// The sender's address as the receiver saw it last.
    pub fn source(&self) -> Option<IpAddr> {
        self.heard().source.map(|source| source.ip())
    }

    /// The longest time between two beats that arrived, since the last call.
    pub fn longest_silence(&self) -> Duration {
        std::mem::take(&mut self.heard().longest_silence)
    }

    fn heard_beyond(&self, number: u64, within: Duration) -> Result<()> {
        eventually(&format!("{} flows", self.name), within, || {
            let beats = self.heard().beats;
            ensure!(
                beats > number,
                "the last beat heard was {beats}, sent was {number} at first"
            );
            Ok(())
        })
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// A socket that lost its route, or was told of an unreachable host, sends on: that is the test's subject.
fn beat(target: SocketAddr, over: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let socket = UdpSocket::bind((unspecified(target.ip()), 0))?;
    let mut block = [0; BLOCK];
    while !over.load(Ordering::Relaxed) {
        let number = sent.fetch_add(1, Ordering::Relaxed) + 1;
        fill(&mut block, 0, number);
        let _lost = socket.send_to(&block, target);
        std::thread::sleep(BEAT);
    }
    Ok(())
}

fn hear(server: &UdpSocket, over: &AtomicBool, heard: &Mutex<Heard>) -> Result<()> {
    server.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut got = [0; BLOCK];
    let mut expected = [0; BLOCK];
    while !over.load(Ordering::Relaxed) {
        let Ok((BLOCK, source)) = server.recv_from(&mut got) else {
            continue;
        };
        let number = got[16..24].try_into().map(u64::from_be_bytes)?;
        fill(&mut expected, 0, number);
        if got == expected {
            note(
                &mut heard.lock().unwrap_or_else(PoisonError::into_inner),
                number,
                source,
            );
        }
    }
    Ok(())
}

fn note(heard: &mut Heard, number: u64, source: SocketAddr) {
    let now = Instant::now();
    let silence = heard.last.map_or(Duration::ZERO, |last| now - last);
    heard.longest_silence = heard.longest_silence.max(silence);
    heard.last = Some(now);
    heard.beats = heard.beats.max(number);
    heard.source = Some(source);
}
