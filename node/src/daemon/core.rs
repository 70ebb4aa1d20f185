//! The core: one task that owns what this node wants, composes it with what it sees, and hands the
//! result to the adapters. All changes go through here, one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshnode_crypto::{MeshId, Name, NodeId};
use meshnode_dataplane::{Dataplane, DataplaneEvent};
use meshnode_membership::api::{Announcement, MembershipEvent};
use meshnode_membership::record::AnnouncedPrefix;
use meshnode_membership::record::serving::{CheckTarget, PrefixOptions};
use meshnode_membership::service::Membership;
use meshnode_membership::view::View;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::announce::{self, Announcing};
use super::changes::RouteChanges;
use super::composed::{self, Composed};
use super::journal::Journal;
use super::kernel::KernelKeeper;
use super::keys::RunKeys;
use super::node::wall_now;
use super::{endpoints, events, leaving};
use crate::adapt::lan::LanKeeper;
use crate::adapt::netlink::{Netlink, Seen};
use crate::api::refuse::Refuse;
use crate::api::types::{CidrAnswer, CidrRequest, ClientConfig, GuardAnswer, ReloadAnswer};
use crate::config::{PrefixTable, Settings};
use crate::desired::{self, Desired, GuardMemory, Local, Reach, Situation, choice};
use crate::features::Features;
use crate::features::lan_address::decide;
use crate::history::{self, routes, sources};
use crate::state::{Announced, StateDir};

type Reply<T> = oneshot::Sender<Result<T, Refuse>>;

/// What others may ask of the core.
pub enum Command {
    /// Announce or withdraw a prefix.
    Cidr(CidrRequest, Reply<CidrAnswer>),
    /// Read the configuration again.
    Reload(Reply<ReloadAnswer>),
    /// Attach a WireGuard device.
    ClientAdd(Name, Reply<ClientConfig>),
    /// Its configuration as it is now.
    ClientConfig(Name, Reply<ClientConfig>),
    /// Detach it.
    ClientRemove(Name, Reply<()>),
    /// Others are asked to send elsewhere, or here again, also after a restart; answered with whether that is new.
    Drain(bool, Reply<bool>),
    /// The same until this process ends, which is soon.
    Leaving(Reply<()>),
    /// Forget guards of prefixes that nobody announces.
    GuardClear(Reply<GuardAnswer>),
    /// A sign of life, for the watchdog.
    Echo(oneshot::Sender<()>),
}

/// Guards age by the hour; looking more often costs nothing.
const TICK: Duration = Duration::from_secs(600);

/// What the core works with.
pub struct Core {
    pub(super) mesh: MeshId,
    pub(super) me: NodeId,
    pub(super) settings: Arc<Settings>,
    pub(super) state: StateDir,
    pub(super) keys: RunKeys,
    pub(super) stored: Announced,
    pub(super) granted: Vec<ipnet::IpNet>,
    pub(super) dataplane: Arc<Dataplane>,
    pub(super) membership: Arc<Membership>,
    pub(super) netlink: Netlink,
    pub(super) features: Features,
    pub(super) memory: GuardMemory,
    pub(super) choice: choice::Memory,
    pub(super) reach: Reach,
    pub(super) leaving: bool,
    pub(super) lan: LanKeeper,
    pub(super) changes: RouteChanges,
    pub(super) journal: Arc<Journal>,
    pub(super) epoch: u64,
    pub(super) kernel: Option<KernelKeeper>,
    pub(super) announcement: Option<Announcement>,
    pub(super) advice: Vec<String>,
    pub(super) mtu: u16,
    pub(super) client_range: ipnet::Ipv4Net,
    pub(super) view: watch::Receiver<Arc<View>>,
    pub(super) seen: watch::Receiver<Seen>,
    pub(super) composed: Option<watch::Sender<Arc<Composed>>>,
}

