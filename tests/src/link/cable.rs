//! The shell: a TAP on each host, and a thread each way.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tun::{Device, Layer};

use super::{Conditions, Counts, Way};
use crate::world::Host;

/// How long a thread waits before it looks whether conditions changed or the link is gone.
const TICK: Duration = Duration::from_millis(20);
/// Larger than any frame.
const BUFFER: usize = 1 << 16;

/// Which way of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the first host to the second.
    There,
    /// From the second to the first.
    Back,
}

/// A running link. Clones are the same link; [`Link::end`] ends it, as the end of its world does.
#[derive(Clone, Debug)]
pub struct Link {
    ways: [Arc<Mutex<Way>>; 2],
    over: Arc<AtomicBool>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Link {
    pub(crate) fn start(a: (&Host, &str), b: (&Host, &str)) -> Result<Link> {
        let [near, far] = [tap(a)?, tap(b)?].map(Arc::new);
        let link = Link {
            ways: [1, 2].map(|seed| Arc::new(Mutex::new(Way::new(seed)))),
            over: Arc::default(),
            threads: Arc::default(),
        };
        link.carry(near.clone(), far.clone(), Direction::There);
        link.carry(far, near, Direction::Back);
        Ok(link)
    }

    /// Changes one way, from now on.
    pub fn set(&self, direction: Direction, conditions: Conditions) {
        self.way(direction).set(conditions);
    }

    /// Changes both ways.
    pub fn set_both(&self, conditions: Conditions) {
        self.set(Direction::There, conditions);
        self.set(Direction::Back, conditions);
    }

    /// What became of the frames of one way.
    pub fn counts(&self, direction: Direction) -> Counts {
        self.way(direction).counts()
    }

    /// Ends it, and both interfaces with it.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            let _it_had_nothing_to_say = thread.join();
        }
    }

    fn way(&self, direction: Direction) -> MutexGuard<'_, Way> {
        lock(&self.ways[direction as usize])
    }

    fn carry(&self, from: Arc<Device>, to: Arc<Device>, direction: Direction) {
        let (way, over) = (self.ways[direction as usize].clone(), self.over.clone());
        let thread = std::thread::spawn(move || carry(&from, &to, &way, &over));
        self.threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(thread);
    }
}

/// Until the link is over, or an interface is gone with its host.
fn carry(from: &Device, to: &Device, way: &Mutex<Way>, over: &AtomicBool) {
    let mut buffer = vec![0; BUFFER];
    while !over.load(Ordering::Relaxed) {
        let patience = deliver(to, way);
        match from.recv_timeout(&mut buffer, patience) {
            Ok(length) => lock(way).handle_frame(&buffer[..length], Instant::now()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            Err(_) => return,
        }
    }
}

/// Hands over what is due; returns how long there is nothing to do. A frame that an interface refuses (it is down, or
/// its host's queue is full) is lost like any other: that is what a cable does.
fn deliver(to: &Device, way: &Mutex<Way>) -> Duration {
    let now = Instant::now();
    loop {
        let mut way = lock(way);
        let Some(frame) = way.poll_frame(now) else {
            let due = way.poll_timeout();
            return due.map_or(TICK, |due| due.saturating_duration_since(now).min(TICK));
        };
        drop(way);
        let _lost = to.send(&frame);
    }
}

/// A TAP on a host, up, without addresses. It lives as long as what is returned.
fn tap((host, name): (&Host, &str)) -> Result<Device> {
    let mut config = tun::configure();
    config.layer(Layer::L2).tun_name(name).up();
    host.inside(|| tun::create(&config))?
        .with_context(|| format!("cannot make the TAP {name} on {}", host.name()))
}

fn lock(way: &Mutex<Way>) -> MutexGuard<'_, Way> {
    way.lock().unwrap_or_else(PoisonError::into_inner)
}
