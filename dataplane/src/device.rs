//! The handle: starts the lanes, tells them what should be, and asks them what is.

mod listen;

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use crate::error::{PingError, StartError, TunError};
use crate::event::DataplaneEvent;
use crate::interface::{Interface, TunConfig, TunInfo};
use crate::lane::command::{Command, Commander, commands};
use crate::lane::counters::LaneCounters;
use crate::lane::engine::{EngineConfig, LaneEngine};
use crate::lane::{Lane, LaneIo, MAX_SOCKETS};
use crate::offload::switch::Offloads;
use crate::path::stamp::NtpClock;
use crate::stats::Stats;
use crate::table::{CompiledTable, PeerId, Table};
use crate::tun_watch::TunWatch;
use crate::underlay::{Underlay, UnderlayPort, open_port};

/// Events that may wait for the node.
const EVENTS: usize = 1_024;

/// How long a lane may take to let go of its queue or its sockets. A turn takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// The address of a data plane that listens nowhere.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

/// How to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataplaneConfig {
    /// Addresses to listen on; all UDP. Port 0 lets the kernel choose. None: nothing comes in until
    /// [`Dataplane::listen`].
    pub listen: Vec<SocketAddr>,
    /// Mark of the sockets' packets (SO_MARK); 0 for none, which needs no privilege.
    pub mark: u32,
    /// How many lanes; this version runs 1.
    pub lanes: u8,
    /// Which offloads to use where the kernel has them.
    pub offloads: Offloads,
}

/// The running data plane. Dropping it stops the lanes and removes the interface.
pub struct Dataplane {
    lane: LaneHandle,
    underlay: ArcSwap<Underlay>,
    port: UnderlayPort,
    tables: Arc<ArcSwap<CompiledTable>>,
    interface: Mutex<Option<Interface>>,
    events: Mutex<Option<mpsc::Receiver<DataplaneEvent>>>,
    counters: Arc<LaneCounters>,
    offloads: Offloads,
}

struct LaneHandle {
    commander: Commander,
    thread: Option<JoinHandle<()>>,
}

impl Dataplane {
    /// Binds the sockets and starts the lane, without a TUN: QUIC and tunnels work from here on.
    pub fn start(config: DataplaneConfig) -> Result<Dataplane, StartError> {
        if config.lanes != 1 {
            return Err(StartError::Lanes(config.lanes));
        }
        if config.listen.len() > MAX_SOCKETS {
            return Err(StartError::TooManyAddresses(config.listen.len()));
        }
        let now = clock();
        let underlay = Arc::new(Underlay::bind(&config.listen, config.mark, config.offloads)?);
        let local = underlay.local_addr().unwrap_or(NOWHERE);
        let (port, feeder) = open_port(Arc::clone(&underlay), local, now);
        let (events_in, events) = mpsc::channel(EVENTS);
        let tables = Arc::new(ArcSwap::from_pointee(CompiledTable::default()));
        let counters = Arc::new(LaneCounters::new(now));
        let (commander, commands, waker) = commands().map_err(StartError::Lane)?;
        let io = LaneIo::new(
            Arc::clone(&underlay),
            feeder,
            waker,
            Arc::clone(&counters),
            config.offloads,
        )
        .map_err(StartError::Lane)?;
        let lane = Lane {
            engine: LaneEngine::new(engine_config(Arc::clone(&counters), now)),
            io,
            table: tables.load_full(),
            tables: Arc::clone(&tables),
            commands,
            events: events_in,
            pings: Default::default(),
        };
        let thread = Some(spawn(0, lane.events.clone(), || lane.run()).map_err(StartError::Lane)?);
        Ok(Dataplane {
            lane: LaneHandle { commander, thread },
            underlay: ArcSwap::new(underlay),
            port,
            tables,
            interface: Mutex::default(),
            events: Mutex::new(Some(events)),
            counters,
            offloads: config.offloads,
        })
    }

    /// QUIC's end of the underlay. All ports share one queue.
    pub fn port(&self) -> UnderlayPort {
        self.port.clone()
    }

    /// The bound addresses: fewer than configured on a host without IPv6.
    pub fn listen_addrs(&self) -> Vec<SocketAddr> {
        self.underlay
            .load()
            .sockets()
            .iter()
            .map(|socket| socket.local())
            .collect()
    }

