//! The task behind [`super::Netlink`]: one loop over commands and notifications.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use rtnetlink::Handle;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::kernel::{self, Refused};
use super::message::MARKED_TABLE;
use super::monitor::{self, Wake};
use super::pace::Pace;
use super::plan::{self, Interface, Owned, Step, Wanted};
use super::snapshot::Snapshot;
use super::{Counters, Farewell, Ledger, LocalChange, NetlinkError, Seen};
use crate::desired::KernelDesired;

type Reply<T> = oneshot::Sender<Result<T, NetlinkError>>;

/// What the handle asks for.
pub enum Command {
    Apply {
        desired: KernelDesired,
        reply: Reply<Vec<Refused>>,
    },
    Attach {
        interface: Interface,
        reply: Reply<Vec<Refused>>,
    },
    Stop {
        farewell: Farewell,
        reply: Reply<Vec<Refused>>,
    },
}

/// What goes with a lost link, its routes and addresses, is told within this time.
const LOSS: Duration = Duration::from_millis(2);

/// Passes after which something is still to do are repeated this much later.
const AGAIN: Duration = Duration::from_secs(1);

pub struct Task {
    handle: Handle,
    driver: JoinHandle<()>,
    listener: JoinHandle<()>,
    wake: Wake,
    ledger: Arc<dyn Ledger>,
    counters: Arc<Counters>,
    seen: watch::Sender<Seen>,
    owned: Owned,
    /// `None` until the first apply: until then nothing is swept, since nothing is known.
    desired: Option<KernelDesired>,
    addresses: BTreeSet<IpNet>,
    interface: Option<Interface>,
    pace: Pace,
    warned_v6: bool,
}

