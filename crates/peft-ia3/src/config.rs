//! `IA3Config`: the fields of the reference's `adapter_config.json`, with its names and defaults.

use peft_core::Result;
use peft_core::config::Schema;
use peft_core::targets::Targets;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Configuration of (IA)³ (Liu et al. 2022, arXiv:2205.05638).
///
/// Serialises to the fields that Hugging Face PEFT 0.21 writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ia3Config {
    /// The modules to rescale. `None` leaves the choice to whoever knows the model.
    pub target_modules: Option<Targets>,
    /// Those of the targets whose input is rescaled instead of their output.
    pub feedforward_modules: Option<Targets>,
    /// Modules to leave alone although they are targets.
    pub exclude_modules: Option<Targets>,
    /// Modules of the base that are trained and saved whole, such as a new head.
    pub modules_to_save: Option<Vec<String>>,
    /// `true`: the vectors start at one, the identity. `false`: drawn from N(0, 1).
    pub init_ia3_weights: bool,
    /// Every other field of the file, kept as it is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The fields beside those of [`Ia3Config`].
const SCHEMA: Schema = Schema {
    kind: "IA3",
    unsupported: r#"{"fan_in_fan_out": false}"#,
    inert: r#"{
        "auto_mapping": null,
        "base_model_name_or_path": null,
        "inference_mode": true,
        "peft_version": "0.21.2",
        "revision": null,
        "task_type": null
    }"#,
    native: "{}",
};

peft_core::config_functions!(Ia3Config, SCHEMA);

impl Default for Ia3Config {
    fn default() -> Self {
        Self {
            target_modules: None,
            feedforward_modules: None,
            exclude_modules: None,
            modules_to_save: None,
            init_ia3_weights: true,
            other: Map::new(),
        }
    }
}

impl Ia3Config {
    /// Rescales the outputs of `targets` and the inputs of those among them that are in `feedforward`, by name or
    /// dotted suffix.
    pub fn new<S: Into<String>>(
        targets: impl IntoIterator<Item = S>,
        feedforward: impl IntoIterator<Item = S>,
    ) -> Self {
        let list = |names: Vec<String>| Some(Targets::List(names));
        Self {
            target_modules: list(targets.into_iter().map(Into::into).collect()),
            feedforward_modules: list(feedforward.into_iter().map(Into::into).collect()),
            ..Self::default()
        }
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::Config`](peft_core::Error::Config) naming a field that this version does not compute.
    pub fn validate(&self) -> Result<()> {
        SCHEMA.check(&self.other)
    }
}
