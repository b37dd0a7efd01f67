//! BERT models from checkpoint folders.

use std::path::Path;

use burn::prelude::*;

use super::any::BertHead;
use super::config::BertConfig;
use super::heads::{BertForQuestionAnswering, BertForSequenceClassification, BertForTokenClassification};
use super::masked_lm::BertForMaskedLm;
use super::names::{PREFIX, to_reference};
use crate::checkpoint::{Checkpoint, read_json};
use crate::error::{Error, Result};
use crate::load::{Loaded, Rules, Skeleton, outputs_of};

const CLASSIFIER: &str = "classifier.weight";
const ANSWERER: &str = "qa_outputs.weight";

/// A classifier finds its encoder in any BERT checkpoint; a pooler and a head that are not there are new.
const CLASSIFICATION: Rules = Rules {
    prefix: PREFIX,
    ignored: |name| is_position_ids(name) || name.starts_with("cls.") || name.starts_with("prompt_tuning."),
    fresh: |name| name.starts_with("classifier.") || name.starts_with("bert.pooler."),
    tied: |_| None,
    replaced: |_| false,
};

/// The head of another task, or of other labels, makes room for a new one.
const NEW_HEAD: Rules = Rules {
    ignored: |name| (CLASSIFICATION.ignored)(name) || is_head(name),
    replaced: |name| name.starts_with("classifier."),
    ..CLASSIFICATION
};

/// A classifier of positions has no pooler.
const TOKENS: Rules = Rules {
    ignored: |name| (CLASSIFICATION.ignored)(name) || name.starts_with("pooler."),
    fresh: |name| name.starts_with("classifier."),
    ..CLASSIFICATION
};

const TOKENS_NEW_HEAD: Rules = Rules {
    ignored: |name| (TOKENS.ignored)(name) || is_head(name),
    replaced: |name| name.starts_with("classifier."),
    ..TOKENS
};

const ANSWERS: Rules = Rules {
    ignored: |name| (TOKENS.ignored)(name) || name.starts_with("classifier."),
    fresh: |name| name.starts_with("qa_outputs."),
    ..CLASSIFICATION
};

const ANSWERS_NEW_HEAD: Rules = Rules {
    ignored: |name| (TOKENS.ignored)(name) || is_head(name),
    replaced: |name| name.starts_with("qa_outputs."),
    ..ANSWERS
};

const MASKED_LM: Rules = Rules {
    prefix: PREFIX,
    ignored: |name| {
        is_position_ids(name)
            || is_head(name)
            || name.starts_with("pooler.")
            || name.starts_with("cls.seq_relationship.")
            || name == "cls.predictions.bias"
    },
    fresh: |name| name.starts_with("cls."),
    tied: |name| match name {
        "cls.predictions.decoder.weight" => Some("bert.embeddings.word_embeddings.weight".to_string()),
        "cls.predictions.decoder.bias" => Some("cls.predictions.bias".to_string()),
        _ => None,
    },
    replaced: |_| false,
};

fn is_position_ids(name: &str) -> bool {
    name.ends_with("embeddings.position_ids")
}

fn is_head(name: &str) -> bool {
    name.starts_with("classifier.") || name.starts_with("qa_outputs.")
}

impl BertConfig {
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

impl BertForSequenceClassification {
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
        let (config, checkpoint) = open(folder)?;
        let (outputs, own) = outputs_of(&checkpoint, CLASSIFIER, is_own(&config, BertHead::Sequence), outputs)?;
        let rules = if own { CLASSIFICATION } else { NEW_HEAD };
        Ok(Skeleton::new(Self::new(&config, outputs, device), to_reference, checkpoint, rules))
    }
}

impl BertForTokenClassification {
    /// Loads the checkpoint in `folder` onto `device`, in f32. The head is found, or made, as
    /// [`BertForSequenceClassification::from_folder`] does.
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
        let (config, checkpoint) = open(folder)?;
        let (outputs, own) = outputs_of(&checkpoint, CLASSIFIER, is_own(&config, BertHead::Token), outputs)?;
        let rules = if own { TOKENS } else { TOKENS_NEW_HEAD };
        Ok(Skeleton::new(Self::new(&config, outputs, device), to_reference, checkpoint, rules))
    }
}

impl BertForQuestionAnswering {
    /// Loads the checkpoint in `folder` onto `device`, in f32. A head that is not there is new, and named in
    /// [`Loaded::fresh`].
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
        let (config, checkpoint) = open(folder)?;
        let own = checkpoint.shape(ANSWERER).is_none_or(|shape| shape.first() == Some(&Self::OUTPUTS));
        let rules = if own { ANSWERS } else { ANSWERS_NEW_HEAD };
        Ok(Skeleton::new(Self::new(&config, device), to_reference, checkpoint, rules))
    }
}

impl BertForMaskedLm {
    /// Loads the checkpoint in `folder` onto `device`, in f32. A decoder that is not in the file is tied to the
    /// word embeddings; a transform that is not there is new, and named in [`Loaded::fresh`].
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
        let (config, checkpoint) = open(folder)?;
        Ok(Skeleton::new(Self::new(&config, device), to_reference, checkpoint, MASKED_LM))
    }
}

fn open(folder: &Path) -> Result<(BertConfig, Checkpoint)> {
    Ok((BertConfig::from_folder(folder)?, Checkpoint::open(folder)?))
}

/// Two tasks call their head `classifier`: that of the other one is not its own.
fn is_own(config: &BertConfig, head: BertHead) -> bool {
    BertHead::of(config).is_none_or(|named| named == head)
}
