//! BERT with a task on top.

use burn::module::Module;
use burn::prelude::*;
use peft_core::nn::{LayerNorm, Linear};
use peft_core::{Backbone, Dropout, Hooks, Scope, Sites};

use super::config::{Activation, BertConfig};
use super::model::BertModel;
use super::names::to_reference;
use crate::batch::Batch;
use crate::task::SequenceClassifier;

/// One vector of scores for a text or a pair of texts: single- or multi-label classification, or regression.
#[derive(Module, Debug)]
pub struct BertForSequenceClassification {
    bert: BertModel,
    dropout: Dropout,
    classifier: Linear,
    #[module(skip)]
    sites: Sites,
}

impl BertForSequenceClassification {
    /// A model with `labels` outputs on `device`, its weights not yet loaded.
    pub fn new(config: &BertConfig, labels: usize, device: &Device) -> Self {
        let scope = Scope::root(device, to_reference);
        let dropout = config.classifier_dropout.unwrap_or(config.hidden_dropout_prob);
        Self {
            bert: BertModel::new(config, true, &scope.pp("bert")),
            dropout: Dropout::new(dropout),
            classifier: scope.head().linear("classifier", config.hidden_size, labels, true),
            sites: scope.sites(),
        }
    }

    /// Scores `[batch, labels]` under `hooks`.
    pub fn forward(&self, batch: &Batch, hooks: &dyn Hooks) -> Tensor<2> {
        let output = self.bert.forward(batch, hooks);
        let pooled = self.dropout.forward(self.bert.pool(output, hooks));
        self.classifier.forward(pooled, hooks).squeeze_dim(1)
    }
}

impl Backbone for BertForSequenceClassification {
    fn sites(&self) -> &Sites {
        &self.sites
    }
}

impl SequenceClassifier for BertForSequenceClassification {
    fn logits(&self, batch: &Batch, hooks: &dyn Hooks) -> Tensor<2> {
        self.forward(batch, hooks)
    }
}

/// Scores over the vocabulary at every position: the task BERT was pre-trained on.
#[derive(Module, Debug)]
pub struct BertForMaskedLm {
    bert: BertModel,
    cls: MaskedLmHead,
    #[module(skip)]
    sites: Sites,
}

#[derive(Module, Debug)]
struct MaskedLmHead {
    predictions: Predictions,
}

#[derive(Module, Debug)]
struct Predictions {
    transform: Transform,
    decoder: Linear,
}

#[derive(Module, Debug)]
struct Transform {
    dense: Linear,
    layer_norm: LayerNorm,
    #[module(skip)]
    activation: Activation,
}

impl BertForMaskedLm {
    /// A model on `device`, its weights not yet loaded. The decoder is a matrix of its own, which a checkpoint
    /// with tied weights fills from the word embeddings.
    pub fn new(config: &BertConfig, device: &Device) -> Self {
        let (h, scope) = (config.hidden_size, Scope::root(device, to_reference));
        let bert = BertModel::new(config, false, &scope.pp("bert"));
        let at = scope.head().pp("cls").pp("predictions");
        let transform = at.pp("transform");
        let predictions = Predictions {
            transform: Transform {
                dense: transform.linear("dense", h, h, true),
                layer_norm: transform.layer_norm("layer_norm", h, config.layer_norm_eps),
                activation: config.hidden_act,
            },
            decoder: at.linear("decoder", h, config.vocab_size, true),
        };
        Self { bert, cls: MaskedLmHead { predictions }, sites: scope.sites() }
    }

    /// Scores `[batch, seq, vocabulary]` for the text's positions, under `hooks`.
    pub fn forward(&self, batch: &Batch, hooks: &dyn Hooks) -> Tensor<3> {
        let output = self.bert.forward(batch, hooks);
        let hidden = output.text();
        let Predictions { transform, decoder } = &self.cls.predictions;
        let h = transform.activation.forward(transform.dense.forward(hidden, hooks));
        decoder.forward(transform.layer_norm.forward(h, hooks), hooks)
    }
}

impl Backbone for BertForMaskedLm {
    fn sites(&self) -> &Sites {
        &self.sites
    }
}
