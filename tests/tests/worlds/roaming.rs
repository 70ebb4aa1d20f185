//! A gateway's address (N10) or ports (N8) change under running flows, or a firewall forgets them (N9).

use std::time::Duration;

use anyhow::{Context, Result};
use meshnode_tests::in_world;
use meshnode_tests::topology::{Options, ThreeVpcs, reaches};
use meshnode_tests::traffic::{Pulse, Talk, transfer};

use crate::AMPLY;

const GOES_ON: Duration = Duration::from_secs(1);

#[test]
fn flows_go_on_when_a_gateway_gets_another_address() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let settings = [("LISTEN", "0.0.0.0:51820")];
        let mesh = vpcs.mesh_with(&Options {
            only_ipv4: true,
            settings: &settings,
            ..Options::default()
        })?;
        let (sz, gz) = (vpcs.vpc("sz")?, vpcs.vpc("gz")?);
        let there = Pulse::start(&sz.host, &gz.host, gz.plan.host_addresses()[0])?;
        let back = Pulse::start(&gz.host, &sz.host, sz.plan.host_addresses()[0])?;
        there.flows(AMPLY)?;
        back.flows(AMPLY)?;
        let (from, to, address) = (gz.host.clone(), sz.host.clone(), sz.plan.host_addresses()[0]);
        let running = std::thread::spawn(move || transfer(&from, &to, address, 20_000_000));
        gz.gateway.sysctl("ipv4/conf/wan/promote_secondaries", "1")?;
        gz.gateway
            .address("wan", &format!("{}/24", gz.plan.outside4(77)))?;
        gz.gateway.ip("address delete 192.0.2.10/24 dev wan")?;
        gz.gateway.ip("route replace default via 192.0.2.1")?;
        there.flows(GOES_ON)?;
        back.flows(GOES_ON)?;
        running.join().ok().context("the transfer panicked")??;
        mesh.is_complete()
    })
}

/// A round of port changes is over when traffic passes both ways, and the connection goes on.
#[test]
fn flows_go_on_when_a_nat_gives_a_gateway_other_ports() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh_with(&Options {
            only_ipv4: true,
            settings: &[("LISTEN", "0.0.0.0:51820")],
            ..Options::default()
        })?;
        let (sz, gz) = (vpcs.vpc("sz")?, vpcs.vpc("gz")?);
        let there = Pulse::start(&sz.host, &gz.host, gz.plan.host_addresses()[0])?;
        let back = Pulse::start(&gz.host, &sz.host, sz.plan.host_addresses()[0])?;
        let mut talk = Talk::start(&sz.host, &gz.host, gz.plan.host_addresses()[0])?;
        talk.goes_on(AMPLY)?;
        for round in 1..=3 {
            vpcs.rebind("gz", round)?;
            there.flows(AMPLY)?;
            back.flows(AMPLY)?;
            talk.goes_on(AMPLY)?;
            vpcs.unbind("gz")?;
        }
        there.flows(AMPLY)?;
        mesh.is_complete()
    })
}

/// What a firewall remembers of idle UDP, in seconds. 30 s is usual; the node speaks every second.
const FORGETS: &str = "4";
const IDLE: Duration = Duration::from_secs(9);

#[test]
fn node_behind_a_firewall_that_forgets_stays_within_reach() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        vpcs.internet.nft(
            "table inet firewall {
               chain forward {
                 type filter hook forward priority filter
                 oifname gz ct state new drop
               }
             }",
        )?;
        for setting in ["nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"] {
            vpcs.internet.sysctl(&format!("netfilter/{setting}"), FORGETS)?;
        }
        mesh.is_complete()?;
        std::thread::sleep(IDLE);
        for name in ["sz", "hk"] {
            reaches(&vpcs.vpc(name)?.host, vpcs.vpc("gz")?.plan.host_addresses()[0])?;
        }
        mesh.is_complete()
    })
}
