//! The start: each step needs the one before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Context;
use meshnode_crypto::{DEFAULT_CLIENT_RANGE, VerifiedChain, client_prefix_v6};
use meshnode_dataplane::path::pmtu::{CEILING, FLOOR, OVERHEAD_V4};
use meshnode_dataplane::{Dataplane, DataplaneConfig, TunConfig};
use meshnode_membership::api::{DEFAULT_MAX_MEMBERS, MembershipConfig, Timing};
use meshnode_membership::ports::WallClock;
use meshnode_membership::quic::endpoint::QuicEndpoint;
use meshnode_membership::service::Membership;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{mpsc, watch};

use super::changes::RouteChanges;
use super::core::{Command, Core};
use super::join::{Arrival, join};
use super::journal::Journal;
use super::node::{Node, wall_now};
use super::port::SharedPort;
use super::sockets::Sockets;
use super::stop::Running;
use super::{StartMode, keys, watchdog};
use crate::adapt::lan::LanKeeper;
use crate::adapt::netlink::{Farewell, Interface, LocalChange, MARK, Netlink};
use crate::adapt::sysctl;
use crate::config::Settings;
use crate::desired::{GuardMemory, Host, Reach, choice};
use crate::features::{Features, checks::Checks, clients::Clients};
use crate::state::{StateDir, fresh_seed};
use crate::supervise::{Health, Supervisor};

/// Requests that may wait for the core.
const REQUESTS: usize = 64;

struct SystemClock;

impl WallClock for SystemClock {
    fn now(&self) -> meshnode_crypto::UnixMillis {
        wall_now()
    }
}

/// Brings everything up; what fails takes down what was started before it.
pub async fn start(settings: Settings, state: StateDir, mode: StartMode) -> anyhow::Result<Running> {
    let started = Instant::now();
    let sockets = Sockets::bind(&settings).await?;
    let dataplane = start_dataplane(&settings)?;
    let key = state.node_key()?;
    let quic = QuicEndpoint::new(Arc::new(SharedPort(dataplane.port())), &key)
        .context("cannot start QUIC on the UDP port")?;
    let Arrival { seeds, first_records } = match mode {
        StartMode::Up => Arrival::default(),
        StartMode::Join(request) => join(&settings, &state, &quic, request).await?,
    };
    let settings = settings.with_saved_name(state.announced()?.name);
    let identity = state.identity()?;
    let (mesh, me) = (identity.mesh, identity.key.public_key());
    let chain = identity.chain.verify_at_any_time(&mesh)?;
    let run_keys = keys::fresh(&state, &mesh, &me, dataplane.lanes(), wall_now())?;
    let config = MembershipConfig {
        mesh,
        signing_key: identity.key,
        chain: identity.chain,
        max_members: DEFAULT_MAX_MEMBERS,
        authority: state.authority()?,
        seeds,
        first_records,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        timing: Timing::default(),
        entropy: *fresh_seed()?,
    };
    let membership =
        Arc::new(Membership::start(config, quic, Arc::new(state.clone()), Arc::new(SystemClock)).await?);
    let guards = state.owned()?.guards;
    let netlink = Netlink::start(Arc::new(state.clone())).await?;
    let mtu = inner_mtu(&settings, &netlink.seen().borrow().host);
    let mut core = Core {
        mesh,
        me,
        settings: Arc::new(settings),
        keys: run_keys,
        granted: chain.serve().to_vec(),
        client_range: chain.client_range().unwrap_or(DEFAULT_CLIENT_RANGE),
        stored: state.announced()?,
        features: Features {
            checks: Checks::new(checks_seed()?),
            clients: clients(&state, &chain)?,
        },
        memory: GuardMemory::resume(guards, wall_now()),
        choice: choice::Memory::default(),
        reach: Reach::default(),
        leaving: false,
        lan: LanKeeper::default(),
        view: membership.view(),
        seen: netlink.seen(),
        state,
        dataplane: Arc::new(dataplane),
        membership,
        netlink,
        changes: RouteChanges::default(),
        journal: Arc::new(Journal::open(env!("CARGO_PKG_VERSION"))),
        epoch: 0,
        kernel: None,
        announcement: None,
        advice: Vec::new(),
        mtu,
        composed: None,
    };
    let netlink = core.netlink.clone();
    let outcome = match bring_up(&mut core).await {
        Ok(()) => serve(core, sockets, started),
        Err(error) => Err(error),
    };
    if outcome.is_err()
        && let Err(error) = netlink.stop(Farewell::KeepGuards).await
    {
        tracing::warn!(%error, "the kernel was not tidied up");
    }
    outcome
}

