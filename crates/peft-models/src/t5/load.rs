//! T5 models from checkpoint folders.

use std::path::Path;

use burn::prelude::*;

use super::config::T5Config;
use super::heads::{T5EncoderForSequenceClassification, T5ForTokenClassification, T5Head};
use super::model::T5ForConditionalGeneration;
use super::names::{PREFIX, to_reference};
use super::sequence::T5ForSequenceClassification;
use crate::checkpoint::{Checkpoint, read_json};
use crate::error::{Error, Result};
use crate::load::{Loaded, Rules, Skeleton, outputs_of};

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

/// A classifier finds its encoder in any T5 checkpoint, whole or encoder alone.
const ENCODER: Rules = Rules {
    ignored: |name| is_copy(name) || name == "lm_head.weight" || name.starts_with("decoder.") || is_head(name),
    fresh: |name| name.starts_with("classifier."),
    tied: |name| name.ends_with("shared.weight").then(|| "encoder.embed_tokens.weight".to_string()),
    ..TIED
};

/// The head of another task, or of other labels, makes room for a new one.
const ENCODER_NEW_HEAD: Rules = Rules {
    ignored: |name| (ENCODER.ignored)(name) || name.starts_with("classifier."),
    replaced: |name| name.starts_with("classifier."),
    ..ENCODER
};

const WHOLE: Rules = Rules {
    ignored: |name| is_copy(name) || name == "lm_head.weight" || is_head(name) || name.starts_with("classifier."),
    fresh: |name| name.starts_with(SEQUENCE_HEAD),
    ..ENCODER
};

const WHOLE_NEW_HEAD: Rules = Rules { replaced: |name| name.starts_with(SEQUENCE_HEAD), ..WHOLE };

const SEQUENCE_HEAD: &str = "classification_head.";

fn is_head(name: &str) -> bool {
    name.starts_with(SEQUENCE_HEAD) || name.starts_with("qa_outputs.")
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
    /// Loads the checkpoint in `folder` onto `device`, in f32.
    ///
    /// # Errors
    /// [`Error`] for a missing, damaged or misfitting file.
    pub fn from_folder(folder: &Path, device: &Device) -> Result<Loaded<Self>> {
        Self::open(folder, device)?.load()
    }

    /// The same without its values, which are read later or never.
    ///
    /// # Errors
    /// [`Error`] for a missing or damaged file.
    pub fn open(folder: &Path, device: &Device) -> Result<Skeleton<Self>> {
        let checkpoint = Checkpoint::open(folder)?;
        let config = with_own_head(T5Config::from_folder(folder)?, &checkpoint)?;
        let rules = if config.tie_word_embeddings { TIED } else { OWN_HEAD };
        Ok(Skeleton::new(Self::new(&config, device)?, to_reference, checkpoint, rules))
    }
}

impl T5ForTokenClassification {
    /// Loads the checkpoint in `folder` onto `device`, in f32: a whole T5's or an encoder's.
    ///
    /// With `outputs`, the head is the checkpoint's if it has as many, else a new one; without, the checkpoint's.
    /// [`Loaded::fresh`] names what is new: it must be trained.
    ///
    /// # Errors
    /// [`Error`] for a missing, damaged or misfitting file, and without `outputs` for a checkpoint without a head.
    pub fn from_folder(folder: &Path, outputs: Option<usize>, device: &Device) -> Result<Loaded<Self>> {
        Self::open(folder, outputs, device)?.load()
    }

    /// The same without its values, which are read later or never.
    ///
    /// # Errors
    /// As [`from_folder`](Self::from_folder), but for what the file holds of tensors.
    pub fn open(folder: &Path, outputs: Option<usize>, device: &Device) -> Result<Skeleton<Self>> {
        let (config, checkpoint, outputs, own) = classifier(folder, T5Head::Token, "classifier.weight", outputs)?;
        let rules = if own { ENCODER } else { ENCODER_NEW_HEAD };
        Ok(Skeleton::new(Self::new(&config, outputs, device)?, to_reference, checkpoint, rules))
    }
}

