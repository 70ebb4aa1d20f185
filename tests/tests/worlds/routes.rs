//! Routes in the kernel: repaired when others flush them, and no loop whatever prefix is announced.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshnode_tests::topology::{Options, ThreeVpcs, reaches};
use meshnode_tests::traffic::{Pulse, transfer};
use meshnode_tests::{Host, eventually, in_world};

use crate::AMPLY;

/// What the product promises after drift.
const REPAIRED: Duration = Duration::from_secs(1);

#[test]
fn flushed_routes_and_rules_are_back_within_a_second() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        let (sz, gz) = (vpcs.vpc("sz")?, vpcs.vpc("gz")?);
        mesh.everyone_pings_everyone()?;
        let before = kernel_state(&sz.gateway)?;
        for flush in [
            "route flush proto 77",
            "-6 route flush proto 77",
            "rule delete fwmark 0x6d77",
            "-6 rule delete fwmark 0x6d77",
            "route flush table 51777",
            "address flush dev mesh0",
        ] {
            sz.gateway.ip(flush)?;
            eventually(&format!("repair after `ip {flush}`"), REPAIRED, || {
                let now = kernel_state(&sz.gateway)?;
                ensure!(now == before, "before:\n{before}\nnow:\n{now}");
                Ok(())
            })?;
        }
        reaches(&sz.host, gz.plan.host_addresses()[0])?;
        mesh.everyone_pings_everyone()
    })
}

#[test]
fn traffic_waits_behind_the_guard_while_routes_are_repaired() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let _mesh = vpcs.mesh()?;
        let (sz, gz) = (vpcs.vpc("sz")?, vpcs.vpc("gz")?);
        let pulse = Pulse::start(&sz.host, &gz.host, gz.plan.host_addresses()[0])?;
        pulse.flows(AMPLY)?;
        sz.gateway.ip("route delete 172.20.0.0/16 proto 77 metric 77")?;
        pulse.flows(REPAIRED)
    })
}

#[test]
fn interface_set_down_by_somebody_comes_up_again() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        let (sz, gz) = (vpcs.vpc("sz")?, vpcs.vpc("gz")?);
        let pulse = Pulse::start(&sz.host, &gz.host, gz.plan.host_addresses()[0])?;
        pulse.flows(AMPLY)?;
        sz.gateway.ip("link set mesh0 down")?;
        pulse.flows(REPAIRED)?;
        mesh.everyone_pings_everyone()
    })
}

#[test]
fn deleted_interface_ends_the_node_with_the_reason() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        let node = mesh.node("sz")?;
        let process = node.process()?;
        process.expect_error("mesh0");
        vpcs.vpc("sz")?.gateway.ip("link delete mesh0")?;
        let status = process.wait(AMPLY)?;
        ensure!(status.code() == Some(1), "{status}");
        ensure!(
            process.log().contains("mesh0"),
            "the log does not name the interface"
        );
        Ok(())
    })
}

#[test]
fn prefixes_that_cover_endpoints_make_no_loop() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let serve = [("gz", "198.51.100.0/24"), ("gz", "0.0.0.0/0")];
        let settings = [("ACCEPT", "0.0.0.0/0")];
        let mesh = vpcs.mesh_with(&Options {
            serve: &serve,
            settings: &settings,
            ..Options::default()
        })?;
        let (hk, gz) = (vpcs.vpc("hk")?, vpcs.vpc("gz")?);
        mesh.node("hk")?.wait_route("0.0.0.0/0", "gz", "active")?;
        mesh.node("hk")?.wait_route("198.51.100.0/24", "gz", "active")?;
        gz.gateway.ip("address add 10.77.0.1/32 dev lo")?;
        reaches(&hk.host, "10.77.0.1".parse()?).context("through the default route of gz")?;
        mesh.is_complete()?;
        mesh.everyone_pings_everyone()?;
        let before = vpcs.capture.seen().packets;
        transfer(&hk.host, &gz.host, gz.plan.host_addresses()[0], 1_000_000)?;
        // 1 MB is about 750 full packets and half as many acknowledgements, each seen on two interfaces.
        let packets = vpcs.capture.seen().packets - before;
        ensure!(packets < 4_000, "{packets} packets for 1 MB: something circles");
        Ok(())
    })
}

#[test]
fn default_route_and_connected_subnet_are_rejected_until_accepted() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let serve = [("gz", "0.0.0.0/0"), ("gz", "198.51.100.0/24")];
        let mesh = vpcs.mesh_with(&Options {
            serve: &serve,
            ..Options::default()
        })?;
        let sz = mesh.node("sz")?;
        for prefix in ["0.0.0.0/0", "198.51.100.0/24"] {
            sz.wait_route(prefix, "gz", "rejected")?;
        }
        let routes = vpcs.vpc("sz")?.gateway.run("ip", &["route", "show"])?;
        ensure!(!routes.contains("default dev mesh0"), "{routes}");
        mesh.everyone_pings_everyone()
    })
}

/// Our routes, rules and addresses, without counters and ages.
fn kernel_state(host: &Host) -> Result<String> {
    let mut state = String::new();
    for question in [
        "-4 route show proto 77",
        "-6 route show proto 77",
        "-4 rule show fwmark 0x6d77",
        "-6 rule show fwmark 0x6d77",
        "-4 route show table 51777",
        "-6 address show dev mesh0 scope global",
    ] {
        let words: Vec<&str> = question.split(' ').collect();
        let mut lines: Vec<String> = host
            .run("ip", &words)?
            .lines()
            .map(|line| line.trim().to_owned())
            .collect();
        lines.sort();
        state.push_str(&format!("# ip {question}\n{}\n", lines.join("\n")));
    }
    Ok(state)
}
