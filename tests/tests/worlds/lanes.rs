//! Several lanes: tunnels on several ports at once, and what happens where the other side, or the way there, has fewer.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use meshnode_tests::node::Node;
use meshnode_tests::topology::{Mesh, Options, ThreeVpcs, Vpc, reaches};
use meshnode_tests::traffic::{Pulse, transfer};
use meshnode_tests::{Host, in_world};
use serde_json::Value;

use crate::AMPLY;
use crate::bad_network::on_the_way;
use crate::clients::{attach, phone};

/// So many flows that all of them in one lane of two is a coin that falls on one side 16 times.
const FLOWS: usize = 16;

/// A lane that gets nothing back gives up after a second; the rest is for a busy machine.
const FALLBACK: Duration = Duration::from_secs(4);

const TWO: Options<'static> = Options {
    invite: &[],
    serve: &[],
    settings: &[("LANES", "2")],
    only_ipv4: false,
};

#[test]
fn flows_spread_over_both_lanes_and_arrive_whole() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh_with(&TWO)?;
        let (sz, gz) = (vpcs.vpc("sz")?, vpcs.vpc("gz")?);
        warm(&mesh, sz, gz)?;
        let before = mesh.node("gz")?.status()?;
        for family in 0..2 {
            transfers(&sz.host, &gz.host, gz.plan.host_addresses()[family], 1_000_000)?;
        }
        for (node, direction) in [("sz", "tx_bytes"), ("gz", "rx_bytes")] {
            let status = mesh.node(node)?.status()?;
            for lane in 0..2 {
                let bytes = figure(&status, lane, direction)?;
                ensure!(bytes > 1_000_000, "lane {lane} of {node}: {direction} is {bytes}");
            }
        }
        let after = mesh.node("gz")?.status()?;
        for lane in 0..2 {
            ensure!(moved(&before, &after, lane, "rx_packets")? > 500);
        }
        let metric = "meshnode_lane_transmit_bytes_total{lane=\"1\"}";
        ensure!(mesh.node("sz")?.metric(metric)? > 1_000_000.0);
        Ok(())
    })
}

#[test]
fn closed_extra_ports_fall_back_to_lane_0_and_open_ones_are_used_again() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh_with(&TWO)?;
        let (sz, gz) = (vpcs.vpc("sz")?, vpcs.vpc("gz")?);
        warm(&mesh, sz, gz)?;
        let pulses = pulses(sz, gz)?;
        wait_moves(mesh.node("gz")?, 1, "rx_packets")?;
        on_the_way(&vpcs.internet, "closed", "udp dport 51821 drop")?;
        for pulse in &pulses {
            pulse.flows(FALLBACK)?;
        }
        wait_moves(mesh.node("sz")?, 1, "handed_off")?;
        transfers(&sz.host, &gz.host, gz.plan.host_addresses()[0], 300_000)?;
        mesh.is_complete()?;
        vpcs.internet.nft("delete table inet closed")?;
        // What was handed over stays with lane 0 until it pauses; new flows take the lane.
        drop(pulses);
        let again = || {
            let pulses = self::pulses(sz, gz)?;
            let moved = wait_moves(mesh.node("gz")?, 1, "rx_packets");
            drop(pulses);
            moved
        };
        again().or_else(|_| again()).context("lane 1 is not tried again")
    })
}

#[test]
fn node_whose_extra_port_is_taken_has_one_lane_and_takes_part() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let gz = vpcs.vpc("gz")?;
        let _taken = gz
            .gateway
            .inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 51821)))??;
        let mesh = vpcs.mesh_with(&TWO)?;
        let sz = vpcs.vpc("sz")?;
        ensure!(lanes(&mesh.node("gz")?.status()?)?.len() == 1);
        let (there, back) = (pulses(sz, gz)?, pulses(gz, sz)?);
        for pulse in there.iter().chain(&back) {
            pulse.flows(AMPLY)?;
        }
        wait_moves(mesh.node("sz")?, 1, "handed_off")?;
        transfers(&sz.host, &gz.host, gz.plan.host_addresses()[0], 300_000)?;
        ensure!(figure(&mesh.node("sz")?.status()?, 1, "tx_bytes")? == 0);
        mesh.everyone_pings_everyone()
    })
}