    /// Makes the TUN interface, up and with its MTU, and forwards through it from now on.
    pub fn attach_tun(&self, config: TunConfig) -> Result<TunInfo, TunError> {
        let mut attached = self.interface();
        if let Some(interface) = attached.as_ref().filter(|interface| interface.exists()) {
            return Err(TunError::Attached {
                name: interface.info.name.clone(),
            });
        }
        let (interface, queues) = Interface::open(&config, 1, self.offloads)?;
        for queue in queues {
            self.lane
                .commander
                .send(Command::AttachTun(queue))
                .map_err(|_| TunError::Stopped)?;
        }
        let info = interface.info.clone();
        *attached = Some(interface);
        Ok(info)
    }

    /// A view of the attached interface: up, down or gone. It keeps the interface alive.
    pub fn watch_tun(&self) -> io::Result<Option<TunWatch>> {
        self.interface().as_ref().map(Interface::watch).transpose()
    }

    /// Changes the MTU of the attached interface.
    pub fn set_mtu(&self, mtu: u16) -> Result<(), TunError> {
        self.interface()
            .as_mut()
            .map_or(Ok(()), |interface| interface.set_mtu(mtu))
    }

    /// Removes the TUN interface. When this returns it is gone, unless a lane hangs.
    pub fn detach_tun(&self) {
        let Some(interface) = self.interface().take() else {
            return;
        };
        let (done_in, done) = sync_channel(0);
        if self.lane.commander.send(Command::DetachTun(done_in)).is_ok()
            && done.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout)
        {
            tracing::warn!(interface = %interface.info.name, "the lane does not let go of the TUN interface");
        }
    }

    /// Makes `table` what should be. Lanes take it between two batches; no packet is lost over it.
    pub fn apply(&self, table: Table) {
        self.tables.store(Arc::new(table.compile()));
        self.lane.commander.wake();
    }

    /// What happens from now on; only the first caller gets it.
    pub fn events(&self) -> Option<mpsc::Receiver<DataplaneEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What is, at this moment.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        self.counters.add_to(&mut stats, clock());
        self.port.drops().add_to(&mut stats.drops);
        self.underlay.load().add_to(&mut stats);
        stats
    }

    /// The round trip of one probe through the tunnel to `peer`.
    pub async fn ping(&self, peer: PeerId, timeout: Duration) -> Result<Duration, PingError> {
        let (reply, answer) = oneshot::channel();
        self.lane
            .commander
            .send(Command::Ping(peer, reply))
            .map_err(|_| PingError::Stopped)?;
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(PingError::Stopped),
            Err(_) => Err(PingError::TimedOut),
        }
    }

    /// Whether every lane's loop turns, seen within `timeout`: for health checks and watchdogs.
    pub async fn answers(&self, timeout: Duration) -> bool {
        let (reply, answer) = oneshot::channel();
        self.lane.commander.send(Command::Echo(reply)).is_ok()
            && matches!(tokio::time::timeout(timeout, answer).await, Ok(Ok(())))
    }

    /// Stops the lanes and removes the interface. When this returns both are gone.
    pub fn shutdown(self) {
        drop(self);
    }

    fn interface(&self) -> MutexGuard<'_, Option<Interface>> {
        self.interface.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        if self.lane.commander.send(Command::Shutdown).is_err() {
            tracing::debug!("the lane has stopped before");
        }
        if self
            .lane
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::warn!("the lane died while it reported its death");
        }
    }
}

impl fmt::Debug for Dataplane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataplane")
            .field("listen", &self.listen_addrs())
            .finish_non_exhaustive()
    }
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
            tracing::error!(lane = index, %cause, "a lane died: nothing is forwarded any more");
            if events
                .try_send(DataplaneEvent::LaneDied { lane: index, cause })
                .is_err()
            {
                tracing::debug!("nobody listens: `answers` will tell");
            }
        })
}

fn engine_config(counters: Arc<LaneCounters>, now: Instant) -> EngineConfig {
    #[expect(clippy::disallowed_methods, reason = "the shell is where time enters")]
    let since_1970 = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    EngineConfig {
        lane: 0,
        lanes: 1,
        // The hasher's keys come from the kernel's random source.
        seed: RandomState::new().build_hasher().finish() as u32,
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

fn clock() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the shell is where time enters")]
    Instant::now()
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
