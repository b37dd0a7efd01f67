//! `LoraConfig`: the fields of the reference's `adapter_config.json`, with its names and defaults.

use std::collections::BTreeMap;

use peft_core::config::Schema;
use peft_core::targets::{OneOrMany, Targets};
use peft_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::init::Plan;

/// Configuration of LoRA (Hu et al. 2021, arXiv:2106.09685).
///
/// Serialises to the fields that Hugging Face PEFT 0.21 writes; the Rust names are the field's long ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoraConfig {
    /// r, the rank of the update.
    #[serde(rename = "r")]
    pub rank: usize,
    /// α: the update is scaled by α/r.
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
    /// Scale by α/√r instead of α/r (Kalajdzievski 2023, arXiv:2312.03732).
    pub use_rslora: bool,
    /// Modules of the base that are trained and saved whole, such as a new head.
    pub modules_to_save: Option<Vec<String>>,
    /// How the factors start.
    pub init_lora_weights: Init,
    /// Train the magnitude of each output beside its direction: DoRA (Liu et al. 2024, arXiv:2402.09353).
    pub use_dora: bool,
    /// Give B a bias.
    pub lora_bias: bool,
    /// Rows of tables to train by themselves, such as new tokens.
    pub trainable_token_indices: Option<TokenIndices>,
    /// Adapt only layers of these indices.
    pub layers_to_transform: Option<OneOrMany<usize>>,
    /// The name of the list whose index `layers_to_transform` counts.
    pub layers_pattern: Option<OneOrMany<String>>,
    /// Ranks that differ from `rank`, by module name or expression; the first match counts.
    pub rank_pattern: BTreeMap<String, usize>,
    /// Alphas that differ from `alpha`, likewise.
    #[serde(serialize_with = "peft_core::config::numbers")]
    pub alpha_pattern: BTreeMap<String, f64>,
    /// Every other field of the file, kept as it is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Which biases of the base are trained with the adapter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bias {
    /// None.
    #[default]
    None,
    /// Those of every module outside `modules_to_save`.
    All,
    /// Those of the adapted modules.
    LoraOnly,
}

/// How the factors start. Those of tables start with A zero and B normal, or both normal for `false`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Init {
    /// `true`: A Kaiming-uniform with a = √5, B zero. `false`: both Kaiming-uniform, which is no identity.
    Standard(bool),
    /// `gaussian`: A normal with standard deviation 1/r, B zero. `orthogonal`: both random with BA zero. `pissa`,
    /// `pissa_niter_N` and `olora`: at factors of the weight itself, which the layer runs without.
    Named(String),
}

/// Rows of tables that are trained by themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TokenIndices {
    /// Of the table of token embeddings.
    Vocabulary(Vec<usize>),
    /// Of the tables that are called so, by name or dotted suffix.
    Tables(BTreeMap<String, Vec<usize>>),
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 8.0,
            dropout: 0.0,
            target_modules: None,
            exclude_modules: None,
            bias: Bias::None,
            use_rslora: false,
            modules_to_save: None,
            init_lora_weights: Init::Standard(true),
            use_dora: false,
            lora_bias: false,
            trainable_token_indices: None,
            layers_to_transform: None,
            layers_pattern: None,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            other: Map::new(),
        }
    }
}

/// The fields beside those of [`LoraConfig`].
const SCHEMA: Schema = Schema {
    kind: "LORA",
    unsupported: r#"{
        "alora_invocation_tokens": null,
        "arrow_config": null,
        "corda_config": null,
        "eva_config": null,
        "fan_in_fan_out": false,
        "kasa_config": null,
        "layer_replication": null,
        "lora_ga_config": null,
        "megatron_config": null,
        "monteclora_config": null,
        "target_parameters": null,
        "use_bdlora": null,
        "use_qalora": false,
        "velora_config": null
    }"#,
    inert: r#"{
        "auto_mapping": null,
        "base_model_name_or_path": null,
        "ensure_weight_tying": false,
        "inference_mode": true,
        "loftq_config": {},
        "megatron_core": "megatron.core",
        "peft_version": "0.21.2",
        "qalora_group_size": 16,
        "revision": null,
        "task_type": null
    }"#,
    native: "{}",
};

peft_core::config_functions!(LoraConfig, SCHEMA);

impl LoraConfig {
    /// Rank `rank`, everything else at its default.
    pub fn new(rank: usize) -> Self {
        Self { rank, ..Self::default() }
    }

    /// Sets α.
    pub fn with_alpha(self, alpha: f64) -> Self {
        Self { alpha, ..self }
    }

    /// Sets the dropout on the low-rank path's input.
    pub fn with_dropout(self, dropout: f64) -> Self {
        Self { dropout, ..self }
    }