#[test]
fn stock_client_is_served_by_lane_0_wherever_its_packets_come_in() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh_with(&TWO)?;
        let (sz, gz) = (vpcs.vpc("sz")?, vpcs.vpc("gz")?);
        warm(&mesh, sz, gz)?;
        let phone = phone(world, &vpcs)?;
        let address = attach(&mesh, &phone)?;
        reaches(&phone, gz.plan.host_addresses()[0])?;
        transfers(&gz.host, &phone, address, 100_000)?;
        transfers(&phone, &gz.host, gz.plan.host_addresses()[0], 100_000)?;
        transfers(&sz.host, &phone, address, 100_000)?;
        let status = mesh.node("sz")?.status()?;
        ensure!(
            figure(&status, 1, "rx_packets")? > 0,
            "nothing for it came by lane 1"
        );
        ensure!(
            figure(&status, 1, "handed_off")? > 0,
            "nothing for it was handed over"
        );
        Ok(())
    })
}

#[test]
fn both_lanes_are_back_after_a_crash() -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh_with(&TWO)?;
        let (sz, gz) = (vpcs.vpc("sz")?, vpcs.vpc("gz")?);
        warm(&mesh, sz, gz)?;
        let pulses = pulses(sz, gz)?;
        wait_moves(mesh.node("gz")?, 1, "rx_packets")?;
        let node = mesh.node("gz")?;
        node.kill()?;
        node.up(&[])?;
        for pulse in &pulses {
            pulse.flows(AMPLY)?;
        }
        drop(pulses);
        warm(&mesh, sz, gz)?;
        transfers(&sz.host, &gz.host, gz.plan.host_addresses()[1], 300_000)?;
        let status = node.status()?;
        for lane in 0..2 {
            ensure!(
                figure(&status, lane, "rx_packets")? > 100,
                "lane {lane}: {status}"
            );
        }
        Ok(())
    })
}

/// The first packet between two nodes has them build their tunnels in lane 1: waits until packets pass there.
fn warm(mesh: &Mesh<'_>, from: &Vpc, to: &Vpc) -> Result<()> {
    reaches(&from.host, to.plan.host_addresses()[0])?;
    let node = mesh.node(to.plan.name)?;
    let before = node.status()?;
    node.wait_status("packets come by lane 1", AMPLY, |status| {
        // Another port, another queue: one of a few falls to lane 1.
        let some = transfer(&from.host, &to.host, to.plan.host_addresses()[0], 10_000);
        some.is_ok() && moved(&before, status, 1, "rx_packets").is_ok_and(|packets| packets > 0)
    })
    .map(drop)
}

/// Many transfers at once.
fn transfers(from: &Host, to: &Host, address: IpAddr, bytes: usize) -> Result<()> {
    thread::scope(|scope| {
        let all: Vec<_> = (0..FLOWS)
            .map(|_| scope.spawn(|| transfer(from, to, address, bytes)))
            .collect();
        all.into_iter().try_for_each(|one| {
            let joined = one.join().map_err(|_| anyhow!("a transfer panicked"))?;
            joined.map(drop)
        })
    })
}

fn pulses(from: &Vpc, to: &Vpc) -> Result<Vec<Pulse>> {
    let address = to.plan.host_addresses()[0];
    (0..FLOWS)
        .map(|_| Pulse::start(&from.host, &to.host, address))
        .collect()
}

fn lanes(status: &Value) -> Result<&Vec<Value>> {
    status["node"]["lanes"]
        .as_array()
        .context("no lanes in the status")
}

fn figure(status: &Value, lane: usize, name: &str) -> Result<u64> {
    let lane = lanes(status)?.get(lane).context("no such lane")?;
    lane[name].as_u64().context("no such figure")
}

fn moved(before: &Value, after: &Value, lane: usize, name: &str) -> Result<u64> {
    Ok(figure(after, lane, name)?.saturating_sub(figure(before, lane, name)?))
}

fn wait_moves(node: &Node<'_>, lane: usize, name: &str) -> Result<()> {
    let before = node.status()?;
    let what = format!("{name} of lane {lane} moves");
    node.wait_status(&what, AMPLY, |status| {
        moved(&before, status, lane, name).is_ok_and(|packets| packets > 0)
    })
    .map(drop)
}
