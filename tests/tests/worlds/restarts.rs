//! Crashes, planned ends and reboots, with traffic running: it comes back, and never leaves in clear meanwhile.

use std::time::Duration;

use anyhow::{Result, ensure};
use meshnode_tests::in_world;
use meshnode_tests::topology::{Options, ThreeVpcs};
use meshnode_tests::traffic::Pulse;

use crate::AMPLY;

/// What the product promises after a crash.
const BACK: Duration = Duration::from_secs(3);
const SILENCE: Duration = Duration::from_millis(500);

#[test]
fn traffic_is_back_after_a_crash() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        let (sz, gz) = (vpcs.vpc("sz")?, vpcs.vpc("gz")?);
        let there = Pulse::start(&sz.host, &gz.host, gz.plan.host_addresses()[0])?;
        let back = Pulse::start(&gz.host, &sz.host, sz.plan.host_addresses()[1])?;
        there.flows(AMPLY)?;
        back.flows(AMPLY)?;
        let node = mesh.node("gz")?;
        node.kill()?;
        there.falls_silent(SILENCE, AMPLY)?;
        node.start(&["up"])?;
        there.flows(BACK)?;
        back.flows(BACK)?;
        mesh.is_complete()
    })
}

#[test]
fn guard_stands_after_a_crash_and_after_a_planned_end() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        let (sz, gz) = (vpcs.vpc("sz")?, vpcs.vpc("gz")?);
        let pulse = Pulse::start(&sz.host, &gz.host, gz.plan.host_addresses()[0])?;
        pulse.flows(AMPLY)?;
        let node = mesh.node("sz")?;
        node.kill()?;
        pulse.falls_silent(SILENCE, AMPLY)?;
        guards_stand(&sz.gateway)?;
        node.up(&[])?;
        pulse.flows(AMPLY)?;
        let status = node.terminate()?;
        ensure!(status.code() == Some(0), "SIGTERM ended it with {status}");
        pulse.falls_silent(SILENCE, AMPLY)?;
        guards_stand(&sz.gateway)?;
        ensure!(
            sz.gateway.run("ip", &["link", "show", "mesh0"]).is_err(),
            "the interface is still there"
        );
        drop(pulse);
        node.ok(&["guard", "clear"])?;
        let left = sz.gateway.run("ip", &["route", "show", "proto", "77"])?;
        ensure!(left.trim().is_empty(), "guard clear left {left}");
        Ok(())
    })
}

fn guards_stand(gateway: &meshnode_tests::Host) -> Result<()> {
    for (family, prefix) in [("-4", "172.20.0.0/16"), ("-6", "fd00:172:20::/64")] {
        let routes = gateway.run(
            "ip",
            &[family, "route", "show", "type", "unreachable", "proto", "77"],
        )?;
        ensure!(routes.contains(prefix), "no guard for {prefix}: {routes}");
    }
    Ok(())
}

#[test]
fn others_see_a_planned_end_at_once() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        mesh.node("gz")?.terminate()?;
        for name in ["sz", "hk"] {
            mesh.node(name)?
                .wait_status("the route to gz is withdrawn", AMPLY, |status| {
                    let mut routes = meshnode_tests::node::routes(status);
                    !routes.any(|route| route["prefix"] == "172.20.0.0/16" && route["state"] == "active")
                })?;
        }
        Ok(())
    })
}

#[test]
fn nodes_that_are_no_seeds_meet_again_from_the_cache() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mut mesh = vpcs.mesh_with(&Options::default())?;
        for node in &mesh.nodes {
            node.kill()?;
        }
        mesh.remove("sz");
        for node in &mesh.nodes {
            node.start(&["up"])?;
        }
        mesh.is_complete()?;
        mesh.everyone_pings_everyone()
    })
}

#[test]
fn join_on_a_member_just_runs() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        let node = mesh.node("gz")?;
        node.terminate()?;
        node.start(&["join", "198.51.100.10"])?;
        node.answers()?;
        mesh.is_complete()
    })
}
