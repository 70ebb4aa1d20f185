//! `cargo xtask bench scale`: what many peers and many prefixes cost a plain device in memory, time and throughput.

mod crowd;
mod peers;
mod prefixes;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use meshnode_tests::world::Host;

use crate::contender::{BORINGTUN, Contender, Device, GOTATUN, MESHNODE_WG, Selection, WIREGUARD_GO};
use crate::report::sheet;
use crate::step;

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    selection: Selection,
    /// Numbers of peers, each with a session
    #[arg(long, value_delimiter = ',', default_value = "1,10,100,1000")]
    peers: Vec<usize>,
    /// Numbers of prefixes of one peer
    #[arg(long, value_delimiter = ',', default_value = "10,1000,10000,100000")]
    prefixes: Vec<u32>,
    /// Length of each TCP transfer
    #[arg(long, default_value_t = 4)]
    seconds: u32,
    /// Where the report goes
    #[arg(long, value_name = "DIRECTORY", default_value = "docs/benchmarks")]
    output: PathBuf,
}

/// Measures each number for each contender in turn, prints and writes the tables.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut selection = options.selection.clone();
    if selection.contenders.is_empty() {
        let devices = [MESHNODE_WG, BORINGTUN, GOTATUN, WIREGUARD_GO].map(str::to_owned);
        let others = selection.others.iter().map(|(name, _)| name.clone());
        selection.contenders = devices.into_iter().chain(others).collect();
    }
    let (contenders, absent) = selection.resolve()?;
    let mut body = format!("## Peers\n\n{}", peers::HEAD);
    for_all(&contenders, &options.peers, &mut body, |device, count| {
        Ok(peers::measure(device, count)?.line())
    });
    body.push_str(&format!("\n## Prefixes\n\n{}", prefixes::HEAD));
    for_all(&contenders, &options.prefixes, &mut body, |device, count| {
        Ok(prefixes::measure(device, count, options.seconds)?.line())
    });
    for absent in absent {
        body.push_str(&format!("\n{} is left out: {}\n", absent.name, absent.reason));
    }
    sheet::save(&options.output, "scale", "Many peers, many prefixes", &body)
}

/// A line per contender and number. What fails becomes a line with the reason.
fn for_all<N: Copy + std::fmt::Display>(
    contenders: &[Contender],
    numbers: &[N],
    body: &mut String,
    measure: impl Fn(&Device, N) -> Result<String>,
) {
    for contender in contenders {
        for number in numbers {
            let measured = contender
                .device()
                .context("it is no plain WireGuard device")
                .and_then(|device| measure(device, *number));
            let line = measured.unwrap_or_else(|error| format!("failed: {error:#}"));
            step(&format!("{} {number}: {line}", contender.name));
            body.push_str(&format!("| {} | {number} | {line} |\n", contender.name));
        }
    }
}

/// Adds the text of a configuration file, as wg(8) defines it, to `wg0`; returns how long that took.
fn add_configuration(host: &Host, text: &str) -> Result<Duration> {
    std::fs::write(host.path("/run/more.conf"), text)?;
    let begin = Instant::now();
    host.run("wg", &["addconf", "wg0", "/run/more.conf"])?;
    Ok(begin.elapsed())
}
