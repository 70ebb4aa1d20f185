//! Nodes that do not run for a while, or hardly: stopped, or with a twentieth of a core. Whoever wakes up finds its own
//! sleep, not the others' silence.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use meshnode_tests::node::peers;
use meshnode_tests::topology::{ThreeVpcs, reaches};
use meshnode_tests::traffic::Pulse;
use meshnode_tests::{Node, in_world};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::AMPLY;

/// Shorter than anybody notices, long enough to be down, and longer than a session waits for new keys' retries.
const SLEEPS: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_secs(3),
    Duration::from_secs(8),
];

#[test]
fn node_that_slept_accuses_nobody_when_it_wakes() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        let (sz, gz) = (vpcs.vpc("sz")?, vpcs.vpc("gz")?);
        let between_others = Pulse::start(&sz.host, &gz.host, gz.plan.host_addresses()[0])?;
        between_others.flows(AMPLY)?;
        let sleeper = mesh.node("hk")?;
        for sleep in SLEEPS {
            sleeper.process()?.signal(Signal::SIGSTOP);
            std::thread::sleep(sleep);
            between_others.flows(AMPLY)?;
            sleeper.process()?.signal(Signal::SIGCONT);
            mesh.is_complete()?;
            accuses_nobody(sleeper)?;
        }
        mesh.everyone_pings_everyone()
    })
}

/// Its own history has no path that went bad: all of them were well whenever it looked.
fn accuses_nobody(node: &Node<'_>) -> Result<()> {
    let events = node.events(0)?;
    let bad = |event: &Value| event["to"] == "suspect" || event["to"] == "down";
    let accused = events.iter().find(|event| event["kind"] == "path" && bad(event));
    ensure!(accused.is_none(), "{} saw others fail: {accused:?}", node.name());
    Ok(())
}

/// Of one core, for the node alone.
const TWENTIETH: u32 = 5;
const STARVES: Duration = Duration::from_secs(8);

#[test]
fn node_with_a_twentieth_of_a_core_stays_a_member() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        let hungry = mesh.node("hk")?;
        let share = world.limit_processor(&hungry.process()?, TWENTIETH)?;
        let begin = Instant::now();
        while begin.elapsed() < STARVES {
            for name in ["sz", "gz"] {
                let status = mesh.node(name)?.status()?;
                ensure!(
                    peers(&status).any(|peer| peer["name"] == "hk"),
                    "{name} removed it: {status}"
                );
            }
            reaches(&vpcs.vpc("sz")?.host, vpcs.vpc("hk")?.plan.host_addresses()[0])?;
        }
        share.lift()?;
        mesh.is_complete()?;
        mesh.everyone_pings_everyone()
    })
}
