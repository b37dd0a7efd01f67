//! What a token costs in a T5 of the size of t5-small, at the beginning of a text and far into it, in milliseconds.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::Result;
use burn::prelude::*;
use peft::core::{BatchRows, Identity, draw};
use peft::models::generate::{GenerationConfig, stream};
use peft::models::t5::{T5Config, T5ForConditionalGeneration};
use serde_json::json;

/// Tokens on both sides of the place that is measured.
const WINDOW: usize = 15;

fn main() -> Result<()> {
    let device = Device::flex();
    draw::seed(&device, 0);
    let config: T5Config = serde_json::from_value(json!({
        "vocab_size": 32128, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8,
    }))?;
    let t5 = T5ForConditionalGeneration::new(&config, &device)?;
    println!("greedy, 32 tokens to read   at token 20   at token 200   ratio");
    for rows in [1, 8] {
        let ids = Tensor::<1, Int>::arange(100..100 + 32 * rows as i64, &device).reshape([rows, 32]);
        let mask = Tensor::ones(ids.dims(), &device);
        let encoded = t5.encode(ids, mask, BatchRows::new(rows), &Identity);
        let (mut times, mut last) = (Vec::new(), Instant::now());
        // Of the rows of a step, the first is told right after it.
        let config =
            GenerationConfig { max_new_tokens: Some(200 + WINDOW), pad_token_id: Some(0), ..Default::default() };
        stream(&t5, encoded, &Identity, &config, &mut |token| {
            if token.row == 0 {
                times.push(last.elapsed());
                last = Instant::now();
            }
            ControlFlow::Continue(())
        })?;
        let [early, late] = [20, 200].map(|token| quartile(&times[token - WINDOW..token + WINDOW]));
        println!(
            "{:<26}  {:>11.2}   {:>12.2}   {:>5.2}",
            format!("{rows} rows"),
            early.as_secs_f64() * 1e3,
            late.as_secs_f64() * 1e3,
            late.as_secs_f64() / early.as_secs_f64()
        );
    }
    Ok(())
}

/// The time that a quarter is below: what others do on the machine makes the slow ones.
fn quartile(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 4]
}
