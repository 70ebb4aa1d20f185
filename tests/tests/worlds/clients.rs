//! A stock WireGuard device, wireguard-go with wg-quick, attached to one node.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshnode_tests::topology::{Mesh, ThreeVpcs, reaches};
use meshnode_tests::traffic::{Pulse, Questions, exchange, transfer};
use meshnode_tests::{Host, World, in_world};

use crate::AMPLY;

const SILENCE: Duration = Duration::from_millis(500);

#[test]
fn stock_client_reaches_every_vpc_and_is_reached_until_removed() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        let phone = phone(world, &vpcs)?;
        let address = attach(&mesh, &phone)?;
        for vpc in &vpcs.vpcs {
            for inner in vpc.plan.host_addresses() {
                reaches(&phone, inner)?;
            }
            let inner = vpc.plan.host_addresses()[0];
            ensure!(transfer(&phone, &vpc.host, inner, 300_000)?.source == address);
            reaches(&vpc.host, address)?;
        }
        let gz = vpcs.vpc("gz")?;
        let seen = exchange(&gz.host, &phone, address, &Questions::once(20, 800))?;
        ensure!(
            seen.source == gz.plan.host_addresses()[0],
            "gz came as {}",
            seen.source
        );
        let pulse = Pulse::start(&phone, &gz.host, gz.plan.host_addresses()[0])?;
        pulse.flows(AMPLY)?;
        let sz = mesh.node("sz")?;
        ensure!(
            sz.ok(&["client", "list"])?.contains("phone"),
            "the list does not name it"
        );
        sz.ok(&["client", "remove", "phone"])?;
        pulse.falls_silent(SILENCE, AMPLY)
    })
}

#[test]
fn client_survives_a_restart_of_its_node() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        let phone = phone(world, &vpcs)?;
        attach(&mesh, &phone)?;
        let gz = vpcs.vpc("gz")?;
        let pulse = Pulse::start(&phone, &gz.host, gz.plan.host_addresses()[0])?;
        pulse.flows(AMPLY)?;
        let sz = mesh.node("sz")?;
        sz.kill()?;
        pulse.falls_silent(SILENCE, AMPLY)?;
        sz.up(&[])?;
        pulse.flows(Duration::from_secs(20))
    })
}

/// A machine on the internet, outside of every VPC.
fn phone(world: &World, vpcs: &ThreeVpcs<'_>) -> Result<Host> {
    let phone = world.host("phone")?;
    world.cable((&vpcs.internet, "phone"), (&phone, "eth0"))?;
    vpcs.internet.address("phone", "198.19.0.1/24")?;
    phone.address("eth0", "198.19.0.10/24")?;
    phone.ip("route add default via 198.19.0.1")?;
    Ok(phone)
}

/// `client add` on sz, and the printed configuration in the hands of wg-quick. Returns the client's IPv4 address.
fn attach(mesh: &Mesh<'_>, phone: &Host) -> Result<std::net::IpAddr> {
    let config = mesh.node("sz")?.ok(&["client", "add", "phone"])?;
    let config = config
        .get(
            config
                .find("[Interface]")
                .context("no configuration was printed")?..,
        )
        .unwrap_or_default();
    let config: String = config
        .lines()
        .filter(|line| line.is_ascii())
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(phone.path("/run/wg0.conf"), &config)?;
    let mut command = phone.command("wg-quick");
    command
        .args(["up", "/run/wg0.conf"])
        .env("WG_QUICK_USERSPACE_IMPLEMENTATION", "wireguard-go");
    let said = command.output()?;
    let stderr = String::from_utf8_lossy(&said.stderr);
    ensure!(
        said.status.success(),
        "wg-quick refused this configuration:\n{config}\n{stderr}"
    );
    let line = config
        .lines()
        .find_map(|line| line.strip_prefix("Address = "))
        .context("no address")?;
    let addresses = line
        .split(',')
        .map(|word| word.trim().split('/').next().unwrap_or_default());
    let ipv4 = addresses
        .filter_map(|word| word.parse().ok())
        .find(std::net::IpAddr::is_ipv4);
    ipv4.context("the client has no IPv4 address")
}
