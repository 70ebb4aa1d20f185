//! Every run as JSON, for later comparison.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Report, Row, milliseconds, page};

/// `failures[].runs[]` has a gap in milliseconds per run, and when it was over and the route had moved, counted from the failure.
pub(super) fn json(report: &Report) -> Value {
    let machine = &report.machine;
    json!({
        "command": machine.command,
        "date": machine.date,
        "commit": machine.commit,
        "build": page::build(),
        "machine": {
            "processor": machine.processor,
            "cores": machine.cores,
            "kernel": machine.kernel,
            "memory_gb": machine.memory_gb,
        },
        "failures": report.rows.iter().map(failure).collect::<Vec<_>>(),
    })
}

fn failure(row: &Row) -> Value {
    let runs = row.outcomes.iter().map(|run| {
        json!({
            "gap_ms": tenths(run.gap),
            "gap_over_at_ms": tenths(run.over_at),
            "moved_at_ms": run.moved_at.map(tenths),
            "history": if row.is_slow(run) { run.history.as_slice() } else { &[] },
            "lost": run.lost,
            "route_changes": run.changes,
            "reset": run.reset,
            "recovered": run.failed.is_none(),
        })
    });
    json!({
        "key": row.failure.key,
        "title": row.failure.title,
        "nodes": row.nodes,
        "target": row.failure.target.words(),
        "verdict": row.verdict(),
        "note": row.note,
        "runs": runs.collect::<Vec<_>>(),
    })
}

fn tenths(time: Duration) -> f64 {
    (milliseconds(time) * 10.0).round() / 10.0
}
