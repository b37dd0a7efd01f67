//! The configuration of any model this crate has, known at run time.

use std::path::Path;

use peft_core::Naming;
use serde_json::Value;

use crate::any::Head;
use crate::bert::{self, BertConfig, BertHead};
use crate::checkpoint::read_json;
use crate::error::{Error, Result};
use crate::t5::{self, T5Config, T5Head};

/// `config.json` of a checkpoint of any architecture.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelConfig {
    /// BERT.
    Bert(BertConfig),
    /// T5, T5 1.1, Flan-T5 or mT5.
    T5(T5Config),
}

impl ModelConfig {
    /// Reads and checks `config.json` in `folder`. Without a `model_type`, what only T5 has decides.
    ///
    /// # Errors
    /// [`Error`] naming the file and the field.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let fields: Value = read_json(&path)?;
        let stated = fields.get("model_type").and_then(Value::as_str);
        match stated.unwrap_or(if fields.get("d_kv").is_some() { "t5" } else { "bert" }) {
            "bert" => BertConfig::from_folder(folder).map(Self::Bert),
            "t5" | "mt5" => T5Config::from_folder(folder).map(Self::T5),
            other => {
                Err(Error::file(path, format!("model_type: `{other}` is not supported; `bert`, `t5` and `mt5` are")))
            }
        }
    }

    /// The architecture's name, as `config.json` has it.
    pub fn model_type(&self) -> &str {
        match self {
            Self::Bert(config) => &config.model_type,
            Self::T5(config) => &config.model_type,
        }
    }

    /// Number of word pieces.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Bert(config) => config.vocab_size,
            Self::T5(config) => config.vocab_size,
        }
    }

    /// H, the width of the hidden state.
    pub fn hidden_size(&self) -> usize {
        match self {
            Self::Bert(config) => config.hidden_size,
            Self::T5(config) => config.d_model,
        }
    }

    /// Layers, those of a decoder included.
    pub fn layers(&self) -> usize {
        match self {
            Self::Bert(config) => config.num_hidden_layers,
            Self::T5(config) => config.num_layers + config.decoder_layers(),
        }
    }

    /// The longest text; `None` where positions are relative.
    pub fn positions(&self) -> Option<usize> {
        match self {
            Self::Bert(config) => Some(config.max_position_embeddings),
            Self::T5(_) => None,
        }
    }

    /// Whether it has a decoder, which makes texts.
    pub fn makes_text(&self) -> bool {
        matches!(self, Self::T5(_))
    }

    /// The reference's name of the model with a head: a checkpoint lists it in `architectures`. One is ours,
    /// `T5EncoderForSequenceClassification`.
    pub fn class(&self, head: Head) -> String {
        let architecture = match self {
            Self::Bert(_) => "Bert",
            Self::T5(config) if config.model_type == "mt5" => "MT5",
            Self::T5(_) => "T5",
        };
        let class = match self {
            Self::Bert(_) => head.class(),
            Self::T5(config) => head.of_t5(config).map_or(head.class(), T5Head::class),
        };
        format!("{architecture}{class}")
    }

    /// The reference's name of the module that a task brings along, as `modules_to_save` takes it; `None` where the
    /// checkpoint has what it takes.
    pub fn head_module(&self, head: Head) -> Option<&'static str> {
        match self {
            Self::Bert(_) => head.of_bert().filter(|head| *head != BertHead::MaskedLm).map(BertHead::module),
            Self::T5(config) => head.of_t5(config).map(T5Head::module),
        }
    }

    /// How module paths relate to the reference's names.
    pub fn naming(&self) -> Naming {
        match self {
            Self::Bert(_) => bert::names::to_reference,
            Self::T5(_) => t5::names::to_reference,
        }
    }

    /// The part of names that checkpoints may lack, [`Rules::prefix`](crate::Rules::prefix).
    pub fn prefix(&self) -> &'static str {
        match self {
            Self::Bert(_) => bert::names::PREFIX,
            Self::T5(_) => t5::names::PREFIX,
        }
    }
}

impl From<BertConfig> for ModelConfig {
    fn from(config: BertConfig) -> Self {
        Self::Bert(config)
    }
}

impl From<T5Config> for ModelConfig {
    fn from(config: T5Config) -> Self {
        Self::T5(config)
    }
}
