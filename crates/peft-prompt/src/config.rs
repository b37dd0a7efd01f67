//! `PromptTuningConfig`: the fields of the reference's `adapter_config.json`, with its names and defaults.

use peft_core::config::{Schema, submodules, virtual_tokens};
use peft_core::{Backbone, Error, Placement, Pooling, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Configuration of prompt tuning (Lester et al. 2021, arXiv:2104.08691).
///
/// Serialises to the fields that Hugging Face PEFT 0.21 writes, and `pooling` where it is not what they say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PromptConfig {
    /// p: how many virtual tokens are put in front of the text. There is no default.
    pub num_virtual_tokens: Option<usize>,
    /// H: the width of an embedding. `None`: the model's.
    pub token_dim: Option<usize>,
    /// S: how often the table holds the tokens. `None`: 2 for the task `SEQ_2_SEQ_LM`, else 1.
    pub num_transformer_submodules: Option<usize>,
    /// For other readers.
    pub num_attention_heads: Option<usize>,
    /// For other readers.
    pub num_layers: Option<usize>,
    /// Modules of the base that are trained and saved whole, such as a new head.
    pub modules_to_save: Option<Vec<String>>,
    /// How the prompt starts.
    pub prompt_tuning_init: PromptInit,
    /// The text it starts as, for [`PromptInit::Text`].
    pub prompt_tuning_init_text: Option<String>,
    /// Whose tokens that text is made of; the reference wants it beside the text.
    pub tokenizer_name_or_path: Option<String>,
    /// Where a model that pools one position does so. The reference has no such field, passes it over and pools at the
    /// first virtual token; a file without it means that, and it is written only where it is [`Pooling::Text`].
    pub pooling: Pooling,
    /// Every other field of the file, kept as it is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How a prompt starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PromptInit {
    /// Drawn from N(0, 1).
    #[default]
    Random,
    /// Rows of the model's word embeddings, drawn with replacement.
    SampleVocab,
    /// The word embeddings of a text, repeated or cut to the prompt's length.
    Text,
}

/// The fields beside those of [`PromptConfig`].
const SCHEMA: Schema = Schema {
    kind: "PROMPT_TUNING",
    unsupported: "{}",
    inert: r#"{
        "auto_mapping": null,
        "base_model_name_or_path": null,
        "inference_mode": true,
        "peft_version": "0.21.2",
        "revision": null,
        "task_type": null,
        "tokenizer_kwargs": null
    }"#,
    native: r#"{"pooling": "first"}"#,
};

peft_core::config_functions!(PromptConfig, SCHEMA);

impl PromptConfig {
    /// A prompt of `num_virtual_tokens` tokens, drawn at random, under which a model pools at its text's first position.
    pub fn new(num_virtual_tokens: usize) -> Self {
        Self { num_virtual_tokens: Some(num_virtual_tokens), pooling: Pooling::Text, ..Self::default() }
    }

    /// Starts at rows of the model's word embeddings.
    pub fn with_vocabulary(self) -> Self {
        Self { prompt_tuning_init: PromptInit::SampleVocab, ..self }
    }

    /// Starts at the word embeddings of `text` as `tokenizer` cuts it.
    pub fn with_text(self, text: impl Into<String>, tokenizer: impl Into<String>) -> Self {
        Self {
            prompt_tuning_init: PromptInit::Text,
            prompt_tuning_init_text: Some(text.into()),
            tokenizer_name_or_path: Some(tokenizer.into()),
            ..self
        }
    }

    /// Sets where the model pools.
    pub fn with_pooling(self, pooling: Pooling) -> Self {
        Self { pooling, ..self }
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and the values it may have.
    pub fn validate(&self) -> Result<()> {
        virtual_tokens(self.num_virtual_tokens)?;
        submodules(self.num_transformer_submodules, &self.other)?;
        if self.prompt_tuning_init == PromptInit::Text {
            check_text(&self.prompt_tuning_init_text, &self.tokenizer_name_or_path)?;
        }
        SCHEMA.check(&self.other)
    }

    /// The same with every size that was left to the model filled in, as the reference writes it.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) refuses, and a size that is not the model's.
    pub fn resolve<M: Backbone>(&self, backbone: &M) -> Result<Self> {
        let place = self.place(backbone)?;
        Ok(Self {
            token_dim: Some(place.d_model),
            num_transformer_submodules: Some(place.submodules),
            num_attention_heads: self.num_attention_heads.or(place.attention.map(|[_, heads]| heads)),
            num_layers: self.num_layers.or(place.attention.map(|[layers, _]| layers)),
            ..self.clone()
        })
    }

    pub(crate) fn place<M: Backbone>(&self, backbone: &M) -> Result<Placement> {
        self.validate()?;
        let Self { num_virtual_tokens, token_dim, num_transformer_submodules, other, .. } = self;
        Placement::new(backbone.sites(), *num_virtual_tokens, *token_dim, *num_transformer_submodules, other)
    }
}

/// The reference refuses a file with one of the two missing.
pub(crate) fn check_text(text: &Option<String>, tokenizer: &Option<String>) -> Result<()> {
    let missing = match (text, tokenizer) {
        (None, _) => "prompt_tuning_init_text",
        (_, None) => "tokenizer_name_or_path",
        _ => return Ok(()),
    };
    Err(Error::config(missing, "a prompt that starts as a text needs the text and its tokenizer; give both"))
}
