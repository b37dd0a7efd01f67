//! `AdaLoraConfig`: the fields of the reference's `adapter_config.json`, with its names and defaults.

use std::collections::BTreeMap;

use peft_core::config::Schema;
use peft_core::targets::{OneOrMany, Targets};
use peft_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{Bias, Init};

/// Configuration of AdaLoRA (Zhang et al. 2023, arXiv:2303.10512).
///
/// Ranks shrink from `init_r` to `target_r` on average: not at all for `tinit` steps, then by a cubic schedule, and no
/// more for the last `tfinal` of `total_step` steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdaLoraConfig {
    /// The rank each module begins with.
    pub init_r: usize,
    /// The average rank at the end.
    pub target_r: usize,
    /// Steps before ranks begin to shrink.
    pub tinit: usize,
    /// Steps after they have shrunk.
    pub tfinal: usize,
    /// Steps from one allocation to the next.
    #[serde(rename = "deltaT")]
    pub delta_t: usize,
    /// How much of the old sensitivity is kept at a step, in (0, 1).
    pub beta1: f64,
    /// How much of the old uncertainty is kept at a step, in (0, 1).
    pub beta2: f64,
    /// Weight of the penalty on factors that are not orthogonal.
    pub orth_reg_weight: f64,
    /// Steps of the whole training. It must be known in advance.
    pub total_step: Option<usize>,
    /// Which triplets of each module are left, by the name of its `lora_E`: of an adapter that was resized.
    pub rank_pattern: Option<BTreeMap<String, Vec<bool>>>,
    /// α: the update is scaled by α/init_r.
    #[serde(rename = "lora_alpha", serialize_with = "peft_core::config::number")]
    pub alpha: f64,
    /// Dropout on the input of the low-rank path, in training.
    #[serde(rename = "lora_dropout")]
    pub dropout: f64,
    /// The modules to adapt. `None` leaves the choice to whoever knows the model.
    pub target_modules: Option<Targets>,
    /// Modules to leave alone although they are targets.
    pub exclude_modules: Option<Targets>,
    /// Which biases of the base are trained too.
    pub bias: Bias,
    /// Modules of the base that are trained and saved whole, such as a new head.
    pub modules_to_save: Option<Vec<String>>,
    /// `true`: factors normal with deviation 0.02, singular values zero. `false`: all standard normal.
    pub init_lora_weights: Init,
    /// Adapt only layers of these indices.
    pub layers_to_transform: Option<OneOrMany<usize>>,
    /// The name of the list whose index `layers_to_transform` counts.
    pub layers_pattern: Option<OneOrMany<String>>,
    /// Every other field of the file, kept as it is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for AdaLoraConfig {
    fn default() -> Self {
        Self {
            init_r: 12,
            target_r: 8,
            tinit: 0,
            tfinal: 0,
            delta_t: 1,
            beta1: 0.85,
            beta2: 0.85,
            orth_reg_weight: 0.5,
            total_step: None,
            rank_pattern: None,
            alpha: 8.0,
            dropout: 0.0,
            target_modules: None,
            exclude_modules: None,
            bias: Bias::None,
            modules_to_save: None,
            init_lora_weights: Init::Standard(true),
            layers_to_transform: None,
            layers_pattern: None,
            other: Map::new(),
        }
    }
}

/// The fields beside those of [`AdaLoraConfig`]. The reference's configuration has all of LoRA's.
const SCHEMA: Schema = Schema {
    kind: "ADALORA",
    unsupported: r#"{
        "alora_invocation_tokens": null,
        "arrow_config": null,
        "corda_config": null,
        "eva_config": null,
        "fan_in_fan_out": false,
        "kasa_config": null,
        "layer_replication": null,
        "loftq_config": {},
        "lora_bias": false,
        "lora_ga_config": null,
        "megatron_config": null,
        "monteclora_config": null,
        "target_parameters": null,
        "trainable_token_indices": null,
        "use_bdlora": null,
        "use_dora": false,
        "use_qalora": false,
        "velora_config": null
    }"#,
    inert: r#"{
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": null,
        "ensure_weight_tying": false,
        "inference_mode": true,
        "megatron_core": "megatron.core",
        "peft_version": "0.21.2",
        "qalora_group_size": 16,
        "r": 8,
        "revision": null,
        "task_type": null,
        "use_rslora": false
    }"#,
    native: "{}",
};

peft_core::config_functions!(AdaLoraConfig, SCHEMA);

impl AdaLoraConfig {
    /// Ranks from `init_r` to `target_r` on average over `total_step` steps, everything else at its default.
    pub fn new(init_r: usize, target_r: usize, total_step: usize) -> Self {
        Self { init_r, target_r, total_step: Some(total_step), ..Self::default() }
    }

    /// Sets α.
    pub fn with_alpha(self, alpha: f64) -> Self {
        Self { alpha, ..self }
    }

    /// Sets the steps before ranks begin to shrink, and those after they have shrunk.
    pub fn with_warmup(self, tinit: usize, tfinal: usize) -> Self {
        Self { tinit, tfinal, ..self }
    }

    /// Sets the modules to adapt, by name or dotted suffix.
    pub fn with_target_modules<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        Self { target_modules: Some(Targets::List(names)), ..self }
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and the values it may have.
    pub fn validate(&self) -> Result<()> {
        let fault = |field: &str, reason: String| Err(Error::config(field, reason));
        if self.init_r == 0 {
            return fault("init_r", "a rank of 0 trains nothing; use 1 or more (12 is usual)".to_string());
        }
        if self.target_r > self.init_r {
            return fault("target_r", format!("ranks shrink: {} is more than init_r, {}", self.target_r, self.init_r));
        }
        if self.delta_t == 0 {
            return fault("deltaT", "ranks are allocated every 1 or more steps, not every 0".to_string());
        }
        for (field, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if beta <= 0.0 || beta >= 1.0 {
                return fault(field, format!("{beta} is not between 0 and 1"));
            }
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return fault("lora_dropout", format!("{} is no probability in [0, 1)", self.dropout));
        }
        if self.orth_reg_weight < 0.0 {
            return fault("orth_reg_weight", format!("{} is negative; use 0 or more", self.orth_reg_weight));
        }
        let Some(total) = self.total_step.filter(|&total| total > 0) else {
            return fault("total_step", "AdaLoRA needs the number of training steps in advance".to_string());
        };
        if self.tinit + self.tfinal >= total {
            return fault(
                "total_step",
                format!("tinit and tfinal leave none of the {total} steps for ranks to shrink"),
            );
        }
        if let Init::Named(name) = &self.init_lora_weights {
            return fault("init_lora_weights", format!("`{name}` is LoRA's; AdaLoRA has true and false"));
        }
        SCHEMA.check(&self.other)
    }

    /// The triplets of the module called `name` that a resized adapter has, if it was resized.
    pub(crate) fn kept(&self, name: &str) -> Result<Option<&[bool]>> {
        let Some(pattern) = &self.rank_pattern else { return Ok(None) };
        // The reference's keys are those of `lora_E`, with or without the adapter's name behind.
        let named = |key: &str| key.strip_prefix(name).is_some_and(|rest| rest.starts_with(".lora_E"));
        match pattern.iter().find(|(key, _)| named(key)) {
            Some((key, kept)) if kept.len() != self.init_r => Err(Error::config(
                "rank_pattern",
                format!("`{key}` has {} entries for an init_r of {}", kept.len(), self.init_r),
            )),
            found => Ok(found.map(|(_, kept)| kept.as_slice())),
        }
    }
}
