//! BERT models from checkpoint folders.

use std::path::Path;

use peft_core::Backbone;

use super::any::BertHead;
use super::config::BertConfig;
use super::heads::{BertForQuestionAnswering, BertForSequenceClassification, BertForTokenClassification};
use super::masked_lm::BertForMaskedLm;
use super::names::{PREFIX, to_reference};
use crate::checkpoint::{Checkpoint, read_json};
use crate::error::{Error, Result};
use crate::load::{Loaded, Rules, load};
use crate::placement::DeviceMap;

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
    /// Loads the checkpoint in `folder` onto `devices`, in f32.
    ///
    /// With `outputs`, the head is the checkpoint's if it has as many, else a new one; without, the checkpoint's.
    /// [`Loaded::fresh`] names what is new: it must be trained.
    ///
    /// # Errors
    /// [`Error`] for a missing, damaged or misfitting file, and without `outputs` for a checkpoint without a head.
    pub fn from_folder(folder: &Path, outputs: Option<usize>, devices: impl Into<DeviceMap>) -> Result<Loaded<Self>> {
        let (config, checkpoint) = open(folder)?;
        let (outputs, own) = classifier(&config, &checkpoint, BertHead::Sequence, outputs)?;
        let rules = if own { CLASSIFICATION } else { NEW_HEAD };
        let devices = devices.into();
        fill(devices.place(Self::new(&config, outputs, devices.first())), &checkpoint, &rules)
    }
}

impl BertForTokenClassification {
    /// Loads the checkpoint in `folder` onto `devices`, in f32. The head is found, or made, as
    /// [`BertForSequenceClassification::from_folder`] does.
    ///
    /// # Errors
    /// [`Error`] for a missing, damaged or misfitting file, and without `outputs` for a checkpoint without a head.
    pub fn from_folder(folder: &Path, outputs: Option<usize>, devices: impl Into<DeviceMap>) -> Result<Loaded<Self>> {
        let (config, checkpoint) = open(folder)?;
        let (outputs, own) = classifier(&config, &checkpoint, BertHead::Token, outputs)?;
        let rules = if own { TOKENS } else { TOKENS_NEW_HEAD };
        let devices = devices.into();
        fill(devices.place(Self::new(&config, outputs, devices.first())), &checkpoint, &rules)
    }
}

impl BertForQuestionAnswering {
    /// Loads the checkpoint in `folder` onto `devices`, in f32. A head that is not there is new, and named in
    /// [`Loaded::fresh`].
    ///
    /// # Errors
    /// [`Error`] for a missing, damaged or misfitting file.
    pub fn from_folder(folder: &Path, devices: impl Into<DeviceMap>) -> Result<Loaded<Self>> {
        let (config, checkpoint) = open(folder)?;
        let own = checkpoint.shape(ANSWERER).is_none_or(|shape| shape.first() == Some(&Self::OUTPUTS));
        let rules = if own { ANSWERS } else { ANSWERS_NEW_HEAD };
        let devices = devices.into();
        fill(devices.place(Self::new(&config, devices.first())), &checkpoint, &rules)
    }
}

impl BertForMaskedLm {
    /// Loads the checkpoint in `folder` onto `devices`, in f32. A decoder that is not in the file is tied to the
    /// word embeddings; a transform that is not there is new, and named in [`Loaded::fresh`].
    ///
    /// # Errors
    /// [`Error`] for a missing, damaged or misfitting file.
    pub fn from_folder(folder: &Path, devices: impl Into<DeviceMap>) -> Result<Loaded<Self>> {
        let (config, checkpoint) = open(folder)?;
        let devices = devices.into();
        fill(devices.place(Self::new(&config, devices.first())), &checkpoint, &MASKED_LM)
    }
}

fn open(folder: &Path) -> Result<(BertConfig, Checkpoint)> {
    Ok((BertConfig::from_folder(folder)?, Checkpoint::open(folder)?))
}

fn fill<M: Backbone>(model: M, checkpoint: &Checkpoint, rules: &Rules) -> Result<Loaded<M>> {
    let sites = model.sites().clone();
    load(model, &sites, to_reference, checkpoint, rules)
}

/// How many outputs the classifier of a model with this head has, and whether they are the checkpoint's own. Two tasks
/// call their head `classifier`: that of the other one is not its own.
fn classifier(
    config: &BertConfig,
    checkpoint: &Checkpoint,
    head: BertHead,
    outputs: Option<usize>,
) -> Result<(usize, bool)> {
    let own = BertHead::of(config).is_none_or(|named| named == head);
    let stored = checkpoint.shape(CLASSIFIER).and_then(|shape| shape.first().copied()).filter(|_| own);
    match outputs.or(stored) {
        Some(outputs) => Ok((outputs, stored == Some(outputs))),
        None => Err(Error::file(
            checkpoint.path(),
            "has no classification head; train one, or give the adapter that brings it",
        )),
    }
}