impl Task {
    pub async fn open(
        ledger: Arc<dyn Ledger>,
        counters: Arc<Counters>,
        local: broadcast::Sender<LocalChange>,
    ) -> Result<(Task, watch::Receiver<Seen>), NetlinkError> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let driver = tokio::spawn(connection);
        let wake = Wake::default();
        let listener = tokio::spawn(monitor::listen(wake.clone(), local));
        let (seen, follow) = watch::channel(Seen::default());
        let owned = ledger.owned();
        let task = Task {
            handle,
            driver,
            listener,
            wake,
            ledger,
            counters,
            seen,
            owned,
            desired: None,
            addresses: BTreeSet::new(),
            interface: None,
            pace: Pace::default(),
            warned_v6: false,
        };
        let ipv6 = task.ipv6();
        let snapshot = task.read(ipv6).await?;
        task.publish(&snapshot, ipv6, &[]);
        Ok((task, follow))
    }

    pub async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut retry = None;
        loop {
            let again = async {
                match retry {
                    Some(delay) => tokio::time::sleep(delay).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(Command::Stop { farewell, reply }) => {
                        answer(reply, self.clean_up(farewell).await);
                        break;
                    }
                    Some(command) => retry = self.handle_command(command).await,
                    None => break,
                },
                () = self.wake.changed.notified() => {
                    self.pause().await;
                    retry = self.repair().await;
                }
                () = again => retry = self.repair().await,
            }
        }
        self.listener.abort();
        self.driver.abort();
    }

    /// Lets a burst of changes end; a lost link is told at once.
    async fn pause(&self) {
        tokio::select! {
            () = tokio::time::sleep(self.pace.delay()) => {}
            () = self.wake.lost.notified() => tokio::time::sleep(LOSS).await,
        }
    }

    /// Returns when to try again, if it did not work out.
    async fn handle_command(&mut self, command: Command) -> Option<Duration> {
        let reply = match command {
            Command::Apply { desired, reply } => {
                self.desired = Some(desired);
                reply
            }
            Command::Attach { interface, reply } => {
                self.interface = Some(interface);
                reply
            }
            Command::Stop { .. } => return None,
        };
        let outcome = self.pass().await.map(|(_, refused)| refused);
        let settled = matches!(&outcome, Ok(refused) if refused.is_empty());
        answer(reply, outcome);
        (!settled).then_some(AGAIN)
    }

    /// A pass after somebody else's change; returns when to look again if it did not work out.
    async fn repair(&mut self) -> Option<Duration> {
        match self.pass().await {
            Ok((0, refused)) if refused.is_empty() => None,
            Ok((steps, refused)) => {
                if steps > refused.len() {
                    self.count_repair(steps - refused.len());
                }
                (!refused.is_empty()).then_some(AGAIN.max(self.pace.delay()))
            }
            Err(error) => {
                tracing::warn!(%error, "cannot compare the kernel with what should be");
                Some(AGAIN)
            }
        }
    }

    fn count_repair(&mut self, steps: usize) {
        self.counters.repairs.fetch_add(1, Ordering::Relaxed);
        let fighting = self.pace.is_fighting();
        self.pace.repaired(Instant::now());
        if self.pace.is_fighting() && !fighting {
            tracing::warn!("another program keeps undoing our routes, rules or link settings: slowing down");
        }
        tracing::info!(steps, "repaired what another program changed in the kernel");
    }

    /// One comparison: number of steps tried, and the refused ones.
    async fn pass(&mut self) -> Result<(usize, Vec<Refused>), NetlinkError> {
        let ipv6 = self.ipv6();
        self.warn_once_without_v6(ipv6);
        let snapshot = self.read(ipv6).await?;
        let Some(desired) = self.desired.clone() else {
            self.publish(&snapshot, ipv6, &[]);
            return Ok((0, Vec::new()));
        };
        let wanted = Wanted {
            kernel: &desired,
            interface: self
                .interface
                .as_ref()
                .filter(|i| snapshot.links.contains_key(&i.index)),
            owned: &self.owned,
            previous: &self.addresses,
            ipv6,
        };
        self.publish_host(&snapshot, ipv6);
        let pins: BTreeSet<IpNet> = plan::wanted_pins(&snapshot, &wanted).into_keys().collect();
        let steps = plan::plan(&snapshot, &wanted);
        self.remember_more(&desired, &pins);
        let tried = steps.len();
        let refused = kernel::carry_out(&self.handle, steps).await;
        self.counters
            .refused
            .fetch_add(refused.len() as u64, Ordering::Relaxed);
        if refused.is_empty() {
            self.remember(Owned {
                guards: desired.guards.clone(),
                pins,
            });
        }
        self.addresses.clone_from(&desired.addresses);
        self.publish(&snapshot, ipv6, &refused);
        permission(refused).map(|refused| (tried, refused))
    }

    async fn read(&self, ipv6: bool) -> Result<Snapshot, NetlinkError> {
        Snapshot::read(&self.handle, ipv6)
            .await
            .map_err(|e| NetlinkError::Read(e.to_string()))
    }

    /// Written down before it is done: a crash in between leaves nothing that nobody knows of.
    fn remember_more(&mut self, desired: &KernelDesired, pins: &BTreeSet<IpNet>) {
        let mut more = self.owned.clone();
        more.guards.extend(desired.guards.iter().copied());
        more.pins.extend(pins.iter().copied());
        self.remember(more);
    }

    fn remember(&mut self, owned: Owned) {
        if owned == self.owned {
            return;
        }
        if let Err(error) = self.ledger.remember(&owned) {
            tracing::warn!(%error, "cannot write down which kernel routes are ours; going on from memory");
        }
        self.owned = owned;
    }

    /// What the host is like is told before anything is repaired: others may have to move their traffic.
    fn publish_host(&self, snapshot: &Snapshot, ipv6: bool) {
        let host = Arc::new(snapshot.host(self.interface.as_ref().map(|i| i.index), ipv6));
        self.seen.send_if_modified(|last| {
            let news = last.host != host;
            last.host = host;
            news
        });
    }

    fn publish(&self, snapshot: &Snapshot, ipv6: bool, refused: &[Refused]) {
        let index = self.interface.as_ref().map(|i| i.index);
        let seen = Seen {
            host: Arc::new(snapshot.host(index, ipv6)),
            interface_gone: index.is_some_and(|i| !snapshot.links.contains_key(&i)),
            refused: refused.iter().map(|r| format!("{}: {}", r.what, r.why)).collect(),
        };
        self.seen.send_if_modified(|last| {
            let news = *last != seen;
            for line in seen.refused.iter().filter(|line| !last.refused.contains(line)) {
                tracing::warn!("the kernel refuses: {line}");
            }
            *last = seen;
            news
        });
    }

    async fn clean_up(&mut self, farewell: Farewell) -> Result<Vec<Refused>, NetlinkError> {
        if self.desired.is_none() && farewell == Farewell::KeepGuards {
            // Nothing was installed; what stands there may be in use by another node of this host.
            return Ok(Vec::new());
        }
        let ipv6 = self.ipv6();
        let snapshot = self.read(ipv6).await?;
        let index = self.interface.as_ref().map(|i| i.index);
        let gone = |r: &&super::message::SeenRoute| {
            let guard =
                farewell == Farewell::RemoveAll && r.is_guard() && self.owned.guards.contains(&r.prefix);
            let mesh = r.in_main() && r.is_ours() && index.is_some() && r.oif == index;
            let pin = r.in_main() && r.is_ours() && !r.is_guard() && self.owned.pins.contains(&r.prefix);
            guard || mesh || pin || (r.table == MARKED_TABLE && r.is_ours())
        };
        let steps = snapshot
            .routes
            .iter()
            .filter(gone)
            .map(|r| Step::DeleteRoute(plan::exact(r)))
            .collect();
        let refused = kernel::carry_out(&self.handle, steps).await;
        for v6 in [false, true]
            .into_iter()
            .filter(|v6| if *v6 { snapshot.rule_v6 } else { snapshot.rule_v4 })
        {
            if let Err(error) = kernel::delete_rule(&self.handle, v6).await {
                tracing::warn!(%error, "cannot delete our routing rule");
            }
        }
        let guards = match farewell {
            Farewell::KeepGuards => self.owned.guards.clone(),
            Farewell::RemoveAll => BTreeSet::new(),
        };
        if refused.is_empty() {
            self.remember(Owned {
                guards,
                pins: BTreeSet::new(),
            });
        }
        permission(refused)
    }

    fn ipv6(&self) -> bool {
        let settings = crate::adapt::sysctl::Settings::of_kernel();
        let ours = self.interface.as_ref().and_then(|i| settings.ipv6_of(&i.name));
        ours.unwrap_or_else(|| settings.ipv6_enabled("default"))
    }

    fn warn_once_without_v6(&mut self, ipv6: bool) {
        if !ipv6 && !std::mem::replace(&mut self.warned_v6, true) {
            tracing::warn!(
                "IPv6 is disabled on this host: IPv6 routes and addresses of the mesh are left out"
            );
        }
    }
}

fn permission(refused: Vec<Refused>) -> Result<Vec<Refused>, NetlinkError> {
    match refused.iter().find(|r| r.is_permission()) {
        Some(r) => Err(NetlinkError::Permission {
            what: r.what.clone(),
            why: r.why.clone(),
        }),
        None => Ok(refused),
    }
}

/// The asker may have given up: then nobody is left to tell.
fn answer<T>(reply: Reply<T>, result: Result<T, NetlinkError>) {
    if reply.send(result).is_err() {
        tracing::debug!("a netlink command was answered after its asker had gone");
    }
}
