//! What is read: random ids of one length, or the rows of a table in batches of like length.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use burn::data::dataloader::DataLoader;
use burn::prelude::*;
use peft::models::{Batch, ModelConfig};
use peft_data::{BatchPlan, ColumnNames, Columns, Encoder, Examples, ReadOptions, Table, Target};
use peft_trainer::metrics::Targets;
use peft_trainer::{Batches, Cursor, Rows};
use serde_json::{Value, json};

use crate::shapes::CLASSES;
use crate::spec::{Spec, Texts};
use crate::subject::{Subject, millis};

/// Ids below this are special tokens in every vocabulary that is measured.
const FIRST_WORD: usize = 10;

/// A batch of random ids, its shortest row of `fill` of the length.
pub(crate) fn random_batch(spec: &Spec, config: &ModelConfig, device: &Device) -> (Batch, Targets) {
    let mut state = 1u64;
    // Knuth's linear congruential generator (MMIX): any ids will do.
    let mut id = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (FIRST_WORD + (state >> 33) as usize % (config.vocab_size() - FIRST_WORD)) as i64
    };
    let (rows, width) = (spec.batch, spec.sequence);
    let ids = (0..rows * width).map(|_| id()).collect();
    let mask = (0..rows).flat_map(|row| {
        let share = 1.0 - (1.0 - spec.fill) * row as f64 / rows.saturating_sub(1).max(1) as f64;
        let real = ((width as f64 * share).round() as usize).max(1);
        (0..width).map(move |at| i64::from(at < real))
    });
    let batch = Batch::texts(ids, mask.collect(), rows, device);
    if !config.makes_text() {
        return (batch, Targets::Classes((0..rows).map(|row| row % CLASSES).collect()));
    }
    let texts: Vec<Vec<i64>> = (0..rows).map(|_| (0..spec.target).map(|_| id()).collect()).collect();
    (batch.with_labels(texts.concat()), Targets::Texts(texts))
}

/// Labelled texts, not yet tokenised.
pub(crate) struct Data {
    examples: Examples,
    encoder: Encoder,
    texts: Texts,
    batch: usize,
}

impl Data {
    /// Reads a table, and writes the rows of each batch where the texts ask for it.
    pub(crate) fn read(texts: &Texts, model: &Path, batch: usize) -> Result<Self> {
        let table = Table::read(&texts.data, &ReadOptions::default())?;
        let columns = Columns::resolve(&table, &ColumnNames::default(), Some(Target::Single))?;
        let mut examples = Examples::from_table(&table, &columns, Target::Single, None)?;
        examples.rows.truncate(texts.rows.unwrap_or(usize::MAX));
        let encoder = Encoder::from_folder(model, texts.max_length)?;
        let this = Self { examples, encoder, texts: texts.clone(), batch };
        if let Some(path) = &texts.batches {
            let cursor = Cursor::new(this.plan(&this.rows()?)?, 0);
            let epochs: Vec<_> = (0..texts.epochs).map(|epoch| cursor.batches(epoch)).collect();
            std::fs::write(path, json!(epochs).to_string()).with_context(|| path.display().to_string())?;
        }
        Ok(this)
    }

    fn rows(&self) -> Result<Rows> {
        Ok(Rows::texts(&self.examples, Target::Single, CLASSES, &self.encoder)?)
    }

    fn plan(&self, rows: &Rows) -> Result<BatchPlan> {
        Ok(BatchPlan::new(&rows.lengths(), self.batch)?.max_tokens(self.texts.max_tokens)?)
    }

    /// The table's first rows as a batch.
    pub(crate) fn first(&self, device: &Device) -> Result<(Batch, Targets)> {
        let mut examples = self.examples.clone();
        examples.rows.truncate(self.batch);
        let rows = Rows::texts(&examples, Target::Single, CLASSES, &self.encoder)?;
        let first = rows.sample(self.batch, 1, 0, device)?.next().context("the table has rows")?;
        Ok((first.batch, first.targets))
    }
}

/// One pass over the texts, from their tokenisation on.
///
/// # Errors
/// A subject without texts, and what a step reports.
pub(crate) fn epoch(subject: &mut Subject, number: usize) -> Result<Value> {
    let start = Instant::now();
    let data = subject.data.take().context("the spec has no texts")?;
    let rows = data.rows()?;
    let tokenised = start.elapsed();
    let cursor = Arc::new(Cursor::new(data.plan(&rows)?, 0));
    cursor.set(number, 0);
    subject.data = Some(data);
    let (mut steps, mut tokens, mut loss) = (0, 0, 0.0);
    let batches = Batches::training(Arc::new(rows), cursor, &Device::flex().autodiff());
    for item in batches.iter() {
        let item = item?;
        let step = subject.step_on(&item.batch, &item.targets)?;
        loss += step["loss"].as_f64().unwrap_or(f64::NAN);
        steps += 1;
        tokens += item.tokens;
    }
    Ok(json!({
        "ms": millis(start.elapsed()),
        "tokenise_ms": millis(tokenised),
        "steps": steps,
        "tokens": tokens,
        "loss": loss / f64::from(steps),
    }))
}