impl Core {
    /// Runs until something vital ends.
    pub async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut dataplane: mpsc::Receiver<DataplaneEvent>,
        mut membership: broadcast::Receiver<MembershipEvent>,
    ) -> anyhow::Result<()> {
        let mut tick = tokio::time::interval(TICK);
        loop {
            let timers = [self.choice.poll_timeout(), self.features.checks.poll_timeout()];
            let due = due(timers.into_iter().flatten().min());
            tokio::select! {
                changed = self.view.changed() => changed.map_err(|_| anyhow::anyhow!("membership stopped"))?,
                changed = self.seen.changed() => {
                    changed.map_err(|_| anyhow::anyhow!("the netlink task stopped"))?;
                    self.check_interface()?;
                }
                Some(command) = commands.recv() => if !self.handle(command).await { continue },
                event = dataplane.recv() => {
                    let event = event.ok_or_else(|| anyhow::anyhow!("the data plane stopped"))?;
                    if !self.handle_events(event, &mut dataplane)? {
                        continue;
                    }
                }
                event = membership.recv() => {
                    let known = event.as_ref().ok();
                    self.journal.note(known.and_then(|event| sources::of_membership(event, &self.named())));
                    events::say(event, &self.view.borrow());
                    continue;
                }
                () = due => {}
                _ = tick.tick() => {}
            }
            self.apply().await?;
        }
    }

    /// Takes what else waits in one go; true when a path or a check changed, so that routes may.
    fn handle_events(
        &mut self,
        first: DataplaneEvent,
        more: &mut mpsc::Receiver<DataplaneEvent>,
    ) -> anyhow::Result<bool> {
        let (mut event, mut moved) = (Some(first), false);
        while let Some(one) = event {
            moved |= matches!(one, DataplaneEvent::PathChanged { .. })
                || self.features.checks.handle_event(&one, Instant::now());
            self.journal.note(sources::of_dataplane(&one, &self.named()));
            events::handle_dataplane(&one, &self.membership, &self.view.borrow())?;
            event = more.try_recv().ok();
        }
        Ok(moved)
    }

    /// Composes and makes it so. Data plane first: a revoked peer's tunnel, or a dead gateway, must not wait for the
    /// kernel.
    pub async fn apply(&mut self) -> anyhow::Result<()> {
        let view = Arc::clone(&self.view.borrow_and_update());
        let host = Arc::clone(&self.seen.borrow_and_update().host);
        let announcing = self.announcing(&view);
        let not_served = self
            .reach
            .note(announcing.prefixes.iter().map(|a| a.prefix), &host);
        let (now, paths) = (wall_now(), self.dataplane.health());
        let mut local = Local {
            accept: self.settings.accept.clone(),
            prefixes: announcing.prefixes.iter().map(|a| a.prefix).collect(),
            host: (*host).clone(),
            failing_checks: BTreeSet::new(),
            remembered: self.memory.prefixes(),
            guarded: self.reach.guarded(),
        };
        let targets = self.targets(&announcing);
        self.features
            .checks
            .prepare(&view, &local, &targets, Instant::now());
        local.failing_checks = self.features.checks.failing(&self.dataplane.checks());
        let situation = Situation {
            view: &view,
            local: &local,
            paths: &paths,
            now: Instant::now(),
        };
        let mut desired = desired::compose(&situation, &mut self.choice);
        for feature in self.features.each() {
            feature.on_view(&view, now);
            feature.desired(&mut desired);
            tracing::trace!(feature = feature.name(), peers = desired.peers.len(), "composed");
        }
        desired.relay = self.settings.relay;
        self.memory.note(&desired.guarded, now);
        self.epoch += 1;
        let table = crate::adapt::dataplane::table(
            &desired,
            &self.keys.keys,
            (&self.mesh, &self.me),
            self.mtu,
            self.epoch,
        );
        self.dataplane.apply(table);
        self.changes.note(&desired.changes, &paths, Instant::now());
        self.write_down(&view, &desired);
        self.apply_kernel(&desired).await?;
        let endpoints = endpoints::endpoints(
            &self.settings.advertise,
            &self.dataplane.listen_addrs(),
            &host.addresses,
        );
        let abilities =
            desired::abilities::own(self.settings.relay.enabled, &local.prefixes, &host.addresses);
        self.announce(&announcing, &endpoints, &not_served, abilities);
        self.share_addresses(&announcing, &situation);
        self.publish(view, desired, announcing, endpoints, &local.failing_checks);
        Ok(())
    }

    /// At the start it is waited for, and a failure is the end; later the adapter goes on by itself.
    async fn apply_kernel(&mut self, desired: &Desired) -> anyhow::Result<()> {
        match &self.kernel {
            Some(keeper) => keeper.want(&desired.kernel),
            None => {
                let _refused = self.netlink.apply(desired.kernel.clone()).await?;
                self.kernel = Some(KernelKeeper::start(self.netlink.clone(), desired.kernel.clone()));
            }
        }
        Ok(())
    }

    fn announcing(&self, view: &View) -> Announcing {
        let granted = view.own.as_ref().map_or(&self.granted, |own| &own.grant_serve);
        announce::announcing(
            &self.settings.cidrs,
            &self.settings.prefixes,
            &self.stored.prefixes,
            granted,
        )
    }

    fn announce(
        &mut self,
        announcing: &Announcing,
        endpoints: &[std::net::SocketAddr],
        not_served: &BTreeSet<ipnet::IpNet>,
        capabilities: u64,
    ) {
        let announcement = Announcement {
            name: self.settings.name.clone(),
            endpoints: endpoints.to_vec(),
            prefixes: announcing.prefixes.clone(),
            lanes: self.keys.proofs.clone(),
            epoch: self.keys.epoch,
            capabilities,
            serving: self.features.checks.mark(announcing.serving(
                |prefix| self.options(prefix),
                not_served,
                self.is_draining(),
            )),
        };
        if self.announcement.as_ref() != Some(&announcement) {
            self.membership.announce(announcement.clone());
            self.announcement = Some(announcement);
        }
    }

    /// Virtual addresses on LANs: which of them are this node's to hold.
    fn share_addresses(&self, announcing: &Announcing, situation: &Situation<'_>) {
        let Some(said) = &self.announcement else { return };
        let own = decide::Own {
            announced: &announcing.prefixes,
            serving: &said.serving,
            held: &self.lan.held(),
        };
        self.lan.want(decide::decide(own, situation, &self.choice));
    }

    fn is_draining(&self) -> bool {
        self.stored.draining || self.leaving
    }

    /// What must answer behind this node.
    fn targets(&self, announcing: &Announcing) -> BTreeMap<ipnet::IpNet, CheckTarget> {
        let target = |a: &AnnouncedPrefix| Some((a.prefix, self.options(&a.prefix).check?));
        announcing.prefixes.iter().filter_map(target).collect()
    }

    fn options(&self, prefix: &ipnet::IpNet) -> PrefixOptions {
        let table = self.settings.prefix(prefix);
        table.map_or_else(PrefixOptions::default, |table| table.options)
    }

    /// What this composition changed, in the history.
    fn write_down(&self, view: &Arc<View>, desired: &Desired) {
        let before = self.named();
        let known = |node: &NodeId| view.nodes.get(node).or(before.nodes.get(node));
        let name = |node: &NodeId| known(node).map_or_else(|| node.short(), |known| known.name.clone());
        if !Arc::ptr_eq(&before, view) {
            self.journal.note(sources::drains(&before, view));
        }
        let moved = routes::changes(&desired.changes, &desired.statuses, name, Instant::now());
        self.journal.note(moved);
    }

    fn publish(
        &mut self,
        view: Arc<View>,
        desired: Desired,
        announcing: Announcing,
        endpoints: Vec<std::net::SocketAddr>,
        failing_checks: &BTreeSet<(ipnet::IpNet, NodeId)>,
    ) {
        let checks = self.features.checks.statuses(&view, failing_checks);
        let before = self.composed.as_ref().map(|c| Arc::clone(&c.borrow()));
        let (old, times) = before
            .as_ref()
            .map_or((&[][..], &[][..]), |c| (&c.routes, &c.since));
        let checks_before = before.as_ref().map_or(&[][..], |c| &c.checks);
        self.journal
            .note(history::checks::changes(checks_before, &checks));
        let composed = Arc::new(Composed {
            warnings: self.warnings(&view, &desired, &announcing),
            checks,
            view,
            since: composed::since(old, times, &desired.statuses, Instant::now()),
            kernel: desired.kernel,
            host: Arc::clone(&self.seen.borrow().host),
            settings: Arc::clone(&self.settings),
            routes: desired.statuses,
            announced: announcing.prefixes,
            guarded: desired.guarded,
            endpoints,
            peers: desired.peers,
            clients: self.features.clients.entries().to_vec(),
            changes: self.changes.clone(),
            draining: self.is_draining(),
            mtu: self.mtu,
        });
        match &self.composed {
            Some(sender) => drop(sender.send_replace(composed)),
            None => self.composed = Some(watch::Sender::new(composed)),
        }
    }

    /// The view of the last composition: it still has the names of those that go.
    fn named(&self) -> Arc<View> {
        match &self.composed {
            Some(composed) => Arc::clone(&composed.borrow().view),
            None => Arc::clone(&self.view.borrow()),
        }
    }

    fn warnings(&self, view: &View, desired: &Desired, announcing: &Announcing) -> Vec<String> {
        let mut warnings = self.advice.clone();
        warnings.extend(self.stored.draining.then(|| {
            "draining: the others send nothing here that has another way; `meshnode undrain` ends that"
                .to_owned()
        }));
        warnings.extend(desired.warnings.iter().cloned());
        warnings.extend(self.features.checks.warnings(view, Instant::now()));
        warnings.extend(announcing.outside.iter().map(|prefix| {
            format!(
                "{prefix} is not in this node's grant and is not announced: on a member that may, run \
                 `meshnode grant {} --cidr {prefix}`",
                self.settings.name
            )
        }));
        let announced = |table: &&PrefixTable| announcing.prefixes.iter().any(|a| a.prefix == table.prefix);
        let idle = self.settings.prefixes.iter().filter(|table| !announced(table));
        warnings.extend(idle.map(|table| {
            let (prefix, origin) = (table.prefix, &table.origin);
            format!("{origin} says how {prefix} is served, but this node does not announce it: `cidr` is missing it")
        }));
        warnings.extend(
            self.state
                .fault()
                .map(|fault| format!("{fault}; running on from memory")),
        );
        let refused = self.seen.borrow().refused.clone();
        warnings.extend(
            refused
                .into_iter()
                .map(|line| format!("the kernel refuses: {line}")),
        );
        warnings
    }

    fn check_interface(&self) -> anyhow::Result<()> {
        match self.seen.borrow().interface_gone {
            true => anyhow::bail!(
                "interface {} was deleted by somebody else",
                self.settings.interface
            ),
            false => Ok(()),
        }
    }

    /// True when there is something new to compose.
    async fn handle(&mut self, command: Command) -> bool {
        match command {
            Command::Echo(reply) => {
                answer(reply, ());
                return false;
            }
            Command::ClientConfig(name, reply) => {
                answer(reply, self.client_config(&name));
                return false;
            }
            Command::Cidr(request, reply) => self.then_apply(reply, |core| core.change_cidr(&request)).await,
            Command::Reload(reply) => self.then_apply(reply, Core::reload).await,
            Command::ClientAdd(name, reply) => self.then_apply(reply, |core| core.add_client(&name)).await,
            Command::ClientRemove(name, reply) => {
                self.then_apply(reply, |core| core.remove_client(&name)).await;
            }
            Command::Drain(draining, reply) => {
                let outcome = self.set_draining(draining);
                self.tell(reply, outcome).await;
            }
            Command::Leaving(reply) => {
                self.leaving = true;
                self.tell(reply, Ok(())).await;
            }
            Command::GuardClear(reply) => self.then_apply(reply, |core| Ok(core.clear_guards())).await,
        }
        false
    }

    /// Answers only after all who are connected know what is announced now.
    async fn tell<T: Send + 'static>(&mut self, reply: Reply<T>, mut outcome: Result<T, Refuse>) {
        if outcome.is_ok()
            && let Err(error) = self.apply().await
        {
            outcome = Err(Refuse::failed(format!("{error:#}")));
        }
        let told = told(Arc::clone(&self.membership), self.announcement.clone());
        tokio::spawn(async move {
            told.await;
            answer(reply, outcome);
        });
    }

    /// Answers only after the change is in force.
    async fn then_apply<T: Send + 'static>(
        &mut self,
        reply: Reply<T>,
        change: impl FnOnce(&mut Core) -> Result<T, Refuse>,
    ) {
        let mut outcome = change(self);
        if outcome.is_ok()
            && let Err(error) = self.apply().await
        {
            outcome = Err(Refuse::failed(format!("{error:#}")));
        }
        let settled = self.kernel.as_ref().map(KernelKeeper::settled);
        // Whoever asked waits for the kernel; the core does not.
        tokio::spawn(async move {
            if let Some(settled) = settled {
                settled.await;
            }
            answer(reply, outcome);
        });
    }
}

/// What was announced, to everybody who is connected.
async fn told(membership: Arc<Membership>, announcement: Option<Announcement>) {
    if let Some(announcement) = announcement
        && tokio::time::timeout(leaving::TELL, membership.tell(announcement))
            .await
            .is_err()
    {
        tracing::info!("not everybody could be told in time");
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// The asker may have hung up: then nobody is left to tell.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    if reply.send(value).is_err() {
        tracing::debug!("a request was answered after its caller had gone");
    }
}
