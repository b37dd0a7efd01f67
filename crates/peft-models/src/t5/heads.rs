//! T5's encoder with a classifier on it: the decoder is never built.

use burn::module::Module;
use burn::prelude::*;
use peft_core::nn::{Embedding, Linear};
use peft_core::precision::{narrow, widen};
use peft_core::{Attends, Backbone, Dropout, Hooks, Scope, Site, Sites, on_device};

use super::config::T5Config;
use super::names::to_reference;
use super::stack::T5Stack;
use crate::batch::Batch;
use crate::begun::{Begun, Cut};
use crate::error::Result;
use crate::task::Scorer;

/// The path of the encoder's list of layers in a model with a classifier.
pub(super) const LAYERS: &str = "transformer.encoder.block";

/// What stands on T5 in the place of its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum T5Head {
    /// [`T5ForTokenClassification`].
    Token,
    /// [`T5ForSequenceClassification`](super::T5ForSequenceClassification).
    Sequence,
    /// [`T5EncoderForSequenceClassification`].
    EncoderSequence,
}

impl T5Head {
    /// Those whose class ends like another's come first.
    const ALL: [Self; 3] = [Self::EncoderSequence, Self::Sequence, Self::Token];

    /// The end of the class name that a checkpoint lists in `architectures`: the reference's, but for
    /// [`EncoderSequence`](Self::EncoderSequence), which is ours.
    pub fn class(self) -> &'static str {
        match self {
            Self::Token => "ForTokenClassification",
            Self::Sequence => "ForSequenceClassification",
            Self::EncoderSequence => "EncoderForSequenceClassification",
        }
    }

    /// The head that a checkpoint of this configuration says it has.
    pub fn of(config: &T5Config) -> Option<Self> {
        let names = config.architectures.as_deref().unwrap_or_default();
        Self::ALL.into_iter().find(|head| names.iter().any(|name| name.ends_with(head.class())))
    }

    /// The reference's name of its module, as `modules_to_save` takes it.
    pub fn module(self) -> &'static str {
        match self {
            Self::Token | Self::EncoderSequence => "classifier",
            Self::Sequence => "classification_head",
        }
    }
}

/// The words and the encoder: the reference's `T5EncoderModel`.
#[derive(Module, Debug)]
struct T5Encoder {
    shared: Embedding,
    encoder: T5Stack,
}

impl T5Encoder {
    fn new(config: &T5Config, scope: &Scope) -> Result<Self> {
        let part = config.feed_forward()?;
        Ok(Self {
            shared: scope.vocabulary("shared", config.vocab_size, config.d_model),
            encoder: T5Stack::new(config, part, Attends::Encoder, &scope.pp("encoder")),
        })
    }

    /// The states of the text's positions, `[batch, text, d_model]`.
    fn forward(&self, batch: &Batch, hooks: &dyn Hooks) -> Tensor<3> {
        let [_, text] = batch.input_ids.dims();
        let made = self.encoder.read(batch, || self.shared.forward(batch.input_ids.clone(), hooks), hooks);
        made.hidden.narrow(1, made.virtual_tokens, text)
    }

    /// The states of a batch at `cut`.
    fn begin(&self, batch: &Batch, cut: Cut, hooks: &dyn Hooks) -> Begun {
        self.encoder.begin_reading(cut, batch, || self.shared.forward(batch.input_ids.clone(), hooks), hooks)
    }
}

/// One vector of scores for each position of a text: named entities, parts of speech.
#[derive(Module, Debug)]
pub struct T5ForTokenClassification {
    transformer: T5Encoder,
    dropout: Dropout,
    classifier: Linear,
    #[module(skip)]
    sites: Sites,
}

impl T5ForTokenClassification {
    /// A model with `labels` outputs on `device`, its weights not yet loaded.
    ///
    /// # Errors
    /// What [`validate`](T5Config::validate) refuses.
    pub fn new(config: &T5Config, labels: usize, device: &Device) -> Result<Self> {
        config.validate()?;
        let scope = Scope::root(device, to_reference);
        Ok(Self {
            transformer: T5Encoder::new(config, &scope.pp("transformer"))?,
            dropout: Dropout::new(config.classifier_dropout),
            classifier: scope.head().linear("classifier", config.d_model, labels, true),
            sites: scope.sites(),
        })
    }

