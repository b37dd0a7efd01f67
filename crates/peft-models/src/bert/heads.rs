//! BERT with a task on top.

use burn::module::Module;
use burn::prelude::*;
use peft_core::nn::Linear;
use peft_core::{Backbone, Dropout, Hooks, Scope, Site, Sites};

use super::config::BertConfig;
use super::model::{BertModel, LAYERS};
use super::names::to_reference;
use crate::batch::Batch;
use crate::begun::{Begun, Cut};
use crate::task::Scorer;

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
        Self {
            bert: BertModel::new(config, true, &scope.pp("bert")),
            dropout: Dropout::new(before_classifier(config)),
            classifier: scope.head().linear("classifier", config.hidden_size, labels, true),
            sites: scope.sites(),
        }
    }

    /// Scores `[batch, labels]` under `hooks`.
    pub fn forward(&self, batch: &Batch, hooks: &dyn Hooks) -> Tensor<2> {
        let output = self.bert.forward_pooled(batch, hooks);
        let pooled = self.dropout.forward(self.bert.pool(output, hooks));
        self.classifier.scores(pooled, hooks).squeeze_dim(1)
    }
}

impl Backbone for BertForSequenceClassification {
    fn sites(&self) -> &Sites {
        &self.sites
    }
}

/// The text is scored as a whole: one position.
impl Scorer for BertForSequenceClassification {
    fn scores(&self, batch: &Batch, hooks: &dyn Hooks) -> Tensor<3> {
        self.forward(batch, hooks).unsqueeze_dim(1)
    }

    /// Behind the last layer the pooler reads a text's first position alone.
    fn cut(&self, touched: &[Site]) -> Option<Cut> {
        Cut::below(touched, &self.sites, LAYERS).map(Cut::of_first)
    }

    fn begin(&self, batch: &Batch, cut: Cut, hooks: &dyn Hooks) -> Begun {
        self.bert.begin(batch, cut, hooks)
    }
}

/// One vector of scores for each position of a text: named entities, parts of speech.
#[derive(Module, Debug)]
pub struct BertForTokenClassification {
    bert: BertModel,
    dropout: Dropout,
    classifier: Linear,
    #[module(skip)]
    sites: Sites,
}

impl BertForTokenClassification {
    /// A model with `labels` outputs on `device`, its weights not yet loaded.
    pub fn new(config: &BertConfig, labels: usize, device: &Device) -> Self {
        let scope = Scope::root(device, to_reference);
        Self {
            bert: BertModel::new(config, false, &scope.pp("bert")),
            dropout: Dropout::new(before_classifier(config)),
            classifier: scope.head().linear("classifier", config.hidden_size, labels, true),
            sites: scope.sites(),
        }
    }

    /// Scores `[batch, text, labels]` for the text's positions, under `hooks`.
    pub fn forward(&self, batch: &Batch, hooks: &dyn Hooks) -> Tensor<3> {
        let hidden = self.bert.forward(batch, hooks).text();
        self.classifier.scores(self.dropout.forward(hidden), hooks)
    }
}

impl Backbone for BertForTokenClassification {
    fn sites(&self) -> &Sites {
        &self.sites
    }
}

impl Scorer for BertForTokenClassification {
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

/// How likely an answer begins, and ends, at each position of a question and its context.
#[derive(Module, Debug)]
pub struct BertForQuestionAnswering {
    bert: BertModel,
    qa_outputs: Linear,
    #[module(skip)]
    sites: Sites,
}

impl BertForQuestionAnswering {
    /// The two scores of a position: of the answer's beginning and of its end.
    pub const OUTPUTS: usize = 2;

    /// A model on `device`, its weights not yet loaded.
    pub fn new(config: &BertConfig, device: &Device) -> Self {
        let scope = Scope::root(device, to_reference);
        Self {
            bert: BertModel::new(config, false, &scope.pp("bert")),
            qa_outputs: scope.head().linear("qa_outputs", config.hidden_size, Self::OUTPUTS, true),
            sites: scope.sites(),
        }
    }

    /// Scores `[batch, text, 2]` for the text's positions, under `hooks`: of an answer's beginning there, and of its end.
    pub fn forward(&self, batch: &Batch, hooks: &dyn Hooks) -> Tensor<3> {
        self.qa_outputs.scores(self.bert.forward(batch, hooks).text(), hooks)
    }
}

impl Backbone for BertForQuestionAnswering {
    fn sites(&self) -> &Sites {
        &self.sites
    }
}

impl Scorer for BertForQuestionAnswering {
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

/// The probability of the dropout in front of a classifier.
fn before_classifier(config: &BertConfig) -> f64 {
    config.classifier_dropout.unwrap_or(config.hidden_dropout_prob)
}
