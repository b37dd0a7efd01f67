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

use super::Verdict;
use super::deviation::Report;
use super::fixture::{self, Fixture};

/// The settings all trajectories were made with: AdamW, constant rate, no clipping, the whole fixture as batch.
const LEARNING_RATE: f64 = 1e-2;
const WEIGHT_DECAY: f32 = 0.01;
const EPSILON: f32 = 1e-8;
/// Bounds on the losses and on the trained weights.
const LOSSES: f64 = 1e-5;
const WEIGHTS: f64 = 1e-4;

/// The trajectory `model/traj/<method>.safetensors`; its configuration is that of the case of the same method.
pub(super) fn compare(model: &Path, method: &str, device: &Device) -> Result<Verdict> {
    let case = [method.to_string(), format!("lora_{method}")].into_iter().find(|name| model.join(name).is_dir());
    let case = model.join(case.with_context(|| format!("no case `{method}` with the trajectory's configuration"))?);
    let config = match AnyConfig::from_json(read_config(&case)?) {
        Ok(config) => config,
        Err(Unsupported::Method(kind)) => return Ok(Verdict::Skipped(format!("{kind} is not built yet"))),
        Err(Unsupported::Field(error)) => return Ok(Verdict::Skipped(format!("not built yet: {error}"))),
    };
    let io = Fixture::read(&case.join("io.safetensors"))?;
    let trajectory = Fixture::read(&model.join("traj").join(format!("{method}.safetensors")))?;
    let bert = Frozen::new(fixture::base(model, device)?);
    let adapter = config.init(&*bert)?;
    let start = fixture::named_as_in(&adapter, trajectory.stored("init."))?;
    let mut adapter = import(adapter, start)?;
    let batch = io.batch(device)?;
    let mut optimizer = AdamWConfig::new().with_weight_decay(WEIGHT_DECAY).with_epsilon(EPSILON).init();
    let want = trajectory.need("losses")?;
    let mut got = Vec::new();
    for _ in 0..want.shape()[0] {
        let logits = bert.forward(&batch, &adapter);
        let loss = losses(logits.clone(), &io.targets(logits.dims()[1])?).mean();
        let loss = adapter.penalty().map_or(loss.clone(), |penalty| loss + penalty);
        got.push(loss.clone().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(loss.backward(), &adapter);
        adapter = optimizer.step(LEARNING_RATE, adapter, gradients);
    }
    let mut report = Report::default();
    report.absolute("losses", &TensorData::new(got, want.shape().to_vec()), want, LOSSES, "");
    let trained = parameters(&adapter.valid());
    for (name, want) in fixture::named_as_in(&adapter, trajectory.stored("final."))? {
        match trained.get(&name) {
            Some(got) => report.absolute("weights", got, &want, WEIGHTS, &name),
            None => report.fault("weights", format!("`{name}` was not trained")),
        }
    }
    Ok(Verdict::Compared(report))
}
