//! Scores and probabilities of an adapter on rows it was not trained on.

use std::sync::Arc;

use burn::data::dataloader::{DataLoader, Progress};
use burn::train::metric::{Adaptor, Metric, MetricMetadata, Numeric};
use peft_core::Hooks;
use peft_data::{BatchPlan, Encoded, Target, pad};
use peft_models::{Batch, SequenceClassifier};

use crate::batches::{Batches, Rows};
use crate::error::{Error, Result};
use crate::metrics::{Score, ScoreInput, Scored, scores_for};
use crate::objective::{losses, probabilities};

/// What [`evaluate`] measures.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean loss of the rows.
    pub loss: f64,
    /// Scores by name.
    pub scores: Vec<(String, f64)>,
    /// Number of rows.
    pub rows: usize,
}

/// Measures `model` under `hooks` on labelled rows; `outputs` is the number of scores it gives.
///
/// # Errors
/// A batch size of 0.
pub fn evaluate<M: SequenceClassifier>(
    model: &M,
    hooks: &dyn Hooks,
    rows: Rows,
    target: Target,
    outputs: usize,
    batch_size: usize,
) -> Result<Evaluation> {
    let device = model.devices().into_iter().next().unwrap_or_default();
    let batches = Batches::in_order(Arc::new(rows), batch_size, None, &device)?;
    let mut scores: Vec<Score> = scores_for(target, outputs).into_iter().map(Score::new).collect();
    let metadata = MetricMetadata { progress: Progress::new(0, 0, None), iteration: None, lr: None };
    let (mut sum, mut count) = (0.0, 0);
    let failed = |error: String| Error::Training(error);
    for item in batches.iter() {
        let item = item.map_err(|error| failed(error.to_string()))?;
        let logits = model.logits(&item.batch, hooks);
        let loss = losses(logits.clone(), &item.targets);
        let scored = Scored { loss, logits, targets: item.targets, tokens: item.tokens };
        sum += f64::from(scored.loss.clone().sum().into_scalar::<f32>());
        count += scored.targets.rows();
        let input: ScoreInput = scored.adapt();
        for score in &mut scores {
            score.update(&input, &metadata).map_err(|error| failed(error.to_string()))?;
        }
    }
    let mut named = Vec::new();
    for score in &mut scores {
        score.compute().map_err(|error| failed(error.to_string()))?;
        named.push((score.kind().name().to_string(), score.final_value().current()));
    }
    Ok(Evaluation { loss: sum / f64::from(count.max(1) as u32), scores: named, rows: count })
}

/// Probabilities (in regression the value) of each text, in the order given.
///
/// # Errors
/// A batch size of 0.
pub fn predict<M: SequenceClassifier>(
    model: &M,
    hooks: &dyn Hooks,
    texts: &[Encoded],
    pad_id: u32,
    target: Target,
    batch_size: usize,
) -> Result<Vec<Vec<f32>>> {
    let device = model.devices().into_iter().next().unwrap_or_default();
    let lengths: Vec<usize> = texts.iter().map(Encoded::len).collect();
    let mut out = vec![Vec::new(); texts.len()];
    for rows in BatchPlan::new(&lengths, batch_size)?.in_order() {
        let encoded: Vec<&Encoded> = rows.iter().map(|&row| &texts[row]).collect();
        let padded = pad(&encoded, pad_id);
        let batch = Batch::new(padded.ids, padded.type_ids, padded.mask, rows.len(), &device);
        let probabilities = probabilities(target, model.logits(&batch, hooks));
        let [_, outputs] = probabilities.dims();
        let values: Vec<f32> = probabilities.into_data().iter::<f32>().collect();
        for (row, values) in rows.iter().zip(values.chunks(outputs)) {
            out[*row] = values.to_vec();
        }
    }
    Ok(out)
}
