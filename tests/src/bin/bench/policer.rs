//! `cargo xtask bench policer`: a network that lets each flow of the underlay have so much and no more, as clouds do. One
//! lane is one flow and stays below that rate; each more lane is one more flow.
//!
//! The policer stands where the right host receives, drops what exceeds the rate of its 5-tuple, and counts what passes.
//! Segments are cut before they enter the cable, so that it sees packets as a real network does and not super-packets.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use meshnode_tests::world::{Host, World};
use serde_json::Value;

use crate::contender::Contender;
use crate::measure::iperf::{Direction, Tcp};
use crate::pair::Pair;
use crate::report::sheet;
use crate::statistics::Sorted;
use crate::step;

/// By then the bucket, which holds a second of the rate, is empty, and TCP knows what it may have.
const WARMS: Duration = Duration::from_secs(4);

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// What each flow may have
    #[arg(long, value_name = "MBIT_PER_S", default_value_t = 200)]
    rate: u32,
    /// Numbers of lanes to compare
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    lanes: Vec<u8>,
    /// TCP streams through the tunnel
    #[arg(long, default_value_t = 32)]
    streams: u32,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Length of each transfer
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Where the report goes
    #[arg(long, value_name = "DIRECTORY", default_value = "docs/benchmarks")]
    output: PathBuf,
}

/// Measures each number of lanes in turn, prints and writes the table.
pub(crate) fn run(options: &Options) -> Result<()> {
    let world = World::create()?;
    let mut pairs = Vec::new();
    for lanes in &options.lanes {
        step(&format!("starting meshnode, lanes: {lanes}"));
        let contender = Contender::mesh(&lanes.to_string(), &[("LANES", &lanes.to_string())])?;
        let pair = contender.start(&world, &format!("c{}", pairs.len()))?;
        police(&pair, options.rate)?;
        pairs.push(pair);
    }
    let mut results: Vec<Vec<f64>> = pairs.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        for (pair, passed) in pairs.iter().zip(&mut results) {
            let one = measure(options, pair).with_context(|| format!("lanes: {}", pair.name))?;
            step(&format!(
                "round {} of {}, lanes: {}: {one:.2} flows",
                round + 1,
                options.rounds,
                pair.name
            ));
            passed.push(one);
        }
    }
    sheet::save(
        &options.output,
        "policer",
        "Lanes against a policer per flow",
        &table(options, &pairs, &results),
    )
}

fn table(options: &Options, pairs: &[Pair], results: &[Vec<f64>]) -> String {
    let mut text = format!(
        "Each flow of the underlay may have {} Mbit/s; {} TCP streams go through the tunnel. Medians (rounds: {}).\n\n\
         | lanes | passed, as a multiple of one flow's rate | Mbit/s | lowest to highest round |\n|---:|---:|---:|---:|\n",
        options.rate, options.streams, options.rounds
    );
    for (pair, passed) in pairs.iter().zip(results) {
        let Some(flows) = Sorted::new(passed.clone()) else {
            continue;
        };
        text.push_str(&format!(
            "| {} | {:.2} × | {:.0} | {:.2}–{:.2} × |\n",
            pair.name,
            flows.median(),
            flows.median() * f64::from(options.rate),
            flows.least(),
            flows.most()
        ));
    }
    text
}

/// A token bucket per 5-tuple. nftables makes it hold one second of the rate and the burst.
fn police(pair: &Pair, rate: u32) -> Result<()> {
    for host in [&pair.left, &pair.right] {
        let words = ["-K", "eth0", "tx-udp-segmentation", "off", "gso", "off"];
        host.run("ethtool", &words)
            .context("cutting segments before the cable")?;
    }
    let bytes = u64::from(rate) * 1_000_000 / 8;
    pair.right.nft(&format!(
        "table ip policer {{
           counter passed {{ }}
           set flows {{ typeof ip saddr . udp sport . ip daddr . udp dport; size 1024; flags dynamic; }}
           chain arrive {{
             type filter hook prerouting priority raw; policy accept;
             iifname != \"eth0\" accept
             meta l4proto != udp accept
             add @flows {{ ip saddr . udp sport . ip daddr . udp dport limit rate over {bytes} bytes/second }} drop
             counter name passed
           }}
         }}"
    ))
}

/// What passes in the middle of a transfer, as a multiple of one flow's rate.
fn measure(options: &Options, pair: &Pair) -> Result<f64> {
    pair.still_runs()?;
    let transfer = Tcp {
        streams: options.streams,
        direction: Direction::Forward,
        seconds: options.seconds + WARMS.as_secs() as u32 + 1,
    };
    std::thread::scope(|scope| {
        let transfer = scope.spawn(|| transfer.run(pair));
        std::thread::sleep(WARMS);
        let (begin, before) = (Instant::now(), passed_bytes(&pair.right)?);
        std::thread::sleep(Duration::from_secs(options.seconds.into()));
        let bits = (passed_bytes(&pair.right)? - before) * 8.0;
        let rate = bits / begin.elapsed().as_secs_f64();
        let ended = transfer.join();
        ended.unwrap_or_else(|_| anyhow::bail!("the transfer panicked"))?;
        Ok(rate / (f64::from(options.rate) * 1e6))
    })
}

fn passed_bytes(host: &Host) -> Result<f64> {
    let text = host.run("nft", &["--json", "list", "counter", "ip", "policer", "passed"])?;
    let listed: Value = serde_json::from_str(&text)?;
    let mut objects = listed["nftables"].as_array().into_iter().flatten();
    let bytes = objects.find_map(|object| object["counter"]["bytes"].as_f64());
    bytes.context("nft shows no counter")
}
