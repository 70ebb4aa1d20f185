//! Two owners of one prefix (N12).

use anyhow::{Context, Result, ensure};
use meshnode_tests::in_world;
use meshnode_tests::node::routes;
use meshnode_tests::topology::{Options, ThreeVpcs, reaches};
use serde_json::Value;

use crate::AMPLY;

const SHARED: &str = "10.99.0.0/16";

#[test]
fn one_owner_is_active_the_other_stands_by_and_takes_over() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let serve = [("hk", SHARED), ("gz", SHARED)];
        let mesh = vpcs.mesh_with(&Options {
            serve: &serve,
            ..Options::default()
        })?;
        for name in ["hk", "gz"] {
            vpcs.vpc(name)?.gateway.ip("address add 10.99.0.1/16 dev lo")?;
        }
        let sz = mesh.node("sz")?;
        let status = sz.wait_status("one is active, one stands by", AMPLY, |status| {
            owner(status, "active").is_some() && owner(status, "standby").is_some()
        })?;
        let (active, standby) = owners(&status)?;
        ensure!(active != standby, "{active} is both");
        reaches(&vpcs.vpc("sz")?.host, "10.99.0.1".parse()?)?;
        mesh.node(&active)?.terminate()?;
        sz.wait_route(SHARED, &standby, "active")?;
        reaches(&vpcs.vpc("sz")?.host, "10.99.0.1".parse()?)?;
        mesh.node(&active)?.up(&[])?;
        sz.wait_route(SHARED, &active, "standby")?;
        sz.wait_route(SHARED, &standby, "active")
            .context("the traffic went back without need")?;
        Ok(())
    })
}

fn owners(status: &Value) -> Result<(String, String)> {
    let named = |state| owner(status, state).with_context(|| format!("nobody is {state}"));
    Ok((named("active")?, named("standby")?))
}

fn owner(status: &Value, state: &str) -> Option<String> {
    let mut of_prefix = routes(status).filter(|route| route["prefix"] == SHARED && route["state"] == state);
    of_prefix.next()?["via"].as_str().map(str::to_owned)
}
