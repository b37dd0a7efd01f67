//! `bench step`, `bench forward` and `bench memory`: one thing, many times, by everybody in turn.

use anyhow::Result;
use serde_json::{Value, json};

use super::cases::{Case, cases};
use super::measured::Measured;
use super::sitting::sitting;
use super::table::{Column, Row};
use super::{Bench, What};

/// Measures the cases one after the other and keeps each as soon as it is there.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    let mut measured = Measured::open(bench)?;
    for case in cases(&bench.options) {
        let peers = measure(bench, &case);
        measured.add(json!({
            "case": case.name(),
            "model": case.model,
            "method": case.method,
            "batch": case.batch,
            "sequence": case.sequence,
            "dropout": case.dropout,
            "bound": case.bound(bench.options.what),
            "peers": peers,
        }))?;
    }
    measured.finish()
}

fn measure(bench: &Bench, case: &Case) -> Value {
    let options = &bench.options;
    let specs: Vec<Value> =
        bench.peers(&case.method).into_iter().map(|peer| case.spec(peer, options.threads())).collect();
    match options.what {
        What::Forward => sitting(bench, &specs, "forward", options.warmup, options.runs(9)),
        What::Memory => sitting(bench, &specs, "run", 0, options.runs(3)),
        _ => sitting(bench, &specs, "run", options.warmup, options.runs(7)),
    }
}

/// What is compared: a peak of memory, or a time.
pub(crate) fn column(what: What) -> Column {
    match what {
        What::Memory => Column { name: "peak_rss_mib", unit: "MiB" },
        _ => Column { name: "ms", unit: "ms" },
    }
}

/// A row of the table.
pub(crate) fn row(what: What, measured: &Value) -> Row {
    Row::compared(measured, &column(what))
}
