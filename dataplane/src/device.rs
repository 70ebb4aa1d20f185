//! The handle: starts the lanes, tells them what should be, and asks them what is.

mod lanes;
mod listen;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use crate::check::Verdicts;
use crate::error::{PingError, StartError, TunError};
use crate::event::DataplaneEvent;
use crate::interface::{Interface, TunConfig, TunInfo};
use crate::lane::MAX_SOCKETS;
use crate::lane::command::Command;
use crate::offload::switch::Offloads;
use crate::stats::{PeerHealth, Stats};
use crate::table::{CompiledTable, PeerId, Table};
use crate::tun_watch::TunWatch;
use crate::underlay::{Socket, Underlay, UnderlayPort, open_port};
use lanes::LaneHandle;

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
    /// How many lanes, 1 to 8. Lane `i` listens that many ports above; where one is taken there are fewer.
    pub lanes: u8,
    /// Which offloads to use where the kernel has them.
    pub offloads: Offloads,
}

/// The running data plane. Dropping it stops the lanes and removes the interface.
pub struct Dataplane {
    /// Lane 0 first; never empty.
    lanes: Vec<LaneHandle>,
    port: UnderlayPort,
    tables: Arc<ArcSwap<CompiledTable>>,
    interface: Mutex<Option<Interface>>,
    events: Mutex<Option<mpsc::Receiver<DataplaneEvent>>>,
    offloads: Offloads,
}

impl Dataplane {
    /// Binds the sockets and starts the lanes, without a TUN: QUIC and tunnels work from here on.
    pub fn start(config: DataplaneConfig) -> Result<Dataplane, StartError> {
        if config.listen.len() > MAX_SOCKETS {
            return Err(StartError::TooManyAddresses(config.listen.len()));
        }
        let now = clock();
        let (first, extra) = lanes::bind(&config)?;
        let local = first.local_addr().unwrap_or(NOWHERE);
        let (port, feeder) = open_port(Arc::clone(&first), local, now);
        let underlays = std::iter::once(first).chain(extra).collect();
        let (events_in, events) = mpsc::channel(EVENTS);
        let tables = Arc::new(ArcSwap::from_pointee(CompiledTable::default()));
        let lanes = lanes::start(underlays, feeder, &tables, &events_in, config.offloads, now)
            .map_err(StartError::Lane)?;
        Ok(Dataplane {
            lanes,
            port,
            tables,
            interface: Mutex::default(),
            events: Mutex::new(Some(events)),
            offloads: config.offloads,
        })
    }

    /// How many lanes there are: as many as asked for, or fewer where a port was taken.
    pub fn lanes(&self) -> u8 {
        self.lanes.len() as u8
    }

    /// QUIC's end of the underlay. All ports share one queue.
    pub fn port(&self) -> UnderlayPort {
        self.port.clone()
    }

    /// The bound addresses of lane 0: fewer than configured on a host without IPv6.
    pub fn listen_addrs(&self) -> Vec<SocketAddr> {
        let sockets = self.lanes.first().map(|lane| lane.underlay.load_full());
        let local = |underlay: Arc<Underlay>| underlay.sockets().iter().map(Socket::local).collect();
        sockets.map(local).unwrap_or_default()
    }

    /// Makes the TUN interface, up and with its MTU, and forwards through it from now on.
    pub fn attach_tun(&self, config: TunConfig) -> Result<TunInfo, TunError> {
        let mut attached = self.interface();
        if let Some(interface) = attached.as_ref().filter(|interface| interface.exists()) {
            return Err(TunError::Attached {
                name: interface.info.name.clone(),
            });
        }
        let (interface, queues) = Interface::open(&config, self.lanes(), self.offloads)?;
        for (lane, queue) in self.lanes.iter().zip(queues) {
            lane.commander
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
        // All at once: each lane answers by dropping its end.
        let asked = self.lanes.iter().map(|lane| {
            let (done_in, done) = sync_channel(0);
            let taken = lane.commander.send(Command::DetachTun(done_in));
            taken.map(|()| (lane.index, done))
        });
        for (lane, done) in asked.flatten().collect::<Vec<_>>() {
            if done.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                tracing::warn!(lane, interface = %interface.info.name, "a lane does not let go of the TUN interface");
            }
        }
    }

    /// Makes `table` what should be. Lanes take it between two batches; no packet is lost over it.
    pub fn apply(&self, table: Table) {
        self.tables.store(Arc::new(table.compile()));
        self.lanes.iter().for_each(|lane| lane.commander.wake());
    }

    /// What the lanes forward by, at this moment.
    pub fn table(&self) -> Arc<CompiledTable> {
        self.tables.load_full()
    }

    /// What happens from now on; only the first caller gets it.
    pub fn events(&self) -> Option<mpsc::Receiver<DataplaneEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What is, at this moment.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for lane in &self.lanes {
            lane.counters.add_to(&mut stats, clock());
            lane.underlay.load().add_to(&mut stats);
            stats.lanes.push(lane.figures());
        }
        self.port.drops().add_to(&mut stats.drops);
        stats
    }

    /// How the path to each peer is, at this moment. A [`DataplaneEvent::PathChanged`] says when to look again; one that is
    /// lost loses nothing.
    pub fn health(&self) -> BTreeMap<PeerId, PeerHealth> {
        self.lanes
            .first()
            .map(|lane| lane.counters.health())
            .unwrap_or_default()
    }

    /// Addresses of this host changed, and those in `lost` are gone or without a link: what used them is moved away at once, and
    /// every peer hears from us, from wherever the kernel sends now.
    pub fn handle_local_change(&self, lost: &[IpAddr]) {
        let lost: Arc<[IpAddr]> = lost.into();
        for lane in &self.lanes {
            if lane
                .commander
                .send(Command::LocalChange(Arc::clone(&lost)))
                .is_err()
            {
                tracing::warn!(
                    lane = lane.index,
                    "the lane was not told that addresses of this host changed"
                );
            }
        }
    }

    /// Whether the targets of the table's checks answer, at this moment. A [`DataplaneEvent::CheckChanged`] says when to look
    /// again; one that is lost loses nothing.
    pub fn checks(&self) -> Arc<Verdicts> {
        self.lanes
            .first()
            .map(|lane| lane.counters.checks())
            .unwrap_or_default()
    }

    /// The round trip of one probe through the tunnel to `peer`.
    pub async fn ping(&self, peer: PeerId, timeout: Duration) -> Result<Duration, PingError> {
        let (reply, answer) = oneshot::channel();
        // Lane 0 is the one that probes.
        let first = self.lanes.first().ok_or(PingError::Stopped)?;
        first
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
        let asked: Option<Vec<_>> = self.lanes.iter().map(LaneHandle::ask).collect();
        let Some(answers) = asked else { return false };
        let all = async {
            for answer in answers {
                if answer.await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(timeout, all).await.unwrap_or(false)
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
        self.lanes.iter().for_each(LaneHandle::stop);
        self.lanes.clear();
    }
}

impl fmt::Debug for Dataplane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataplane")
            .field("listen", &self.listen_addrs())
            .finish_non_exhaustive()
    }
}

fn clock() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the shell is where time enters")]
    Instant::now()
}
