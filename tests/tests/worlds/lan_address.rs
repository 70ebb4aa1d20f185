//! A LAN behind two gateways whose hosts know one address: the virtual one, which the active gateway holds.

use anyhow::{Result, ensure};
use meshnode_tests::topology::{Options, SHARED, ThreeVpcs, reaches};
use meshnode_tests::{Host, World, eventually, in_world};
use nix::sys::signal::Signal;

use crate::AMPLY;
use crate::served::configure;

/// Beside the gateways' own addresses on the LAN.
const VIRTUAL: &str = "172.29.0.254";

/// A LAN with hk, gz and a server whose only gateway is the virtual address.
fn shared_lan(world: &World, vpcs: &ThreeVpcs<'_>) -> Result<Host> {
    let server = world.host("server")?;
    server.ip("link add lan type bridge")?;
    server.ip("link set lan up")?;
    server.address("lan", "172.29.0.10/16")?;
    for (number, name) in [(1, "hk"), (2, "gz")] {
        let gateway = &vpcs.vpc(name)?.gateway;
        world.cable((&server, name), (gateway, "twin"))?;
        server.ip(&format!("link set {name} master lan"))?;
        gateway.address("twin", &format!("172.29.0.{number}/16"))?;
        configure(
            vpcs,
            name,
            &format!("[prefix.\"{SHARED}\"]\nvirtual_address = \"{VIRTUAL}/16\"\n"),
        )?;
    }
    server.ip(&format!("route add default via {VIRTUAL}"))?;
    Ok(server)
}

/// The one gateway that has the virtual address now.
fn holder(vpcs: &ThreeVpcs<'_>) -> Result<&'static str> {
    let mut holders = Vec::new();
    for name in ["hk", "gz"] {
        let addresses = vpcs
            .vpc(name)?
            .gateway
            .run("ip", &["-4", "address", "show", "dev", "twin"])?;
        if addresses.contains(VIRTUAL) {
            holders.push(name);
        }
    }
    match holders[..] {
        [one] => Ok(one),
        _ => anyhow::bail!("held by {holders:?}"),
    }
}

#[test]
fn hosts_behind_a_pair_keep_their_one_gateway() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let server = shared_lan(world, &vpcs)?;
        configure(&vpcs, "sz", "")?;
        let serve = [("hk", SHARED), ("gz", SHARED)];
        let settings = [("CONFIG", "/run/meshnode.toml")];
        let mesh = vpcs.mesh_with(&Options {
            serve: &serve,
            settings: &settings,
            ..Options::default()
        })?;
        let (sz, address) = (vpcs.vpc("sz")?, vpcs.vpc("sz")?.plan.host_addresses()[0]);
        let mut last = eventually("one gateway has the address", AMPLY, || holder(&vpcs))?;
        for end in [Signal::SIGSTOP, Signal::SIGKILL, Signal::SIGTERM] {
            reaches(&server, address)?;
            let gateway = mesh.node(last)?;
            gateway.process()?.signal(end);
            let next = eventually("the other one has it", AMPLY, || {
                let now = holder(&vpcs)?;
                ensure!(now != last, "{last} still has it");
                Ok(now)
            })?;
            reaches(&server, address)?;
            match end {
                Signal::SIGSTOP => gateway.process()?.signal(Signal::SIGCONT),
                _ => {
                    gateway.process()?.wait(AMPLY)?;
                    gateway.up(&[])?;
                }
            }
            mesh.is_complete()?;
            ensure!(holder(&vpcs)? == next, "it did not stay with {next}");
            last = next;
        }
        reaches(&sz.host, "172.29.0.10".parse()?).map(drop)
    })
}
