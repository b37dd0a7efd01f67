//! What a run folder holds, and who may write there.
//!
//! `config.toml` (the resolved options), `labels.json`, the tokenizer's files, `metrics.jsonl`, `checkpoints/` and, at
//! the end, the adapter in the reference's layout. `config.toml` is written last of the files that a run begins
//! with: a folder that has it holds a run that can be continued.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use peft::core::store::{read, write_atomic};
use peft_data::Labels;
use peft_trainer::METRICS;

use crate::options::TrainOptions;

const OPTIONS: &str = "config.toml";
const LABELS: &str = "labels.json";
const LOCK: &str = ".lock";
/// The base that a run has made for itself: its folder.
pub(crate) const BASE: &str = "base";

/// A run folder that this process alone writes to.
pub(crate) struct RunFolder {
    path: PathBuf,
    /// Held as long as the process lives; the system releases it however that ends.
    _lock: File,
}

impl RunFolder {
    /// Refuses a folder that holds a run, or files of something else. Touches nothing.
    pub(crate) fn refuse_taken(path: &Path) -> Result<()> {
        let shown = path.display();
        if path.join(OPTIONS).exists() {
            bail!(
                "{shown}: this folder holds another run; continue it with --resume {shown}, or choose another --output"
            );
        }
        if path.exists() && !path.is_dir() {
            bail!("{shown}: this is a file; choose another --output");
        }
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !is_ours(&name) {
                bail!("{shown}: the folder is not empty (`{name}`); choose another --output");
            }
        }
        Ok(())
    }

    /// Takes `path` for a new run.
    ///
    /// # Errors
    /// If it is taken, or cannot be written.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(|error| peft::core::Error::io(path, error))?;
        let folder = Self::lock(path)?;
        // Another process may have begun a run, and even ended it, since this one looked first.
        Self::refuse_taken(path)?;
        Ok(folder)
    }

    /// Takes up the run in `path`.
    ///
    /// # Errors
    /// If there is none, or another process is at it.
    pub(crate) fn resume(path: &Path) -> Result<(Self, TrainOptions)> {
        if !path.join(OPTIONS).exists() {
            bail!("{}: no run to resume here (no {OPTIONS}); start it with --config or --train", path.display());
        }
        let folder = Self::lock(path)?;
        let options = TrainOptions::read(&path.join(OPTIONS))?;
        Ok((folder, TrainOptions { output: Some(path.to_path_buf()), ..options }))
    }

    fn lock(path: &Path) -> Result<Self> {
        let file = path.join(LOCK);
        let lock = File::create(&file).map_err(|error| peft::core::Error::io(&file, error))?;
        if lock.try_lock().is_err() {
            bail!(
                "{}: another process is training in this folder; wait for it or choose another --output",
                path.display()
            );
        }
        // What processes that were killed in writing have left. Nobody else is writing now.
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            if is_partial(&entry.file_name().to_string_lossy()) {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self { path: path.to_path_buf(), _lock: lock })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Records what the run begins with, the options last.
    pub(crate) fn begin(
        &self,
        options: &TrainOptions,
        labels: Option<&Labels>,
        encoder: &peft_data::Encoder,
    ) -> Result<()> {
        encoder.save(&self.path)?;
        if let Some(labels) = labels {
            save_labels(labels, &self.path)?;
        }
        write_atomic(&self.path.join(OPTIONS), options.to_toml()?.as_bytes())?;
        Ok(())
    }

    /// Makes the adapter of `checkpoint` the run's own, its configuration last: a folder that has one is whole. The size
    /// of its weights.
    pub(crate) fn finish(&self, checkpoint: &Path) -> Result<u64> {
        let mut size = 0;
        for name in peft::FILES.iter().filter(|name| checkpoint.join(name).exists()) {
            let bytes = read(&checkpoint.join(name))?;
            write_atomic(&self.path.join(name), &bytes)?;
            size += if name.ends_with(".safetensors") { bytes.len() as u64 } else { 0 };
        }
        Ok(size)
    }

    /// Adds to an error about a file how to go on once it is mended, unless it says so itself.
    pub(crate) fn with_way_on(&self, error: anyhow::Error) -> anyhow::Error {
        let about_a_file = matches!(error.downcast_ref(), Some(peft::core::Error::File { .. }))
            || matches!(error.downcast_ref(), Some(peft_trainer::Error::Core(peft::core::Error::File { .. })));
        let message = error.to_string();
        if !about_a_file || message.contains("--resume") {
            return error;
        }
        anyhow!("{message}; mend that, then continue with: peft train --resume {}", self.path.display())
    }
}

/// Files that an attempt which died before it began properly may have left.
fn is_ours(name: &str) -> bool {
    let tokenizer = name.starts_with("tokenizer") || name == "vocab.txt" || name == "special_tokens_map.json";
    tokenizer || name == BASE || name == LABELS || name == METRICS || name == LOCK || is_partial(name)
}

/// The name of a file that was being written and not yet in its place.
fn is_partial(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".tmp")
}

/// The options a run was begun with, if `folder` holds one.
pub(crate) fn options_of(folder: &Path) -> Result<Option<TrainOptions>> {
    let path = folder.join(OPTIONS);
    if path.exists() { TrainOptions::read(&path).map(Some) } else { Ok(None) }
}

/// Puts the labels beside an adapter.
pub(crate) fn save_labels(labels: &Labels, folder: &Path) -> Result<()> {
    let bytes = serde_json::to_vec_pretty(labels).context("labels serialise")?;
    Ok(write_atomic(&folder.join(LABELS), &bytes)?)
}

/// The labels that travel with an adapter, if any do.
pub(crate) fn labels_of(folder: &Path) -> Result<Option<Labels>> {
    let path = folder.join(LABELS);
    if !path.exists() {
        return Ok(None);
    }
    let labels = serde_json::from_slice(&read(&path)?);
    labels.map(Some).with_context(|| format!("{}: no valid labels", path.display()))
}
