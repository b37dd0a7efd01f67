//! How a run trains.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::optimizer::OptimizerKind;
use crate::schedule::ScheduleKind;

/// The numbers that decide a run. Two runs with equal settings, data, base and seed end in the same bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Passes over the training rows.
    pub epochs: usize,
    /// Steps of the optimizer after which the run ends, in place of `epochs`: the training rows are passed over as often
    /// as that takes.
    pub max_steps: Option<usize>,
    /// Rows of one forward pass.
    pub batch_size: usize,
    /// Rows of one forward pass in evaluation.
    pub eval_batch_size: usize,
    /// Upper bound on rows × longest row of one forward pass.
    pub max_tokens: Option<usize>,
    /// Forward passes whose gradients are averaged before one step of the optimizer.
    pub gradient_accumulation: usize,
    /// What changes the weights.
    pub optimizer: OptimizerKind,
    /// The largest learning rate.
    pub learning_rate: f64,
    /// How the learning rate falls.
    pub schedule: ScheduleKind,
    /// Share of all steps in which the learning rate rises from zero.
    pub warmup_ratio: f64,
    /// Decoupled weight decay: each step takes the learning rate times this of a weight. Vectors (biases and
    /// normalisations) are not decayed.
    pub weight_decay: f64,
    /// Largest global norm of the gradients; 0 for no bound.
    pub max_grad_norm: f64,
    /// Fixes initial values, row order and dropout.
    pub seed: u64,
    /// Evaluate every so many steps instead of once an epoch.
    pub eval_steps: Option<usize>,
    /// Save the training state every so many steps, besides after each evaluation.
    pub save_steps: Option<usize>,
    /// Write a line of metrics every so many steps.
    pub logging_steps: usize,
    /// Stop after so many evaluations without a better score.
    pub early_stopping: Option<usize>,
    /// Which weights the run ends with.
    pub keep: Keep,
    /// Run what the adapter cannot change once a text, without dropout, and keep it: this many bytes in memory, and what
    /// has no room there in a file. The adapter must treat every position by itself: a gated bottleneck does not.
    pub cache_frozen: Option<u64>,
    /// Keep what lies between the layers alone and run each once more for its gradients: the memory of one layer's graph
    /// for another forward pass. The numbers are the same.
    pub gradient_checkpointing: bool,
}

/// Which weights a run ends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// Those of the evaluation with the best score.
    #[default]
    Best,
    /// Those of the last step.
    Last,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            epochs: 3,
            max_steps: None,
            batch_size: 32,
            eval_batch_size: 64,
            max_tokens: None,
            gradient_accumulation: 1,
            optimizer: OptimizerKind::AdamW,
            learning_rate: 1e-3,
            schedule: ScheduleKind::Linear,
            warmup_ratio: 0.06,
            weight_decay: 0.01,
            max_grad_norm: 1.0,
            seed: 0,
            eval_steps: None,
            save_steps: None,
            logging_steps: 10,
            early_stopping: None,
            keep: Keep::Best,
            cache_frozen: None,
            gradient_checkpointing: false,
        }
    }
}

impl Settings {
    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the setting and what it may be.
    pub fn validate(&self) -> Result<()> {
        let refuse = |setting: &'static str, reason: &str| Err(Error::Setting { setting, reason: reason.to_string() });
        let counts = [
            ("epochs", Some(self.epochs)),
            ("max_steps", self.max_steps),
            ("batch_size", Some(self.batch_size)),
            ("eval_batch_size", Some(self.eval_batch_size)),
            ("max_tokens", self.max_tokens),
            ("gradient_accumulation", Some(self.gradient_accumulation)),
            ("eval_steps", self.eval_steps),
            ("save_steps", self.save_steps),
            ("logging_steps", Some(self.logging_steps)),
            ("early_stopping", self.early_stopping),
        ];
        if let Some((setting, _)) = counts.into_iter().find(|(_, count)| *count == Some(0)) {
            return refuse(setting, "must be at least 1");
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return refuse("learning_rate", "must be greater than 0");
        }
        if !(0.0..=1.0).contains(&self.warmup_ratio) {
            return refuse("warmup_ratio", "must lie between 0 and 1");
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return refuse("weight_decay", "must be 0 or more");
        }
        if !(self.max_grad_norm >= 0.0 && self.max_grad_norm.is_finite()) {
            return refuse("max_grad_norm", "must be 0 (no bound) or more");
        }
        Ok(())
    }
}
