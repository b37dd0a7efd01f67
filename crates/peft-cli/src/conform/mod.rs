//! `peft conform`: this workspace against the reference, fixture by fixture.
//!
//! A folder laid out like `golden/<model>/<case>/` holds what the reference computed: inputs, logits, loss, the
//! gradient of every trained parameter, the logits with the adapter disabled and merged, ten steps of training, the
//! texts it makes, and the files it wrote. Each line of the report names a fixture and the largest deviation in each of these. What
//! this version does not have is skipped by name, never passed over in silence.

mod case;
mod choices;
mod deviation;
mod fixture;
mod generate;
mod hub;
mod rows;
mod setting;
mod trajectory;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use serde_json::{Map, json};

use crate::terminal::say;
use deviation::Report;
use fixture::Subject;
use peft::models::bert::AnyBert;
use peft::models::t5::T5ForConditionalGeneration;
pub(crate) use setting::Setting;

/// What became of one fixture.
pub(crate) enum Verdict {
    /// Compared: see the report.
    Compared(Report),
    /// Not compared, with the reason.
    Skipped(String),
}

/// Runs every fixture below `folder` and prints a line for each, in JSON if asked. Whether all passed.
///
/// # Errors
/// If the folder holds no fixture.
pub(crate) fn run(folder: &Path, on: &Setting, json: bool) -> Result<bool> {
    let models = models(folder)?;
    if models.is_empty() {
        bail!(
            "{}: no fixtures here; give a folder that holds <model>/base/config.json and <model>/<case>/io.safetensors",
            folder.display()
        );
    }
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for model in models {
        for name in fixtures(&model)? {
            let label = format!("{}/{name}", model.file_name().unwrap_or_default().to_string_lossy());
            let compared = std::panic::catch_unwind(|| compare(&model, &name, on));
            // One fixture that breaks something of ours must not hide the others.
            let verdict = compared.unwrap_or_else(|_| Err(anyhow::anyhow!("the comparison panicked, see above")));
            let (count, outcome, found) = match &verdict {
                Ok(Verdict::Skipped(reason)) => (&mut skipped, "skip", reason.clone()),
                Ok(Verdict::Compared(report)) if report.passed() => (&mut passed, "ok", report.to_string()),
                Ok(Verdict::Compared(report)) => (&mut failed, "FAIL", report.to_string()),
                Err(error) => (&mut failed, "FAIL", format!("{error:#}")),
            };
            *count += 1;
            // A GPU's memory is kept for what comes next, which is another model.
            on.device.memory_cleanup();
            if json {
                let deviations = match &verdict {
                    Ok(Verdict::Compared(report)) => report.deviations(),
                    _ => Map::new(),
                };
                say!(
                    "{}",
                    json!({ "device": on.title(), "fixture": label, "outcome": outcome, "found": found, "deviations": deviations })
                )?;
            } else {
                say!("{outcome:<5} {label:<28} {found}")?;
            }
        }
    }
    if !json {
        say!("{passed} passed, {failed} failed, {skipped} skipped")?;
    }
    Ok(failed == 0)
}

/// Folders of one model each: those that hold `base/config.json`, `folder` itself among them.
fn models(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.join("base/config.json").exists() {
        return Ok(vec![folder.to_path_buf()]);
    }
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("{}: cannot be read; give a folder of fixtures", folder.display()))?;
    let mut models: Vec<PathBuf> =
        entries.filter_map(|e| Some(e.ok()?.path())).filter(|p| p.join("base/config.json").exists()).collect();
    models.sort();
    Ok(models)
}

/// The fixtures of a model: its cases, its trajectories and the files beside them.
fn fixtures(model: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(model)?.flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.join("io.safetensors").exists() || hub::is_one(&path) {
            names.push(name);
        } else if name == "traj" {
            for entry in std::fs::read_dir(&path)?.flatten() {
                let file = entry.file_name().to_string_lossy().into_owned();
                names.extend(file.strip_suffix(".safetensors").map(|method| format!("traj/{method}")));
            }
        } else if name == generate::FILE {
            names.extend(generate::cases(&path)?.into_iter().map(|case| format!("generate/{case}")));
        } else if path.is_file() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn compare(model: &Path, name: &str, on: &Setting) -> Result<Verdict> {
    let config: serde_json::Value = peft::models::read_json(&model.join("base/config.json"))?;
    let model_type = config["model_type"].as_str().unwrap_or("unnamed");
    match model_type {
        "bert" => compare_on::<AnyBert>(model, name, on),
        "t5" | "mt5" => compare_on::<T5ForConditionalGeneration>(model, name, on),
        other => Ok(Verdict::Skipped(format!("the backbone `{other}` is not built yet"))),
    }
}

fn compare_on<M: Subject>(model: &Path, name: &str, on: &Setting) -> Result<Verdict> {
    match name {
        "base" => case::base::<M>(model, on),
        "multi_lora.safetensors" => rows::compare(model, on),
        "tfew_loss.safetensors" => choices::compare(model, on),
        _ if name.starts_with("traj/") => trajectory::compare::<M>(model, &name["traj/".len()..], on),
        _ if name.starts_with("generate/") => generate::compare(model, &name["generate/".len()..], on),
        _ if name.contains('.') => Ok(Verdict::Skipped("no fixture of this kind is known".to_string())),
        _ if hub::is_one(&model.join(name)) => hub::compare::<M>(model, name, on),
        _ => case::adapter::<M>(model, name, on),
    }
}
