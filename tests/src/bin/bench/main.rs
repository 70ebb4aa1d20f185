//! meshnode against boringtun-cli, on this machine, in one run: `cargo xtask bench`.
//!
//! ```text
//!   left  10.1.0.1 ─ tunnel ─ 192.0.2.1 ═══ veth ═══ 192.0.2.2 ─ tunnel ─ 10.2.0.1  right
//! ```
//!
//! Each tool has such a pair of namespaces of its own. Rounds alternate between the tools, so that a
//! noisy neighbour hits both; medians count. The result goes to docs/benchmarks/ as JSON and a table.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to its terminal"
)]

mod measure;
mod report;
mod rivals;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use meshnode_tests::world::in_world;

use measure::Sample;
use report::Report;
use rivals::{Pair, Tool};

const USAGE: &str = "\
cargo xtask bench [--rounds N] [--seconds S] [--output DIRECTORY]

  --rounds N            alternating measurements of each tool (default 7)
  --seconds S           length of each TCP transfer (default 5)
  --output DIRECTORY    where the report goes (default docs/benchmarks)
";

struct Options {
    rounds: usize,
    seconds: u32,
    output: PathBuf,
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options {
        rounds: 7,
        seconds: 5,
        output: "docs/benchmarks".into(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words
            .next()
            .with_context(|| format!("{word} needs a value\n\n{USAGE}"))?;
        match word.as_str() {
            "--rounds" => options.rounds = value.parse().context("--rounds takes a number")?,
            "--seconds" => options.seconds = value.parse().context("--seconds takes a number")?,
            "--output" => options.output = value.into(),
            _ => bail!("unknown option {word}\n\n{USAGE}"),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Result<()> {
    let boringtun = rivals::install_boringtun()?;
    in_world(|world| {
        eprintln!("==> building a pair of hosts for each tool");
        let pairs = [
            Pair::plain(world)?,
            Pair::meshnode(world)?,
            Pair::boringtun(world, &boringtun)?,
        ];
        let mut report = Report::new(options.rounds, options.seconds);
        for round in 1..=options.rounds {
            for pair in &pairs {
                let sample = Sample::take(pair, options.seconds)
                    .with_context(|| format!("measuring {}", pair.tool.name()))?;
                eprintln!(
                    "round {round}/{}  {:<10} {sample}",
                    options.rounds,
                    pair.tool.name()
                );
                report.add(pair.tool, sample);
            }
        }
        println!("{}", report.table());
        let files = report.write(&options.output)?;
        eprintln!("==> written: {}", files.join(", "));
        report.verdict(Tool::Meshnode, Tool::Boringtun)
    })
}
