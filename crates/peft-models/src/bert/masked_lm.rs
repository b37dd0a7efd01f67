//! BERT with the head it was pre-trained with.

use burn::module::Module;
use burn::prelude::*;
use peft_core::nn::{LayerNorm, Linear};
use peft_core::{Backbone, Hooks, Scope, Site, Sites};

use super::config::BertConfig;
use super::model::{BertModel, LAYERS};
use super::names::to_reference;
use crate::activation::Activation;
use crate::batch::Batch;
use crate::begun::{Begun, Cut};
use crate::task::Scorer;

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
        let Predictions { transform, decoder } = &self.cls.predictions;
        let hidden = self.bert.forward(batch, hooks).text();
        let h = transform.activation.forward(transform.dense.forward(hidden, hooks));
        decoder.scores(transform.layer_norm.forward(h, hooks), hooks)
    }
}

impl Backbone for BertForMaskedLm {
    fn sites(&self) -> &Sites {
        &self.sites
    }
}

impl Scorer for BertForMaskedLm {
    fn scores(&self, batch: &Batch, hooks: &dyn Hooks) -> Tensor<3> {
        self.forward(batch, hooks)
    }

    fn cut(&self, touched: &[Site]) -> Option<Cut> {
        Cut::below(touched, &self.sites, LAYERS)
    }

    fn begin(&self, batch: &Batch, cut: Cut, hooks: &dyn Hooks) -> Begun {
        self.bert.begin(batch, cut, hooks)
    }
}
