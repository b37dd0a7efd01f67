//! Several LoRA adapters in one batch, a row each.

use std::path::Path;

use anyhow::{Context, Result};
use burn::prelude::*;
use peft::core::tensors::import;
use peft::core::{Adapter, Adapters, BASE, Identity};
use peft::lora::{Lora, LoraConfig};
use peft::models::Scorer;

use super::Verdict;
use super::deviation::Report;
use super::fixture::{self, Fixture};

/// The fixture does not say with what α its adapters were made; this one reproduces each of them.
const ALPHA: f64 = 8.0;

pub(super) fn compare(model: &Path, device: &Device) -> Result<Verdict> {
    let io = Fixture::read(&model.join("multi_lora.safetensors"))?;
    let device = device.clone().inner();
    let bert = fixture::base(model, &device)?;
    let batch = io.batch(&device)?;
    let mut adapters = Adapters::<Adapter<Lora>>::default();
    for name in ["a", "b", "c"] {
        let tensors = io.stored(&format!("adapter.{name}."));
        let (_, first) = tensors.iter().find(|(key, _)| key.ends_with("lora_A.weight")).context("no adapter")?;
        let config = LoraConfig::new(first.shape()[0]).with_alpha(ALPHA).with_target_modules(["query", "value"]);
        let adapter = Adapter::new(config.init(&bert)?, &bert, &[], &[])?;
        adapters.add(name, import(adapter, tensors)?)?;
    }
    let mut report = Report::default();
    report.logits("base", &bert.scores(&batch, &Identity).into_data(), io.need("out.base")?);
    for (what, name) in [("a", "a"), ("b", "b")] {
        let logits = bert.scores(&batch, adapters.get(name)?).into_data();
        report.logits(what, &logits, io.need(&format!("out.{name}"))?);
    }
    let mixed = bert.scores(&batch, &adapters.route(&["a", "b", BASE])?).into_data();
    report.logits("rows", &mixed, io.need("out.mixed_a_b_base")?);
    Ok(Verdict::Compared(report))
}
