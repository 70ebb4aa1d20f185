//! `cargo xtask bench`: meshnode and other userspace WireGuards on one machine, in one run.
//!
//! ```text
//!   left  10.1.0.1 ─ tunnel ─ 192.0.2.1 ═══ veth ═══ 192.0.2.2 ─ tunnel ─ 10.2.0.1  right
//! ```
//!
//! Each contender has such a pair of hosts of its own, and all pairs stand for the whole run. The rounds go over them in
//! turn, so that a noisy neighbour hits all alike; medians count, and ratios more than figures.
//!
//! | file | is |
//! |---|---|
//! | `pair` | two hosts, a cable, a tunnel |
//! | `contender/` | what makes the tunnel, how it is installed and started |
//! | `measure/` | one file per kind of measurement |
//! | `matrix`, `latency`, `policer`, `scale`, `soak`, `failover/` | the tasks |
//! | `report/` | a page, JSON, a chart |
//! | `statistics` | medians, percentiles, spread |

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to its terminal"
)]

mod contender;
mod failover;
mod latency;
mod matrix;
mod measure;
mod pair;
mod policer;
mod report;
mod scale;
mod soak;
mod statistics;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask bench",
    about = "Measures userspace WireGuards in turn, and writes a report"
)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    task: Option<Task>,
    #[command(flatten)]
    matrix: matrix::Options,
}

#[derive(Subcommand)]
enum Task {
    /// What failures of gateways, paths and networks do to a flow
    Failover(failover::Options),
    /// Round trips on the idle tunnel, in percentiles
    Latency(latency::Options),
    /// Lanes against a network that polices each flow
    Policer(policer::Options),
    /// Memory, time and throughput with many peers and many prefixes
    Scale(scale::Options),
    /// Minutes at full rate, across rekeys: the longest gap, and reordering
    Soak(soak::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.task {
        None => matrix::run(&cli.matrix),
        Some(Task::Failover(options)) => failover::run(&options),
        Some(Task::Latency(options)) => latency::run(&options),
        Some(Task::Policer(options)) => policer::run(&options),
        Some(Task::Scale(options)) => scale::run(&options),
        Some(Task::Soak(options)) => soak::run(&options),
    }
}

/// Says what happens next, on standard error: standard output has the results.
fn step(what: &str) {
    eprintln!("==> {what}");
}
