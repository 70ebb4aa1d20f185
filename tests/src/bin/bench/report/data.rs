//! The samples as JSON: every round of every contender, for later comparison.

use serde_json::{Map, Value, json};

use super::{Report, Row};

/// `contenders.<name>.samples.<figure>` is one number per round.
pub(super) fn json(report: &Report) -> Value {
    let contenders: Map<String, Value> = report
        .rows
        .iter()
        .map(|row| (row.name.clone(), contender(row)))
        .collect();
    let absent: Map<String, Value> = report
        .absent
        .iter()
        .map(|absent| (absent.name.clone(), absent.reason.clone().into()))
        .collect();
    let machine = &report.machine;
    json!({
        "command": machine.command,
        "date": machine.date,
        "commit": machine.commit,
        "machine": {
            "processor": machine.processor,
            "cores": machine.cores,
            "kernel": machine.kernel,
            "memory_gb": machine.memory_gb,
            "iperf3": machine.iperf3,
        },
        "rounds": report.rounds,
        "seconds": report.seconds,
        "contenders": contenders,
        "absent": absent,
        "failures": report.failures,
    })
}

fn contender(row: &Row) -> Value {
    let samples: Map<String, Value> = row
        .samples
        .iter()
        .map(|(metric, values)| (metric.key().to_owned(), json!(values)))
        .collect();
    json!({ "version": row.version, "samples": samples })
}
