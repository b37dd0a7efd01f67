//! `config.json` of a BERT checkpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::activation::Activation;
use crate::error::{Error, Result};

/// The fields of a BERT `config.json` that decide what is computed. Others are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BertConfig {
    /// `bert`; anything else is another architecture.
    #[serde(default = "bert")]
    pub model_type: String,
    /// Number of word pieces.
    pub vocab_size: usize,
    /// H.
    pub hidden_size: usize,
    /// L.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// I, the width of the feed-forward part.
    pub intermediate_size: usize,
    /// The feed-forward part's nonlinearity.
    #[serde(default)]
    pub hidden_act: Activation,
    /// Dropout on hidden states, in training.
    #[serde(default = "tenth")]
    pub hidden_dropout_prob: f64,
    /// Dropout on attention weights, in training.
    #[serde(default = "tenth")]
    pub attention_probs_dropout_prob: f64,
    /// Dropout before the classifier; `hidden_dropout_prob` if absent.
    #[serde(default)]
    pub classifier_dropout: Option<f64>,
    /// Longest sequence.
    #[serde(default = "positions")]
    pub max_position_embeddings: usize,
    /// Number of segments.
    #[serde(default = "two")]
    pub type_vocab_size: usize,
    /// Added to variances.
    #[serde(default = "epsilon")]
    pub layer_norm_eps: f64,
    /// The padding token.
    #[serde(default)]
    pub pad_token_id: Option<u32>,
    /// `absolute`; relative variants are not BERT as published and are refused.
    #[serde(default = "absolute")]
    pub position_embedding_type: String,
    /// Label names by id, if the checkpoint has a classification head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id2label: Option<BTreeMap<String, String>>,
    /// Classes the checkpoint names, e.g. `BertForSequenceClassification`.
    #[serde(default)]
    pub architectures: Option<Vec<String>>,
}

impl BertConfig {
    /// Refuses what this implementation does not compute.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, reason: String| Err(Error::config(field, reason));
        if self.model_type != "bert" {
            return refuse("model_type", format!("`{}` is not supported; only `bert` is", self.model_type));
        }
        if self.num_attention_heads == 0 || !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return refuse(
                "num_attention_heads",
                format!("{} does not divide hidden_size {}", self.num_attention_heads, self.hidden_size),
            );
        }
        if self.position_embedding_type != "absolute" {
            return refuse(
                "position_embedding_type",
                format!("`{}` is not supported; only `absolute` is", self.position_embedding_type),
            );
        }
        for (field, p) in [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
        ] {
            if !(0.0..1.0).contains(&p) {
                return refuse(field, format!("{p} is no probability in [0, 1)"));
            }
        }
        Ok(())
    }

    /// Width of one attention head.
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}

fn bert() -> String {
    "bert".into()
}
fn absolute() -> String {
    "absolute".into()
}
fn tenth() -> f64 {
    0.1
}
fn positions() -> usize {
    512
}
fn two() -> usize {
    2
}
fn epsilon() -> f64 {
    1e-12
}
