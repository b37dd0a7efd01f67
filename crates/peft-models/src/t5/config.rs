//! `config.json` of a T5 checkpoint.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::activation::Activation;
use crate::error::{Error, Result};

/// The fields of a T5 `config.json` that decide what is computed. Others are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct T5Config {
    /// `t5` or `mt5`; anything else is another architecture.
    #[serde(default = "t5")]
    pub model_type: String,
    /// Number of word pieces.
    pub vocab_size: usize,
    /// H, the width of the hidden state.
    pub d_model: usize,
    /// Width of an attention head. All heads together need not be as wide as the hidden state.
    pub d_kv: usize,
    /// Width of the feed-forward part.
    pub d_ff: usize,
    /// Layers of the encoder.
    pub num_layers: usize,
    /// Layers of the decoder; as many as the encoder's if absent.
    #[serde(default)]
    pub num_decoder_layers: Option<usize>,
    /// Attention heads.
    pub num_heads: usize,
    /// Classes of distances between positions.
    #[serde(default = "buckets")]
    pub relative_attention_num_buckets: usize,
    /// The distance from which on all are one class.
    #[serde(default = "distance")]
    pub relative_attention_max_distance: usize,
    /// Dropout, in training.
    #[serde(default = "tenth")]
    pub dropout_rate: f64,
    /// Added to mean squares.
    #[serde(default = "epsilon")]
    pub layer_norm_epsilon: f64,
    /// The feed-forward part's nonlinearity, `gated-` before it where another linear map is multiplied with it.
    /// `None`: `relu`, and `gated-gelu` in mT5.
    #[serde(default)]
    pub feed_forward_proj: Option<String>,
    /// Whether the scores are made with the word embeddings.
    #[serde(default = "yes")]
    pub tie_word_embeddings: bool,
    /// Whether the decoder's output is scaled by 1/√H before that. `None`: where the embeddings are tied, and never in mT5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_decoder_outputs: Option<bool>,
    /// The padding token.
    #[serde(default)]
    pub pad_token_id: Option<u32>,
    /// The token a decoder begins with; the padding token if absent.
    #[serde(default)]
    pub decoder_start_token_id: Option<u32>,
    /// The token a text ends with.
    #[serde(default)]
    pub eos_token_id: Option<u32>,
    /// Dropout before and in the heads of classifiers, in training.
    #[serde(default)]
    pub classifier_dropout: f64,
    /// Classes the checkpoint names, e.g. `T5ForConditionalGeneration`.
    #[serde(default)]
    pub architectures: Option<Vec<String>>,
}

impl T5Config {
    /// Refuses what this implementation does not compute.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, reason: String| Err(Error::config(field, reason));
        if !["t5", "mt5"].contains(&self.model_type.as_str()) {
            return refuse("model_type", format!("`{}` is not supported; `t5` and `mt5` are", self.model_type));
        }
        for (field, size) in [("num_heads", self.num_heads), ("d_kv", self.d_kv), ("d_model", self.d_model)] {
            if size == 0 {
                return refuse(field, "0 leaves nothing to compute; use 1 or more".to_string());
            }
        }
        // An encoder halves the classes by direction, and half of those are for distances of one each.
        let (buckets, distance) = (self.relative_attention_num_buckets, self.relative_attention_max_distance);
        if buckets < 4 || !buckets.is_multiple_of(4) {
            let reason = format!("{buckets} is no multiple of 4; use 32 or the checkpoint's number");
            return refuse("relative_attention_num_buckets", reason);
        }
        if distance <= buckets / 2 {
            let reason = format!("{distance} is not beyond half of the {buckets} classes; use 128 or the checkpoint's");
            return refuse("relative_attention_max_distance", reason);
        }
        for (field, p) in [("dropout_rate", self.dropout_rate), ("classifier_dropout", self.classifier_dropout)] {
            if !(0.0..1.0).contains(&p) {
                return refuse(field, format!("{p} is no probability in [0, 1)"));
            }
        }
        self.feed_forward().map(|_| ())
    }

    /// The feed-forward part's nonlinearity, and whether it is a gate.
    ///
    /// # Errors
    /// [`Error::Config`] for a nonlinearity that is not known.
    pub fn feed_forward(&self) -> Result<(Activation, bool)> {
        let default = if self.model_type == "mt5" { "gated-gelu" } else { "relu" };
        let named = self.feed_forward_proj.as_deref().unwrap_or(default);
        let (name, gated) = named.strip_prefix("gated-").map_or((named, false), |name| (name, true));
        // The checkpoints that say so were trained with the approximation.
        let name = if named == "gated-gelu" { "gelu_new" } else { name };
        match serde_json::from_value(Value::from(name)) {
            Ok(activation) => Ok((activation, gated)),
            Err(_) => Err(Error::config(
                "feed_forward_proj",
                format!(
                    "`{named}` is not supported; relu, gelu, gelu_new, silu and tanh are, with `gated-` or without"
                ),
            )),
        }
    }

    /// Layers of the decoder.
    pub fn decoder_layers(&self) -> usize {
        self.num_decoder_layers.unwrap_or(self.num_layers)
    }

    /// Width of all heads of an attention together.
    pub fn inner(&self) -> usize {
        self.num_heads * self.d_kv
    }

    /// What the decoder's output is multiplied with before the scores are made.
    pub fn output_scale(&self) -> Option<f64> {
        let scaled = self.scale_decoder_outputs.unwrap_or(self.tie_word_embeddings && self.model_type != "mt5");
        scaled.then(|| (self.d_model as f64).powf(-0.5))
    }

    /// The padding token.
    pub fn pad(&self) -> i64 {
        self.pad_token_id.unwrap_or(0).into()
    }

    /// The token a text ends with: 1 if the configuration names none, as in the reference.
    pub fn eos(&self) -> i64 {
        self.eos_token_id.unwrap_or(1).into()
    }

    /// The token a decoder begins with.
    pub fn decoder_start(&self) -> i64 {
        self.decoder_start_token_id.map_or(self.pad(), i64::from)
    }
}

fn t5() -> String {
    "t5".into()
}
fn buckets() -> usize {
    32
}
fn distance() -> usize {
    128
}
fn tenth() -> f64 {
    0.1
}
fn epsilon() -> f64 {
    1e-6
}
fn yes() -> bool {
    true
}
