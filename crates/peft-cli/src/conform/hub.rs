//! One adapter of AdapterHub's: forward, backward, and its folder.

use std::path::Path;

use anyhow::{Context, Result};
use peft::adapterhub::{AdapterHubFolder, AdapterHubFusion, HubFile, HubModel};
use peft::core::tensors::{Tensors, export_gradients};
use peft::core::{Frozen, Identity};
use peft::{file_of, load_adapter, read_adapter, to_hub};

use super::Verdict;
use super::case::{gradients, loss};
use super::deviation::Report;
use super::fixture::{Fixture, Subject};
use super::setting::Setting;

/// The adapter in `model/name`, or the fusion; where the folder has no inputs and outputs, its files alone.
pub(super) fn compare<M: Subject>(model: &Path, name: &str, on: &Setting) -> Result<Verdict> {
    let folder = model.join(name);
    let mut report = on.report();
    if folder.join("adapter_fusion_config.json").exists() {
        let fusion = AdapterHubFusion::read(&folder)?;
        fusion.to_ours()?;
        let there = tempfile::tempdir()?;
        fusion.write(there.path())?;
        same_files(&mut report, &folder, there.path())?;
        return Ok(Verdict::Compared(report));
    }
    let theirs = AdapterHubFolder::read(&folder)?;
    let there = tempfile::tempdir()?;
    theirs.write(there.path())?;
    same_files(&mut report, &folder, there.path())?;

    let (config, file) = read_adapter(&folder)?;
    let (base, hub) = M::hub(model, &file, on)?;
    let base = Frozen::new(base);
    let (_, adapter) = load_adapter(&*base, &folder)?;
    if folder.join("io.safetensors").exists() {
        let io = Fixture::read(&folder.join("io.safetensors"))?;
        let batch = M::batch(&io, &on.device)?;
        let logits = base.scores(&batch, &adapter);
        report.logits("logits", &logits.to_data(), io.need("out.logits")?);
        let loss = loss(&mut report, &io, logits, None)?;
        let want = under_our_names(&theirs, io.stored("grad."))?;
        gradients(&mut report, &export_gradients(&adapter, &loss.backward()), &want);
        if let Some(want) = io.get("out.logits_disabled") {
            report.logits("disabled", &base.scores(&batch, &Identity).to_data(), want);
        }
    }

    // From the adapter in memory back to the folder it came from.
    let model_name = theirs.adapter.wrapper.get("model_name").and_then(|n| n.as_str()).unwrap_or_default().to_string();
    let hub = HubModel { model_name, ..hub };
    let mut saved = file_of(&adapter, &config);
    saved.config.extend(file.config);
    let ours = to_hub(&theirs.adapter.name, &config, &saved, Some(hub))?;
    same_tensors(&mut report, &ours.adapter.tensors, &theirs.adapter.tensors);
    if let (Some(ours), Some(theirs)) = (&ours.head, &theirs.head) {
        same_tensors(&mut report, &ours.tensors, &theirs.tensors);
    }
    Ok(Verdict::Compared(report))
}

/// Whether `folder` is this module's business.
pub(super) fn is_one(folder: &Path) -> bool {
    AdapterHubFolder::is_one(folder) || folder.join("adapter_fusion_config.json").exists()
}

/// Gradients under the names of the folder's tensors, as the folder itself would be translated.
fn under_our_names(folder: &AdapterHubFolder, tensors: Tensors) -> Result<Tensors> {
    let (head, adapter): (Tensors, Tensors) = tensors.into_iter().partition(|(name, _)| name.starts_with("heads."));
    let with = |file: &HubFile, tensors| HubFile { tensors, ..file.clone() };
    let folder = AdapterHubFolder {
        adapter: with(&folder.adapter, adapter),
        head: folder.head.as_ref().map(|file| with(file, head)),
    };
    Ok(folder.to_ours().context("the gradients' names")?.1)
}

/// Every file of `ours` holds the same bytes in `theirs`; weights that are there in PyTorch's older format cannot.
fn same_files(report: &mut Report, theirs: &Path, ours: &Path) -> Result<()> {
    for entry in std::fs::read_dir(ours)? {
        let name = entry?.file_name();
        let there = theirs.join(&name);
        if there.exists() && std::fs::read(&there)? != std::fs::read(ours.join(&name))? {
            report.fault("files", format!("{} is not written as it was read", name.to_string_lossy()));
        }
    }
    report.exact("files");
    Ok(())
}

fn same_tensors(report: &mut Report, ours: &Tensors, theirs: &Tensors) {
    for (name, want) in theirs {
        match ours.get(name) {
            Some(got) if got == want => {}
            Some(_) => report.fault("files", format!("`{name}` is not saved as it was loaded")),
            None => report.fault("files", format!("`{name}` is not saved")),
        }
    }
    if let Some(name) = ours.keys().find(|name| !theirs.contains_key(*name)) {
        report.fault("files", format!("`{name}` is not in the reference's file"));
    }
}
