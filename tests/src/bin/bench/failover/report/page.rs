//! The page for readers.

use std::fmt::{self, Write};

use super::{Report, Row};

/// The whole page, without the chart.
pub(super) fn write(report: &Report) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _infallible = sections(report, &mut page);
    page
}

fn sections(report: &Report, page: &mut String) -> fmt::Result {
    let machine = &report.machine;
    writeln!(page, "# Failover\n")?;
    writeln!(
        page,
        "`{}` on {}, commit {}, {} build:\n{}. What it measures: [README](README.md).\n",
        machine.command,
        machine.date,
        machine.commit,
        build(),
        machine.describe()
    )?;
    writeln!(
        page,
        "Up to {} runs of each. The gap is the longest silence of a stream of 1,000 packets/s in a run, less the beat and what the \
         sender itself was late, in ms. *Resets* are TCP connections that broke. All nodes share the cores.\n",
        report.runs
    )?;
    writeln!(
        page,
        "| failure | nodes | runs | p50 | p90 | p99 | max | packets lost | resets | most route changes | target | |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|---|"
    )?;
    report.rows.iter().try_for_each(|row| line(row, page))?;
    notes(report, page)
}

fn line(row: &Row, page: &mut String) -> fmt::Result {
    write!(
        page,
        "| {} | {} | {} |",
        row.failure.title,
        row.nodes,
        row.outcomes.len()
    )?;
    match row.gaps() {
        Some(gaps) => {
            for share in [0.5, 0.9, 0.99, 1.0] {
                write!(page, " {:.0} |", gaps.percentile(share))?;
            }
        }
        None => write!(page, " – | – | – | – |")?,
    }
    let lost = match row.counts_losses() && !row.outcomes.is_empty() {
        true => row.lost().to_string(),
        false => "–".to_owned(),
    };
    writeln!(
        page,
        " {lost} | {} | {} | {} | {} |",
        row.resets(),
        row.most_changes(),
        row.failure.target.words(),
        row.verdict()
    )
}

fn notes(report: &Report, page: &mut String) -> fmt::Result {
    for row in &report.rows {
        let who = format!("- {}, {} nodes", row.failure.title, row.nodes);
        if let Some(note) = &row.note {
            writeln!(page, "\n{who}: {}", one_line(note))?;
        }
        if row.unrecovered() > 0 {
            let why = row.outcomes.iter().find_map(|run| run.failed.as_deref());
            writeln!(
                page,
                "\n{who}: {} runs did not recover within 20 s, the first because: {}",
                row.unrecovered(),
                one_line(why.unwrap_or_default())
            )?;
        }
    }
    Ok(())
}

/// Statuses are long: enough of an error to know it by.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(300).collect()
}

/// What nodes and bench were built as: figures of a debug build do not count.
pub(super) fn build() -> &'static str {
    if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    }
}