    /// Sets the modules to adapt, by name or dotted suffix.
    pub fn with_target_modules<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        Self { target_modules: Some(Targets::List(names)), ..self }
    }

    /// Sets the biases of the base to train with the adapter.
    pub fn with_bias(self, bias: Bias) -> Self {
        Self { bias, ..self }
    }

    /// Sets how the factors start.
    pub fn with_init(self, init_lora_weights: Init) -> Self {
        Self { init_lora_weights, ..self }
    }

    /// Turns DoRA on or off.
    pub fn with_dora(self, use_dora: bool) -> Self {
        Self { use_dora, ..self }
    }

    /// Sets the tokens whose embeddings are trained.
    pub fn with_tokens(self, indices: impl IntoIterator<Item = usize>) -> Self {
        let indices = TokenIndices::Vocabulary(indices.into_iter().collect());
        Self { trainable_token_indices: Some(indices), ..self }
    }

    /// Records the task for other readers, e.g. `SEQ_CLS`.
    pub fn with_task_type(mut self, task_type: &str) -> Self {
        self.other.insert("task_type".into(), task_type.into());
        self
    }

    /// Records the model the adapter belongs on, a folder or a hub id.
    pub fn with_base_model(mut self, name: &str) -> Self {
        self.other.insert("base_model_name_or_path".into(), name.into());
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and the values it may have.
    pub fn validate(&self) -> Result<()> {
        let ranks = self.rank_pattern.iter().map(|(key, rank)| (format!("rank_pattern.{key}"), *rank));
        for (field, rank) in std::iter::once(("r".to_string(), self.rank)).chain(ranks) {
            if rank == 0 {
                return Err(Error::config(field, "a rank of 0 trains nothing; use 1 or more (8 is usual)"));
            }
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::config("lora_dropout", format!("{} is no probability in [0, 1)", self.dropout)));
        }
        let plan = self.init_lora_weights.plan()?;
        if self.lora_bias && (self.use_dora || !matches!(plan, Plan::Standard | Plan::Random)) {
            return Err(Error::config(
                "lora_bias",
                "it goes with init_lora_weights true or false and without use_dora",
            ));
        }
        SCHEMA.check(&self.other)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn defaults_are_the_references() {
        let written = LoraConfig::default().to_json();
        for (field, value) in
            [("r", json!(8)), ("lora_alpha", json!(8)), ("lora_dropout", json!(0.0)), ("bias", json!("none"))]
        {
            assert_eq!(written[field], value);
        }
        // What Hugging Face PEFT 0.21.2 writes for a LoraConfig().
        assert_eq!(written.len(), 41);
    }

    #[test]
    fn what_is_recorded_for_other_readers_is_written() {
        let written = LoraConfig::new(8).with_task_type("SEQ_CLS").with_base_model("a/b").to_json();
        assert_eq!((&written["task_type"], &written["base_model_name_or_path"]), (&json!("SEQ_CLS"), &json!("a/b")));
    }

    #[test]
    fn a_file_is_written_as_it_was_read() {
        let given = fields(json!({
            "peft_type": "LORA", "r": 4, "lora_alpha": 32, "target_modules": ["value", "query"], "bias": "lora_only",
            "rank_pattern": {"query": 2}, "alpha_pattern": {"value": 8}, "layers_to_transform": [0],
            "layers_pattern": "layer", "use_rslora": true, "a_field_of_next_year": {"x": 1},
        }));
        let config = LoraConfig::from_json(given.clone()).unwrap();
        assert_eq!((config.rank, config.alpha, config.bias), (4, 32.0, Bias::LoraOnly));
        assert_eq!(config.unknown_fields().collect::<Vec<_>>(), ["a_field_of_next_year"]);
        let written = config.to_json();
        for (field, value) in given {
            assert_eq!(written[&field], value, "{field}");
        }
        assert_eq!(LoraConfig::from_json(written.clone()).unwrap().to_json(), written);
    }

    #[rstest]
    #[case(json!({"r": 0}), "r: a rank of 0")]
    #[case(json!({"r": "eight"}), "r: \"eight\" is not a value")]
    #[case(json!({"rank_pattern": {"query": 0}}), "rank_pattern.query")]
    #[case(json!({"lora_dropout": 1.0}), "lora_dropout: 1 is no probability")]
    #[case(json!({"use_qalora": true}), "use_qalora: not supported")]
    #[case(json!({"init_lora_weights": "eva"}), "init_lora_weights: `eva`")]
    #[case(json!({"init_lora_weights": "pissa_niter_"}), "init_lora_weights: `pissa_niter_`")]
    #[case(json!({"lora_bias": true, "use_dora": true}), "lora_bias: it goes with")]
    #[case(json!({"lora_bias": true, "init_lora_weights": "olora"}), "lora_bias: it goes with")]
    #[case(json!({"trainable_token_indices": "first"}), "trainable_token_indices: \"first\" is not a value")]
    #[case(json!({"peft_type": "IA3"}), "`IA3` is not `LORA`")]
    fn what_makes_no_sense_is_named(#[case] given: Value, #[case] says: &str) {
        let error = LoraConfig::from_json(fields(given)).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
