//! Offloads, alone and together: whatever is on, what is sent arrives, byte for byte.

use anyhow::{Context, Result, ensure};
use meshnode_tests::in_world;
use meshnode_tests::topology::{Mesh, Options, ThreeVpcs};
use meshnode_tests::traffic::transfer;
use serde_json::Value;

const NAMES: [&str; 5] = ["tso", "uso", "merge", "gso", "gro"];

/// The set whose members are the bits of `bits`.
fn set(bits: usize) -> Vec<&'static str> {
    let member = |(at, name): (usize, &&'static str)| (bits & (1 << at) != 0).then_some(*name);
    NAMES.iter().enumerate().filter_map(member).collect()
}

/// Everything arrives while every node has exactly these offloads.
fn arrives_with(bits: usize, bytes: usize) -> Result<()> {
    in_world(|world| {
        let names = match set(bits) {
            empty if empty.is_empty() => "none".to_owned(),
            some => some.join(","),
        };
        let settings = [("OFFLOAD", names.as_str())];
        let options = Options {
            settings: &settings,
            ..Options::default()
        };
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh_with(&options)?;
        mesh.hosts_exchange(bytes)?;
        says_what_is_active(&mesh, &set(bits))
    })
    .with_context(|| format!("with {:?}", set(bits)))
}

/// `status` and the metrics agree with the settings; this kernel refuses none.
fn says_what_is_active(mesh: &Mesh<'_>, active: &[&str]) -> Result<()> {
    for node in &mesh.nodes {
        let status = node.status()?;
        for name in NAMES {
            let offloads = status["node"]["offloads"].as_array().context("no offloads")?;
            let shown = offloads.iter().find(|offload| offload["name"] == name);
            let is_active =
                shown.map(|offload| &offload["active"]) == Some(&Value::Bool(active.contains(&name)));
            ensure!(is_active, "{name}: {offloads:?}");
            let metric = node.metric(&format!("meshnode_offload_active{{offload=\"{name}\"}}"))?;
            ensure!((metric == 1.0) == active.contains(&name), "{name}: {metric}");
            let refused = node.metric(&format!("meshnode_offload_refused_total{{offload=\"{name}\"}}"))?;
            ensure!(refused == 0.0, "{name} was refused {refused} times");
        }
    }
    Ok(())
}

#[test]
fn everything_arrives_without_any_offload() -> Result<()> {
    arrives_with(0, 1_000_000)
}

#[test]
fn everything_arrives_with_one_offload_left_out() -> Result<()> {
    (0..NAMES.len()).try_for_each(|left_out| arrives_with(0b11111 & !(1 << left_out), 1_000_000))
}

#[test]
#[ignore = "all 32 combinations, two minutes"]
fn everything_arrives_with_every_combination_of_offloads() -> Result<()> {
    (0..1 << NAMES.len()).try_for_each(|bits| arrives_with(bits, 1_000_000))
}

/// One stream from a host of sz to one of gz, each byte compared.
fn large_transfer(bytes: usize) -> Result<()> {
    in_world(|world| {
        let vpcs = ThreeVpcs::build(world)?;
        let mesh = vpcs.mesh()?;
        let (sz, gz) = (vpcs.vpc("sz")?, vpcs.vpc("gz")?);
        for address in gz.plan.host_addresses() {
            transfer(&sz.host, &gz.host, address, bytes)?;
        }
        says_what_is_active(&mesh, &NAMES)
    })
}

#[test]
fn hundred_megabytes_arrive_as_they_were_sent() -> Result<()> {
    large_transfer(100_000_000)
}

#[test]
#[ignore = "a gigabyte in each family"]
fn gigabyte_arrives_as_it_was_sent() -> Result<()> {
    large_transfer(1_000_000_000)
}
