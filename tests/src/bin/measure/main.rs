//! `cargo xtask measure`: figures of the control side, with the release binary in namespaces.
//!
//! How long a join takes, what an idle node weighs, and what gossip costs, at the sizes that the limits page names.
//! Each figure is printed with what was measured; nothing is compared with a threshold.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to its terminal"
)]

mod crowd;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use meshnode_tests::World;
use meshnode_tests::topology::{Options, ThreeVpcs, reaches};

use crate::crowd::Crowd;

const JOINS: usize = 10;
/// Long enough that what a join costs is no part of the idle figures.
const SETTLES: Duration = Duration::from_secs(20);
const WATCHED: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let sizes: Result<Vec<usize>, _> = std::env::args()
        .skip(1)
        .map(|word| word.parse::<usize>())
        .collect();
    let Ok(sizes) = sizes else {
        eprintln!("usage: measure [NODES..]    (3 20 by default; 101 takes minutes)");
        return ExitCode::from(2);
    };
    match measure(&sizes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(sizes: &[usize]) -> Result<()> {
    joins()?;
    for nodes in if sizes.is_empty() { &[3, 20] } else { sizes } {
        idle(*nodes)?;
    }
    Ok(())
}

/// From the start of `meshnode join` to the first answered ping to the founder's host, each in a new world.
fn joins() -> Result<()> {
    let mut times: Vec<Duration> = (0..JOINS).map(|_| one_join()).collect::<Result<_>>()?;
    times.sort_unstable();
    let middle = (times[JOINS / 2 - 1] + times[JOINS / 2]) / 2;
    println!(
        "join to first ping: median {:.0} ms of {JOINS} (least {:.0}, most {:.0})",
        milliseconds(middle),
        milliseconds(times[0]),
        milliseconds(times[JOINS - 1])
    );
    Ok(())
}

fn one_join() -> Result<Duration> {
    let world = World::create()?;
    let vpcs = ThreeVpcs::of(&world, 2)?;
    let options = Options::default();
    let founder = vpcs.found(&options)?;
    let (sz, hk) = (vpcs.vpc("sz")?, vpcs.vpc("hk")?);
    let token = vpcs.invite(&founder, hk, &options)?;
    let node = vpcs.node(hk, &options);
    let [prefix, prefix6] = hk.plan.cidrs();
    let start = Instant::now();
    node.start(&[
        "join",
        "198.51.100.10",
        "--token",
        &token,
        "--cidr",
        &prefix,
        "--cidr",
        &prefix6,
    ])?;
    reaches(&hk.host, sz.plan.host_addresses()[0])?;
    Ok(start.elapsed())
}

/// A mesh that does nothing: memory, processor and gossip of its nodes.
fn idle(nodes: usize) -> Result<()> {
    let world = World::create()?;
    let crowd = Crowd::gather(&world, nodes)?;
    std::thread::sleep(SETTLES);
    let (bytes, ticks) = (crowd.capture.seen().control_bytes, crowd.processor_time()?);
    std::thread::sleep(WATCHED);
    let bytes = crowd.capture.seen().control_bytes - bytes;
    let used = crowd.processor_time()?.saturating_sub(ticks);
    // The capture sees each datagram where it enters and where it leaves the internet.
    let each = bytes as f64 / 2.0 / WATCHED.as_secs_f64() / nodes as f64;
    let percent = used.as_secs_f64() / WATCHED.as_secs_f64() / nodes as f64 * 100.0;
    println!(
        "{nodes} nodes, idle: {:.1} MB resident (median), {percent:.2} % of a core and {each:.0} control bytes/s sent, per node",
        crowd.median_resident()? as f64 / 1e6
    );
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
