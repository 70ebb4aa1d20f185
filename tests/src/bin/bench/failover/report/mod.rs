//! What came out, and its three shapes.

mod chart;
mod data;
mod page;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::failure::{Ends, Failure, Target};
use super::run::Outcome;
use crate::report::machine::Machine;
use crate::statistics::Sorted;
use crate::step;

/// All runs.
pub(crate) struct Report {
    machine: Machine,
    runs: usize,
    rows: Vec<Row>,
}

/// One failure at one size.
pub(crate) struct Row {
    pub(crate) nodes: usize,
    pub(crate) failure: &'static Failure,
    pub(crate) outcomes: Vec<Outcome>,
    /// Why there are no runs, or fewer than asked for.
    pub(crate) note: Option<String>,
}

impl Report {
    pub(crate) fn new(runs: usize) -> Report {
        Report {
            machine: Machine::this(),
            runs,
            rows: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Prints the page, writes all three files.
    pub(crate) fn finish(mut self, directory: &Path) -> Result<()> {
        let order = |row: &Row| {
            let mut keys = super::FAILURES.iter().map(|failure| failure.key);
            (keys.position(|key| key == row.failure.key), row.nodes)
        };
        self.rows.sort_by_key(order);
        let page = page::write(&self);
        println!("{page}");
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let files = [
            ("md", format!("{page}\n![chart](failover.svg)\n")),
            ("json", format!("{:#}\n", data::json(&self))),
            ("svg", chart::draw(&self)),
        ];
        for (extension, text) in files {
            let path = directory.join(format!("failover.{extension}"));
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            step(&format!("written: {}", path.display()));
        }
        Ok(())
    }
}

impl Row {
    pub(crate) fn of(failure: &'static Failure) -> Row {
        Row {
            nodes: 0,
            failure,
            outcomes: Vec::new(),
            note: None,
        }
    }

    /// In one line, while it goes on.
    pub(crate) fn in_short(&self) -> String {
        let Some(gaps) = self.gaps() else {
            return format!("not measured: {}", self.note.as_deref().unwrap_or("no run"));
        };
        format!(
            "{} runs: p50 {:.0} ms, p99 {:.0} ms, lost {}, resets {}, {}",
            self.outcomes.len(),
            gaps.percentile(0.5),
            gaps.percentile(0.99),
            self.lost(),
            self.resets(),
            self.verdict()
        )
    }

    /// Of all runs, in milliseconds; nothing without a run.
    fn gaps(&self) -> Option<Sorted> {
        Sorted::new(self.outcomes.iter().map(|run| milliseconds(run.gap)).collect())
    }

    /// Packets lost in all runs.
    fn lost(&self) -> u64 {
        self.outcomes.iter().map(|run| run.lost).sum()
    }

    fn resets(&self) -> usize {
        self.outcomes.iter().filter(|run| run.reset).count()
    }

    fn most_changes(&self) -> u64 {
        self.outcomes
            .iter()
            .map(|run| run.changes)
            .max()
            .unwrap_or_default()
    }

    fn unrecovered(&self) -> usize {
        self.outcomes.iter().filter(|run| run.failed.is_some()).count()
    }

    /// Whether lost packets say anything: not where the network itself takes them.
    fn counts_losses(&self) -> bool {
        !matches!(self.failure.ends, Ends::Repaired(_) | Ends::After(_))
    }

    /// Longer than the target: such runs are worth an explanation.
    fn is_slow(&self, run: &Outcome) -> bool {
        matches!(self.failure.target, Target::Gap { p99, .. } if milliseconds(run.gap) > p99)
    }

    fn verdict(&self) -> &'static str {
        let Some(gaps) = self.gaps() else {
            return "not measured";
        };
        let met = self.unrecovered() == 0
            && self.resets() == 0
            && match self.failure.target {
                Target::Gap { p50, p99 } => {
                    gaps.percentile(0.99) <= p99 && p50.is_none_or(|p50| gaps.percentile(0.5) <= p50)
                }
                Target::NothingLost => self.lost() == 0,
                Target::Changes(most) => self.most_changes() <= most,
            };
        if met { "met" } else { "missed" }
    }
}

impl Target {
    fn words(self) -> String {
        match self {
            Target::Gap { p50: Some(p50), p99 } => format!("p50 ≤ {p50} ms, p99 ≤ {p99} ms"),
            Target::Gap { p50: None, p99 } => format!("p99 ≤ {p99} ms"),
            Target::NothingLost => "0 packets lost".to_owned(),
            Target::Changes(0) => "no change of the route".to_owned(),
            Target::Changes(most) => format!("at most {most} change in 10 s"),
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
