//! Two soft prompts of different length on one model, one of them begun as a question, and a batch whose rows choose.
//!
//! Runs in the workspace's root: `target/release/prompt_rows`

use std::path::Path;

use anyhow::{Result, ensure};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::prelude::*;
use peft::prelude::*;
use peft_data::{ColumnNames, Columns, Encoder, Example, Examples, ReadOptions, Table, Target};
use peft_trainer::{Rows, losses};

const STEPS: usize = 60;
const QUESTION: &str = "Does the reviewer recommend this film, positive or negative?";

fn main() -> Result<()> {
    let base = Path::new("assets/minilm-l3");
    let encoder = Encoder::from_folder(base, 64)?;
    let table = Table::read("assets/movie-snippets/train.tsv", &ReadOptions::default())?;
    let columns = Columns::resolve(&table, &ColumnNames::default(), Some(Target::Single))?;
    let examples = Examples::from_table(&table, &columns, Target::Single, None)?;
    let rows = Rows::texts(&examples, Target::Single, 2, &encoder)?;
    let device = Device::flex().autodiff();
    draw::seed(&device, 0);
    let bert = BertForSequenceClassification::from_folder(base, Some(2), &device)?.module;
    let heads = ["pooler", "classifier"];

    // A method knows no tokenizer, so it takes the ids of the text, without [CLS] and [SEP].
    let question = Example { text: QUESTION.into(), text_pair: None, choices: None, label: None, line: 0 };
    let ids = encoder.encode_all(&[question])?.remove(0).ids;
    let ids = &ids[1..ids.len() - 1];
    let from_text = PromptConfig::new(ids.len()).with_text(QUESTION, "bert-base-uncased").with_modules_to_save(heads);
    let method = AnyMethod::Prompt(from_text.init_with_text_ids(&bert, ids)?);
    let long = AnyConfig::Prompt(from_text).with_saved(method, &bert)?;
    let short = AnyConfig::Prompt(PromptConfig::new(4).with_vocabulary().with_modules_to_save(heads)).init(&bert)?;

    let bert = Frozen::new(bert);
    let mut adapters = Adapters::default();
    for (name, mut adapter) in [("question", long), ("short", short)] {
        let mut optimizer = AdamWConfig::new().init();
        let (mut first, mut last) = (0.0, 0.0);
        for (step, item) in rows.sample(32, STEPS, 0, &device)?.enumerate() {
            let loss = losses(bert.forward(&item.batch, &adapter).unsqueeze_dim(1), &item.targets).mean();
            let value: f32 = loss.clone().into_scalar();
            first += if step < 10 { value / 10.0 } else { 0.0 };
            last += if step >= STEPS - 10 { value / 10.0 } else { 0.0 };
            let gradients = GradientsParams::from_grads(loss.backward(), &adapter);
            adapter = optimizer.step(2e-3, adapter, gradients);
        }
        let tokens = adapter.method.num_params() / 384;
        println!(
            "{name:<9} {tokens:>2} virtual tokens, mean loss {first:.3} in the first ten steps, {last:.3} in the last"
        );
        adapters.add(name, adapter.valid())?;
    }

    // One batch. Each row has its own number of virtual tokens, masks and positions, and its adapter's own head.
    let (bert, names) = (bert.valid(), ["question", "short", BASE, "question"]);
    for item in rows.sample(4, 1, 3, &Device::flex())? {
        let mixed = bert.forward(&item.batch, &adapters.route(&names)?);
        for (row, name) in names.iter().enumerate() {
            let alone = bert.forward(&item.batch, &adapters.route(&[*name; 4])?);
            let apart = (mixed.clone() - alone).slice_dim(0, row..row + 1).abs().max().into_scalar::<f32>();
            println!("row {row}     under {name:<8}  differs from a batch of its own by {apart:.1e}");
            ensure!(apart <= 1e-5, "a routed row differs from its own run");
        }
    }
    Ok(())
}
