//! The page for readers: medians, ratios, spread, targets, and what did not work.

use std::fmt::{self, Write};

use super::{Report, Row, targets};
use crate::contender::{BORINGTUN, GOTATUN, MESHNODE, MESHNODE_WG};
use crate::measure::metric::{Better, Metric};

/// The whole page.
pub(super) fn write(report: &Report) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _infallible = sections(report, &mut page);
    page
}

fn sections(report: &Report, page: &mut String) -> fmt::Result {
    head(report, page)?;
    writeln!(page, "\n## Medians\n\n↑ more is better, ↓ less is better.\n")?;
    table(report, page, |row, metric| {
        row.values(metric).map(|values| Metric::show(values.median()))
    })?;
    for other in [BORINGTUN, GOTATUN] {
        ratios(report, page, other)?;
    }
    reached(report, page)?;
    spread(report, page)?;
    gaps(report, page)
}

fn head(report: &Report, page: &mut String) -> fmt::Result {
    let machine = &report.machine;
    writeln!(page, "# Userspace WireGuards, side by side\n")?;
    writeln!(
        page,
        "`{}` on {}, commit {}:\n{}; {}.",
        machine.command,
        machine.date,
        machine.commit,
        machine.describe(),
        machine.iperf3
    )?;
    writeln!(
        page,
        "Two network namespaces joined by veth, inner MTU 1420, rounds: {}, transfers of {} s. Senders, receivers and both daemons share \
         the cores: read ratios. What each figure is: [README](README.md).\n",
        report.rounds, report.seconds
    )?;
    for row in report.rows.iter().filter(|row| !row.version.is_empty()) {
        writeln!(page, "- {}: {}", row.name, row.version)?;
    }
    Ok(())
}

/// A row per figure, a column per contender.
fn table(report: &Report, page: &mut String, cell: impl Fn(&Row, Metric) -> Option<String>) -> fmt::Result {
    write!(page, "| |")?;
    for row in &report.rows {
        write!(page, " {} |", row.name)?;
    }
    writeln!(page, "\n|---|{}", "---:|".repeat(report.rows.len()))?;
    for metric in report.metrics() {
        let (title, unit) = metric.title();
        let arrow = match metric.better() {
            Better::Higher => "↑",
            Better::Lower => "↓",
        };
        write!(page, "| {title}, {unit} {arrow} |")?;
        for row in &report.rows {
            let text = cell(row, metric).unwrap_or_else(|| "–".to_owned());
            write!(page, " {text} |")?;
        }
        writeln!(page)?;
    }
    Ok(())
}

fn ratios(report: &Report, page: &mut String, other: &str) -> fmt::Result {
    if report.row(other).is_none() {
        return Ok(());
    }
    writeln!(page, "\n## Ratio of the medians to {other}\n")?;
    table(report, page, |row, metric| {
        let ratio = report.ratio(&row.name, other, metric)?;
        Some(format!("{} ×", Metric::show(ratio)))
    })
}

fn spread(report: &Report, page: &mut String) -> fmt::Result {
    if report.rounds < 2 {
        return Ok(());
    }
    writeln!(page, "\n## Spread\n\nLowest to highest of the rounds.\n")?;
    table(report, page, |row, metric| {
        let values = row.values(metric)?;
        let (least, most) = (Metric::show(values.least()), Metric::show(values.most()));
        Some(format!("{least}–{most}"))
    })
}

fn reached(report: &Report, page: &mut String) -> fmt::Result {
    let lines = targets::reached(report);
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(page, "\n## Targets of {MESHNODE} and {MESHNODE_WG}\n")?;
    writeln!(page, "| | | wanted | is | |\n|---|---|---:|---:|---|")?;
    for line in lines {
        let met = if line.met { "met" } else { "missed" };
        writeln!(
            page,
            "| {} | {} | {} | {} | {met} |",
            line.who, line.what, line.wanted, line.is
        )?;
    }
    Ok(())
}

/// Who is missing, and which measurements gave nothing.
fn gaps(report: &Report, page: &mut String) -> fmt::Result {
    if report.absent.is_empty() && report.failures.is_empty() {
        return Ok(());
    }
    writeln!(page, "\n## Left out\n")?;
    for absent in &report.absent {
        writeln!(page, "- {}: {}", absent.name, one_line(&absent.reason))?;
    }
    for failure in &report.failures {
        writeln!(page, "- {}", one_line(failure))?;
    }
    Ok(())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
