//! `FishConfig`: how many numbers of a model are trained, and how they are found.

use peft_core::config::Schema;
use peft_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::INERT;

/// Configuration of the FISH mask (Sung et al. 2021, arXiv:2111.09839).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FishConfig {
    /// Which part of the numbers outside `modules_to_save` is trained: those of the greatest importance. 0.005 is the
    /// paper's; Liu et al. 2022 (T-Few) use 0.002 and 0.0002.
    pub keep_ratio: f64,
    /// Batches to measure the importance on. Whoever holds the data heeds it.
    pub num_samples: usize,
    /// Modules of the base that are trained and saved whole, such as a new head.
    pub modules_to_save: Option<Vec<String>>,
    /// Every other field of the file, kept as it is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

const SCHEMA: Schema = Schema { kind: FishConfig::KIND, unsupported: "{}", inert: INERT };

impl Default for FishConfig {
    fn default() -> Self {
        Self { keep_ratio: 0.005, num_samples: 1024, modules_to_save: None, other: Map::new() }
    }
}

impl FishConfig {
    /// `peft_type`.
    pub const KIND: &'static str = "FISH_MASK";

    /// Trains the part `keep_ratio` of the model.
    pub fn new(keep_ratio: f64) -> Self {
        Self { keep_ratio, ..Self::default() }
    }

    /// Sets the modules to train and save whole.
    pub fn with_modules_to_save<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        Self { modules_to_save: Some(names.into_iter().map(Into::into).collect()), ..self }
    }

    /// Reads the fields of an `adapter_config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] naming a field of the wrong type or without meaning, or another `peft_type`.
    pub fn from_json(fields: Map<String, Value>) -> Result<Self> {
        let config: Self = SCHEMA.read(fields)?;
        config.validate()?;
        Ok(config)
    }

    /// All fields of an `adapter_config.json`.
    pub fn to_json(&self) -> Map<String, Value> {
        SCHEMA.write(self)
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
        if !(self.keep_ratio > 0.0 && self.keep_ratio <= 1.0) {
            return Err(Error::config("keep_ratio", format!("{} is no part of a model in (0, 1]", self.keep_ratio)));
        }
        if self.num_samples == 0 {
            return Err(Error::config("num_samples", "no importance is measured on 0 batches; use 1 or more"));
        }
        Ok(())
    }
}
