//! What a person sees when a gateway dies: history, explanation and trace say what the packets do.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshnode_tests::topology::{SHARED, Twins, Wire, reaches};
use meshnode_tests::{Node, in_world};
use serde_json::Value;

use crate::AMPLY;

/// Pings that are followed through the gateways.
const PINGS: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(1);

#[test]
fn a_killed_gateway_is_told_as_it_happened_and_the_new_way_is_that_of_the_packets() -> Result<()> {
    in_world(|world| {
        let twins = Twins::build(world, Wire::Cable)?;
        let roles = twins.ready(AMPLY)?;
        let sz = twins.source()?;
        all_agree(&twins, &roles.active)?;
        let before = newest(sz)?;

        twins.mesh.node(&roles.active)?.kill()?;
        twins.moves_to(&roles.standby, AMPLY)?;
        reaches(twins.client()?, twins.server_address())?;
        all_agree(&twins, &roles.standby)?;

        let events = since(sz, before)?;
        let path = find(&events, "the path's", |event| {
            event["kind"] == "path" && event["peer"] == *roles.active && event["from"] == "up"
        })?;
        let route = find(&events, "the route's", |event| {
            event["kind"] == "route" && event["prefix"] == SHARED
        })?;
        ensure!(
            path["number"].as_u64() < route["number"].as_u64(),
            "the route moved before its path failed"
        );
        ensure!(
            path["time_ms"].as_u64() <= route["time_ms"].as_u64(),
            "{path} {route}"
        );
        ensure!(
            route["from"] == *roles.active && route["to"] == *roles.standby,
            "{route}"
        );
        ensure!(
            path["cause"].is_string() && route["cause"] == "health",
            "{path} {route}"
        );
        ensure!(
            sz.ok(&["events", "--peer", &roles.active])?.contains(SHARED),
            "the route is not shown"
        );
        Ok(())
    })
}

/// `explain`, `trace` and the packets themselves name the same gateway.
fn all_agree(twins: &Twins<'_>, gateway: &str) -> Result<()> {
    let (sz, server) = (twins.source()?, twins.server_address().to_string());
    let host = twins.vpcs.vpc("sz")?.plan.host_addresses()[0].to_string();
    let told = json(&sz.ok(&["explain", &host, &server, "--json"])?)?;
    ensure!(
        told["outcome"] == "forwarded" && told["prefix"] == SHARED,
        "{told}"
    );
    ensure!(
        told["gateways"][0]["node"] == *gateway,
        "explain names another gateway than {gateway}: {told}"
    );
    let trace = json(&sz.ok(&["trace", &server, "-c", "2", "--json"])?)?;
    let hop = trace["hops"]
        .as_array()
        .and_then(|hops| hops.last())
        .context("no hops")?;
    ensure!(
        hop["node"] == *gateway && hop["received"].as_u64() > Some(0),
        "{trace}"
    );
    packets_take(twins, gateway)
}

fn packets_take(twins: &Twins<'_>, gateway: &str) -> Result<()> {
    let before = forwarded(twins, gateway)?;
    for _ in 0..PINGS {
        twins.client()?.ping(twins.server_address(), PATIENCE)?;
    }
    let more = forwarded(twins, gateway)? - before;
    ensure!(more >= PINGS, "{gateway} passed {more} of {PINGS} pings on");
    Ok(())
}

/// Packets that the gateway has sent into the LAN.
fn forwarded(twins: &Twins<'_>, gateway: &str) -> Result<u64> {
    let gateway = &twins.vpcs.vpc(gateway)?.gateway;
    let link = json(&gateway.run("ip", &["-s", "-j", "link", "show", "twin"])?)?;
    link[0]["stats64"]["tx"]["packets"].as_u64().context("no counter")
}

#[test]
fn explain_names_what_drops_a_packet() -> Result<()> {
    in_world(|world| {
        let twins = Twins::build(world, Wire::Cable)?;
        let sz = twins.source()?;
        let server = twins.server_address().to_string();
        let reason = |arguments: &[&str]| -> Result<Value> {
            Ok(json(&sz.ok(&[&["explain", "--json"], arguments].concat())?)?["drop_reason"].clone())
        };
        ensure!(reason(&["192.0.2.1", &server])? == "source_not_allowed");
        ensure!(reason(&[&server, "172.31.185.159", "--from", "hk"])? == "destination_not_ours");
        let story = sz.ok(&["explain", "sz", "hk"])?;
        ensure!(story.contains("goes to hk"), "{story}");
        sz.cli(&["explain", "sz", "nobody"])?
            .refused(2, &["neither an address nor the name of a node"])?;
        sz.cli(&["explain", "sz", "10.0.0.1"])?
            .refused(2, &["different IP versions"])?;
        Ok(())
    })
}

fn newest(node: &Node<'_>) -> Result<u64> {
    let line = node.ok(&["events", "--json", "--limit", "1"])?;
    json(&line)?["number"].as_u64().context("no number")
}

fn since(node: &Node<'_>, number: u64) -> Result<Vec<Value>> {
    let lines = node.ok(&["events", "--json", "--limit", "1000"])?;
    let events = lines.lines().map(json).collect::<Result<Vec<_>>>()?;
    Ok(events
        .into_iter()
        .filter(|event| event["number"].as_u64() > Some(number))
        .collect())
}

fn find<'a>(events: &'a [Value], what: &str, is: impl Fn(&Value) -> bool) -> Result<&'a Value> {
    let found = events.iter().find(|event| is(event));
    found.with_context(|| format!("{what} event is missing in {events:#?}"))
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| text.to_owned())
}
