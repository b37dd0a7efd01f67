//! `bench scale`: how the time of a LoRA step grows with the length of the texts and with the batch, beside the arithmetic
//! that it takes; and what it costs that the rows of a batch have adapters of their own.

use anyhow::Result;
use serde_json::{Value, json};

use super::Bench;
use super::cases::Case;
use super::measured::Measured;
use super::sitting::sitting;
use super::step::specs;

const MODEL: &str = "minilm-l6";
/// Of [`MODEL`]: layers, width, width of the feed-forward part (`benches/shapes.json`).
const SHAPE: [usize; 3] = [6, 384, 1536];

const SEQUENCES: [usize; 5] = [32, 64, 128, 256, 512];
const BATCHES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Adapters in one batch of as many rows as the last.
const ADAPTERS: [usize; 5] = [1, 4, 16, 64, 256];
const ROUTED_SEQUENCE: usize = 32;

/// Measures the three series.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    let mut measured = Measured::open(bench)?;
    let quick = bench.options.quick;
    let (batch, sequence) = if quick { (2, 16) } else { (16, 128) };
    let short = |all: &[usize]| all[..if quick { 2 } else { all.len() }].to_vec();
    for sequence in short(&SEQUENCES) {
        measured.add(step(bench, "sequence", batch, sequence))?;
    }
    for batch in short(&BATCHES) {
        measured.add(step(bench, "batch", batch, sequence))?;
    }
    measured.add(adapters(bench, &short(&ADAPTERS)))?;
    measured.finish()
}

fn step(bench: &Bench, series: &str, batch: usize, sequence: usize) -> Value {
    let options = &bench.options;
    let (model, method) = (MODEL.to_string(), "lora".to_string());
    let case = Case {
        model,
        method,
        batch,
        sequence,
        target: 0,
        dropout: options.dropout,
        fill: 1.0,
        setting: options.setting(),
    };
    let specs = specs(bench, &case.method, |peer| case.spec(peer, options.threads()));
    let peers = sitting(bench, &specs, "run", options.warmup, options.runs(5));
    json!({
        "case": format!("{series}: {}", case.name()),
        "series": series,
        "batch": batch,
        "sequence": sequence,
        "gflop": gflop(batch, sequence),
        "peers": peers,
    })
}

/// Rows of one batch under so many adapters in turn, in a forward pass.
fn adapters(bench: &Bench, numbers: &[usize]) -> Value {
    let options = &bench.options;
    let rows = numbers.last().copied().unwrap_or(1);
    let spec = |&number: &usize| {
        let spec = json!({
            "peer": "ours",
            "model": MODEL,
            "method": "lora-random",
            "batch": rows,
            "sequence": ROUTED_SEQUENCE,
            "adapters": number,
            "threads": options.threads(),
        });
        (number.to_string(), spec)
    };
    let specs: Vec<_> = numbers.iter().map(spec).collect();
    json!({
        "case": format!("adapters: {MODEL} forward {rows}×{ROUTED_SEQUENCE}"),
        "series": "adapters",
        "bound": 1.3,
        "peers": sitting(bench, &specs, "forward", options.warmup, options.runs(5)),
    })
}

/// Billions of multiplications and additions of a LoRA step on [`MODEL`]: the products with the weights forward, and backward
/// towards the activations; attention's two forward and four backward. What the adapter adds is below a hundredth.
fn gflop(batch: usize, sequence: usize) -> f64 {
    let [layers, width, wide] = SHAPE;
    let tokens = batch * sequence;
    let weights = 2 * tokens * (4 * width * width + 2 * width * wide);
    let attention = 4 * tokens * sequence * width;
    (layers * (2 * weights + 3 * attention)) as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arithmetic_is_counted() {
        // By hand, for 16 × 128: 43.49 forward through the weights, as much back; 2.42 forward in attention, twice that back.
        assert!((gflop(16, 128) - (2.0 * 43.486_543_872 + 3.0 * 2.415_919_104)).abs() < 1e-6);
        assert!(gflop(16, 512) > 4.0 * gflop(16, 128));
        assert_eq!(gflop(64, 128), 4.0 * gflop(16, 128));
    }
}
