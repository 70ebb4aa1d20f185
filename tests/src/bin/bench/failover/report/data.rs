//! Every run as JSON, for later comparison.

use serde_json::{Value, json};

use super::{Report, Row, milliseconds, page};

/// `failures[].runs[]` has a gap in milliseconds per run.
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
            "gap_ms": (milliseconds(run.gap) * 10.0).round() / 10.0,
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
