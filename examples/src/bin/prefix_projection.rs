//! Prefix tuning through a projection: a network is trained, a table is shipped.
//!
//! Runs in the workspace's root: `target/release/prefix_projection`

use std::path::Path;

use anyhow::{Result, ensure};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::prelude::*;
use peft::file_of;
use peft::prelude::*;
use peft_data::{ColumnNames, Columns, Encoder, Examples, ReadOptions, Table, Target};
use peft_trainer::{Rows, losses};

const STEPS: usize = 100;

fn main() -> Result<()> {
    let (base, folder) = (Path::new("assets/minilm-l3"), Path::new("runs/prefix_projection"));
    let encoder = Encoder::from_folder(base, 64)?;
    let rows = rows("train.tsv", &encoder)?;
    let device = Device::flex().autodiff();
    draw::seed(&device, 0);
    let bert = BertForSequenceClassification::from_folder(base, Some(2), &device)?.module;

    // Ten keys and values in front of those of each of three layers: a table [10, 2·3·384].
    let prefix = PrefixConfig::new(10).with_projection(128).with_modules_to_save(["pooler", "classifier"]);
    let config = AnyConfig::Prefix(prefix.resolve(&bert)?);
    let mut adapter = config.init(&bert)?;
    println!(
        "trained   {:>6} parameters make the prefix: an embedding and its projection",
        adapter.method.num_params()
    );

    let (bert, mut optimizer) = (Frozen::new(bert), AdamWConfig::new().init());
    let mut sum = 0.0;
    for (step, item) in (1..).zip(rows.sample(32, STEPS, 0, &device)?) {
        let loss = losses(bert.forward(&item.batch, &adapter).unsqueeze_dim(1), &item.targets).mean();
        sum += loss.clone().into_scalar::<f32>();
        let gradients = GradientsParams::from_grads(loss.backward(), &adapter);
        adapter = optimizer.step(2e-3, adapter, gradients);
        if step % 25 == 0 {
            println!("step {step:<4} mean loss {:.3}", std::mem::take(&mut sum) / 25.0);
        }
    }

    // What is written is what the network makes; the network itself is in no adapter file, only in a training state.
    save_adapter(&adapter, &config, folder)?;
    for (name, tensor) in &file_of(&adapter, &config).tensors {
        println!("saved     {:<40} {:?}", name, tensor.shape().to_vec());
    }
    let (_, loaded) = load_adapter(&*bert, folder)?;
    println!("loaded    {:>6} parameters: the table", loaded.method.num_params());

    let (bert, trained, loaded) = (bert.valid(), adapter.valid(), loaded.valid());
    for item in rows.sample(4, 1, 1, &Device::flex())? {
        let apart = bert.forward(&item.batch, &trained) - bert.forward(&item.batch, &loaded);
        let apart = apart.abs().max().into_scalar::<f32>();
        println!("the scores of network and table differ by up to {apart:.1e}");
        ensure!(apart <= 1e-5, "the table is not what the network makes");
    }
    Ok(())
}

fn rows(file: &str, encoder: &Encoder) -> Result<Rows> {
    let table = Table::read(Path::new("assets/movie-snippets").join(file), &ReadOptions::default())?;
    let columns = Columns::resolve(&table, &ColumnNames::default(), Some(Target::Single))?;
    Ok(Rows::texts(&Examples::from_table(&table, &columns, Target::Single, None)?, Target::Single, 2, encoder)?)
}
