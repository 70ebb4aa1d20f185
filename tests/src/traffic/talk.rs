//! One open TCP connection with a word each way all the time: does it outlive a failure?

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{BLOCK, fill};
use crate::wait::eventually;
use crate::world::Host;

/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(10);
/// A connection is dead that makes no progress for this long.
const PATIENCE: Duration = Duration::from_secs(90);

/// A conversation between two hosts. Dropping it ends it.
#[derive(Debug)]
pub struct Talk {
    name: String,
    over: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
    asking: Option<JoinHandle<Result<()>>>,
}

impl Talk {
    /// Connects from `from` to `address` of `to`, and talks.
    ///
    /// # Errors
    /// The address is not one of `to`.
    pub fn start(from: &Host, to: &Host, address: IpAddr) -> Result<Talk> {
        let listener = to
            .inside(|| TcpListener::bind((address, 0)))?
            .context("cannot listen")?;
        let target = listener.local_addr()?;
        let over: Arc<AtomicBool> = Arc::default();
        let asked: Arc<AtomicU64> = Arc::default();
        let answered: Arc<AtomicU64> = Arc::default();
        to.background({
            let over = over.clone();
            move || answer(&listener, &over)
        })?;
        let asking = from.background({
            let (over, asked, answered) = (over.clone(), asked.clone(), answered.clone());
            move || ask(target, &over, &asked, &answered)
        })?;
        Ok(Talk {
            name: format!("the connection from {} to {}", from.name(), to.name()),
            over,
            asked,
            answered,
            asking: Some(asking),
        })
    }

    /// Waits until a question that is asked from now on is answered, on the same connection.
    ///
    /// # Errors
    /// It broke, or there was no answer within `within`.
    pub fn goes_on(&mut self, within: Duration) -> Result<()> {
        let now = self.asked.load(Ordering::Relaxed);
        let broken = || self.asking.as_ref().is_none_or(JoinHandle::is_finished);
        eventually(&format!("{} goes on", self.name), within, || {
            let answered = self.answered.load(Ordering::Relaxed);
            // Nothing will come any more once it broke: the reason is looked for at once.
            ensure!(
                answered > now || broken(),
                "{answered} answers, asked was {now} times"
            );
            Ok(())
        })?;
        if broken() { self.reason() } else { Ok(()) }
    }

    /// Whether it broke.
    pub fn is_broken(&self) -> bool {
        self.asking.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn reason(&mut self) -> Result<()> {
        let ended = self.asking.take().map(JoinHandle::join);
        match ended {
            Some(Ok(Err(error))) => Err(error).with_context(|| format!("{} broke", self.name)),
            _ => bail!("{} ended", self.name),
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn ask(target: SocketAddr, over: &AtomicBool, asked: &AtomicU64, answered: &AtomicU64) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE).context("cannot connect")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let (mut question, mut got) = ([0; BLOCK], [0; BLOCK]);
    while !over.load(Ordering::Relaxed) {
        let number = asked.fetch_add(1, Ordering::Relaxed) + 1;
        fill(&mut question, 0, number);
        stream.write_all(&question).context("cannot ask")?;
        stream.read_exact(&mut got).context("no answer")?;
        ensure!(got == question, "answer {number} is not what was asked");
        answered.store(number, Ordering::Relaxed);
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Serves one connection, until the other side is gone.
fn answer(listener: &TcpListener, over: &AtomicBool) -> Result<()> {
    listener.set_nonblocking(true)?;
    let (mut stream, _) = eventually("a connection", PATIENCE, || {
        ensure!(!over.load(Ordering::Relaxed), "over");
        Ok(listener.accept()?)
    })?;
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    let mut block = [0; BLOCK];
    while stream.read_exact(&mut block).is_ok() {
        stream.write_all(&block)?;
    }
    Ok(())
}
