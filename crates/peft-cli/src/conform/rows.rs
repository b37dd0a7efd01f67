//! Several LoRA adapters in one batch, a row each.

use std::path::Path;

use anyhow::{Context, Result};
use peft::core::tensors::import;
use peft::core::{Adapter, Adapters, BASE, Identity, Method};
use peft::lora::{Combination, Combine, Lora, LoraConfig, Part};
use peft::models::Scorer;
use peft::models::bert::AnyBert;

use super::Verdict;
use super::fixture::{Fixture, Subject};
use super::setting::Setting;

/// The fixture does not say with what α its adapters were made; this one reproduces each of them.
const ALPHA: f64 = 8.0;
const TARGETS: [&str; 2] = ["query", "value"];
/// Nor does it give the density of its combinations, or the weights: see where they are used.
const DENSITY: f64 = 0.5;
/// The combinations that involve no chance.
const COMBINATIONS: [(&str, Combination); 7] = [
    ("linear", Combination::Linear),
    ("cat", Combination::Cat),
    ("svd", Combination::Svd),
    ("ties", Combination::Ties),
    ("ties_svd", Combination::TiesSvd),
    ("magnitude_prune", Combination::MagnitudePrune),
    ("magnitude_prune_svd", Combination::MagnitudePruneSvd),
];

pub(super) fn compare(model: &Path, on: &Setting) -> Result<Verdict> {
    let io = Fixture::read(&model.join("multi_lora.safetensors"))?;
    let on = on.inner();
    let bert = AnyBert::base(model, &on)?;
    let batch = AnyBert::batch(&io, &on.device)?;
    let mut adapters = Adapters::<Adapter<Lora>>::default();
    for name in ["a", "b", "c"] {
        let tensors = io.stored(&format!("adapter.{name}."));
        let (_, first) = tensors.iter().find(|(key, _)| key.ends_with("lora_A.weight")).context("no adapter")?;
        let config = LoraConfig::new(first.shape()[0]).with_alpha(ALPHA).with_target_modules(TARGETS);
        let adapter = Adapter::new(config.init(&bert)?, &bert, &[], &[])?;
        adapters.add(name, import(adapter, tensors)?)?;
    }
    let mut report = on.report();
    report.logits("base", &bert.scores(&batch, &Identity).into_data(), io.need("out.base")?);
    for (what, name) in [("a", "a"), ("b", "b")] {
        let logits = bert.scores(&batch, adapters.get(name)?).into_data();
        report.logits(what, &logits, io.need(&format!("out.{name}"))?);
    }
    let mixed = bert.scores(&batch, &adapters.route(&["a", "b", BASE])?).into_data();
    report.logits("rows", &mixed, io.need("out.mixed_a_b_base")?);
    for (prefix, parts) in [("out.v_", [("a", 0.7), ("c", -0.6)]), ("out.w_", [("a", 0.7), ("b", 0.3)])] {
        for (name, how) in COMBINATIONS {
            let Some(want) = io.get(&format!("{prefix}{name}")) else { continue };
            let part = |&(name, weight): &(&str, f64)| -> Result<_> {
                let method = &adapters.get(name)?.method;
                Ok((LoraConfig::new(rank_of(method)).with_alpha(ALPHA).with_target_modules(TARGETS), method, weight))
            };
            let parts = parts.iter().map(part).collect::<Result<Vec<_>>>()?;
            let parts: Vec<Part<'_>> =
                parts.iter().map(|(config, lora, weight)| Part { config, lora, weight: *weight }).collect();
            let (_, combined) = Combine::new(how).with_density(DENSITY).run(&parts)?;
            report.logits(name, &bert.scores(&batch, &combined).into_data(), want);
        }
    }
    Ok(Verdict::Compared(report))
}

fn rank_of(lora: &Lora) -> usize {
    lora.sites().iter().find_map(|site| lora.at(site)).map_or(0, |factors| factors.a.dims()[1])
}