    /// Scores `[batch, text, labels]` for the text's positions, under `hooks`.
    pub fn forward(&self, batch: &Batch, hooks: &dyn Hooks) -> Tensor<3> {
        let hidden = self.transformer.forward(batch, hooks);
        self.classifier.scores(self.dropout.forward(hidden), hooks)
    }
}

impl Backbone for T5ForTokenClassification {
    fn sites(&self) -> &Sites {
        &self.sites
    }
}

impl Scorer for T5ForTokenClassification {
    fn scores(&self, batch: &Batch, hooks: &dyn Hooks) -> Tensor<3> {
        self.forward(batch, hooks)
    }

    fn cut(&self, touched: &[Site]) -> Option<Cut> {
        Cut::below(touched, &self.sites, LAYERS)
    }

    fn begin(&self, batch: &Batch, cut: Cut, hooks: &dyn Hooks) -> Begun {
        self.transformer.begin(batch, cut, hooks)
    }
}

/// One vector of scores for a text, from the mean of the encoder's states over its tokens: single- or multi-label
/// classification, or regression.
///
/// The reference has no such model: its [`T5ForSequenceClassification`](super::T5ForSequenceClassification) runs the decoder
/// as well. Names are those of [`T5ForTokenClassification`], so the checkpoint of any T5, encoder or whole, is one for this.
///
/// A prompt in front of the text is read with it and is not in the mean. The reference, whose encoders pool position 0,
/// pools the first virtual token there.
#[derive(Module, Debug)]
pub struct T5EncoderForSequenceClassification {
    transformer: T5Encoder,
    dropout: Dropout,
    classifier: Linear,
    #[module(skip)]
    sites: Sites,
}

impl T5EncoderForSequenceClassification {
    /// A model with `labels` outputs on `device`, its weights not yet loaded.
    ///
    /// # Errors
    /// What [`validate`](T5Config::validate) refuses.
    pub fn new(config: &T5Config, labels: usize, device: &Device) -> Result<Self> {
        config.validate()?;
        let scope = Scope::root(device, to_reference);
        Ok(Self {
            transformer: T5Encoder::new(config, &scope.pp("transformer"))?,
            dropout: Dropout::new(config.classifier_dropout),
            classifier: scope.head().linear("classifier", config.d_model, labels, true),
            sites: scope.sites(),
        })
    }

    /// Scores `[batch, labels]` under `hooks`. Padding and virtual tokens are not in the mean.
    pub fn forward(&self, batch: &Batch, hooks: &dyn Hooks) -> Tensor<2> {
        let hidden = self.transformer.forward(batch, hooks);
        let (dtype, hidden) = (hidden.dtype(), widen(hidden));
        let mask = on_device(batch.attention_mask.clone(), &hidden.device())
            .float()
            .cast(hidden.dtype())
            .unsqueeze_dim::<3>(2);
        // A row of padding alone has a mean of zero.
        let count = mask.clone().sum_dim(1).clamp_min(1.0);
        let mean = narrow((hidden * mask).sum_dim(1) / count, dtype);
        self.classifier.scores(self.dropout.forward(mean), hooks).squeeze_dim(1)
    }
}

impl Backbone for T5EncoderForSequenceClassification {
    fn sites(&self) -> &Sites {
        &self.sites
    }
}

/// The text is scored as a whole: one position.
impl Scorer for T5EncoderForSequenceClassification {
    fn scores(&self, batch: &Batch, hooks: &dyn Hooks) -> Tensor<3> {
        self.forward(batch, hooks).unsqueeze_dim(1)
    }

    fn cut(&self, touched: &[Site]) -> Option<Cut> {
        Cut::below(touched, &self.sites, LAYERS)
    }

    fn begin(&self, batch: &Batch, cut: Cut, hooks: &dyn Hooks) -> Begun {
        self.transformer.begin(batch, cut, hooks)
    }
}
