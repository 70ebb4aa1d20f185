//! What the demo shows after the pings.

use anyhow::{Context, Result};
use meshnode_tests::topology::{Mesh, ThreeVpcs};
use meshnode_tests::traffic::transfer;

use crate::doors::Doors;
use crate::screen::Screen;

const MEGABYTE: usize = 1 << 20;

/// A checked transfer from the first host to the last, and what the receiver saw.
pub(crate) fn sources_preserved(screen: &Screen, mesh: &Mesh<'_>) -> Result<()> {
    let (from, to) = (
        &mesh.vpcs()[0],
        mesh.vpcs().last().context("a world without VPCs")?,
    );
    let seen = transfer(&from.host, &to.host, to.plan.host_addresses()[0], MEGABYTE)?;
    let (from, to) = (from.plan.name, to.plan.name);
    screen.line(&format!(
        "{} 1 MiB over TCP from the host in {from} arrived intact; the host in {to} saw it come from {}",
        screen.green("✓"),
        seen.source
    ));
    Ok(())
}

/// The capture's verdict so far.
pub(crate) fn nothing_in_clear(screen: &Screen, vpcs: &ThreeVpcs<'_>) -> Result<()> {
    let seen = vpcs.capture.seen();
    anyhow::ensure!(
        seen.in_clear == 0,
        "packets crossed the internet in clear: {}",
        seen.described.join("; ")
    );
    screen.line(&format!(
        "{} {} packets captured on the internet, {} of them tunnelled, none in clear",
        screen.green("✓"),
        seen.packets,
        seen.tunnelled
    ));
    Ok(())
}

/// `meshnode status` of the first node, as it prints it.
pub(crate) fn status(screen: &Screen, mesh: &Mesh<'_>) -> Result<()> {
    screen.heading(&format!("{} # meshnode status", mesh.nodes[0].name()));
    for line in mesh.nodes[0].ok(&["status"])?.lines() {
        screen.line(line);
    }
    Ok(())
}

/// Where the metrics are, and a few of them.
pub(crate) fn metrics(screen: &Screen, mesh: &Mesh<'_>, doors: &Doors) -> Result<()> {
    let page = mesh.nodes[0].metrics()?;
    screen.heading("Metrics for Prometheus: http://127.0.0.1:9586/metrics on each gateway");
    screen.line(&screen.dim(format!("$ {}", doors.metrics_command(mesh.nodes[0].name()))));
    let wanted = [
        "meshnode_peer_up",
        "meshnode_peer_rtt_seconds_count",
        "meshnode_peer_loss_ratio",
        "meshnode_routes",
    ];
    for line in page
        .lines()
        .filter(|line| wanted.iter().any(|name| line.starts_with(name)))
    {
        screen.line(line);
    }
    let series = page.lines().filter(|line| !line.starts_with('#')).count();
    screen.line(&screen.dim(format!("… {series} series in all")));
    Ok(())
}
