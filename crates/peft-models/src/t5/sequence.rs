//! T5 that scores a text as a whole: its decoder reads the text again, and the state at its end is classified.

use burn::module::Module;
use burn::prelude::*;
use peft_core::nn::{Embedding, Linear};
use peft_core::{Attends, Backbone, Dropout, Hooks, Scope, Site, Sites, on_device};

use super::config::T5Config;
use super::heads::LAYERS;
use super::names::to_reference;
use super::stack::{Memory, T5Stack};
use crate::batch::Batch;
use crate::begun::{Begun, Cut};
use crate::error::Result;
use crate::mask::AttentionMask;
use crate::task::Scorer;

/// One vector of scores for a text: single- or multi-label classification, or regression.
#[derive(Module, Debug)]
pub struct T5ForSequenceClassification {
    transformer: T5Model,
    classification_head: ClassificationHead,
    #[module(skip)]
    sites: Sites,
}

/// The words, the encoder and the decoder, which reads the same text one position later.
#[derive(Module, Debug)]
struct T5Model {
    shared: Embedding,
    encoder: T5Stack,
    decoder: T5Stack,
    start: i64,
}

/// Two linear maps with a hyperbolic tangent between them.
#[derive(Module, Debug)]
struct ClassificationHead {
    dense: Linear,
    out_proj: Linear,
    dropout: Dropout,
    eos: i64,
}

impl T5ForSequenceClassification {
    /// A model with `labels` outputs on `device`, its weights not yet loaded.
    ///
    /// # Errors
    /// What [`validate`](T5Config::validate) refuses.
    pub fn new(config: &T5Config, labels: usize, device: &Device) -> Result<Self> {
        config.validate()?;
        let (h, part, root) = (config.d_model, config.feed_forward()?, Scope::root(device, to_reference));
        let scope = root.pp("transformer");
        let transformer = T5Model {
            shared: scope.vocabulary("shared", config.vocab_size, h),
            encoder: T5Stack::new(config, part, Attends::Encoder, &scope.pp("encoder")),
            decoder: T5Stack::new(config, part, Attends::Decoder, &scope.pp("decoder")),
            start: config.decoder_start(),
        };
        let head = root.head().pp("classification_head");
        let classification_head = ClassificationHead {
            dense: head.linear("dense", h, h, true),
            out_proj: head.linear("out_proj", h, labels, true),
            dropout: Dropout::new(config.classifier_dropout),
            eos: config.eos(),
        };
        Ok(Self { transformer, classification_head, sites: root.sites() })
    }

    /// Scores `[batch, labels]` under `hooks`, from the decoder's state at the last token that ends a text; in a row
    /// without one, which the reference refuses, at its last token.
    pub fn forward(&self, batch: &Batch, hooks: &dyn Hooks) -> Tensor<2> {
        let hidden = self.transformer.forward(batch, hooks);
        self.classification_head.forward(hidden, batch, hooks).squeeze_dim(1)
    }
}

impl T5Model {
    /// The decoder's states, `[batch, text, d_model]`.
    fn forward(&self, batch: &Batch, hooks: &dyn Hooks) -> Tensor<3> {
        let (ids, rows) = (batch.input_ids.clone(), batch.rows());
        let [count, text] = ids.dims();
        let read = self.encoder.read(batch, || self.shared.forward(ids.clone(), hooks), hooks);
        let start = Tensor::full([count, 1], self.start, &ids.device());
        let shifted = match text {
            0 | 1 => start.narrow(1, 0, text),
            _ => Tensor::cat(vec![start, ids.narrow(1, 0, text - 1)], 1),
        };
        let visible = Tensor::ones([count, text], &shifted.device());
        let memory = Memory { hidden: read.hidden, mask: AttentionMask::new(read.mask, rows.clone()) };
        let made = self.decoder.forward(self.shared.forward(shifted, hooks), visible, &rows, Some(memory), hooks);
        made.hidden.narrow(1, made.virtual_tokens, text)
    }

    /// The encoder's states of a batch at `cut`.
    fn begin(&self, batch: &Batch, cut: Cut, hooks: &dyn Hooks) -> Begun {
        self.encoder.begin_reading(cut, batch, || self.shared.forward(batch.input_ids.clone(), hooks), hooks)
    }
}

impl ClassificationHead {
    /// `hidden`: `[batch, text, d_model]`; scores `[batch, 1, labels]`.
    fn forward(&self, hidden: Tensor<3>, batch: &Batch, hooks: &dyn Hooks) -> Tensor<3> {
        let width = hidden.dims()[2];
        let at = last(batch.input_ids.clone(), batch.attention_mask.clone(), self.eos);
        let at = on_device(at, &hidden.device());
        let end = hidden.gather(1, at.unsqueeze_dim::<3>(2).repeat_dim(2, width));
        let h = self.dense.forward(self.dropout.forward(end), hooks).tanh();
        self.out_proj.scores(self.dropout.forward(h), hooks)
    }
}

/// The position of the last `eos` of each row, of its last token where there is none, `[batch, 1]`.
fn last(ids: Tensor<2, Int>, mask: Tensor<2, Int>, eos: i64) -> Tensor<2, Int> {
    let [_, text] = ids.dims();
    let place = Tensor::<1, Int>::arange(1..text as i64 + 1, &ids.device()).unsqueeze::<2>();
    let ends = ids.equal_scalar(eos).int();
    // Among the tokens the last is the largest, and an end is larger than any that is none.
    (place * mask.max_pair(ends.clone()) + ends * text as i64).argmax(1)
}

impl Backbone for T5ForSequenceClassification {
    fn sites(&self) -> &Sites {
        &self.sites
    }
}

/// The text is scored as a whole: one position.
impl Scorer for T5ForSequenceClassification {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_at_its_last_end_or_its_last_token() {
        let device = Device::flex();
        // Two ends; padding; an end among padding, as the reference sees it; padding in front and no end.
        let ids = [[5i64, 1, 7, 1], [5, 6, 1, 0], [5, 1, 1, 1], [0, 5, 6, 0]];
        let mask = [[1i64, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [0, 1, 1, 0]];
        let at = last(Tensor::from_data(ids, &device), Tensor::from_data(mask, &device), 1);
        assert_eq!(at.into_data().iter::<i64>().collect::<Vec<_>>(), [3, 2, 3, 2]);
    }
}
