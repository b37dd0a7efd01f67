//! T-Few's losses, and what they are made from: texts chosen by their likelihood.

use std::path::Path;

use anyhow::{Context, Result};
use burn::prelude::*;
use peft::load_adapter;
use peft::models::t5::T5ForConditionalGeneration;
use peft::models::{Batch, IGNORED, Scorer};
use peft_trainer::choices::{ChoiceWeights, Choices, choice_losses, choice_scores, token_losses};

use super::Verdict;
use super::fixture::{Fixture, Subject};
use super::setting::Setting;

/// The case whose adapter the losses were computed under, which the fixture does not say.
const CASE: &str = "ia3";
/// The token that stands behind a text's last in the fixture, and in no text.
const PAD: i64 = 0;
/// Bound on the losses.
const LOSS: f64 = 1e-5;

pub(super) fn compare(model: &Path, on: &Setting) -> Result<Verdict> {
    let io = Fixture::read(&model.join("tfew_loss.safetensors"))?;
    let on = on.inner();
    let base = T5ForConditionalGeneration::base(model, &on)?;
    let (_, adapter) = load_adapter(&base, &model.join(CASE))?;
    let ints = |name: &str| Ok::<Vec<i64>, anyhow::Error>(io.need(name)?.iter::<i64>().collect());
    let shape = io.need("in.choices")?.shape().to_vec();
    let [rows, each, positions] = shape[..] else { anyhow::bail!("`in.choices` is no list of texts for each row") };
    let texts = rows * each;
    let labels: Vec<i64> = ints("in.choices")?.into_iter().map(|id| if id == PAD { IGNORED } else { id }).collect();
    let of: Vec<usize> = (0..texts).map(|text| text / each).collect();
    let batch = Batch::texts(ints("in.input_ids")?, ints("in.attention_mask")?, rows, &on.device);
    let batch = batch.with_choices(labels.clone(), of.clone());
    let choices = Choices {
        labels: labels.chunks(positions).map(<[i64]>::to_vec).collect(),
        rows: of,
        right: ints("in.labels")?
            .into_iter()
            .map(|choice| usize::try_from(choice).context("in.labels"))
            .collect::<Result<_>>()?,
    };

    let mut report = on.report();
    let nll = token_losses(base.scores(&batch, &adapter), &choices.labels);
    let shaped = |data: TensorData, shape: Vec<usize>| TensorData::new(data.iter::<f32>().collect(), shape);
    report.logits("nll", &shaped(nll.to_data(), shape), io.need("out.nll")?);
    for (what, name, length_norm) in [("sums", "out.score_sum", 0.0), ("scores", "out.score_norm", 1.0)] {
        let scores = choice_scores(nll.clone(), &choices.labels, length_norm).neg().into_data();
        report.logits(what, &shaped(scores, vec![rows, each]), io.need(name)?);
    }
    let none = ChoiceWeights { lm: 0.0, ln: 0.0, ul: 0.0, length_norm: 1.0 };
    for (what, name, weights) in [
        ("lm", "out.lm_loss", ChoiceWeights { lm: 1.0, ..none }),
        ("ln", "out.ln_loss", ChoiceWeights { ln: 1.0, ..none }),
        ("ul", "out.unlikely_loss", ChoiceWeights { ul: 1.0, ..none }),
    ] {
        let loss = choice_losses(nll.clone(), &choices, &weights).mean().into_data();
        report.absolute(what, &loss, io.need(name)?, LOSS, "");
    }
    Ok(Verdict::Compared(report))
}
