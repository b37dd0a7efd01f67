//! `MultitaskPromptTuningConfig`: the fields of the reference's `adapter_config.json`, with its names and defaults.

use peft_core::config::{Schema, submodules, virtual_tokens};
use peft_core::{Backbone, Error, Placement, Pooling, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::check_text;

/// Configuration of multi-task prompt tuning (Wang et al. 2023, arXiv:2303.02861).
///
/// Serialises to the fields that Hugging Face PEFT 0.21 writes, and `pooling` where it is not what they say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MultitaskPromptConfig {
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
    pub prompt_tuning_init: MultitaskInit,
    /// The text it starts as, for [`MultitaskInit::Text`].
    pub prompt_tuning_init_text: Option<String>,
    /// The file of the source adapter, for the inits that start from one. Nothing is read from there: the tensors are
    /// given to [`init_from_source`](Self::init_from_source). The reference reads it whenever it loads such an adapter.
    pub prompt_tuning_init_state_dict_path: Option<String>,
    /// The source's task to start from, for [`MultitaskInit::ExactSourceTask`].
    pub prompt_tuning_init_task: usize,
    /// r: the rank of what a task changes.
    pub num_ranks: usize,
    /// T: how many tasks share the prompt.
    pub num_tasks: usize,
    /// Whose tokens the text is made of; the reference wants it beside the text.
    pub tokenizer_name_or_path: Option<String>,
    /// Where a model that pools one position does so. The reference has no such field, passes it over and pools at the
    /// first virtual token; a file without it means that, and it is written only where it is [`Pooling::Text`].
    pub pooling: Pooling,
    /// Every other field of the file, kept as it is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How a prompt of several tasks starts. Factors that are not taken from a source are drawn from N(0, 0.02²).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MultitaskInit {
    /// Drawn from N(0, 1).
    #[default]
    Random,
    /// Rows of the model's word embeddings, drawn with replacement.
    SampleVocab,
    /// The word embeddings of a text, repeated or cut to the prompt's length.
    Text,
    /// The source's prompt and the mean of its tasks' factors, for one task.
    AverageSourceTasks,
    /// The source's prompt and the factors of one of its tasks, for one task.
    ExactSourceTask,
    /// The source's prompt alone.
    OnlySourceShared,
}

/// The fields beside those of [`MultitaskPromptConfig`].
const SCHEMA: Schema = Schema {
    kind: "MULTITASK_PROMPT_TUNING",
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

peft_core::config_functions!(MultitaskPromptConfig, SCHEMA);

impl Default for MultitaskPromptConfig {
    fn default() -> Self {
        Self {
            num_virtual_tokens: None,
            token_dim: None,
            num_transformer_submodules: None,
            num_attention_heads: None,
            num_layers: None,
            modules_to_save: None,
            prompt_tuning_init: MultitaskInit::Random,
            prompt_tuning_init_text: None,
            prompt_tuning_init_state_dict_path: None,
            prompt_tuning_init_task: 0,
            num_ranks: 1,
            num_tasks: 1,
            tokenizer_name_or_path: None,
            pooling: Pooling::First,
            other: Map::new(),
        }
    }
}

impl MultitaskPromptConfig {
    /// A prompt of `num_virtual_tokens` tokens for `num_tasks` tasks, drawn at random, under which a model pools at its
    /// text's first position.
    pub fn new(num_virtual_tokens: usize, num_tasks: usize) -> Self {
        let num_virtual_tokens = Some(num_virtual_tokens);
        Self { num_virtual_tokens, num_tasks, pooling: Pooling::Text, ..Self::default() }
    }

    /// Sets the rank of what a task changes.
    pub fn with_ranks(self, num_ranks: usize) -> Self {
        Self { num_ranks, ..self }
    }

    /// Sets how the prompt starts.
    pub fn with_init(self, prompt_tuning_init: MultitaskInit) -> Self {
        Self { prompt_tuning_init, ..self }
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
        for (field, number) in [("num_tasks", self.num_tasks), ("num_ranks", self.num_ranks)] {
            if number == 0 {
                return Err(Error::config(field, "0 trains nothing; use 1 or more"));
            }
        }
        match self.prompt_tuning_init {
            MultitaskInit::Text => check_text(&self.prompt_tuning_init_text, &self.tokenizer_name_or_path)?,
            MultitaskInit::AverageSourceTasks | MultitaskInit::ExactSourceTask if self.num_tasks != 1 => {
                let reason = format!("{} where the source's factors are for one task; use 1", self.num_tasks);
                return Err(Error::config("num_tasks", reason));
            }
            _ => {}
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
