//! Nodes that leave, and nodes that are told to.

use std::time::Duration;

use anyhow::{Result, ensure};
use meshnode_tests::node::peers;
use meshnode_tests::topology::{Mesh, ThreeVpcs};
use meshnode_tests::traffic::Pulse;
use meshnode_tests::{Node, in_world};

use crate::AMPLY;

/// What the product promises after a revocation arrives.
const GONE: Duration = Duration::from_secs(2);
const SILENCE: Duration = Duration::from_millis(500);
/// Long enough for a revoked node to have tried everything that it would try at its start.
const STAYS_AWAY: Duration = Duration::from_secs(4);

#[test]
fn revoked_node_is_cut_off_and_cannot_come_back() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        let (hk, gz) = (vpcs.vpc("hk")?, vpcs.vpc("gz")?);
        let from = Pulse::start(&gz.host, &hk.host, hk.plan.host_addresses()[0])?;
        let to = Pulse::start(&hk.host, &gz.host, gz.plan.host_addresses()[0])?;
        from.flows(AMPLY)?;
        to.flows(AMPLY)?;
        mesh.node("sz")?.ok(&["revoke", "gz"])?;
        from.falls_silent(SILENCE, GONE)?;
        to.falls_silent(SILENCE, GONE)?;
        revoked_is_gone(&mesh)?;
        restart_revoked(mesh.node("gz")?)?;
        from.falls_silent(STAYS_AWAY, AMPLY)?;
        revoked_is_gone(&mesh)
    })
}

#[test]
fn revoked_node_cannot_come_back_through_one_that_was_away() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        let (hk, gz) = (vpcs.vpc("hk")?, vpcs.vpc("gz")?);
        mesh.node("hk")?.kill()?;
        mesh.node("sz")?.ok(&["revoke", "gz"])?;
        mesh.node("sz")?
            .wait_status("gz is gone", AMPLY, |status| !has_up(status, "gz"))?;
        mesh.node("hk")?.up(&[])?;
        mesh.node("hk")?
            .wait_status("sz is up and gz is not", AMPLY, |status| {
                has_up(status, "sz") && !has_up(status, "gz")
            })?;
        let pulse = Pulse::start(&gz.host, &hk.host, hk.plan.host_addresses()[0])?;
        pulse.falls_silent(STAYS_AWAY, AMPLY)?;
        revoked_is_gone(&mesh)
    })
}

/// It may run on alone or end with the reason; both are fine, an ERROR line then is its own business.
fn restart_revoked(node: &Node<'_>) -> Result<()> {
    node.process()?.expect_error("revoked");
    node.kill()?;
    node.start(&["up"])?.expect_error("revoked");
    Ok(())
}

fn revoked_is_gone(mesh: &Mesh<'_>) -> Result<()> {
    for name in ["sz", "hk"] {
        mesh.node(name)?
            .wait_status("gz is no peer", AMPLY, |status| !has_up(status, "gz"))?;
    }
    Ok(())
}

fn has_up(status: &serde_json::Value, name: &str) -> bool {
    peers(status).any(|peer| peer["name"] == name && peer["state"] == "up")
}

#[test]
fn node_that_leaves_is_forgotten_and_takes_its_guard_along() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        let node = mesh.node("gz")?;
        node.ok(&["leave"])?;
        let status = node.process()?.wait(AMPLY)?;
        ensure!(status.code() == Some(0), "it ended with {status}");
        let routes = node.host().run("ip", &["route", "show", "proto", "77"])?;
        ensure!(routes.trim().is_empty(), "left behind: {routes}");
        for name in ["sz", "hk"] {
            mesh.node(name)?.wait_status("gz is no peer", AMPLY, |status| {
                peers(status).all(|peer| peer["name"] != "gz")
            })?;
        }
        node.cli(&["up"])?.refused(1, &["join"])?;
        Ok(())
    })
}
