//! Scores of an adapter on rows it was not trained on.

use std::sync::Arc;

use burn::data::dataloader::{DataLoader, Progress};
use burn::prelude::*;
use burn::train::metric::{Adaptor, Metric, MetricMetadata, Numeric};
use peft_core::Hooks;
use peft_data::{AnswerMetrics, BatchPlan, Encoded, EntityMetrics, Target, pad};
use peft_models::{Batch, Scorer};

use crate::batches::Batches;
use crate::error::{Error, Result};
use crate::metrics::{Score, ScoreInput, Scored, Tally};
use crate::objective::{losses, probabilities};
use crate::rows::Rows;

/// What [`evaluate`] measures.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean loss of the rows; of the words, where words are tagged.
    pub loss: f64,
    /// Scores by name.
    pub scores: Vec<(String, f64)>,
    /// Number of rows; of questions, where the rows are windows of them.
    pub rows: usize,
    /// What the scores are made of.
    pub detail: Detail,
}

/// What lies behind the scores of a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// No more than they say.
    None,
    /// Entities of each type.
    Entities(EntityMetrics),
    /// Questions with an answer and without.
    Answers(AnswerMetrics),
}

/// Measures `model` under `hooks` on labelled rows.
///
/// # Errors
/// A batch size of 0.
pub fn evaluate<M: Scorer>(model: &M, hooks: &dyn Hooks, rows: Rows, batch_size: usize) -> Result<Evaluation> {
    let (items, mut scores, device) = (rows.items(), rows.scores(), model.device());
    let batches = Batches::in_order(Arc::new(rows), batch_size, None, &device)?;
    let metadata = MetricMetadata { progress: Progress::new(0, 0, None), iteration: None, lr: None };
    let (mut sum, mut count) = (0.0, 0);
    let failed = |error: String| Error::Training(error);
    for item in batches.iter() {
        let item = item.map_err(|error| failed(error.to_string()))?;
        let values = model.scores(&item.batch, hooks);
        let loss = losses(values.clone(), &item.targets);
        let scored = Scored { loss, scores: values, targets: item.targets, tokens: item.tokens, rows: item.rows };
        sum += f64::from(scored.loss.clone().sum().into_scalar::<f32>());
        count += scored.loss.dims()[0];
        let input: ScoreInput = scored.adapt();
        for score in &mut scores {
            score.update(&input, &metadata).map_err(|error| failed(error.to_string()))?;
        }
    }
    let detail = scores.first().map_or(Detail::None, detail);
    let mut named = Vec::new();
    for score in &mut scores {
        score.compute().map_err(|error| failed(error.to_string()))?;
        named.push((score.kind().name().to_string(), score.final_value().current()));
    }
    Ok(Evaluation { loss: sum / f64::from(count.max(1) as u32), scores: named, rows: items, detail })
}

fn detail(score: &Score) -> Detail {
    match score.tally() {
        Tally::Words(words) => Detail::Entities(words.metrics.clone()),
        Tally::Answers(answers) => answers.metrics().map_or(Detail::None, Detail::Answers),
        _ => Detail::None,
    }
}

/// Probabilities (in regression the value) of each text, in the order given.
///
/// # Errors
/// A batch size of 0.
pub fn predict<M: Scorer>(
    model: &M,
    hooks: &dyn Hooks,
    texts: &[Encoded],
    pad_id: u32,
    target: Target,
    batch_size: usize,
) -> Result<Vec<Vec<f32>>> {
    let texts: Vec<&Encoded> = texts.iter().collect();
    let mut out = vec![Vec::new(); texts.len()];
    batched(model, hooks, &texts, pad_id, batch_size, |rows, scores| {
        let probabilities = probabilities(target, scores.squeeze_dim(1));
        let [_, outputs] = probabilities.dims();
        let values: Vec<f32> = probabilities.into_data().iter::<f32>().collect();
        for (row, values) in rows.iter().zip(values.chunks(outputs)) {
            out[*row] = values.to_vec();
        }
    })?;
    Ok(out)
}

/// The scores of each text, in the order given: `[positions][outputs]` of its own positions, padding left out.
///
/// # Errors
/// A batch size of 0.
pub fn score<M: Scorer>(
    model: &M,
    hooks: &dyn Hooks,
    texts: &[&Encoded],
    pad_id: u32,
    batch_size: usize,
) -> Result<Vec<Vec<f32>>> {
    let mut out = vec![Vec::new(); texts.len()];
    batched(model, hooks, texts, pad_id, batch_size, |rows, scores| {
        let [_, positions, outputs] = scores.dims();
        let values: Vec<f32> = scores.into_data().iter::<f32>().collect();
        for (row, values) in rows.iter().zip(values.chunks(positions * outputs)) {
            out[*row] = values[..positions.min(texts[*row].len()) * outputs].to_vec();
        }
    })?;
    Ok(out)
}

/// Hands each batch's rows and their scores to `each`.
fn batched<M: Scorer>(
    model: &M,
    hooks: &dyn Hooks,
    texts: &[&Encoded],
    pad_id: u32,
    batch_size: usize,
    mut each: impl FnMut(&[usize], Tensor<3>),
) -> Result<()> {
    let device = model.device();
    let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
    for rows in BatchPlan::new(&lengths, batch_size)?.in_order() {
        let encoded: Vec<&Encoded> = rows.iter().map(|&row| texts[row]).collect();
        let padded = pad(&encoded, pad_id);
        let batch = Batch::new(padded.ids, padded.type_ids, padded.mask, rows.len(), &device);
        each(&rows, model.scores(&batch, hooks));
    }
    Ok(())
}
