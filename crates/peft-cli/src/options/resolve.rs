//! The options of a run with the defaults filled in.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use peft::models::placement::parse_bytes;
use peft_trainer::Settings;

use super::TrainOptions;
use crate::task::SHORTEST;

/// What is kept in memory of the states below all that is trained, if nothing else is said: those of 700,000 tokens on
/// bert-base.
const CACHE_MEMORY: &str = "2GiB";

impl TrainOptions {
    /// Every option that has a default set to it, paths made absolute: what a run folder records.
    ///
    /// # Errors
    /// A missing model or training file; a value that makes no sense.
    pub(crate) fn resolve(self) -> Result<Self> {
        let Some(model) = self.model.clone() else {
            bail!("--model: name the base model, a folder or a hub id (or give --config)");
        };
        let Some(train) = self.train.clone() else {
            bail!("--train: name a file of training rows (or give --config)");
        };
        if self.epochs.is_some() && self.max_steps.is_some() {
            bail!("max_steps: says how long the run is, and so does epochs; leave one of them out");
        }
        let defaults = Settings::default();
        let model = match Path::new(&model).is_dir() {
            true => absolute(Path::new(&model)).to_string_lossy().into_owned(),
            false => model,
        };
        let this = Self {
            output: Some(self.output.clone().unwrap_or_else(|| default_output(&model, &train))),
            model: Some(model),
            train: Some(absolute(&train)),
            valid: self.valid.as_deref().map(absolute),
            valid_split: match self.valid {
                Some(_) => None,
                None => Some(self.valid_split.unwrap_or(0.1)),
            },
            epochs: match self.max_steps {
                Some(_) => None,
                None => self.epochs.or(Some(defaults.epochs)),
            },
            batch_size: self.batch_size.or(Some(defaults.batch_size)),
            eval_batch_size: self.eval_batch_size.or(Some(defaults.eval_batch_size)),
            gradient_accumulation: self.gradient_accumulation.or(Some(defaults.gradient_accumulation)),
            optimizer: self.optimizer.or(Some(defaults.optimizer)),
            learning_rate: self.learning_rate.or(Some(self.default_learning_rate())),
            schedule: self.schedule.or(Some(defaults.schedule)),
            warmup_ratio: self.warmup_ratio.or(Some(defaults.warmup_ratio)),
            weight_decay: self.weight_decay.or(Some(defaults.weight_decay)),
            max_grad_norm: self.max_grad_norm.or(Some(defaults.max_grad_norm)),
            seed: self.seed.or(Some(defaults.seed)),
            logging_steps: self.logging_steps.or(Some(defaults.logging_steps)),
            keep: self.keep.or(Some(defaults.keep)),
            cache_memory: match self.caches() {
                true => self.cache_memory.clone().or_else(|| Some(CACHE_MEMORY.to_string())),
                false => self.cache_memory.clone(),
            },
            ..self
        };
        this.check_cache()?;
        this.settings().validate()?;
        if this.lora_alpha.is_some_and(|alpha| !alpha.is_finite()) {
            bail!("lora_alpha: must be a finite number");
        }
        let this = this.resolve_task()?.resolve_method()?;
        if this.max_length.is_some_and(|n| n < SHORTEST) {
            bail!("max_length: must be at least {SHORTEST}, for the special tokens and a word");
        }
        if this.valid_split.is_some_and(|share| !(share > 0.0 && share < 1.0)) {
            bail!("valid_split: must lie between 0 and 1");
        }
        Ok(this)
    }

    fn check_cache(&self) -> Result<()> {
        match &self.cache_memory {
            Some(_) if !self.caches() => bail!("cache_memory: nothing is kept without cache_frozen; give both"),
            Some(size) if parse_bytes(size).is_none() => {
                bail!("cache_memory: `{size}` is no size; write 6GiB, 500MB or a number of bytes")
            }
            _ => Ok(()),
        }
    }
}

/// `runs/<model>-<data>`, numbered from the second on.
fn default_output(model: &str, train: &Path) -> PathBuf {
    let last = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = train.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let data = match stem.as_str() {
        "train" => train.parent().map(last).filter(|name| !name.is_empty()).unwrap_or(stem),
        _ => stem,
    };
    let name = format!("{}-{data}", last(Path::new(model)));
    let numbered = |n: usize| PathBuf::from("runs").join(if n == 1 { name.clone() } else { format!("{name}-{n}") });
    (1..).map(numbered).find(|folder| !folder.exists()).unwrap_or_default()
}

pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}
