//! A gateway's own address changes under running flows (N10).

use std::time::Duration;

use anyhow::{Context, Result};
use meshnode_tests::in_world;
use meshnode_tests::topology::{Options, ThreeVpcs};
use meshnode_tests::traffic::{Pulse, transfer};

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
