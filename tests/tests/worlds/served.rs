//! How a prefix is served: an interface that is down, what becomes of it when its gateways are dead, priority and balance.

use std::fs;

use anyhow::{Context, Result, ensure};
use meshnode_tests::in_world;
use meshnode_tests::node::routes;
use meshnode_tests::topology::{Mesh, Options, Roles, SHARED, ThreeVpcs, Twins, Wire, reaches};
use meshnode_tests::traffic::Pulse;
use serde_json::Value;

use crate::AMPLY;

#[test]
fn gateway_whose_interface_is_down_says_so_and_is_left() -> Result<()> {
    in_world(|world| {
        let twins = Twins::build(world, Wire::Cable)?;
        let Roles { active, standby } = twins.ready(AMPLY)?;
        let pulse = Pulse::start(twins.client()?, &twins.server, twins.server_address())?;
        pulse.flows(AMPLY)?;
        twins.set_port(&active, "down")?;
        pulse.flows(AMPLY)?;
        let status = twins
            .source()?
            .wait_status("the reason is given", AMPLY, |status| {
                reason(status, SHARED, &active) == Some("its interface there is down")
            })?;
        ensure!(reason(&status, SHARED, &standby).is_none(), "{status}");
        twins.set_port(&active, "up")?;
        twins
            .source()?
            .wait_status("it can be used again", AMPLY, |status| {
                reason(status, SHARED, &active).is_some_and(|why| why.contains("held back"))
            })?;
        Ok(())
    })
}

/// What hk and gz serve, beside their own: a part and the whole.
const PART: &str = "10.99.7.0/24";
const WHOLE: &str = "10.99.0.0/16";

/// hk serves a part of what gz serves; both answer for an address in it. Every node has a configuration file.
fn part_and_whole<'a>(vpcs: &ThreeVpcs<'a>, of_hk: &str) -> Result<Mesh<'a>> {
    for (name, text) in [("sz", ""), ("hk", of_hk), ("gz", "")] {
        configure(vpcs, name, text)?;
    }
    for name in ["hk", "gz"] {
        vpcs.vpc(name)?.gateway.ip("address add 10.99.7.1/32 dev lo")?;
    }
    let serve = [("hk", PART), ("gz", WHOLE)];
    let settings = [("CONFIG", "/run/meshnode.toml")];
    let mesh = vpcs.mesh_with(&Options {
        serve: &serve,
        settings: &settings,
        ..Options::default()
    })?;
    mesh.node("sz")?.wait_route(PART, "hk", "active")?;
    reaches(&vpcs.vpc("sz")?.host, "10.99.7.1".parse()?)?;
    Ok(mesh)
}

/// Writes a node's configuration file.
pub(crate) fn configure(vpcs: &ThreeVpcs<'_>, name: &str, text: &str) -> Result<()> {
    fs::write(vpcs.vpc(name)?.gateway.path("/run/meshnode.toml"), text).context("cannot write it")
}

#[test]
fn dead_part_is_reached_through_the_gateway_of_the_whole() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = part_and_whole(&vpcs, "")?;
        let (sz, hk) = (mesh.node("sz")?, mesh.node("hk")?);
        hk.kill()?;
        sz.wait_status("the part goes with the whole", AMPLY, |status| {
            reason(status, PART, "hk").is_some_and(|why| why.contains("take the way of 10.99.0.0/16"))
        })?;
        reaches(&vpcs.vpc("sz")?.host, "10.99.7.1".parse()?)?;
        hk.up(&[])?;
        sz.wait_status("its gateway is back", 3 * AMPLY, |status| {
            routes(status).any(|route| route["prefix"] == PART && route["state"] == "active")
        })?;
        Ok(())
    })
}

#[test]
fn dead_part_is_closed_where_its_owner_wants_that() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = part_and_whole(&vpcs, "[prefix.\"10.99.7.0/24\"]\nfallback = \"drop\"\n")?;
        let sz = mesh.node("sz")?;
        mesh.node("hk")?.kill()?;
        sz.wait_status("the part is closed", AMPLY, |status| {
            reason(status, PART, "hk").is_some_and(|why| why.contains("dropped"))
        })?;
        let refused = vpcs.vpc("sz")?.host.ping("10.99.7.1".parse()?, AMPLY / 20);
        ensure!(refused.is_err(), "it went to the gateway of the whole");
        ensure!(sz.metric("meshnode_dropped_packets_total{reason=\"no_gateway\"}")? > 0.0);
        Ok(())
    })
}

#[test]
fn configured_priority_moves_a_prefix_at_a_reload_and_balance_shares_it() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        for name in ["sz", "hk", "gz"] {
            configure(&vpcs, name, "")?;
        }
        let serve = [("hk", WHOLE), ("gz", WHOLE)];
        let settings = [("CONFIG", "/run/meshnode.toml")];
        let mesh = vpcs.mesh_with(&Options {
            serve: &serve,
            settings: &settings,
            ..Options::default()
        })?;
        let sz = mesh.node("sz")?;
        let table = |lines: &str| format!("[prefix.\"{WHOLE}\"]\n{lines}\n");
        configure(&vpcs, "gz", &table("priority = 200"))?;
        mesh.node("gz")?.ok(&["reload"])?;
        sz.wait_route(WHOLE, "gz", "active")?;
        for name in ["gz", "hk"] {
            configure(&vpcs, name, &table("balance = true"))?;
            mesh.node(name)?.ok(&["reload"])?;
        }
        sz.wait_status("both share it", 2 * AMPLY, |status| {
            let active = |name| {
                routes(status).any(|r| r["prefix"] == WHOLE && r["via"] == name && r["state"] == "active")
            };
            active("hk") && active("gz")
        })?;
        configure(&vpcs, "hk", &table("priority = 200"))?;
        mesh.node("hk")?.ok(&["reload"])?;
        let refused = mesh
            .node("hk")?
            .cli(&["cidr", "add", WHOLE, "--priority", "300"])?;
        refused.refused(1, &["/run/meshnode.toml:2", "reload"])?;
        Ok(())
    })
}

/// Why the route to a prefix through this node is in its state.
fn reason<'a>(status: &'a Value, prefix: &str, via: &str) -> Option<&'a str> {
    routes(status).find(|route| route["prefix"] == prefix && route["via"] == via)?["reason"].as_str()
}
