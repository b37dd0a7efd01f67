//! `generation_config.json`, and what it may not ask for.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::GenerationConfig;
use crate::checkpoint::read_json;
use crate::error::{Error, Result};

/// The reference's settings that change what is made and are not supported.
const UNSUPPORTED: [&str; 25] = [
    "assistant_early_exit",
    "bad_words_ids",
    "begin_suppress_tokens",
    "constraints",
    "diversity_penalty",
    "dola_layers",
    "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "epsilon_cutoff",
    "eta_cutoff",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "guidance_scale",
    "max_time",
    "min_p",
    "num_beam_groups",
    "penalty_alpha",
    "remove_invalid_values",
    "renormalize_logits",
    "sequence_bias",
    "stop_strings",
    "suppress_tokens",
    "top_h",
    "typical_p",
];

/// The first field that asks for what is not supported, and what to do.
pub(super) fn foreign(other: &Map<String, Value>) -> Option<(&'static str, String)> {
    UNSUPPORTED.into_iter().find_map(|field| {
        let value = other.get(field)?;
        // What stands for nothing in one of them or another; as numbers come as 1 or as 1.0.
        let neutral = match (field, value) {
            (_, Value::Null | Value::Bool(false)) => true,
            ("encoder_repetition_penalty" | "guidance_scale" | "num_beam_groups" | "typical_p", value) => {
                value.as_f64() == Some(1.0)
            }
            (
                "diversity_penalty"
                | "encoder_no_repeat_ngram_size"
                | "epsilon_cutoff"
                | "eta_cutoff"
                | "penalty_alpha",
                value,
            ) => value.as_f64() == Some(0.0),
            _ => false,
        };
        (!neutral).then(|| (field, format!("{value} is not supported; remove it")))
    })
}

impl GenerationConfig {
    /// What a model's folder says: `generation_config.json`, if it is there, over `config.json`.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Json`] for a file that cannot be read or has another form, with the field.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let known = json!(Self::default());
        let mut all = Map::new();
        for name in ["config.json", "generation_config.json"] {
            let path = folder.join(name);
            if !path.exists() {
                continue;
            }
            let mut fields: Map<String, Value> = read_json(&path)?;
            // Of a model's configuration what is about generation alone: older files have it there.
            fields.retain(|field, value| !value.is_null() && (name != "config.json" || known.get(field).is_some()));
            for (field, value) in fields {
                let alone = Map::from_iter([(field.clone(), value.clone())]);
                if let Err(error) = serde_json::from_value::<Self>(alone.into()) {
                    return Err(Error::file(path, format!("{field}: {error}; correct the file or fetch it again")));
                }
                all.insert(field, value);
            }
        }
        serde_json::from_value(all.into()).map_err(|error| Error::file(folder, error.to_string()))
    }
}
