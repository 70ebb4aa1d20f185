//! What came out of a run, and its three shapes: a page for readers, JSON for later comparison, a chart.

mod chart;
mod data;
pub(crate) mod machine;
mod page;
pub(crate) mod sheet;
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::contender::{Absent, Field};
use crate::measure::metric::Metric;
use crate::measure::suite::Sample;
use crate::statistics::Sorted;
use machine::Machine;

/// All samples of one run.
pub(crate) struct Report {
    machine: Machine,
    rounds: usize,
    seconds: u32,
    rows: Vec<Row>,
    absent: Vec<Absent>,
    failures: Vec<String>,
}

/// One contender.
struct Row {
    name: String,
    version: String,
    samples: BTreeMap<Metric, Vec<f64>>,
}

impl Report {
    pub(crate) fn new(rounds: usize, seconds: u32, field: &Field) -> Report {
        let rows = field.present.iter().map(|(contender, _)| Row {
            name: contender.name.clone(),
            version: contender.version.clone(),
            samples: BTreeMap::new(),
        });
        Report {
            machine: Machine::this(),
            rounds,
            seconds,
            rows: rows.collect(),
            absent: field.absent.clone(),
            failures: Vec::new(),
        }
    }

    /// One round of the contender at `number` of the field.
    pub(crate) fn add(&mut self, number: usize, sample: Sample) {
        for (metric, value) in sample {
            self.rows[number].samples.entry(metric).or_default().push(value);
        }
    }

    /// A measurement that gave nothing.
    pub(crate) fn fail(&mut self, what: String) {
        self.failures.push(what);
    }

    /// The page for readers.
    pub(crate) fn markdown(&self) -> String {
        page::write(self)
    }

    /// Writes all three files; returns their names.
    pub(crate) fn write(&self, directory: &Path, name: &str) -> Result<Vec<String>> {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let page = format!("{}\n![chart]({name}.svg)\n", self.markdown());
        let data = format!("{:#}\n", data::json(self));
        let files = [("md", page), ("json", data), ("svg", chart::draw(self))];
        let mut written = Vec::new();
        for (extension, text) in files {
            let path = directory.join(format!("{name}.{extension}"));
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            written.push(path.display().to_string());
        }
        Ok(written)
    }

    /// An error if anybody or anything is missing; the page says what and why.
    pub(crate) fn complete(&self) -> Result<()> {
        ensure!(
            self.absent.is_empty() && self.failures.is_empty(),
            "not everything was measured: see `Left out` at the end of the page"
        );
        Ok(())
    }

    /// What was measured for anybody, in the order of the tables.
    fn metrics(&self) -> Vec<Metric> {
        let measured = |metric: &Metric| self.rows.iter().any(|row| row.samples.contains_key(metric));
        Metric::ALL.into_iter().filter(measured).collect()
    }

    fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// The median of one contender as a multiple of another's.
    fn ratio(&self, name: &str, to: &str, metric: Metric) -> Option<f64> {
        let ours = self.row(name)?.values(metric)?.median();
        let theirs = self.row(to)?.values(metric)?.median();
        (theirs > 0.0).then(|| ours / theirs)
    }
}

impl Row {
    fn values(&self, metric: Metric) -> Option<Sorted> {
        Sorted::new(self.samples.get(&metric)?.clone())
    }
}
