//! The world that failures happen in, and the flow that is watched.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use meshnode_tests::topology::{CONFIG, GATEWAYS, Options, Roles, SHARED, Twins, Wire, active, crowd};
use meshnode_tests::traffic::{Talk, TestStream};
use meshnode_tests::wait::eventually;
use meshnode_tests::world::{Host, World};
use meshnode_tests::{Node, node};
use serde_json::Value;

use crate::step;

/// A deadline for what should take a second: generous, so that only a standstill misses it.
pub(crate) const AMPLY: Duration = Duration::from_secs(30);
/// All nodes of a large crowd know each other after this long, on a small machine.
const MEETS: Duration = Duration::from_secs(300);
/// Between two looks at who has the traffic.
const LOOK: Duration = Duration::from_millis(50);

/// Where the packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// From sz's host to the server that both gateways serve.
    Shared,
    /// From sz's host to hk's, whose prefix nobody else serves.
    Own,
    /// The other way.
    OwnBack,
}

/// A mesh of the wanted size.
pub(crate) struct Scene<'a> {
    pub(crate) twins: Twins<'a>,
    /// They do nothing but to be there.
    _crowd: Vec<Node<'a>>,
}

/// A moment in a node's history.
pub(crate) struct Mark {
    event: u64,
    time: SystemTime,
}

/// A stream and a connection on one flow.
pub(crate) struct Watch {
    pub(crate) stream: TestStream,
    pub(crate) talk: Talk,
}

impl<'a> Scene<'a> {
    /// Builds it and waits until all nodes know each other.
    pub(crate) fn build(world: &'a World, nodes: usize, wire: Wire) -> Result<Scene<'a>> {
        step(&format!("building a world of {nodes} nodes"));
        let options = Options {
            config: &GATEWAYS.map(|name| (name, "")),
            ..Options::default()
        };
        let twins = Twins::with(world, wire, &options)?;
        let seed = twins.vpcs.vpc("sz")?.plan.public();
        let crowd = crowd::join(
            world,
            &twins.vpcs.internet,
            (twins.source()?, seed),
            nodes.saturating_sub(3),
        )?;
        for node in twins.mesh.nodes.iter().chain(&crowd) {
            let everybody = |status: &Value| {
                let up = node::peers(status).filter(|peer| peer["state"] == "up");
                up.count() + 1 >= nodes
            };
            node.wait_status("everybody is up", MEETS, everybody)?;
        }
        Ok(Scene { twins, _crowd: crowd })
    }

    pub(crate) fn node(&self, name: &str) -> Result<&Node<'a>> {
        self.twins.mesh.node(name)
    }

    /// Starts to watch a flow.
    pub(crate) fn watch(&self, flow: Flow) -> Result<Watch> {
        let (from, to, address) = self.ends(flow)?;
        Ok(Watch {
            stream: TestStream::start(from, to, address)?,
            talk: Talk::start(from, to, address)?,
        })
    }

    /// Another connection, in place of one that broke.
    pub(crate) fn talk(&self, flow: Flow) -> Result<Talk> {
        let (from, to, address) = self.ends(flow)?;
        Talk::start(from, to, address)
    }

    fn ends(&self, flow: Flow) -> Result<(&Host, &Host, IpAddr)> {
        let (sz, hk) = (self.twins.vpcs.vpc("sz")?, self.twins.vpcs.vpc("hk")?);
        Ok(match flow {
            Flow::Shared => (&sz.host, &self.twins.server, self.twins.server_address()),
            Flow::Own => (&sz.host, &hk.host, hk.plan.host_addresses()[0]),
            Flow::OwnBack => (&hk.host, &sz.host, sz.plan.host_addresses()[0]),
        })
    }

    /// Waits until both gateways can have the traffic.
    pub(crate) fn ready(&self) -> Result<Roles> {
        self.twins.ready(AMPLY).context("the scene is not whole again")
    }

    /// From now on both gateways name the server as what must answer behind them.
    pub(crate) fn check_gateways(&self) -> Result<()> {
        for name in GATEWAYS {
            let (node, target) = (self.node(name)?, self.twins.server_address());
            let text = format!("[prefix.\"{SHARED}\"]\ncheck = \"icmp://{target}\"\n");
            std::fs::write(node.host().path(CONFIG), text)?;
            node.ok(&["reload"])?;
        }
        GATEWAYS.into_iter().try_for_each(|name| self.passes(name))
    }

    /// Waits until the server answers through a gateway, as all know.
    pub(crate) fn passes(&self, gateway: &str) -> Result<()> {
        let series = format!("meshnode_check_failing{{gateway=\"{gateway}\",prefix=\"{SHARED}\"}}");
        let source = self.twins.source()?;
        eventually("the check passes", AMPLY, || {
            ensure!(source.metric(&series)? < 0.5, "it fails");
            Ok(())
        })
    }

    /// Rules for all packets between gateways.
    pub(crate) fn on_the_internet(&self, rules: &str) -> Result<()> {
        self.twins.vpcs.internet.nft(&format!(
            "table inet fault {{
               chain forward {{
                 type filter hook forward priority filter
                 {rules}
               }}
             }}"
        ))
    }

    /// Takes them away.
    pub(crate) fn internet_is_clear(&self) -> Result<()> {
        self.twins.vpcs.internet.nft("delete table inet fault")
    }

    /// This moment in sz's history.
    pub(crate) fn mark(&self) -> Result<Mark> {
        Ok(Mark {
            event: self.twins.source()?.latest_event()?,
            time: SystemTime::now(),
        })
    }

    /// What sz saw since that moment: how long after it, and the event.
    pub(crate) fn since(&self, mark: &Mark) -> Result<Vec<(Duration, Value)>> {
        let events = self.twins.source()?.events(mark.event)?;
        let after = |event: &Value| {
            let time = UNIX_EPOCH + Duration::from_millis(event["time_ms"].as_u64()?);
            Some(time.duration_since(mark.time).unwrap_or_default())
        };
        let timed = events.into_iter();
        Ok(timed.filter_map(|event| Some((after(&event)?, event))).collect())
    }

    /// Counts how often the traffic moves while `body` runs.
    pub(crate) fn counting_changes<T>(&self, body: impl FnOnce() -> T) -> Result<(T, u64)> {
        let (source, over) = (self.twins.source()?, AtomicBool::new(false));
        std::thread::scope(|scope| {
            let counting = scope.spawn(|| count_changes(source, &over));
            let done = body();
            over.store(true, Ordering::Relaxed);
            let changes = counting.join().ok().context("counting panicked")?;
            Ok((done, changes))
        })
    }
}

/// Whether an event says that the traffic goes to another gateway.
pub(crate) fn is_move(event: &Value) -> bool {
    event["kind"] == "route" && event["prefix"] == SHARED
}

fn count_changes(source: &Node<'_>, over: &AtomicBool) -> u64 {
    let (mut last, mut changes) = (None, 0);
    loop {
        let is_over = over.load(Ordering::Relaxed);
        if let Ok(status) = source.status() {
            let now = active(&status).map(str::to_owned);
            changes += u64::from(last.as_ref().is_some_and(|last| *last != now));
            last = Some(now);
        }
        if is_over {
            return changes;
        }
        std::thread::sleep(LOOK);
    }
}
