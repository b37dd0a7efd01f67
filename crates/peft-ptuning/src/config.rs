//! `PromptEncoderConfig`: the fields of the reference's `adapter_config.json`, with its names and defaults.

use peft_core::config::{Schema, submodules, virtual_tokens};
use peft_core::{Backbone, Error, Placement, Pooling, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Configuration of P-tuning (Liu et al. 2021, arXiv:2103.10385).
///
/// Serialises to the fields that Hugging Face PEFT 0.21 writes, and `pooling` and `slot_token_id` where they are not what
/// those say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PTuningConfig {
    /// p: how many virtual tokens there are. There is no default.
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
    /// The network that makes the prompt while it is trained. Files hold what it makes alone.
    pub encoder_reparameterization_type: Reparameterization,
    /// h: its inner width. `None`: H.
    pub encoder_hidden_size: Option<usize>,
    /// How many layers an LSTM has. An MLP always has three.
    pub encoder_num_layers: usize,
    /// Dropout between the layers of an LSTM, in training. An MLP has none.
    pub encoder_dropout: f64,
    /// Where a model that pools one position does so. The reference has no such field, passes it over and pools at the
    /// first virtual token; a file without it means that, and it is written only where it is [`Pooling::Text`].
    pub pooling: Pooling,
    /// The token whose places in the text the virtual tokens take, the k-th on a row the k-th of them. `None`: they
    /// stand in front of the text. The reference has no such field and always puts them in front; it is written only
    /// where it is given.
    pub slot_token_id: Option<u32>,
    /// Every other field of the file, kept as it is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The network that makes a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Reparameterization {
    /// Three linear layers with ReLU between them.
    #[default]
    Mlp,
    /// A bidirectional LSTM and two linear layers with ReLU between them.
    Lstm,
}

/// The fields beside those of [`PTuningConfig`].
const SCHEMA: Schema = Schema {
    kind: "P_TUNING",
    unsupported: "{}",
    inert: r#"{
        "auto_mapping": null,
        "base_model_name_or_path": null,
        "inference_mode": true,
        "peft_version": "0.21.2",
        "revision": null,
        "task_type": null
    }"#,
    native: r#"{"pooling": "first", "slot_token_id": null}"#,
};

peft_core::config_functions!(PTuningConfig, SCHEMA);

impl Default for PTuningConfig {
    fn default() -> Self {
        Self {
            num_virtual_tokens: None,
            token_dim: None,
            num_transformer_submodules: None,
            num_attention_heads: None,
            num_layers: None,
            modules_to_save: None,
            encoder_reparameterization_type: Reparameterization::Mlp,
            encoder_hidden_size: None,
            encoder_num_layers: 2,
            encoder_dropout: 0.0,
            pooling: Pooling::First,
            slot_token_id: None,
            other: Map::new(),
        }
    }
}

impl PTuningConfig {
    /// A prompt of `num_virtual_tokens` tokens, made by an MLP, in front of the text, under which a model pools at its
    /// text's first position.
    pub fn new(num_virtual_tokens: usize) -> Self {
        Self { num_virtual_tokens: Some(num_virtual_tokens), pooling: Pooling::Text, ..Self::default() }
    }

    /// Makes the prompt with an LSTM of `layers` layers.
    pub fn with_lstm(self, layers: usize) -> Self {
        let encoder_reparameterization_type = Reparameterization::Lstm;
        Self { encoder_reparameterization_type, encoder_num_layers: layers, ..self }
    }

    /// Sets the inner width of the network.
    pub fn with_hidden(self, hidden: usize) -> Self {
        Self { encoder_hidden_size: Some(hidden), ..self }
    }

    /// Sets the dropout between the layers of an LSTM.
    pub fn with_dropout(self, encoder_dropout: f64) -> Self {
        Self { encoder_dropout, ..self }
    }

    /// Puts the virtual tokens into the text, where it has the token `id`.
    pub fn with_slots(self, id: u32) -> Self {
        Self { slot_token_id: Some(id), ..self }
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
        if self.encoder_hidden_size == Some(0) {
            return Err(Error::config("encoder_hidden_size", "a width of 0 lets nothing through; use 1 or more"));
        }
        if self.encoder_num_layers == 0 {
            return Err(Error::config("encoder_num_layers", "an LSTM has at least one layer; use 1 or more"));
        }
        if !(0.0..1.0).contains(&self.encoder_dropout) {
            let reason = format!("{} is no probability in [0, 1)", self.encoder_dropout);
            return Err(Error::config("encoder_dropout", reason));
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
            encoder_hidden_size: self.encoder_hidden_size.or(Some(place.d_model)),
            ..self.clone()
        })
    }

    pub(crate) fn place<M: Backbone>(&self, backbone: &M) -> Result<Placement> {
        self.validate()?;
        let Self { num_virtual_tokens, token_dim, num_transformer_submodules, other, .. } = self;
        Placement::new(backbone.sites(), *num_virtual_tokens, *token_dim, *num_transformer_submodules, other)
    }
}
