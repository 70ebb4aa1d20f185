//! Links that reorder, repeat, slow down and lose in bursts: nothing of that is a failure.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshnode_tests::link::{Conditions, Loss, Reordering};
use meshnode_tests::node::peers;
use meshnode_tests::topology::{ThreeVpcs, Twins, Wire};
use meshnode_tests::traffic::TestStream;
use meshnode_tests::{Node, eventually, in_world};

use crate::AMPLY;

/// Enough datagrams for shares of a thousandth.
const MANY: u64 = 5_000;
/// How long a lossy link is watched.
const WATCHED: Duration = Duration::from_secs(8);

#[test]
fn reordered_packets_are_not_lost_and_duplicates_do_not_arrive() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::wired(world, 2, Wire::Link)?;
        let mesh = vpcs.mesh()?;
        let (sz, hk) = (vpcs.vpc("sz")?, vpcs.vpc("hk")?);
        vpcs.link("sz")?.set_both(Conditions {
            delay: Duration::from_millis(5),
            reordering: Reordering {
                share: 0.25,
                by: Duration::from_millis(40),
            },
            duplicated: 0.1,
            ..Conditions::default()
        });
        let stream = TestStream::start(&sz.host, &hk.host, hk.plan.host_addresses()[0])?;
        eventually("enough was sent", AMPLY, || {
            ensure!(stream.sent() >= MANY, "{} were sent", stream.sent());
            Ok(())
        })?;
        let arrivals = stream.finish()?;
        ensure!(arrivals.late > MANY / 10, "only {} came late", arrivals.late);
        ensure!(arrivals.duplicates == 0, "{} came twice", arrivals.duplicates);
        ensure!(
            arrivals.lost() * 1_000 <= arrivals.highest(),
            "{} of {} are lost",
            arrivals.lost(),
            arrivals.highest()
        );
        let replayed = mesh
            .node("hk")?
            .metric("meshnode_dropped_packets_total{reason=\"replayed\"}")?;
        ensure!(replayed > 100.0, "only {replayed} second copies were refused");
        mesh.is_complete()
    })
}

#[test]
fn round_trip_that_grows_a_hundredfold_is_measured_and_never_down() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::wired(world, 2, Wire::Link)?;
        let mesh = vpcs.mesh()?;
        let (sz, hk) = (vpcs.vpc("sz")?, vpcs.vpc("hk")?);
        let link = vpcs.link("sz")?;
        let stream = TestStream::start(&sz.host, &hk.host, hk.plan.host_addresses()[0])?;
        for milliseconds in [5, 500, 5] {
            link.set_both(Conditions::delayed(Duration::from_micros(milliseconds * 500)));
            for (node, peer) in [("sz", "hk"), ("hk", "sz")] {
                measures(mesh.node(node)?, peer, milliseconds as f64)?;
            }
            stream.flows(AMPLY)?;
        }
        for node in &mesh.nodes {
            never_down(node)?;
        }
        Ok(())
    })
}

/// Waits until the round trip to a peer is shown as about so long; a busy machine adds to it.
fn measures(node: &Node<'_>, peer: &str, milliseconds: f64) -> Result<()> {
    let about = milliseconds * 0.9..milliseconds * 1.5 + 50.0;
    let what = format!("the round trip to {peer} is about {milliseconds} ms");
    node.wait_status(&what, AMPLY, |status| {
        let mut entries = peers(status).filter(|entry| entry["name"] == peer);
        let rtt = entries.next().and_then(|entry| entry["rtt_ms"].as_f64());
        rtt.is_some_and(|rtt| about.contains(&rtt))
    })?;
    Ok(())
}

fn never_down(node: &Node<'_>) -> Result<()> {
    let events = node.events(0)?;
    let down = events
        .iter()
        .find(|event| event["kind"] == "path" && event["to"] == "down");
    ensure!(down.is_none(), "{}: {down:?}", node.name());
    Ok(())
}

#[test]
fn two_percent_of_bursty_loss_move_nothing() -> Result<()> {
    in_world(|world| {
        let twins = Twins::build(world, Wire::Link)?;
        let stream = TestStream::start(twins.client()?, &twins.server, twins.server_address())?;
        stream.flows(AMPLY)?;
        let before = twins.ready(AMPLY)?;
        let source = twins.source()?;
        let latest = source.latest_event()?;
        twins.vpcs.link("sz")?.set_both(Conditions {
            loss: Loss::Bursty {
                mean: 0.02,
                burst: 3.0,
            },
            ..Conditions::default()
        });
        std::thread::sleep(WATCHED);
        twins.vpcs.link("sz")?.set_both(Conditions::default());
        ensure!(stream.finish()?.lost() > 0, "the link lost nothing");
        let events = source.events(latest)?;
        let moved = events.iter().find(|event| event["kind"] == "route");
        ensure!(moved.is_none(), "{moved:?}");
        let after = twins.ready(AMPLY).context("afterwards")?;
        ensure!(after == before, "{after:?} instead of {before:?}");
        Ok(())
    })
}
