//! P-tuning: the same prompt made by an MLP and by an LSTM. Either is lost when the adapter is saved: the prompt stays.
//!
//! Runs in the workspace's root: `target/release/ptuning_encoders`

use std::path::Path;

use anyhow::Result;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::prelude::*;
use peft::prelude::*;
use peft_data::{ColumnNames, Columns, Encoder, Examples, ReadOptions, Table, Target};
use peft_trainer::{Rows, evaluate, losses};

const STEPS: usize = 50;

fn main() -> Result<()> {
    let base = Path::new("assets/minilm-l3");
    let encoder = Encoder::from_folder(base, 64)?;
    let train = rows("train.tsv", &encoder)?;
    let device = Device::flex().autodiff();
    draw::seed(&device, 0);
    let bert = BertForSequenceClassification::from_folder(base, Some(2), &device)?.module;

    let config = || PTuningConfig::new(8).with_hidden(128).with_modules_to_save(["pooler", "classifier"]);
    for (name, config) in [("mlp", config()), ("lstm", config().with_lstm(2).with_dropout(0.1))] {
        let config = AnyConfig::PTuning(config.resolve(&bert)?);
        let mut adapter = config.init(&bert)?;
        let network = adapter.method.num_params();

        let (bert, mut optimizer) = (Frozen::new(bert.clone()), AdamWConfig::new().init());
        for item in train.sample(32, STEPS, 0, &device)? {
            let loss = losses(bert.forward(&item.batch, &adapter).unsqueeze_dim(1), &item.targets).mean();
            let gradients = GradientsParams::from_grads(loss.backward(), &adapter);
            adapter = optimizer.step(1e-3, adapter, gradients);
        }

        let folder = Path::new("runs/ptuning_encoders").join(name);
        save_adapter(&adapter, &config, &folder)?;
        let bert = bert.valid();
        let (_, loaded) = load_adapter(&*bert, &folder)?;
        println!("{name:<5} {network} parameters in training, {} in {}", loaded.method.num_params(), folder.display());
        for (what, adapter) in [("network", adapter.valid()), ("table", loaded)] {
            let found = evaluate(&*bert, &adapter, rows("valid.tsv", &encoder)?, 64)?;
            println!("      {what:<8} accuracy {:.3}, loss {:.4}", found.scores[0].1, found.loss);
        }
    }
    Ok(())
}

fn rows(file: &str, encoder: &Encoder) -> Result<Rows> {
    let table = Table::read(Path::new("assets/movie-snippets").join(file), &ReadOptions::default())?;
    let columns = Columns::resolve(&table, &ColumnNames::default(), Some(Target::Single))?;
    Ok(Rows::texts(&Examples::from_table(&table, &columns, Target::Single, None)?, Target::Single, 2, encoder)?)
}
