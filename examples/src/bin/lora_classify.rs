//! A classifier of film sentences: load a base, attach LoRA, train it in a loop of one's own, save, load, use.
//!
//! Runs in the workspace's root: `target/release/lora_classify`

use std::path::Path;

use anyhow::{Context, Result};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::prelude::*;
use peft::models::Loaded;
use peft::prelude::*;
use peft_data::{ColumnNames, Columns, Encoder, Example, Examples, ReadOptions, Table, Target};
use peft_trainer::{Rows, losses, predict};

const STEPS: usize = 40;

fn main() -> Result<()> {
    let (base, data) = (Path::new("assets/minilm-l3"), Path::new("assets/movie-snippets/train.tsv"));
    let folder = Path::new("runs/lora_classify");

    let table = Table::read(data, &ReadOptions::default())?;
    let columns = Columns::resolve(&table, &ColumnNames::default(), Some(Target::Single))?;
    let examples = Examples::from_table(&table, &columns, Target::Single, None)?;
    let labels = examples.labels.clone().context("the file has a label column")?;
    let encoder = Encoder::from_folder(base, 64)?;
    let rows = Rows::texts(&examples, Target::Single, labels.len(), &encoder)?;
    println!("data      {} rows, {columns}, labels {}", rows.len(), labels.names().join(", "));

    // Whether gradients are kept is a property of the device.
    let device = Device::flex().autodiff();
    draw::seed(&device, 0);
    let Loaded { module: bert, fresh, .. } = BertForSequenceClassification::from_folder(base, Some(2), &device)?;
    println!("base      {} parameters; not in the file, so new: {}", bert.num_params(), fresh.join(", "));

    let lora = LoraConfig::new(8).with_alpha(16.0).with_dropout(0.1).with_target_modules(["query", "value"]);
    let mut config = AnyConfig::Lora(lora.with_modules_to_save(["pooler", "classifier"]));
    config.record([("base_model_name_or_path", base.to_string_lossy().into()), ("task_type", "SEQ_CLS".into())]);
    let mut adapter = config.init(&bert)?;
    println!("adapter   {} parameters, fresh copies of pooler and classifier among them", adapter.num_params());

    let bert = Frozen::new(bert);
    let mut optimizer = AdamWConfig::new().with_weight_decay(0.01).init();
    let mut sum = 0.0;
    for (step, item) in (1..).zip(rows.sample(32, STEPS, 0, &device)?) {
        let loss = losses(bert.forward(&item.batch, &adapter).unsqueeze_dim(1), &item.targets).mean();
        sum += loss.clone().into_scalar::<f32>();
        let gradients = GradientsParams::from_grads(loss.backward(), &adapter);
        adapter = optimizer.step(2e-3, adapter, gradients);
        if step % 10 == 0 {
            println!("step {step:<4} mean loss of the last ten {:.3}", sum / 10.0);
            sum = 0.0;
        }
    }
    save_adapter(&adapter, &config, folder)?;
    let size = std::fs::metadata(folder.join("adapter_model.safetensors"))?.len();
    println!("saved     {} ({:.2} MB)", folder.display(), size as f64 / 1e6);

    // As another program would: a plain device, the base anew, the adapter from its folder.
    let bert = BertForSequenceClassification::from_folder(base, Some(2), &Device::flex())?.module;
    let (_, adapter) = load_adapter(&bert, folder)?;
    let text = |text: &str| Example { text: text.into(), text_pair: None, choices: None, label: None, line: 0 };
    let examples = [text("A warm and funny film."), text("Dull, long and badly acted.")];
    let texts = encoder.encode_all(&examples)?;
    let probabilities = predict(&bert, &adapter, &texts, encoder.pad_id().unwrap_or(0), Target::Single, 32)?;
    for (example, row) in examples.iter().zip(probabilities) {
        let best = usize::from(row[1] > row[0]);
        println!("{:<9} {:.3}  {}", labels.names()[best], row[best], example.text);
    }
    Ok(())
}
