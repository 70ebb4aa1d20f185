//! Two gateways for one prefix, and what happens to the one that has the traffic: it moves to the other, the inner
//! addresses stay, and open connections outlive it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshnode_tests::topology::{Roles, Twins, Wire};
use meshnode_tests::traffic::{Pulse, Talk};
use meshnode_tests::{Node, in_world};
use nix::sys::signal::Signal;

use crate::AMPLY;

/// TCP may wait twice as long as the outage lasted before it tries again.
const TCP: Duration = Duration::from_secs(30);

/// Traffic to the server behind both gateways: small datagrams, and an open connection.
struct Traffic {
    pulse: Pulse,
    talk: Talk,
    client: IpAddr,
}

impl Traffic {
    fn start(twins: &Twins<'_>) -> Result<Traffic> {
        let (client, server) = (twins.client()?, &twins.server);
        let mut traffic = Traffic {
            pulse: Pulse::start(client, server, twins.server_address())?,
            talk: Talk::start(client, server, twins.server_address())?,
            client: twins.vpcs.vpc("sz")?.plan.host_addresses()[0],
        };
        traffic.goes_on()?;
        Ok(traffic)
    }

    /// Both arrive, from the client's own address.
    fn goes_on(&mut self) -> Result<()> {
        self.pulse.flows(AMPLY)?;
        self.talk.goes_on(TCP)?;
        let source = self.pulse.source().context("no source")?;
        ensure!(
            source == self.client,
            "the server sees {source} instead of {}",
            self.client
        );
        Ok(())
    }
}

/// Where the traffic must go when a gateway fails.
#[derive(PartialEq, Eq)]
enum Way {
    /// Through the other.
    Other,
    /// Wherever it arrives: the other may also relay to the one that failed.
    Any,
}

/// A world with traffic through one of two gateways, in which `fail` makes that one fail: the traffic must go on. Then
/// `repair`, after which both must be ready again and the traffic still there.
fn outlives(
    way: Way,
    fail: impl FnOnce(&Twins<'_>, &Node<'_>) -> Result<()>,
    repair: impl FnOnce(&Twins<'_>, &Node<'_>) -> Result<()>,
) -> Result<()> {
    in_world(|world| {
        let twins = Twins::build(world, Wire::Cable)?;
        let mut traffic = Traffic::start(&twins)?;
        let Roles { active, standby } = twins.ready(AMPLY)?;
        let failing = twins.mesh.node(&active)?;
        fail(&twins, failing)?;
        if way == Way::Other {
            twins.moves_to(&standby, AMPLY)?;
        }
        traffic.goes_on()?;
        repair(&twins, failing)?;
        twins.ready(AMPLY)?;
        traffic.goes_on()
    })
}

#[test]
fn frozen_gateway_is_routed_around() -> Result<()> {
    outlives(
        Way::Other,
        |_, gateway| signal(gateway, Signal::SIGSTOP),
        |_, gateway| signal(gateway, Signal::SIGCONT),
    )
}

#[test]
fn killed_gateway_is_routed_around() -> Result<()> {
    outlives(
        Way::Other,
        |_, gateway| gateway.kill(),
        |_, gateway| gateway.up(&[]),
    )
}

#[test]
fn gateway_in_a_black_hole_is_routed_around() -> Result<()> {
    outlives(
        Way::Any,
        |twins, gateway| {
            let name = gateway.name();
            twins.vpcs.internet.nft(&format!(
                "table inet hole {{
                   chain forward {{
                     type filter hook forward priority filter
                     iifname {name} drop
                     oifname {name} drop
                   }}
                 }}"
            ))
        },
        |twins, _| twins.vpcs.internet.nft("delete table inet hole"),
    )
}

#[test]
fn gateway_without_its_lan_is_routed_around() -> Result<()> {
    outlives(
        Way::Other,
        |twins, gateway| twins.set_port(gateway.name(), "down"),
        |twins, gateway| twins.set_port(gateway.name(), "up"),
    )
}

fn signal(node: &Node<'_>, signal: Signal) -> Result<()> {
    node.process()?.signal(signal);
    Ok(())
}
