//! `cargo xtask bench failover`: what each failure does to a flow of 1,000 packets a second.
//!
//! ```text
//!                                     ┌─ hk ── .0.1 ─┐
//!   sz-host ── sz ═══ internet ═══════╡              ├─ LAN 172.29.0.0/16 ── server
//!                                     └─ gz ── .0.2 ─┘            and idle nodes
//! ```
//!
//! A run waits until both gateways are ready, begins a new page of the stream's account, breaks something, waits until the
//! flow is as it should be again, reads the account, and repairs. What is broken is always the gateway that has the
//! traffic just then, so runs need not wait until the other takes over again. All waiting is for what nodes say and for
//! packets that arrive.
//!
//! | file | is |
//! |---|---|
//! | `failure` | what a failure is, and the list of them |
//! | `faults/` | how each is made and repaired |
//! | `scene` | the world, and the flow that is watched |
//! | `run` | one run, and many |
//! | `report/` | a page, JSON, a chart |

mod failure;
mod faults;
mod report;
mod run;
mod scene;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use meshnode_tests::topology::Wire;
use meshnode_tests::world::World;

use crate::step;
use failure::{FAILURES, Failure};
use report::{Report, Row};
use scene::Scene;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Sizes of the mesh: the three nodes of the picture, the rest idle
    #[arg(long, value_delimiter = ',', default_value = "3")]
    nodes: Vec<usize>,
    /// Runs of each failure; those that last long have fewer
    #[arg(long, default_value_t = 20)]
    runs: usize,
    /// Only these failures, by key
    #[arg(long, value_delimiter = ',', value_name = "KEY")]
    only: Vec<String>,
    /// Print the keys of all failures, and do nothing
    #[arg(long)]
    list: bool,
    /// Where the report goes
    #[arg(long, value_name = "DIRECTORY", default_value = "docs/benchmarks")]
    output: PathBuf,
}

/// Measures each failure at each size, prints the table, writes the three files.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.list {
        FAILURES
            .iter()
            .for_each(|failure| println!("{:<22} {}", failure.key, failure.title));
        return Ok(());
    }
    let selected = select(&options.only)?;
    let mut report = Report::new(options.runs);
    for nodes in &options.nodes {
        for wire in [Wire::Cable, Wire::Link] {
            let failures: Vec<&Failure> = selected
                .iter()
                .filter(|failure| failure.wire == wire)
                .copied()
                .collect();
            measure(*nodes, wire, &failures, options.runs, &mut report)
                .with_context(|| format!("with {nodes} nodes"))?;
        }
    }
    report.finish(&options.output)
}

fn select(only: &[String]) -> Result<Vec<&'static Failure>> {
    if let Some(unknown) = only
        .iter()
        .find(|key| !FAILURES.iter().any(|failure| failure.key == **key))
    {
        anyhow::bail!("there is no failure `{unknown}`: see `cargo xtask bench failover --list`");
    }
    let wanted = |failure: &&Failure| only.is_empty() || only.iter().any(|key| key == failure.key);
    Ok(FAILURES.iter().filter(wanted).collect())
}

/// One world for all failures of one size and wire. A failure that breaks the world for good leaves the rest to a new one.
fn measure(
    nodes: usize,
    wire: Wire,
    failures: &[&'static Failure],
    runs: usize,
    report: &mut Report,
) -> Result<()> {
    ensure!(nodes >= 3, "the picture has three nodes");
    let mut left = failures.iter();
    while left.len() > 0 {
        let world = World::create()?;
        let scene = Scene::build(&world, nodes, wire)?;
        for failure in left.by_ref() {
            step(&format!("{nodes} nodes: {}", failure.title));
            let runs = runs.min(failure.at_most);
            let (row, scene_is_whole) = run::many(&scene, failure, runs);
            step(&format!("    {}", row.in_short()));
            report.add(Row { nodes, ..row });
            if !scene_is_whole {
                break;
            }
        }
    }
    Ok(())
}
