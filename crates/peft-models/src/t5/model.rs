//! T5 with its head: scores over the vocabulary at each position of the text to make.

use std::ops::ControlFlow;

use burn::module::Module;
use burn::prelude::*;
use peft_core::nn::{Embedding, Linear};
use peft_core::precision::widen;
use peft_core::{Attends, Backbone, BatchRows, Hooks, Scope, Site, SiteKind, Sites, on_device};

use super::config::T5Config;
use super::kept::indices;
use super::names::to_reference;
use super::stack::{Memory, T5Stack};
use crate::batch::Batch;
use crate::begun::{Begun, Cut};
use crate::error::Result;
use crate::generate::{Emitted, Generated, GenerationConfig, stream};
use crate::mask::AttentionMask;
use crate::task::Scorer;

/// An encoder, a decoder and the table of words they share.
#[derive(Module, Debug)]
pub struct T5ForConditionalGeneration {
    pub(super) shared: Embedding,
    encoder: T5Stack,
    pub(super) decoder: T5Stack,
    /// A matrix of its own, in models that do not make scores with the words' embeddings.
    lm_head: Option<Linear>,
    #[module(skip)]
    output: Output,
    #[module(skip)]
    sites: Sites,
}

/// How texts begin and scores are made.
#[derive(Clone, Debug)]
struct Output {
    /// Where scores are made: a linear map, whose matrix may be the words' transposed.
    site: Site,
    scale: Option<f64>,
    start: i64,
    pad: i64,
}

/// What the encoder made of a batch: a decoder may read it many times.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// `[batch, seq, d_model]`; `seq` counts virtual tokens.
    pub hidden: Tensor<3>,
    /// One where a token is, virtual ones included, `[batch, seq]`.
    pub mask: Tensor<2, Int>,
    /// The texts as rows.
    pub rows: BatchRows,
}

impl T5ForConditionalGeneration {
    /// A model on `device`, its weights not yet loaded.
    ///
    /// # Errors
    /// What [`validate`](T5Config::validate) refuses.
    pub fn new(config: &T5Config, device: &Device) -> Result<Self> {
        config.validate()?;
        let (h, part, scope) = (config.d_model, config.feed_forward()?, Scope::root(device, to_reference));
        let shared = scope.vocabulary("shared", config.vocab_size, h);
        let encoder = T5Stack::new(config, part, Attends::Encoder, &scope.pp("encoder"));
        let decoder = T5Stack::new(config, part, Attends::Decoder, &scope.pp("decoder"));
        let head = scope.head().pp("lm_head");
        let kind = SiteKind::Linear { d_in: h, d_out: config.vocab_size, bias: false };
        let site = match config.tie_word_embeddings {
            true => head.tied(kind, shared.site()),
            false => head.site(kind),
        };
        let lm_head =
            (!config.tie_word_embeddings).then(|| Linear::new(site.clone(), h, config.vocab_size, false, device));
        let output = Output { site, scale: config.output_scale(), start: config.decoder_start(), pad: config.pad() };
        Ok(Self { shared, encoder, decoder, lm_head, output, sites: scope.sites() })
    }

    /// Scores `[batch, target, vocabulary]` of the labels' positions, each made from the labels before it, under
    /// `hooks`.
    ///
    /// # Panics
    /// If the batch has no [`target`](Batch::target).
    pub fn forward(&self, batch: &Batch, hooks: &dyn Hooks) -> Tensor<3> {
        let target = batch.target.as_ref().expect("a batch with texts to make");
        let encoded = self.read(batch, hooks);
        let ids = target.decoder_ids(self.output.start, self.output.pad);
        match &target.of {
            None => self.decode(ids, &encoded, hooks),
            // A text is read once, however many are made of it.
            Some(of) => match hooks.for_rows(of) {
                None => self.decode(ids, &encoded.select(of), hooks),
                Some(hooks) => self.decode(ids, &encoded.select(of), &*hooks),
            },
        }
    }

