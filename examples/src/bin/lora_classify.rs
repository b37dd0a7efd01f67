//! A classifier of film sentences: load a base, attach LoRA, train it in a loop of one's own, save, load, use.
//!
//! Runs in the workspace's root: `target/release/lora_classify`

use std::path::Path;

use anyhow::{Context, Result};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::prelude::*;
use burn::tensor::activation::softmax;
use peft::models::Loaded;
use peft::prelude::*;
use peft_data::{
    BatchPlan, ColumnNames, Columns, Encoded, Encoder, Example, Examples, Label, ReadOptions, Table, Target,
};

const STEPS: usize = 40;

fn main() -> Result<()> {
    let (base, data) = (Path::new("assets/minilm-l3"), Path::new("assets/movie-snippets/train.tsv"));
    let folder = Path::new("runs/lora_classify");

    let table = Table::read(data, &ReadOptions::default())?;
    let columns = Columns::resolve(&table, &ColumnNames::default(), Some(Target::Single))?;
    let examples = Examples::from_table(&table, &columns, Target::Single, None)?;
    let labels = examples.labels.clone().context("the file has a label column")?;
    let encoder = Encoder::from_folder(base, 64)?;
    let texts = encoder.encode_all(&examples.rows)?;
    println!("data      {} rows, {columns}, labels {}", examples.len(), labels.names().join(", "));

    // Whether gradients are kept is a property of the device.
    let device = Device::flex().autodiff();
    device.seed(0);
    let Loaded { module: bert, fresh, .. } = BertForSequenceClassification::from_folder(base, Some(2), &device)?;
    println!("base      {} parameters; not in the file, so new: {}", bert.num_params(), fresh.join(", "));

    let lora = LoraConfig::new(8).with_alpha(16.0).with_dropout(0.1).with_target_modules(["query", "value"]);
    let mut lora = lora.with_modules_to_save(["pooler", "classifier"]);
    lora.other.insert("base_model_name_or_path".into(), base.to_string_lossy().into());
    lora.other.insert("task_type".into(), "SEQ_CLS".into());
    let config = AnyConfig::Lora(lora);
    let mut adapter = config.init(&bert)?;
    println!("adapter   {} parameters, fresh copies of pooler and classifier among them", adapter.num_params());

    let bert = Frozen::new(bert);
    let loss = CrossEntropyLossConfig::new().init(&device);
    let mut optimizer = AdamWConfig::new().with_weight_decay(0.01).init();
    let lengths: Vec<usize> = texts.iter().map(Encoded::len).collect();
    let mut sum = 0.0;
    for (step, rows) in (1..=STEPS).zip(BatchPlan::new(&lengths, 32)?.epoch(0, 0)) {
        let batch = batch(rows.iter().map(|&row| &texts[row]), &encoder, &device);
        let classes: Vec<i64> = rows.iter().map(|&row| class(&examples.rows[row])).collect();
        let loss = loss.forward(bert.forward(&batch, &adapter), Tensor::from_data(classes.as_slice(), &device));
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
    let device = Device::flex();
    let bert = BertForSequenceClassification::from_folder(base, Some(2), &device)?.module;
    let (_, adapter) = load_adapter(&bert, folder)?;
    let text = |text: &str| Example { text: text.into(), text_pair: None, label: None, line: 0 };
    let examples = [text("A warm and funny film."), text("Dull, long and badly acted.")];
    let encoded = encoder.encode_all(&examples)?;
    let probabilities = softmax(bert.forward(&batch(&encoded, &encoder, &device), &adapter), 1).into_data();
    for (example, row) in examples.iter().zip(probabilities.as_slice::<f32>()?.chunks(2)) {
        let best = usize::from(row[1] > row[0]);
        println!("{:<9} {:.3}  {}", labels.names()[best], row[best], example.text);
    }
    Ok(())
}

fn batch<'a>(rows: impl IntoIterator<Item = &'a Encoded>, encoder: &Encoder, device: &Device) -> Batch {
    let rows: Vec<&Encoded> = rows.into_iter().collect();
    let padded = peft_data::pad(&rows, encoder.pad_id().unwrap_or(0));
    Batch::new(padded.ids, padded.type_ids, padded.mask, padded.rows, device)
}

fn class(example: &Example) -> i64 {
    let Some(Label::Class(class)) = example.label else { unreachable!("a row of a single-label task has a class") };
    class as i64
}
