//! The FISH mask: measure which numbers of the model matter to the task, train only those, write a sparse file.
//!
//! Runs in the workspace's root: `target/release/fish_mask`

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::prelude::*;
use peft::file_of;
use peft::prelude::*;
use peft::select::Importance;
use peft_data::{ColumnNames, Columns, Encoder, Examples, ReadOptions, Table, Target};
use peft_trainer::{Rows, evaluate, losses};

const STEPS: usize = 60;

fn main() -> Result<()> {
    let (base, folder) = (Path::new("assets/minilm-l3"), Path::new("runs/fish_mask"));
    let encoder = Encoder::from_folder(base, 64)?;
    let train = rows("train.tsv", &encoder)?;
    let device = Device::flex().autodiff();
    draw::seed(&device, 0);
    let bert = BertForSequenceClassification::from_folder(base, Some(2), &device)?.module;
    let bert = Frozen::new(bert);

    // Trained copies of everything, only to see their gradients. Batches of one row are the paper's; of sixteen, faster.
    let copies = SelectConfig::full().init(&*bert)?;
    let mut importance = Importance::of(&copies);
    for item in train.sample(16, 32, 1, &device)? {
        let loss = losses(bert.forward(&item.batch, &copies).unsqueeze_dim(1), &item.targets).mean();
        importance.add(&copies, &loss.backward());
    }
    println!("measured  {} numbers on {} batches", copies.num_params(), importance.batches());
    drop(copies);

    let fish = FishConfig::new(0.005).with_modules_to_save(["pooler", "classifier"]);
    let mask = AnyMethod::Fish(fish.init_with(&*bert, &importance)?);
    let config = AnyConfig::Fish(fish);
    let mut adapter = config.with_saved(mask, &*bert)?;
    println!("mask      {} of them, wherever they stand:", adapter.method.num_params());
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let tensors = file_of(&adapter, &config).tensors;
    for (name, positions) in tensors.iter().filter(|(name, _)| name.ends_with("fish_indices")) {
        let kinds = ["word_embeddings", "embeddings", "LayerNorm", ".bias", "attention", "intermediate", "output"];
        let kind = kinds.into_iter().find(|kind| name.contains(kind)).unwrap_or("else");
        *places.entry(kind).or_default() += positions.num_elements();
    }
    places.iter().for_each(|(kind, count)| println!("          {count:>6} {kind}"));

    let mut optimizer = AdamWConfig::new().init();
    for item in train.sample(32, STEPS, 0, &device)? {
        let loss = losses(bert.forward(&item.batch, &adapter).unsqueeze_dim(1), &item.targets).mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &adapter);
        adapter = optimizer.step(5e-4, adapter, gradients);
    }
    save_adapter(&adapter, &config, folder)?;
    let size = std::fs::metadata(folder.join("adapter_model.safetensors"))?.len();
    println!(
        "saved     {} ({:.2} MB, {:.2} MB of it the head)",
        folder.display(),
        size as f64 / 1e6,
        adapter.saved.num_params() as f64 * 4e-6
    );

    let bert = bert.valid();
    let (_, adapter) = load_adapter(&*bert, folder)?;
    let found = evaluate(&*bert, &adapter, rows("valid.tsv", &encoder)?, 64)?;
    println!("loaded    accuracy {:.3} after {STEPS} steps", found.scores[0].1);
    Ok(())
}

fn rows(file: &str, encoder: &Encoder) -> Result<Rows> {
    let table = Table::read(Path::new("assets/movie-snippets").join(file), &ReadOptions::default())?;
    let columns = Columns::resolve(&table, &ColumnNames::default(), Some(Target::Single))?;
    Ok(Rows::texts(&Examples::from_table(&table, &columns, Target::Single, None)?, Target::Single, 2, encoder)?)
}
