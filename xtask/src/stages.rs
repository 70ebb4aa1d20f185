//! `cargo xtask test`: the stages of the gate, each with its time, and a summary at the end.
//!
//! Every cargo command names the whole workspace: another selection would select other features and build
//! the dependencies once more.

use std::time::{Duration, Instant};

use crate::cargo::{cargo, step};
use crate::packages::{self, Purpose};

/// One stage: a name to select it by, what it shows, and its cargo command.
struct Stage {
    name: &'static str,
    what: &'static str,
    command: &'static [&'static str],
    long: bool,
}

const STAGES: &[Stage] = &[
    Stage {
        name: "format",
        what: "source is formatted",
        command: &["fmt", "--all", "--check"],
        long: false,
    },
    Stage {
        name: "build",
        what: "the binary and all tests",
        command: &["test", "--workspace", "--no-run", "--quiet"],
        long: false,
    },
    Stage {
        name: "lints",
        what: "clippy, warnings denied",
        command: &["clippy", "--workspace", "--all-targets", "--quiet"],
        long: false,
    },
    Stage {
        name: "pure",
        what: "unit tests of every crate",
        command: &["test", "--workspace", "--quiet", "--lib", "--bins"],
        long: false,
    },
    Stage {
        name: "parts",
        what: "clusters of real gossip, the command line, fuzz bodies",
        command: &[
            "test",
            "--workspace",
            "--quiet",
            "--exclude",
            "meshnode-tests",
            "--test",
            "*",
        ],
        long: false,
    },
    Stage {
        name: "fuzz",
        what: "fuzz bodies over a corpus and seeded bytes",
        command: &["test", "--workspace", "--quiet", "--test", "fuzz"],
        long: false,
    },
    Stage {
        name: "simulation",
        what: "many members in virtual time, random transitions",
        command: &["test", "--workspace", "--quiet", "--test", "simulation"],
        long: false,
    },
    Stage {
        name: "worlds",
        what: "the real binary in network namespaces",
        command: &[
            "test",
            "--workspace",
            "--test",
            "worlds",
            "--",
            "--test-threads=2",
        ],
        long: false,
    },
    Stage {
        name: "long",
        what: "large clusters and soaks",
        command: &["test", "--workspace", "--", "--ignored", "--test-threads=1"],
        long: true,
    },
];

/// What became of a stage.
struct Report {
    name: &'static str,
    took: Duration,
    error: Option<String>,
}

/// Runs the selected stages (all, when none is named) and fails when one of them did.
pub(crate) fn run(words: &[&str]) -> Result<(), String> {
    if words.contains(&"--list") {
        list();
        return Ok(());
    }
    let selected = select(words)?;
    packages::install(Purpose::Test)?;
    let start = Instant::now();
    let reports = run_all(&selected);
    summarise(&reports, start.elapsed())
}

fn select(words: &[&str]) -> Result<Vec<&'static Stage>, String> {
    let long = words.contains(&"--long");
    let names: Vec<&&str> = words.iter().filter(|word| **word != "--long").collect();
    if let Some(unknown) = names
        .iter()
        .find(|name| !STAGES.iter().any(|stage| stage.name == ***name))
    {
        return Err(format!(
            "there is no stage `{unknown}`: see `cargo xtask test --list`"
        ));
    }
    let wanted = |stage: &&Stage| match names.is_empty() {
        true => long || !stage.long,
        false => names.iter().any(|name| **name == stage.name),
    };
    Ok(STAGES.iter().filter(wanted).collect())
}

/// A broken build makes every later stage fail in the same way; any other failure lets the rest go on.
fn run_all(selected: &[&'static Stage]) -> Vec<Report> {
    let mut reports = Vec::new();
    for stage in selected {
        step(&format!("{}: {}", stage.name, stage.what));
        let start = Instant::now();
        let error = cargo(stage.command).err();
        let took = start.elapsed();
        eprintln!("    {} {} after {}", stage.name, outcome(&error), seconds(took));
        let broken = stage.name == "build" && error.is_some();
        reports.push(Report {
            name: stage.name,
            took,
            error,
        });
        if broken {
            break;
        }
    }
    reports
}

fn summarise(reports: &[Report], total: Duration) -> Result<(), String> {
    eprintln!();
    for report in reports {
        eprintln!(
            "  {:<10} {:<6} {:>9}",
            report.name,
            outcome(&report.error),
            seconds(report.took)
        );
    }
    eprintln!("  {:<17} {:>9}", "total", seconds(total));
    let failed: Vec<&str> = reports
        .iter()
        .filter(|report| report.error.is_some())
        .map(|report| report.name)
        .collect();
    match failed.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "failed: {}\n  fix: read the output above; `cargo xtask test {}` runs only these",
            failed.join(", "),
            failed.join(" ")
        )),
    }
}

fn list() {
    for stage in STAGES {
        println!(
            "{:<10} {}{}",
            stage.name,
            stage.what,
            if stage.long { " (only with --long)" } else { "" }
        );
    }
}

fn outcome(error: &Option<String>) -> &'static str {
    if error.is_some() { "FAILED" } else { "ok" }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
