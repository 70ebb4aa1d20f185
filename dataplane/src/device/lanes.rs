//! Starting lanes, and what the handle keeps of each.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use super::DataplaneConfig;
use crate::error::StartError;
use crate::event::DataplaneEvent;
use crate::lane::command::{Command, Commander, commands};
use crate::lane::counters::LaneCounters;
use crate::lane::engine::{EngineConfig, LaneEngine};
use crate::lane::link::Link;
use crate::lane::{Lane, LaneIo};
use crate::offload::switch::Offloads;
use crate::path::stamp::NtpClock;
use crate::stats::LaneStats;
use crate::table::CompiledTable;
use crate::underlay::{PortFeeder, Underlay};

/// Most lanes of a node: a record names no more.
pub(super) const MAX_LANES: u8 = 8;

/// One running lane. Dropping it ends it; where all are told to stop before, none waits for another.
pub(super) struct LaneHandle {
    pub(super) index: u8,
    pub(super) commander: Commander,
    pub(super) counters: Arc<LaneCounters>,
    pub(super) underlay: ArcSwap<Underlay>,
    thread: Option<JoinHandle<()>>,
}

impl LaneHandle {
    /// What it counted.
    pub(super) fn figures(&self) -> LaneStats {
        let port = self.underlay.load().local_addr().map_or(0, |local| local.port());
        self.counters.lane(self.index, port)
    }

    /// Asks whether its loop turns; `None`: it has ended.
    pub(super) fn ask(&self) -> Option<oneshot::Receiver<()>> {
        let (reply, answer) = oneshot::channel();
        self.commander.send(Command::Echo(reply)).ok()?;
        Some(answer)
    }

    /// Tells it to stop.
    pub(super) fn stop(&self) {
        if self.commander.send(Command::Shutdown).is_err() {
            tracing::debug!(lane = self.index, "the lane has stopped before");
        }
    }
}

impl Drop for LaneHandle {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.stop();
        if thread.join().is_err() {
            tracing::warn!(lane = self.index, "the lane died while it reported its death");
        }
    }
}

/// The sockets of each lane: lane `i` has the ports that many above lane 0's. Where one is taken there are fewer lanes.
pub(super) fn bind(config: &DataplaneConfig) -> Result<(Arc<Underlay>, Vec<Arc<Underlay>>), StartError> {
    if !(1..=MAX_LANES).contains(&config.lanes) {
        return Err(StartError::Lanes(config.lanes));
    }
    let first = Underlay::bind(&config.listen, config.mark, config.offloads)?;
    let base: Vec<SocketAddr> = first.sockets().iter().map(|socket| socket.local()).collect();
    let mut extra = Vec::new();
    for lane in 1..config.lanes {
        match bind_extra(&base, lane, config) {
            Ok(underlay) => extra.push(Arc::new(underlay)),
            Err(error) => {
                tracing::warn!(%error, wanted = config.lanes, "running with {lane} lanes only");
                break;
            }
        }
    }
    Ok((Arc::new(first), extra))
}

fn bind_extra(base: &[SocketAddr], lane: u8, config: &DataplaneConfig) -> Result<Underlay, StartError> {
    let above = |address: &SocketAddr| {
        let port = address.port().checked_add(lane.into());
        let port = port.ok_or(StartError::NoPortAbove(*address))?;
        Ok(SocketAddr::new(address.ip(), port))
    };
    let listen = base.iter().map(above).collect::<Result<Vec<_>, _>>()?;
    Underlay::bind(&listen, config.mark, config.offloads)
}

/// Starts one lane for each underlay. Lane 0 gets the `feeder`: its port carries QUIC too.
pub(super) fn start(
    underlays: Vec<Arc<Underlay>>,
    feeder: PortFeeder,
    tables: &Arc<ArcSwap<CompiledTable>>,
    events: &mpsc::Sender<DataplaneEvent>,
    offloads: Offloads,
    now: Instant,
) -> io::Result<Vec<LaneHandle>> {
    let ends = underlays
        .iter()
        .map(|_| commands())
        .collect::<io::Result<Vec<_>>>()?;
    let commanders: Vec<Commander> = ends.iter().map(|(commander, ..)| commander.clone()).collect();
    let lanes = underlays.len() as u8;
    let mut feeder = Some(feeder);
    let mut handles = Vec::new();
    let links = Link::connect(&commanders);
    for (((commander, commands, waker), link), underlay) in ends.into_iter().zip(links).zip(underlays) {
        let index = handles.len() as u8;
        let counters = Arc::new(LaneCounters::new(now));
        let feeder = feeder.take();
        let io = LaneIo::new(
            Arc::clone(&underlay),
            feeder,
            waker,
            Arc::clone(&counters),
            offloads,
        )?;
        let lane = Lane {
            index,
            engine: LaneEngine::new(engine_config(index, lanes, Arc::clone(&counters), now)),
            io,
            table: tables.load_full(),
            tables: Arc::clone(tables),
            commands,
            events: events.clone(),
            link,
            pings: Default::default(),
        };
        handles.push(LaneHandle {
            index,
            commander,
            counters,
            underlay: ArcSwap::new(underlay),
            thread: Some(spawn(index, events.clone(), || lane.run())?),
        });
    }
    Ok(handles)
}

/// Runs a lane's loop on a thread of its own; its death is an event, however it comes.
fn spawn(
    index: u8,
    events: mpsc::Sender<DataplaneEvent>,
    turn: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(format!("lane-{index}"))
        .spawn(move || {
            let cause = match catch_unwind(AssertUnwindSafe(turn)) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(panic) => panic_text(panic.as_ref()),
            };
            tracing::error!(lane = index, %cause, "a lane died: what the kernel gives it is lost from now on");
            if events
                .try_send(DataplaneEvent::LaneDied { lane: index, cause })
                .is_err()
            {
                tracing::debug!("nobody listens: `answers` will tell");
            }
        })
}

fn engine_config(lane: u8, lanes: u8, counters: Arc<LaneCounters>, now: Instant) -> EngineConfig {
    #[expect(clippy::disallowed_methods, reason = "the shell is where time enters")]
    let since_1970 = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    EngineConfig {
        lane,
        lanes,
        // The hasher's keys come from the kernel's random source.
        seed: RandomState::new().build_hasher().finish(),
        clock: NtpClock::new(now, since_1970),
        counters,
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let owned = || panic.downcast_ref::<String>().cloned();
    text.map(str::to_owned)
        .or_else(owned)
        .unwrap_or_else(|| "panic".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn death_of_a_lane_is_told_with_its_cause() {
        let (events_in, mut events) = mpsc::channel(4);
        let dead = |cause: &str| {
            Some(DataplaneEvent::LaneDied {
                lane: 3,
                cause: cause.to_owned(),
            })
        };
        spawn(3, events_in.clone(), || panic!("{} times", 2))
            .unwrap()
            .join()
            .unwrap();
        assert_eq!(events.blocking_recv(), dead("2 times"));
        spawn(3, events_in.clone(), || Err(io::Error::other("no epoll")))
            .unwrap()
            .join()
            .unwrap();
        assert_eq!(events.blocking_recv(), dead("no epoll"));
        spawn(3, events_in, || Ok(())).unwrap().join().unwrap();
        assert_eq!(events.blocking_recv(), None);
    }
}
