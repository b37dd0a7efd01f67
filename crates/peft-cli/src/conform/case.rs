//! One adapter of the reference: forward, backward, disabled, merged, and its files.

use std::path::Path;

use anyhow::Result;
use burn::prelude::*;
use peft::core::file::{AdapterFile, read_config};
use peft::core::tensors::{Tensors, export, export_gradients, import};
use peft::core::{Adapter, Fold, Frozen, Hooks, Identity, Method, merge};
use peft::models::Batch;
use peft::{AnyConfig, AnyMethod, Unsupported, load_adapter};
use peft_trainer::losses;

use super::Verdict;
use super::deviation::{Report, largest};
use super::fixture::{self, Fixture, Subject};
use super::setting::Setting;

/// Bound on a gradient's deviation relative to its tensor's largest value.
const GRADIENT: f64 = 1e-4;
/// A gradient below this share of the fixture's largest is rounding: that of a key's bias is zero in exact
/// arithmetic, as softmax does not see it.
const FLOOR: f64 = 1e-2;
/// Bound on what a trained encoder makes.
const MADE: f64 = 1e-5;
/// Bound on the loss.
const LOSS: f64 = 1e-5;

/// The backbone alone.
pub(super) fn base<M: Subject>(model: &Path, on: &Setting) -> Result<Verdict> {
    let io = Fixture::read(&model.join("base/io.safetensors"))?;
    let on = on.inner();
    let base = M::base(model, &on)?;
    let logits = base.scores(&M::batch(&io, &on.device)?, &Identity);
    let mut report = on.report();
    report.logits("logits", &logits.to_data(), io.need("out.logits")?);
    loss(&mut report, &io, logits, None)?;
    Ok(Verdict::Compared(report))
}

/// The adapter in `model/name`.
pub(super) fn adapter<M: Subject>(model: &Path, name: &str, on: &Setting) -> Result<Verdict> {
    let folder = model.join(name);
    let config = match AnyConfig::from_json(read_config(&folder)?) {
        Ok(config) => config,
        Err(Unsupported::Method(kind)) => return Ok(Verdict::Skipped(format!("{kind} is not built yet"))),
        Err(Unsupported::Field(error)) => return Ok(Verdict::Skipped(format!("not built yet: {error}"))),
    };
    let io = Fixture::read(&folder.join("io.safetensors"))?;
    let base = Frozen::new(M::base(model, on)?);
    let (_, adapter) = load_adapter(&*base, &folder)?;
    let batch = M::batch(&io, &on.device)?;
    let mut report = on.report();

    let logits = base.scores(&batch, &adapter);
    report.logits("logits", &logits.to_data(), io.need("out.logits")?);
    // What a file keeps of a trained encoder is what it makes: the encoder itself is held against its own gradients.
    let (trained, want) = match fixture::named_as_in(&adapter, io.stored("grad.")) {
        Ok(want) => (adapter.clone(), want),
        Err(_) => {
            let trained = config.init(&*base)?;
            let params = fixture::named_as_in(&trained, io.stored("param."))?;
            let trained = import(trained, params)?;
            made(&mut report, &folder, &trained)?;
            let want = fixture::named_as_in(&trained, io.stored("grad."))?;
            (trained, want)
        }
    };
    let logits = base.scores(&batch, &trained);
    report.logits("logits", &logits.to_data(), io.need("out.logits")?);
    let loss = loss(&mut report, &io, logits, trained.penalty())?;
    gradients(&mut report, &export_gradients(&trained, &loss.backward()), &want);

    let forward = |hooks: &dyn Hooks| base.scores(&batch, hooks).to_data();
    disabled(&mut report, &io, model, &forward)?;
    merged(&mut report, &io, &*base, &adapter, &batch)?;
    files(&mut report, &*base, &folder, &config, &adapter)?;
    Ok(Verdict::Compared(report))
}

pub(super) fn loss(
    report: &mut Report,
    io: &Fixture,
    logits: Tensor<3>,
    penalty: Option<Tensor<1>>,
) -> Result<Tensor<1>> {
    let targets = io.targets(logits.dims())?;
    let loss = losses(logits, &targets).mean();
    let loss = match penalty {
        Some(penalty) => loss + penalty,
        None => loss,
    };
    let want = io.need("out.loss")?;
    let got = TensorData::new(loss.to_data().iter::<f32>().collect::<Vec<_>>(), want.shape().to_vec());
    report.absolute("loss", &got, want, LOSS, "");
    Ok(loss)
}

