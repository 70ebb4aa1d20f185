//! What came out: medians, spread and ratio, as a table for readers and JSON for later comparison.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::measure::{Sample, median};
use crate::rivals::Tool;

/// Noise that a comparison on a shared machine must forgive.
const TOLERANCE: f64 = 0.05;

/// All samples of one run.
pub(crate) struct Report {
    rounds: usize,
    seconds: u32,
    samples: BTreeMap<Tool, Vec<Sample>>,
}

impl Report {
    pub(crate) fn new(rounds: usize, seconds: u32) -> Report {
        Report {
            rounds,
            seconds,
            samples: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, tool: Tool, sample: Sample) {
        self.samples.entry(tool).or_default().push(sample);
    }

    /// The table for people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "# meshnode against boringtun-cli\n\n`cargo xtask bench --rounds {} --seconds {}` on {}\n\n",
            self.rounds,
            self.seconds,
            machine()
        );
        text.push_str("One TCP stream (iperf3) and the idle round trip (ping) between two namespaces joined by veth, inner MTU 1420.\n");
        text.push_str("Medians of alternating rounds, lowest and highest in brackets.\n\n");
        text.push_str("| | throughput, Mbit/s | round trip, µs | to boringtun |\n|---|---:|---:|---:|\n");
        for tool in self.samples.keys() {
            // Writing to a String cannot fail.
            let _infallible = writeln!(
                text,
                "| {} | {} | {} | {:.2} × |",
                tool.name(),
                self.cell(*tool, |sample| sample.throughput / 1e6),
                self.cell(*tool, |sample| sample.rtt),
                self.ratio(*tool, Tool::Boringtun, |sample| sample.throughput)
                    .unwrap_or(f64::NAN),
            );
        }
        text
    }

    /// Writes both files; returns their names.
    pub(crate) fn write(&self, directory: &Path) -> Result<[String; 2]> {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let table = directory.join("boringtun.md");
        let data = directory.join("boringtun.json");
        fs::write(&table, self.table())?;
        fs::write(&data, format!("{:#}\n", self.json()))?;
        Ok([table.display().to_string(), data.display().to_string()])
    }

    /// Fails when `ours` is slower than `theirs`.
    pub(crate) fn verdict(&self, ours: Tool, theirs: Tool) -> Result<()> {
        let throughput = self
            .ratio(ours, theirs, |sample| sample.throughput)
            .context("nothing was measured")?;
        ensure!(
            throughput >= 1.0 - TOLERANCE,
            "{} carries {throughput:.2} times what {} does",
            ours.name(),
            theirs.name()
        );
        Ok(())
    }

    fn json(&self) -> Value {
        let tools = self.samples.iter().map(|(tool, samples)| {
            let column = |pick: fn(&Sample) -> f64| samples.iter().map(pick).collect::<Vec<_>>();
            let data = json!({
                "throughput_bits_per_second": column(|sample| sample.throughput),
                "rtt_microseconds": column(|sample| sample.rtt),
                "retransmits": column(|sample| sample.retransmits),
            });
            (tool.name().to_owned(), data)
        });
        json!({
            "machine": machine(),
            "seconds": self.seconds,
            "rounds": self.rounds,
            "samples": tools.collect::<serde_json::Map<_, _>>(),
        })
    }

    fn values(&self, tool: Tool, pick: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.samples.get(&tool).into_iter().flatten().map(pick).collect()
    }

    fn cell(&self, tool: Tool, pick: impl Fn(&Sample) -> f64) -> String {
        let values = self.values(tool, pick);
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!("{:.0} ({low:.0}–{high:.0})", median(values).unwrap_or(f64::NAN))
    }

    fn ratio(&self, ours: Tool, theirs: Tool, pick: impl Fn(&Sample) -> f64) -> Option<f64> {
        Some(median(self.values(ours, &pick))? / median(self.values(theirs, &pick))?)
    }
}

/// The machine in a few words: figures of another one do not compare.
fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| {
        line.strip_prefix("model name")?
            .split(": ")
            .nth(1)
            .map(str::to_owned)
    });
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{count} × {}, Linux {}",
        model.unwrap_or_else(|| "unknown CPU".into()),
        kernel.trim()
    )
}
