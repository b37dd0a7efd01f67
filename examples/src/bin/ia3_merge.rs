//! (IA)³ with the library's own training loop, then folded into the weights: an ordinary BERT again, at no extra cost.
//!
//! Runs in the workspace's root: `target/release/ia3_merge`; stopped and run again, it goes on where it was.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use burn::prelude::*;
use burn::train::Interrupter;
use peft::models::bert::names::to_reference;
use peft::models::{named_tensors, read_json, save};
use peft::prelude::*;
use peft_data::{ColumnNames, Columns, Encoder, Examples, ReadOptions, Table, Target};
use peft_trainer::progress::ProgressHandle;
use peft_trainer::{Plan, Rows, Settings, Trainee, evaluate, train};

fn main() -> Result<()> {
    let (base, run) = (Path::new("assets/minilm-l3"), Path::new("runs/ia3_merge"));
    let encoder = Encoder::from_folder(base, 64)?;
    let device = Device::flex().autodiff();
    draw::seed(&device, 0);
    let bert = BertForSequenceClassification::from_folder(base, Some(2), &device)?.module;

    // A number for each key and value, and for each input of the feed-forward part's second map.
    let ia3 = Ia3Config::new(["key", "value", "output.dense"], ["output.dense"]);
    let config = AnyConfig::Ia3(ia3.with_modules_to_save(["pooler", "classifier"]));
    let adapter = config.init(&bert)?;
    println!("adapter   {} numbers rescale, {} are the head", adapter.method.num_params(), adapter.saved.num_params());

    std::fs::create_dir_all(run)?;
    let progress = ProgressHandle::auto();
    let outcome = train(Plan {
        trainee: Trainee::new(bert, adapter),
        settings: Settings { epochs: 2, learning_rate: 5e-3, ..Settings::default() },
        train: rows("train.tsv", 2048, &encoder)?,
        valid: rows("valid.tsv", 917, &encoder)?,
        folder: run,
        replicas: Vec::new(),
        save: Arc::new(move |adapter, folder| save_adapter(adapter, &config, folder)),
        renderer: Box::new(progress.renderer()),
        progress,
        interrupter: Interrupter::new(),
    })?;
    println!("trained   {} steps, kept {}", outcome.state.step, outcome.checkpoint.display());

    let bert = BertForSequenceClassification::from_folder(base, Some(2), &Device::flex())?.module;
    let (_, adapter) = load_adapter(&bert, &outcome.checkpoint)?;
    let merged = merge(bert.clone(), &adapter)?;
    let mut config: serde_json::Map<_, _> = read_json(&base.join("config.json"))?;
    config.insert("dtype".into(), "float32".into());
    save(&named_tensors(&merged, merged.sites(), to_reference), &config, &run.join("merged"))?;

    // Another program needs no adapter, nor this library.
    let merged = BertForSequenceClassification::from_folder(&run.join("merged"), None, &Device::flex())?.module;
    let kinds: [(&str, &BertForSequenceClassification, &dyn Hooks); 2] =
        [("adapter", &bert, &adapter), ("merged", &merged, &Identity)];
    for (name, model, hooks) in kinds {
        let found = evaluate(model, hooks, rows("valid.tsv", 917, &encoder)?, 64)?;
        println!("{name:<9} accuracy {:.4}, loss {:.6}", found.scores[0].1, found.loss);
    }
    Ok(())
}

fn rows(file: &str, most: usize, encoder: &Encoder) -> Result<Rows> {
    let table = Table::read(Path::new("assets/movie-snippets").join(file), &ReadOptions::default())?;
    let columns = Columns::resolve(&table, &ColumnNames::default(), Some(Target::Single))?;
    let mut examples = Examples::from_table(&table, &columns, Target::Single, None)?;
    examples.rows.truncate(most);
    Ok(Rows::texts(&examples, Target::Single, 2, encoder)?)
}
