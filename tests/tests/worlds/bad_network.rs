//! Networks that lose, block and lie.

use std::net::UdpSocket;

use anyhow::{Context, Result, ensure};
use meshnode_tests::node::peers;
use meshnode_tests::topology::{Options, ThreeVpcs};
use meshnode_tests::traffic::deliver;
use meshnode_tests::{Host, Node, eventually, in_world};

use crate::AMPLY;

#[test]
fn ten_megabytes_arrive_through_a_fifth_of_loss() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        let (sz, hk) = (vpcs.vpc("sz")?, vpcs.vpc("hk")?);
        on_the_way(&vpcs.internet, "loss", "numgen random mod 100 < 20 drop")?;
        // Not over TCP: CUBIC crawls through a fifth of loss on any network, with or without a mesh.
        deliver(&sz.host, &hk.host, hk.plan.host_addresses()[0], 10_000_000)?;
        mesh.is_complete()
    })
}

/// Two nodes alone: there is nobody to go round by.
#[test]
fn one_way_block_is_seen_by_both_sides_and_heals() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::of(world, 2)?;
        let mesh = vpcs.mesh()?;
        on_the_way(&vpcs.internet, "block", "iifname sz oifname hk drop")?;
        not_up(mesh.node("sz")?, "hk")?;
        not_up(mesh.node("hk")?, "sz")?;
        vpcs.internet.nft("delete table inet block")?;
        mesh.is_complete()?;
        mesh.everyone_pings_everyone()
    })
}

fn not_up(node: &Node<'_>, peer: &str) -> Result<()> {
    node.wait_status(&format!("{peer} is not up"), AMPLY, |status| {
        peers(status).any(|entry| entry["name"] == peer && entry["state"] != "up")
    })?;
    Ok(())
}

#[test]
fn host_without_ipv6_takes_part() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        for setting in ["all", "default", "lo"] {
            vpcs.vpc("gz")?
                .gateway
                .sysctl(&format!("ipv6/conf/{setting}/disable_ipv6"), "1")?;
        }
        let mesh = vpcs.mesh_with(&Options {
            only_ipv4: true,
            ..Options::default()
        })?;
        mesh.everyone_pings_everyone()?;
        mesh.hosts_exchange(200_000)?;
        mesh.node("gz")?
            .wait_status("probes measure both peers", AMPLY, |status| {
                peers(status)
                    .filter(|peer| peer["rtt_ms"].as_f64().is_some())
                    .count()
                    == 2
            })?;
        Ok(())
    })
}

#[test]
fn garbage_on_the_port_is_counted_and_has_no_effect() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        let sz = vpcs.vpc("sz")?;
        let before = dropped(mesh.node("sz")?)?;
        vpcs.internet
            .inside(|| throw_garbage((sz.plan.public(), 51820).into()))??;
        eventually("garbage is counted", AMPLY, || {
            let now = dropped(mesh.node("sz")?)?;
            ensure!(now > before, "{now} drops, as before");
            Ok(())
        })?;
        mesh.is_complete()?;
        mesh.hosts_exchange(200_000)
    })
}

/// Every first byte at several lengths, so that each class of the demultiplexer gets nonsense.
fn throw_garbage(target: std::net::SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    for length in [1, 4, 32, 148, 1200] {
        for first in 0..=255 {
            let mut datagram = vec![0x5a; length];
            datagram[0] = first;
            if first % 2 == 0 && length >= 4 {
                datagram[1..4].fill(0);
            }
            socket.send_to(&datagram, target)?;
        }
    }
    Ok(())
}

fn dropped(node: &Node<'_>) -> Result<f64> {
    let page = node.metrics()?;
    let series = page
        .lines()
        .filter(|line| line.starts_with("meshnode_dropped_packets_total{"));
    let values = series.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<f64>());
    values.sum::<Result<f64, _>>().context("not a number")
}

#[test]
fn short_outage_of_the_whole_internet_heals() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        on_the_way(&vpcs.internet, "outage", "drop")?;
        for node in &mesh.nodes {
            node.wait_status("no peer is up", AMPLY, |status| {
                peers(status).all(|peer| peer["state"] != "up")
            })?;
        }
        vpcs.internet.nft("delete table inet outage")?;
        mesh.is_complete()?;
        mesh.everyone_pings_everyone()
    })
}

/// A rule for every packet between gateways, in a table of that name.
fn on_the_way(internet: &Host, table: &str, rule: &str) -> Result<()> {
    let hook = "type filter hook forward priority filter";
    internet.nft(&format!(
        "table inet {table} {{\n chain forward {{\n {hook}\n {rule}\n }}\n}}\n"
    ))
}
