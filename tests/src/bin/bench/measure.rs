//! One measurement: a TCP stream by iperf3, and round trips on the idle path by ping.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshnode_tests::wait::eventually;
use serde_json::Value;

use crate::rivals::Pair;

/// Echo requests of one measurement, and the seconds between two.
const PINGS: &str = "100";
const PING_INTERVAL: &str = "0.01";

/// What one round of one tool gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// TCP payload received, bits per second.
    pub(crate) throughput: f64,
    /// Median round trip, microseconds.
    pub(crate) rtt: f64,
    /// TCP segments sent again.
    pub(crate) retransmits: f64,
}

impl Sample {
    /// Measures the idle path first, then loads it.
    pub(crate) fn take(pair: &Pair, seconds: u32) -> Result<Sample> {
        let rtt = idle_rtt(pair)?;
        let (throughput, retransmits) = stream(pair, seconds)?;
        Ok(Sample {
            throughput,
            rtt,
            retransmits,
        })
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:7.0} Mbit/s   {:6.0} µs", self.throughput / 1e6, self.rtt)
    }
}

fn idle_rtt(pair: &Pair) -> Result<f64> {
    let text = pair
        .left
        .run("ping", &["-n", "-c", PINGS, "-i", PING_INTERVAL, pair.target])?;
    let times = text
        .lines()
        .filter_map(|line| line.split("time=").nth(1)?.split(' ').next()?.parse().ok());
    let milliseconds = median(times.collect()).context("ping printed no times")?;
    Ok(milliseconds * 1_000.0)
}

fn stream(pair: &Pair, seconds: u32) -> Result<(f64, f64)> {
    let mut server = pair.right.command("iperf3");
    let mut server = server
        .args(["--server", "--one-off", "--json", "--bind", pair.target])
        .stdout(std::process::Stdio::null())
        .spawn()?;
    let listening = || {
        let sockets = pair.right.run("ss", &["-Hltn", "sport", "=", "5201"])?;
        ensure!(!sockets.trim().is_empty(), "iperf3 does not listen yet");
        Ok(())
    };
    eventually("iperf3 listens", Duration::from_secs(10), listening)?;
    let seconds = seconds.to_string();
    let text = pair.left.run(
        "iperf3",
        &[
            "--client",
            pair.target,
            "--time",
            &seconds,
            "--omit",
            "1",
            "--json",
        ],
    )?;
    server.wait()?;
    let result: Value = serde_json::from_str(&text)?;
    let number = |path: &str| {
        result
            .pointer(path)
            .and_then(Value::as_f64)
            .with_context(|| format!("iperf3 gave no {path}"))
    };
    Ok((
        number("/end/sum_received/bits_per_second")?,
        number("/end/sum_sent/retransmits")?,
    ))
}

/// The middle value, or the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}
