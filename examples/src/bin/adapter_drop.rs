//! A Pfeiffer adapter: trained, written in AdapterHub's layout with its head, loaded back, and run without its lower
//! layers (AdapterDrop).
//!
//! Runs in the workspace's root: `target/release/adapter_drop`

use std::path::Path;

use anyhow::{Result, bail};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::prelude::*;
use peft::prelude::*;
use peft_data::{ColumnNames, Columns, Encoder, Examples, ReadOptions, Table, Target};
use peft_trainer::{Rows, evaluate, losses};
use serde_json::json;

const STEPS: usize = 100;

fn main() -> Result<()> {
    let (base, folder) = (Path::new("assets/minilm-l3"), Path::new("runs/adapter_drop"));
    let encoder = Encoder::from_folder(base, 64)?;
    let device = Device::flex().autodiff();
    draw::seed(&device, 0);
    let bert = BertForSequenceClassification::from_folder(base, Some(2), &device)?.module;

    let mut config = AnyConfig::Bottleneck(BottleneckConfig::seq_bn().with_modules_to_save(["pooler", "classifier"]));
    // AdapterHub's layout says these of the model and of the head.
    config.record([
        ("model_type", json!("bert")),
        ("base_model_name_or_path", json!("sentence-transformers/paraphrase-MiniLM-L3-v2")),
        ("hidden_size", json!(384)),
        ("num_hidden_layers", json!(3)),
        ("id2label", json!({"0": "negative", "1": "positive"})),
    ]);
    let mut adapter = config.init(&bert)?;
    println!("adapter   {} parameters and a head of {}", adapter.method.num_params(), adapter.saved.num_params());

    let (bert, mut optimizer) = (Frozen::new(bert), AdamWConfig::new().init());
    for item in rows("train.tsv", &encoder)?.sample(32, STEPS, 0, &device)? {
        let loss = losses(bert.forward(&item.batch, &adapter).unsqueeze_dim(1), &item.targets).mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &adapter);
        adapter = optimizer.step(1e-3, adapter, gradients);
    }
    save_adapter(&adapter, &config, folder)?;
    let mut files: Vec<_> = std::fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    files.sort_by_key(|file| file.file_name());
    for file in files {
        println!("saved     {} ({} bytes)", file.path().display(), file.metadata()?.len());
    }

    let bert = bert.valid();
    let (_, Adapter { method: AnyMethod::Bottleneck(method), saved }) = load_adapter(&*bert, folder)? else {
        bail!("{} holds no bottleneck adapter", folder.display());
    };
    for dropped in 0..=3 {
        // A view of the same adapter: nothing is copied. The head stays.
        let hooks = (&saved, method.dropping(0..dropped));
        let found = evaluate(&*bert, &hooks, rows("valid.tsv", &encoder)?, 64)?;
        println!("adapters in {} of 3 layers: accuracy {:.3}", 3 - dropped, found.scores[0].1);
    }
    Ok(())
}

fn rows(file: &str, encoder: &Encoder) -> Result<Rows> {
    let table = Table::read(Path::new("assets/movie-snippets").join(file), &ReadOptions::default())?;
    let columns = Columns::resolve(&table, &ColumnNames::default(), Some(Target::Single))?;
    Ok(Rows::texts(&Examples::from_table(&table, &columns, Target::Single, None)?, Target::Single, 2, encoder)?)
}
