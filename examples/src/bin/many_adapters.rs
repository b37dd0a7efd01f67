//! Two adapters on one frozen BERT: each row of a batch under its own, and both at once from two threads.
//!
//! Runs in the workspace's root: `target/release/many_adapters`

use std::path::Path;

use anyhow::{Result, ensure};
use burn::prelude::*;
use peft::lora::Init;
use peft::prelude::*;
use peft_data::{Encoded, Encoder, Example, pad};

fn main() -> Result<()> {
    let base = Path::new("assets/minilm-l3");
    let device = Device::flex();
    draw::seed(&device, 0);
    let bert = BertForSequenceClassification::from_folder(base, Some(2), &device)?.module;

    // Fresh LoRA changes nothing; with B drawn as well as A, these two stand for trained ones.
    let random = |rank| LoraConfig { init_lora_weights: Init::Standard(false), ..LoraConfig::new(rank) };
    let mut adapters = Adapters::default();
    adapters.add("a", random(4).with_target_modules(["query", "value"]).init(&bert)?)?;
    adapters.add("b", random(8).with_target_modules(["output.dense"]).init(&bert)?)?;
    println!("base      {:>10} parameters, in memory once", bert.num_params());
    for name in ["a", "b"] {
        println!("adapter {name} {:>10} parameters", adapters.get(name)?.num_params());
    }

    let batch = encode(base, &["An odd little film.", "A joy from start to end.", "I left after an hour."], &device)?;
    let rows = ["a", "b", BASE];
    let mixed = values(bert.forward(&batch, &adapters.route(&rows)?))?;

    // The same three runs apart, the two adapters' in threads: a forward pass borrows the model and the adapter.
    let (a, b) = (adapters.get("a")?, adapters.get("b")?);
    let (a, b) = std::thread::scope(|scope| {
        let a = scope.spawn(|| values(bert.forward(&batch, a)));
        let b = scope.spawn(|| values(bert.forward(&batch, b)));
        (a.join().expect("no panic"), b.join().expect("no panic"))
    });
    let separate = [a?, b?, values(bert.forward(&batch, &Identity))?];

    let mut worst: f32 = 0.0;
    for (row, name) in rows.iter().enumerate() {
        let apart = &separate[row][2 * row..2 * row + 2];
        let together = &mixed[2 * row..2 * row + 2];
        println!("row {row} under {name:<8}  routed {together:>8.5?}  apart {apart:>8.5?}");
        worst = together.iter().zip(apart).map(|(x, y)| (x - y).abs()).fold(worst, f32::max);
    }
    println!("largest difference {worst:.1e}");
    ensure!(worst <= 1e-5, "a routed row differs from its own run");
    Ok(())
}

fn encode(base: &Path, texts: &[&str], device: &Device) -> Result<Batch> {
    let encoder = Encoder::from_folder(base, 64)?;
    let row = |text: &&str| Example { text: text.to_string(), text_pair: None, choices: None, label: None, line: 0 };
    let encoded = encoder.encode_all(&texts.iter().map(row).collect::<Vec<_>>())?;
    let padded = pad(&encoded.iter().collect::<Vec<&Encoded>>(), encoder.pad_id().unwrap_or(0));
    Ok(Batch::new(padded.ids, padded.type_ids, padded.mask, padded.rows, device))
}

fn values(logits: Tensor<2>) -> Result<Vec<f32>> {
    Ok(logits.into_data().try_to_vec()?)
}
