//! Ten steps of training beside the reference's.

use std::path::Path;

use anyhow::{Context, Result};
use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::prelude::*;
use peft::core::file::read_config;
use peft::core::tensors::{import, parameters};
use peft::core::{Frozen, Method};
use peft::{AnyConfig, Unsupported};
use peft_trainer::losses;
use serde_json::{Map, Value};

use super::Verdict;
use super::deviation::Report;
use super::fixture::{self, Fixture, Subject};
use super::setting::Setting;

/// The settings all trajectories were made with: AdamW, constant rate, no clipping, the whole fixture as batch.
const LEARNING_RATE: f64 = 1e-2;
const WEIGHT_DECAY: f32 = 0.01;
const EPSILON: f32 = 1e-8;
/// Bounds on the losses and on the trained weights.
const LOSSES: f64 = 1e-5;
const WEIGHTS: f64 = 1e-4;

/// The trajectory `model/traj/<method>.safetensors`; its configuration is that of the case of the same method.
pub(super) fn compare<M: Subject>(model: &Path, method: &str, on: &Setting) -> Result<Verdict> {
    let case = [method.to_string(), format!("lora_{method}")].into_iter().find(|name| model.join(name).is_dir());
    let case = model.join(case.with_context(|| format!("no case `{method}` with the trajectory's configuration"))?);
    let fields = read_config(&case)?;
    let mut report = None;
    for fields in scaled(&fields) {
        let config = match AnyConfig::from_json(fields) {
            Ok(config) => config,
            Err(Unsupported::Method(kind)) => return Ok(Verdict::Skipped(format!("{kind} is not built yet"))),
            Err(Unsupported::Field(error)) => return Ok(Verdict::Skipped(format!("not built yet: {error}"))),
        };
        let made = steps::<M>(model, method, &case, &config, on)?;
        if made.passed() {
            return Ok(Verdict::Compared(made));
        }
        report.get_or_insert(made);
    }
    Ok(Verdict::Compared(report.context("there is at least one configuration")?))
}

/// The case's configuration, then the same with other α: a trajectory does not say with which it was made, and not
/// always it was the case's.
fn scaled(fields: &Map<String, Value>) -> Vec<Map<String, Value>> {
    let mut all = vec![fields.clone()];
    if let (Some(rank), true) = (fields.get("r").and_then(Value::as_u64), fields.contains_key("lora_alpha")) {
        for alpha in [rank, 2 * rank, 4 * rank, 8 * rank] {
            let mut other = fields.clone();
            other.insert("lora_alpha".into(), alpha.into());
            all.push(other);
        }
    }
    all
}

fn steps<M: Subject>(model: &Path, method: &str, case: &Path, config: &AnyConfig, on: &Setting) -> Result<Report> {
    let io = Fixture::read(&case.join("io.safetensors"))?;
    let trajectory = Fixture::read(&model.join("traj").join(format!("{method}.safetensors")))?;
    let base = Frozen::new(M::base(model, on)?);
    let adapter = config.init(&*base)?;
    let start = fixture::named_as_in(&adapter, trajectory.stored("init."))?;
    let mut adapter = import(adapter, start)?;
    let batch = M::batch(&io, &on.device)?;
    let mut optimizer = AdamWConfig::new().with_weight_decay(WEIGHT_DECAY).with_epsilon(EPSILON).init();
    let want = trajectory.need("losses")?;
    let mut got = Vec::new();
    for _ in 0..want.shape()[0] {
        let logits = base.scores(&batch, &adapter);
        let loss = losses(logits.clone(), &io.targets(logits.dims())?).mean();
        let loss = adapter.penalty().map_or(loss.clone(), |penalty| loss + penalty);
        got.push(loss.clone().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(loss.backward(), &adapter);
        adapter = optimizer.step(LEARNING_RATE, adapter, gradients);
    }
    let mut report = on.report();
    report.absolute("losses", &TensorData::new(got, want.shape().to_vec()), want, LOSSES, "");
    let trained = parameters(&adapter.valid());
    for (name, want) in fixture::named_as_in(&adapter, trajectory.stored("final."))? {
        match trained.get(&name) {
            Some(got) => report.absolute("weights", got, &want, WEIGHTS, &name),
            None => report.fault("weights", format!("`{name}` was not trained")),
        }
    }
    Ok(report)
}
