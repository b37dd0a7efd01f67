//! `AdapterFusionConfig`: the fields of the inner `config` of AdapterHub's `adapter_fusion_config.json`.

use peft_core::config::Schema;
use peft_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Configuration of AdapterFusion (Pfeiffer et al. 2021, arXiv:2005.00247).
///
/// Serialises to the fields that AdapterHub's `adapters` 1.3 writes; [`Default`] is [`dynamic`](Self::dynamic).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FusionConfig {
    /// Whether the keys, what the adapters say, go through a trained linear map.
    pub key: bool,
    /// Whether the query, what the model says, does.
    pub query: bool,
    /// Whether the values, what the adapters say, do.
    pub value: bool,
    /// Whether the query is taken before the model's own sum and normalisation, where the adapters come after these.
    pub query_before_ln: bool,
    /// Whether the distance of the value maps from the identity is added to the loss.
    pub regularization: bool,
    /// Whether the residual is added to what the adapters say, instead of to what is made of it.
    pub residual_before: bool,
    /// Whether values are mapped before they are weighted.
    pub value_before_softmax: bool,
    /// Whether the value maps start at the identity.
    pub value_initialized: bool,
    /// Probability of dropout on the scores; `None` and 0 leave it to
    /// [`attention_dropout`](Self::attention_dropout).
    pub dropout_prob: Option<f64>,
    /// The model's own probability of dropout in its attention (`attention_probs_dropout_prob`), in no file.
    #[serde(skip)]
    pub attention_dropout: f64,
    /// Modules of the base that are trained and saved whole. In no file.
    #[serde(skip)]
    pub modules_to_save: Option<Vec<String>>,
    /// Every other field of the file, kept as it is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A temperature would fall with every batch ever seen, evaluation included, and start anew where a file is loaded.
const SCHEMA: Schema =
    Schema { kind: "ADAPTER_FUSION", unsupported: r#"{"temperature": false}"#, inert: "{}", native: "{}" };

impl Default for FusionConfig {
    fn default() -> Self {
        Self {
            key: true,
            query: true,
            value: true,
            query_before_ln: false,
            regularization: true,
            residual_before: false,
            value_before_softmax: true,
            value_initialized: true,
            dropout_prob: None,
            attention_dropout: 0.0,
            modules_to_save: None,
            other: Map::new(),
        }
    }
}

impl FusionConfig {
    /// With value maps, held near the identity.
    pub fn dynamic() -> Self {
        Self::default()
    }

    /// Without value maps.
    pub fn fixed() -> Self {
        Self { value: false, regularization: false, value_initialized: false, ..Self::default() }
    }

    /// Reads the inner `config` of an `adapter_fusion_config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] naming a field of the wrong type, or one that this version does not compute.
    pub fn from_json(fields: Map<String, Value>) -> Result<Self> {
        let config: Self = SCHEMA.read(fields)?;
        config.validate()?;
        Ok(config)
    }

    /// All fields of the inner `config`, in the reference's form.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut fields = SCHEMA.write(self);
        fields.remove("peft_type");
        fields
    }

    /// The names of fields this version does not know: of a newer writer, kept but without effect.
    pub fn unknown_fields(&self) -> impl Iterator<Item = &str> {
        SCHEMA.unknown(&self.other)
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and the values it may have.
    pub fn validate(&self) -> Result<()> {
        if !(self.key || self.query || self.value) {
            return Err(Error::config("query", "without query, key and value nothing is trained; set one of them"));
        }
        if !(0.0..1.0).contains(&self.dropout()) {
            return Err(Error::config("dropout_prob", format!("{} is no probability in [0, 1)", self.dropout())));
        }
        SCHEMA.check(&self.other)
    }

    /// The probability in force.
    pub(crate) fn dropout(&self) -> f64 {
        self.dropout_prob.filter(|&p| p != 0.0).unwrap_or(self.attention_dropout)
    }
}