    /// Runs the encoder on token ids and their mask, `[batch, seq]` each, under `hooks`.
    pub fn encode(&self, ids: Tensor<2, Int>, mask: Tensor<2, Int>, rows: BatchRows, hooks: &dyn Hooks) -> Encoded {
        let made = self.encoder.forward(self.embed(ids, hooks), mask, &rows, None, hooks);
        let mask = on_device(made.mask, &made.hidden.device());
        Encoded { hidden: made.hidden, mask, rows }
    }

    /// Runs the encoder on a batch, or on from where it was begun.
    fn read(&self, batch: &Batch, hooks: &dyn Hooks) -> Encoded {
        let made = self.encoder.read(batch, || self.embed(batch.input_ids.clone(), hooks), hooks);
        let mask = on_device(made.mask, &made.hidden.device());
        Encoded { hidden: made.hidden, mask, rows: batch.rows() }
    }

    /// Token ids, `[batch, seq]`, as vectors, `[batch, seq, d_model]`.
    pub(super) fn embed(&self, ids: Tensor<2, Int>, hooks: &dyn Hooks) -> Tensor<3> {
        self.shared.forward(on_device(ids, &self.shared.weight.device()), hooks)
    }

    /// Runs the decoder on token ids, `[batch, target]`, under `hooks`: scores `[batch, target, vocabulary]` of the token
    /// that follows each.
    pub fn decode(&self, ids: Tensor<2, Int>, encoded: &Encoded, hooks: &dyn Hooks) -> Tensor<3> {
        let [count, target] = ids.dims();
        let memory = encoded.memory();
        let embedded = self.embed(ids, hooks);
        let visible = Tensor::ones([count, target], &embedded.device());
        let made = self.decoder.forward(embedded, visible, &encoded.rows, Some(memory), hooks);
        self.scores_of(made.hidden.narrow(1, made.virtual_tokens, target), hooks)
    }

    /// Scores `[batch, seq, vocabulary]` of what the decoder made, `[batch, seq, d_model]`.
    pub(super) fn scores_of(&self, hidden: Tensor<3>, hooks: &dyn Hooks) -> Tensor<3> {
        let matrix = self.lm_head.as_ref().map_or(&self.shared.weight, |head| &head.weight);
        let hidden = on_device(hidden, &matrix.device());
        let hidden = widen(hidden);
        let hidden = match self.output.scale {
            Some(scale) => hidden * scale,
            None => hidden,
        };
        match &self.lm_head {
            Some(head) => head.scores(hidden, hooks),
            None => self.shared.scores(hidden, &self.output.site, hooks),
        }
    }
}

impl Encoded {
    /// The rows at `rows`, in that order; one may be named several times.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn select(&self, rows: &[usize]) -> Self {
        let at = indices(rows.iter().copied(), &self.hidden.device());
        Self {
            hidden: self.hidden.clone().select(0, at.clone()),
            mask: self.mask.clone().select(0, at),
            rows: self.rows.select(rows),
        }
    }

    /// As a decoder reads it.
    pub(super) fn memory(&self) -> Memory {
        Memory { hidden: self.hidden.clone(), mask: AttentionMask::new(self.mask.clone(), self.rows.clone()) }
    }
}

impl Backbone for T5ForConditionalGeneration {
    fn sites(&self) -> &Sites {
        &self.sites
    }
}

impl Scorer for T5ForConditionalGeneration {
    fn scores(&self, batch: &Batch, hooks: &dyn Hooks) -> Tensor<3> {
        self.forward(batch, hooks)
    }

    /// In the encoder: what the decoder reads besides, the text that is made, is short.
    fn cut(&self, touched: &[Site]) -> Option<Cut> {
        Cut::below(touched, &self.sites, "encoder.block")
    }

    fn begin(&self, batch: &Batch, cut: Cut, hooks: &dyn Hooks) -> Begun {
        self.encoder.begin_reading(cut, batch, || self.embed(batch.input_ids.clone(), hooks), hooks)
    }

    fn stream(
        &self,
        batch: &Batch,
        config: &GenerationConfig,
        hooks: &dyn Hooks,
        told: &mut dyn FnMut(Emitted) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>> {
        let encoded = self.read(batch, hooks);
        stream(self, encoded, hooks, config, told)
    }
}
