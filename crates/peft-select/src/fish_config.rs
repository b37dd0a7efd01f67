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
    /// Rows to measure the importance on. Whoever holds the data heeds it.
    pub num_samples: usize,
    /// Modules of the base that are trained and saved whole, such as a new head.
    pub modules_to_save: Option<Vec<String>>,
    /// Every other field of the file, kept as it is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

const SCHEMA: Schema = Schema { kind: FishConfig::KIND, unsupported: "{}", inert: INERT, native: "{}" };

peft_core::config_functions!(FishConfig, SCHEMA);

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

    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and the values it may have.
    pub fn validate(&self) -> Result<()> {
        if !(self.keep_ratio > 0.0 && self.keep_ratio <= 1.0) {
            return Err(Error::config("keep_ratio", format!("{} is no part of a model in (0, 1]", self.keep_ratio)));
        }
        if self.num_samples == 0 {
            return Err(Error::config("num_samples", "no importance is measured on 0 rows; use 1 or more"));
        }
        Ok(())
    }
}