/// What the file holds is what the trained encoder makes.
fn made(report: &mut Report, folder: &Path, trained: &Adapter<AnyMethod>) -> Result<()> {
    let file = AdapterFile::read(folder)?.tensors;
    for (name, want) in &file {
        match export(trained).get(name) {
            Some(got) => report.absolute("made", got, want, MADE, name),
            None => report.fault("made", format!("`{name}` is not made")),
        }
    }
    Ok(())
}

/// Every gradient, and no other: what has one here has one there.
pub(super) fn gradients(report: &mut Report, got: &Tensors, want: &Tensors) {
    let floor = FLOOR * want.values().map(largest).fold(0.0, f64::max);
    let mut pairs = Vec::new();
    for (name, want) in want {
        match got.get(name) {
            Some(got) => pairs.push((name.as_str(), got, want)),
            None => report.fault("grads", format!("`{name}` got none")),
        }
    }
    report.gradients(&pairs, floor, GRADIENT);
    if let Some(name) = got.keys().find(|name| !want.contains_key(*name)) {
        report.fault("grads", format!("`{name}` got one, and has none in the reference"));
    }
}

/// Disabled is the base, exactly. Where the reference changes the base itself (trained biases, a saved head of a
/// prompt method), its own disabled logits are not the base's; the base's are compared then.
fn disabled(report: &mut Report, io: &Fixture, model: &Path, forward: &dyn Fn(&dyn Hooks) -> TensorData) -> Result<()> {
    let base = model.join("base/io.safetensors");
    let base = if base.exists() { Some(Fixture::read(&base)?) } else { None };
    let same_inputs = |base: &Fixture| {
        let inputs = ["in.input_ids", "in.attention_mask", "in.token_type_ids"];
        inputs.iter().all(|name| base.get(name) == io.get(name))
    };
    let want = match &base {
        Some(base) if same_inputs(base) => base.get("out.logits"),
        _ => io.get("out.logits_disabled"),
    };
    if let Some(want) = want {
        report.logits("disabled", &forward(&Identity), want);
    }
    Ok(())
}

/// Merged once, and merged again from the kept base, equals unmerged.
fn merged<M: Subject>(
    report: &mut Report,
    io: &Fixture,
    base: &M,
    adapter: &Adapter<AnyMethod>,
    batch: &Batch,
) -> Result<()> {
    if adapter.refusal().is_some() {
        return Ok(());
    }
    let unmerged = base.scores(batch, adapter).to_data();
    for _ in 0..2 {
        let merged = merge(base.clone(), adapter)?.scores(batch, &Identity).to_data();
        report.logits("merged", &merged, &unmerged);
        if let Some(want) = io.get("out.logits_merged") {
            report.logits("merged", &merged, want);
        }
    }
    Ok(())
}

/// Saving what was loaded gives the reference's tensors and fields, and loading that the same bytes again.
fn files<M: Subject>(
    report: &mut Report,
    base: &M,
    folder: &Path,
    config: &AnyConfig,
    adapter: &Adapter<AnyMethod>,
) -> Result<()> {
    let theirs = AdapterFile::read(folder)?;
    let ours = AdapterFile { config: config.to_json(), tensors: export(adapter) };
    for (name, data) in &ours.tensors {
        match theirs.tensors.get(name) {
            Some(want) if want == data => {}
            Some(_) => report.fault("files", format!("`{name}` is not saved as it was loaded")),
            None => report.fault("files", format!("`{name}` is not in the reference's file")),
        }
    }
    for (field, want) in &theirs.config {
        if ours.config.get(field) != Some(want) {
            let got = ours.config.get(field).map_or("nothing".to_string(), ToString::to_string);
            report.fault("files", format!("{field}: {got} is saved for {want}"));
        }
    }
    let there = tempfile::tempdir()?;
    ours.write(there.path())?;
    let (config, adapter) = load_adapter(base, there.path())?;
    let again = AdapterFile { config: config.to_json(), tensors: export(&adapter) };
    match again.config_bytes() == ours.config_bytes() && again.weight_bytes() == ours.weight_bytes() {
        true => report.exact("files"),
        false => report.fault("files", "saving, loading and saving again gives other bytes".to_string()),
    }
    Ok(())
}