/// The TUN first, since it can fail; it carries nothing until there are routes, and guards come
/// before those: nothing leaves in clear, nothing loops.
async fn bring_up(core: &mut Core) -> anyhow::Result<()> {
    attach(core).await?;
    core.apply().await
}

fn start_dataplane(settings: &Settings) -> anyhow::Result<Dataplane> {
    let config = DataplaneConfig {
        listen: settings.listen.clone(),
        mark: MARK,
        lanes: settings.lanes,
        offloads: settings.offload,
    };
    Ok(Dataplane::start(config)?)
}

fn checks_seed() -> anyhow::Result<u64> {
    let seed = fresh_seed()?;
    Ok(seed.first_chunk().map_or(0, |word| u64::from_le_bytes(*word)))
}

fn clients(state: &StateDir, chain: &VerifiedChain) -> anyhow::Result<Clients> {
    let mesh = state.identity()?.mesh;
    Ok(Clients::new(
        state.clients()?,
        chain.client_pool(),
        client_prefix_v6(&mesh, chain.subject()),
    ))
}

/// The interface takes what the host's best link could carry; what a path carries less, the data plane sees to.
fn inner_mtu(settings: &Settings, host: &Host) -> u16 {
    let fitting = host.underlay_mtu().saturating_sub(OVERHEAD_V4);
    settings.mtu.unwrap_or(fitting.clamp(FLOOR, CEILING))
}

async fn attach(core: &mut Core) -> anyhow::Result<()> {
    let config = TunConfig {
        name: core.settings.interface.clone(),
        mtu: core.mtu,
        up: true,
    };
    let tun = core.dataplane.attach_tun(config)?;
    core.netlink
        .attach(Interface {
            index: tun.index,
            name: tun.name.clone(),
            mtu: u32::from(core.mtu),
        })
        .await?;
    let host = Arc::clone(&core.seen.borrow().host);
    let outcomes = sysctl::Settings::of_kernel().prepare(&tun.name, &host.ra_interfaces);
    core.advice = outcomes.iter().filter_map(sysctl::Outcome::advice).collect();
    Ok(())
}

/// Tells the data plane at once when addresses of this host stop or begin to work: the core hears of it later, with routes.
async fn follow_addresses(
    mut changes: broadcast::Receiver<LocalChange>,
    node: Arc<Node>,
) -> anyhow::Result<()> {
    loop {
        match changes.recv().await {
            Ok(change) => node.dataplane.handle_local_change(&change.lost),
            // What was missed may have been a loss: peers are asked, and what is broken shows.
            Err(RecvError::Lagged(_)) => node.dataplane.handle_local_change(&[]),
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

fn serve(core: Core, sockets: Sockets, started: Instant) -> anyhow::Result<Running> {
    let (requests, inbox) = mpsc::channel::<Command>(REQUESTS);
    let (leave, leaving) = mpsc::channel(1);
    let composed = core
        .composed
        .as_ref()
        .map(watch::Sender::subscribe)
        .context("nothing was composed")?;
    let events = core
        .dataplane
        .events()
        .context("the data plane's events are taken already")?;
    let node = Arc::new(Node {
        mesh: core.mesh,
        me: core.me,
        state: core.state.clone(),
        dataplane: Arc::clone(&core.dataplane),
        membership: Arc::clone(&core.membership),
        netlink: core.netlink.clone(),
        composed,
        core: requests,
        leave,
        journal: Arc::clone(&core.journal),
        health: Health::default(),
        ready: AtomicBool::new(false),
        started,
        started_at: wall_now(),
    });
    let settings = Arc::clone(&core.settings);
    let members = core.membership.subscribe();
    let addresses = core.netlink.local_changes();
    let mut supervisor = Supervisor::default();
    supervisor.spawn("core", core.run(inbox, events, members));
    supervisor.spawn("addresses", follow_addresses(addresses, Arc::clone(&node)));
    let files = sockets.serve(&mut supervisor, &node);
    supervisor.spawn("watchdog", watchdog::run(Arc::clone(&node)));
    node.ready.store(true, Ordering::Release);
    tracing::info!(
        mesh = node.mesh.short(),
        node = node.me.short(),
        interface = settings.interface,
        listen = ?node.dataplane.listen_addrs(),
        "ready"
    );
    watchdog::notify(&[sd_notify::NotifyState::Ready]);
    Ok(Running {
        node,
        supervisor,
        leaving,
        files,
    })
}
