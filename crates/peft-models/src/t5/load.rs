//! T5 models from checkpoint folders.

use std::path::Path;

use peft_core::Backbone;

use super::config::T5Config;
use super::model::T5ForConditionalGeneration;
use super::names::{PREFIX, to_reference};
use crate::checkpoint::{Checkpoint, read_json};
use crate::error::{Error, Result};
use crate::load::{Loaded, Rules, load};
use crate::placement::DeviceMap;

/// Scores are made with the words: a matrix for them in the file is a copy.
const TIED: Rules = Rules {
    prefix: PREFIX,
    ignored: |name| is_copy(name) || name == "lm_head.weight",
    tied: |name| (name == "shared.weight").then(|| "encoder.embed_tokens.weight".to_string()),
    ..Rules::STRICT
};

/// A head that is not in the file is the words' after all.
const OWN_HEAD: Rules = Rules {
    ignored: is_copy,
    tied: |name| match name {
        "lm_head.weight" => Some("shared.weight".to_string()),
        other => (TIED.tied)(other),
    },
    ..TIED
};

/// The words once more for each stack, and a bias that older files have and nothing ever used.
fn is_copy(name: &str) -> bool {
    name.ends_with("embed_tokens.weight") || name.ends_with("EncDecAttention.relative_attention_bias.weight")
}

impl T5Config {
    /// Reads and checks `config.json` in `folder`.
    ///
    /// # Errors
    /// [`Error`] naming the file and the field.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let config: Self = read_json(&path)?;
        match config.validate() {
            Err(Error::Config { field, reason }) => Err(Error::file(path, format!("{field}: {reason}"))),
            checked => checked.map(|()| config),
        }
    }
}

impl T5ForConditionalGeneration {
    /// Loads the checkpoint in `folder` onto `devices`, in f32.
    ///
    /// # Errors
    /// [`Error`] for a missing, damaged or misfitting file.
    pub fn from_folder(folder: &Path, devices: impl Into<DeviceMap>) -> Result<Loaded<Self>> {
        let (config, checkpoint) = (T5Config::from_folder(folder)?, Checkpoint::open(folder)?);
        let rules = if config.tie_word_embeddings { TIED } else { OWN_HEAD };
        let devices = devices.into();
        let model = devices.place(Self::new(&config, devices.first())?);
        let sites = model.sites().clone();
        load(model, &sites, to_reference, &checkpoint, &rules)
    }
}
