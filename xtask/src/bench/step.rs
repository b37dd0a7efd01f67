//! `bench step`, `bench forward` and `bench memory`: one thing, many times, by everybody in turn.

use anyhow::Result;
use serde_json::{Value, json};

use super::cases::{Case, cases};
use super::measured::Measured;
use super::sitting::sitting;
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
            // What is to be reached is said of one graph over the whole model.
            "bound": (!bench.options.gradient_checkpointing).then(|| case.bound(bench.options.what)),
            "peers": peers,
        }))?;
    }
    measured.finish()
}

fn measure(bench: &Bench, case: &Case) -> Value {
    let options = &bench.options;
    let specs = specs(bench, &case.method, |peer| case.spec(peer, options.threads()));
    match options.what {
        What::Forward => sitting(bench, &specs, "forward", options.warmup, options.runs(9)),
        What::Memory => sitting(bench, &specs, "run", 0, options.runs(3)),
        _ => sitting(bench, &specs, "run", options.warmup, options.runs(7)),
    }
}

/// A spec for each peer that can take part.
pub(crate) fn specs(bench: &Bench, method: &str, spec: impl Fn(&str) -> Value) -> Vec<(String, Value)> {
    bench.peers(method).into_iter().map(|peer| (peer.to_string(), spec(peer))).collect()
}
