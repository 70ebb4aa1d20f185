//! What is in `dashboards/`, read for its checks: dashboards, their queries, the rules, and the metrics that all of
//! them name. What needs no Prometheus is checked in this module's tests, the rest by the worlds.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// What a histogram's series end in, beyond its name.
const HISTOGRAM_ENDS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// One dashboard of Grafana.
#[derive(Debug)]
pub struct Dashboard {
    /// The file's name without `.json`.
    pub name: String,
    /// Its JSON model.
    pub model: Value,
}

/// One query of a panel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Dashboard and panel: `node / Drops by reason`.
    pub panel: String,
    /// PromQL, with the dashboard's variables.
    pub expression: String,
}

impl Dashboard {
    /// All dashboards.
    ///
    /// # Errors
    /// A file cannot be read or is not JSON.
    pub fn all() -> Result<Vec<Dashboard>> {
        let mut all = Vec::new();
        for path in files("dashboards/grafana", "json")? {
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let model = serde_json::from_str(&read(&path)?)
                .with_context(|| format!("{} is not JSON", path.display()))?;
            all.push(Dashboard { name, model });
        }
        Ok(all)
    }

    /// Its panels, rows included.
    pub fn panels(&self) -> &[Value] {
        list(&self.model["panels"])
    }

    /// Its panels, without the rows that head them.
    pub fn charts(&self) -> impl Iterator<Item = &Value> {
        self.panels().iter().filter(|panel| panel["type"] != "row")
    }

    /// Its variables, by name.
    pub fn variables(&self) -> BTreeMap<&str, &Value> {
        list(&self.model["templating"]["list"])
            .iter()
            .map(|variable| (text(&variable["name"]), variable))
            .collect()
    }

    /// The queries of its panels.
    pub fn queries(&self) -> Vec<Query> {
        let of_panel = |panel: &Value| {
            let title = format!("{} / {}", self.name, text(&panel["title"]));
            let queries = list(&panel["targets"]).iter().map(move |target| Query {
                panel: title.clone(),
                expression: text(&target["expr"]).to_owned(),
            });
            queries.collect::<Vec<_>>()
        };
        self.charts().flat_map(of_panel).collect()
    }

    /// The series that its variables offer values of, as queries: `label_values(up, job)` asks for `up`.
    pub fn variable_queries(&self) -> Vec<Query> {
        let variables = self.variables();
        let asked = variables.iter().filter_map(|(name, variable)| {
            let query = variable["query"]["query"].as_str()?;
            let (series, _label) = query.strip_prefix("label_values(")?.rsplit_once(", ")?;
            Some(Query {
                panel: format!("{} / variable {name}", self.name),
                expression: series.to_owned(),
            })
        });
        asked.collect()
    }

    /// An expression with the values of variables in their places; one with many values gets all of them.
    pub fn fill(&self, expression: &str, values: &[(&str, &str)]) -> String {
        let variables = self.variables();
        values
            .iter()
            .fold(expression.to_owned(), |filled, (name, value)| {
                let is_multi = variables.get(name).is_some_and(|v| v["multi"] == true);
                filled.replace(&format!("${name}"), if is_multi { ".*" } else { value })
            })
    }
}

/// What the checks let pass: `exceptions.json`.
///
/// # Errors
/// The file cannot be read or is not JSON.
pub fn exceptions(heading: &str) -> Result<BTreeSet<String>> {
    let all: Value = serde_json::from_str(&read(&root().join("dashboards/exceptions.json"))?)?;
    let under = all[heading]
        .as_object()
        .with_context(|| format!("exceptions.json has no `{heading}`"))?;
    Ok(under.keys().cloned().collect())
}

/// The text of all Prometheus rules.
///
/// # Errors
/// A file cannot be read.
pub fn rules() -> Result<String> {
    let directory = root().join("dashboards/prometheus");
    Ok(read(&directory.join("recording.yml"))? + &read(&directory.join("alerts.yml"))?)
}

/// The names of all metrics that the node's source exports.
///
/// # Errors
/// The source cannot be read.
pub fn exported() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for path in files("node/src/metrics", "rs")? {
        if !path.ends_with("tests.rs") {
            let source = read(&path)?;
            let literals = source.split('"').filter(|literal| is_metric(literal));
            names.extend(literals.map(str::to_owned));
        }
    }
    Ok(names)
}

/// The metrics that a text names, series of a histogram as the histogram. Names of recording rules are none.
pub fn metrics_in(text: &str) -> BTreeSet<String> {
    let names = words(text).filter(|word| is_metric(word));
    names
        .map(|name| {
            HISTOGRAM_ENDS
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .unwrap_or(name)
        })
        .map(str::to_owned)
        .collect()
}

/// The series that an expression names, as they are called in Prometheus.
pub fn series_in(expression: &str) -> BTreeSet<String> {
    let recorded = |word: &str| word.rsplit(':').nth(1).is_some_and(is_metric);
    words(expression)
        .filter(|word| is_metric(word) || recorded(word))
        .map(str::to_owned)
        .collect()
}

/// The files in a folder of this repository with that extension, sorted.
///
/// # Errors
/// There is no such folder.
pub fn files(folder: &str, extension: &str) -> Result<Vec<PathBuf>> {
    let folder = root().join(folder);
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    Ok(files)
}

/// Where this repository is.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The list in a JSON value; empty where there is none.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The text in a JSON value; empty where there is none.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A name that nodes use, and no other exporter of ours.
fn is_metric(word: &str) -> bool {
    let begins = ["meshnode_", "process_"]
        .iter()
        .any(|begin| word.starts_with(begin));
    begins && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// What PromQL calls identifiers.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
}
