//! Scores of an adapter on rows it was not trained on.

use std::sync::Arc;

use burn::data::dataloader::{DataLoader, Progress};
use burn::prelude::*;
use burn::train::metric::{Adaptor, Metric, MetricMetadata, Numeric};
use peft_core::Hooks;
use peft_data::{AnswerMetrics, BatchPlan, Encoded, EntityMetrics, Target};
use peft_models::{Batch, Generated, GenerationConfig, Scorer};

use crate::batches::{Batches, LabelledBatch};
use crate::choices::{choice_scores, token_losses};
use crate::error::{Error, Result};
use crate::metrics::{Score, ScoreInput, Scored, Tally};
use crate::objective::{objective, probabilities};
use crate::rows::{Rows, labels, padded};
use crate::trainee::written;

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
        let (loss, values) = objective(model.scores(&item.batch, hooks), &item.targets);
        let texts = match &item.generation {
            Some(config) => written(model, &item.batch, config, hooks)?,
            None => Vec::new(),
        };
        let LabelledBatch { targets, tokens, rows, .. } = item;
        let scored = Scored { loss, scores: values, targets, tokens, rows, texts, fault: None };
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

/// What is made of each text, in the order given.
///
/// # Errors
/// A batch size of 0, and a model that makes no texts or cannot under `config`.
pub fn write<M: Scorer>(
    model: &M,
    hooks: &dyn Hooks,
    texts: &[&Encoded],
    pad_id: u32,
    config: &GenerationConfig,
    batch_size: usize,
) -> Result<Vec<Generated>> {
    let mut out = vec![Generated::default(); texts.len()];
    for (rows, batch) in planned(texts, pad_id, batch_size, &model.device())? {
        let made = model.generate(&batch, config, hooks)?;
        rows.iter().zip(made).for_each(|(&row, made)| out[row] = made);
    }
    Ok(out)
}

/// How likely each choice of each text is, in the order given: the softmax of their length-normalised log-likelihoods.
/// `choices` are the tokens of each text's choices.
///
/// # Errors
/// A batch size of 0.
///
/// # Panics
/// If there are not choices for each text.
pub fn choose<M: Scorer>(
    model: &M,
    hooks: &dyn Hooks,
    texts: &[&Encoded],
    choices: &[Vec<Vec<u32>>],
    pad_id: u32,
    batch_size: usize,
) -> Result<Vec<Vec<f32>>> {
    assert_eq!(texts.len(), choices.len(), "choices for each text");
    let mut out = vec![Vec::new(); texts.len()];
    for (rows, batch) in planned(texts, pad_id, batch_size, &model.device())? {
        let (labels, flat) = labels(rows.iter().flat_map(|&row| choices[row].iter()));
        let of = (0..).zip(&rows).flat_map(|(at, &row)| vec![at; choices[row].len()]).collect();
        let nll = token_losses(model.scores(&batch.with_choices(flat, of), hooks), &labels);
        let scores: Vec<f32> = choice_scores(nll, &labels, 1.0).into_data().iter::<f32>().collect();
        let mut scores = scores.into_iter();
        for row in rows {
            let own: Vec<f32> = scores.by_ref().take(choices[row].len()).collect();
            let largest = own.iter().copied().fold(f32::MIN, f32::max);
            let sum: f32 = own.iter().map(|score| (score - largest).exp()).sum();
            out[row] = own.into_iter().map(|score| (score - largest).exp() / sum).collect();
        }
    }
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
    for (rows, batch) in planned(texts, pad_id, batch_size, &model.device())? {
        each(&rows, model.scores(&batch, hooks));
    }
    Ok(())
}

/// Batches of texts of like length, with the texts' places.
fn planned<'a>(
    texts: &'a [&'a Encoded],
    pad_id: u32,
    batch_size: usize,
    device: &'a Device,
) -> Result<impl Iterator<Item = (Vec<usize>, Batch)> + 'a> {
    let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
    let batch = move |rows: Vec<usize>| {
        let encoded: Vec<&Encoded> = rows.iter().map(|&row| texts[row]).collect();
        let batch = padded(&encoded, pad_id, device);
        (rows, batch)
    };
    Ok(BatchPlan::new(&lengths, batch_size)?.in_order().into_iter().map(batch))
}

#[cfg(test)]
mod tests;
