//! Gateways that go away on purpose: drained, ended by a signal, gone for good.

use anyhow::{Result, ensure};
use meshnode_tests::topology::{Roles, Twins, Wire};
use meshnode_tests::traffic::TestStream;
use meshnode_tests::{Node, World, in_world};

use crate::AMPLY;

/// Datagrams in a row, one a millisecond, that show a flow to be steady.
const STEADY: u64 = 500;

/// Drained, ended by a signal, or gone for good: not one datagram of a thousand a second is lost.
fn loses_nothing(world: &World, end: impl FnOnce(&Node<'_>) -> Result<()>) -> Result<()> {
    let twins = Twins::build(world, Wire::Cable)?;
    let stream = TestStream::start(twins.client()?, &twins.server, twins.server_address())?;
    let Roles { active, standby } = twins.ready(AMPLY)?;
    stream.flows_steadily(STEADY, AMPLY)?;
    stream.turn_page();
    let (begun, gateway) = (stream.now(), twins.mesh.node(&active)?);
    end(gateway)?;
    let ended = stream.now();
    twins.moves_to(&standby, AMPLY)?;
    stream.flows_steadily(STEADY, AMPLY)?;
    let arrivals = stream.finish()?;
    ensure!(
        arrivals.lost() == 0,
        "{} datagrams are lost, most of them before {:?}; asked to end at {begun:?}, done at {ended:?}",
        arrivals.lost(),
        arrivals.longest_at
    );
    Ok(())
}

#[test]
fn drained_gateway_loses_no_packet_and_stays_drained_until_told() -> Result<()> {
    in_world(|world| {
        loses_nothing(world, |gateway| {
            let said = gateway.ok(&["drain"])?;
            ensure!(said.contains("nothing comes from them any more"), "{said}");
            ensure!(gateway.status()?["node"]["draining"] == true);
            gateway.terminate()?;
            gateway.up(&[])?;
            ensure!(
                gateway.status()?["node"]["draining"] == true,
                "a restart ended it"
            );
            gateway.ok(&["undrain"])?;
            ensure!(gateway.status()?["node"]["draining"] == false);
            Ok(())
        })
    })
}

#[test]
fn gateway_that_is_told_to_end_loses_no_packet() -> Result<()> {
    in_world(|world| {
        loses_nothing(world, |gateway| {
            let status = gateway.terminate()?;
            ensure!(status.success(), "it ended with {status}");
            Ok(())
        })
    })
}

#[test]
fn gateway_that_leaves_loses_no_packet() -> Result<()> {
    in_world(|world| {
        loses_nothing(world, |gateway| {
            gateway.ok(&["leave"])?;
            gateway.process()?.wait(AMPLY).map(drop)
        })
    })
}