impl T5EncoderForSequenceClassification {
    /// Loads the checkpoint in `folder` onto `device`, in f32: a whole T5's or an encoder's.
    ///
    /// With `outputs`, the head is the checkpoint's if it has as many, else a new one; without, the checkpoint's.
    /// [`Loaded::fresh`] names what is new: it must be trained.
    ///
    /// # Errors
    /// [`Error`] for a missing, damaged or misfitting file, and without `outputs` for a checkpoint without a head.
    pub fn from_folder(folder: &Path, outputs: Option<usize>, device: &Device) -> Result<Loaded<Self>> {
        Self::open(folder, outputs, device)?.load()
    }

    /// The same without its values, which are read later or never.
    ///
    /// # Errors
    /// As [`from_folder`](Self::from_folder), but for what the file holds of tensors.
    pub fn open(folder: &Path, outputs: Option<usize>, device: &Device) -> Result<Skeleton<Self>> {
        let (config, checkpoint, outputs, own) =
            classifier(folder, T5Head::EncoderSequence, "classifier.weight", outputs)?;
        let rules = if own { ENCODER } else { ENCODER_NEW_HEAD };
        Ok(Skeleton::new(Self::new(&config, outputs, device)?, to_reference, checkpoint, rules))
    }
}

impl T5ForSequenceClassification {
    /// Loads the checkpoint in `folder` onto `device`, in f32.
    ///
    /// With `outputs`, the head is the checkpoint's if it has as many, else a new one; without, the checkpoint's.
    /// [`Loaded::fresh`] names what is new: it must be trained.
    ///
    /// # Errors
    /// [`Error`] for a missing, damaged or misfitting file, and without `outputs` for a checkpoint without a head.
    pub fn from_folder(folder: &Path, outputs: Option<usize>, device: &Device) -> Result<Loaded<Self>> {
        Self::open(folder, outputs, device)?.load()
    }

    /// The same without its values, which are read later or never.
    ///
    /// # Errors
    /// As [`from_folder`](Self::from_folder), but for what the file holds of tensors.
    pub fn open(folder: &Path, outputs: Option<usize>, device: &Device) -> Result<Skeleton<Self>> {
        let (config, checkpoint, outputs, own) =
            classifier(folder, T5Head::Sequence, "classification_head.out_proj.weight", outputs)?;
        let rules = if own { WHOLE } else { WHOLE_NEW_HEAD };
        Ok(Skeleton::new(Self::new(&config, outputs, device)?, to_reference, checkpoint, rules))
    }
}

/// `config` as the checkpoint has it: a matrix for scores that is not the words' is the model's own, whatever
/// `tie_word_embeddings` says. Transformers 5 writes `true` for every T5, and reads files so.
fn with_own_head(config: T5Config, checkpoint: &Checkpoint) -> Result<T5Config> {
    let find = |names: &[&str]| {
        let names = names.iter().flat_map(|name| [name.to_string(), format!("{PREFIX}{name}")]);
        names.into_iter().find(|name| checkpoint.contains(name))
    };
    let words = find(&["shared.weight", "encoder.embed_tokens.weight"]);
    let (Some(head), Some(words)) = (find(&["lm_head.weight"]), words) else { return Ok(config) };
    if !config.tie_word_embeddings || checkpoint.read(&head)? == checkpoint.read(&words)? {
        return Ok(config);
    }
    let scaled = config.output_scale().is_some();
    Ok(T5Config { tie_word_embeddings: false, scale_decoder_outputs: Some(scaled), ..config })
}

/// What `folder` holds, how many outputs the head has, and whether they are the checkpoint's own. Two tasks call their head
/// `classifier`: that of the other one is not its own.
fn classifier(
    folder: &Path,
    head: T5Head,
    key: &str,
    outputs: Option<usize>,
) -> Result<(T5Config, Checkpoint, usize, bool)> {
    let (config, checkpoint) = (T5Config::from_folder(folder)?, Checkpoint::open(folder)?);
    let own = T5Head::of(&config).is_none_or(|named| named == head);
    let (outputs, own) = outputs_of(&checkpoint, key, own, outputs)?;
    Ok((config, checkpoint, outputs, own))
}
