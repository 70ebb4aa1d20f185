//! `cargo xtask bench soak`: minutes of TCP at full rate, and beside it a datagram each millisecond that tells what a rekey
//! (every two minutes), or anything else, does to a flow.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use meshnode_tests::traffic::{Arrivals, TestStream};
use meshnode_tests::world::World;

use crate::contender::{MESHNODE, Selection};
use crate::measure::iperf::{Direction, Stream, Tcp};
use crate::pair::{Pair, RIGHT};
use crate::report::sheet;
use crate::step;

/// WireGuard makes new keys for a session in use after this time (REKEY_AFTER_TIME).
const REKEYS_EVERY: u32 = 120;

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    selection: Selection,
    /// Length, per contender
    #[arg(long, default_value_t = 10)]
    minutes: u32,
    /// Seconds instead of minutes: to see that it works
    #[arg(long, conflicts_with = "minutes")]
    seconds: Option<u32>,
    /// Where the report goes
    #[arg(long, value_name = "DIRECTORY", default_value = "docs/benchmarks")]
    output: PathBuf,
}

/// Soaks one contender after the other (meshnode alone, if none is named), prints and writes the table.
pub(crate) fn run(options: &Options) -> Result<()> {
    let seconds = options.seconds.unwrap_or(options.minutes * 60);
    let mut selection = options.selection.clone();
    if selection.contenders.is_empty() {
        selection.contenders.push(MESHNODE.to_owned());
    }
    let world = World::create()?;
    let field = selection.start(&world)?;
    let mut body = format!(
        "One TCP stream for {seconds} s, about {} rekeys, and a datagram each millisecond.\n\n\
         | | TCP, Gbit/s | slowest second | sent again | datagrams lost | reordered | longest gap, ms | of the tunnel, ms | at, s |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        seconds / REKEYS_EVERY
    );
    for (contender, pair) in &field.present {
        step(&format!("{} for {seconds} s", contender.name));
        let (stream, arrivals) = soak(pair, seconds).with_context(|| contender.name.clone())?;
        body.push_str(&line(&contender.name, &stream, &arrivals));
    }
    for absent in &field.absent {
        body.push_str(&format!("\n{} is left out: {}\n", absent.name, absent.reason));
    }
    sheet::save(&options.output, "soak", "Minutes at full rate", &body)
}

fn soak(pair: &Pair, seconds: u32) -> Result<(Stream, Arrivals)> {
    let beats = TestStream::start(&pair.left, &pair.right, RIGHT.into())?;
    let stream = Tcp {
        streams: 1,
        direction: Direction::Forward,
        seconds,
    }
    .run(pair);
    let arrivals = beats.finish()?;
    pair.still_runs()?;
    Ok((stream?, arrivals))
}

fn line(name: &str, stream: &Stream, arrivals: &Arrivals) -> String {
    format!(
        "| {name} | {:.2} | {:.2} | {:.0} | {} of {} | {} | {:.1} | {:.1} | {:.0} |\n",
        stream.bits_per_second / 1e9,
        stream.least_bits_per_second / 1e9,
        stream.retransmits,
        arrivals.lost(),
        arrivals.highest(),
        arrivals.late,
        arrivals.longest_gap.as_secs_f64() * 1e3,
        arrivals.longest_own_gap.as_secs_f64() * 1e3,
        arrivals.longest_at.as_secs_f64(),
    )
}
