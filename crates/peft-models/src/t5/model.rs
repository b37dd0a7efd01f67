//! T5 with its head: scores over the vocabulary at each position of the text to make.

use burn::module::Module;
use burn::prelude::*;
use peft_core::nn::{Embedding, Linear};
use peft_core::precision::widen;
use peft_core::{Attends, Backbone, BatchRows, Hooks, LinearOp, Scope, Site, SiteKind, Sites};

use super::config::T5Config;
use super::names::to_reference;
use super::stack::{Memory, T5Stack};
use crate::batch::Seq2SeqBatch;
use crate::error::Result;
use crate::mask::AttentionMask;
use crate::task::Scorer;

/// An encoder, a decoder and the table of words they share.
#[derive(Module, Debug)]
pub struct T5ForConditionalGeneration {
    shared: Embedding,
    encoder: T5Stack,
    decoder: T5Stack,
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
    pub fn forward(&self, batch: &Seq2SeqBatch, hooks: &dyn Hooks) -> Tensor<3> {
        let encoded = self.encode(batch.input_ids.clone(), batch.attention_mask.clone(), batch.rows(), hooks);
        self.decode(batch.decoder_ids(self.output.start, self.output.pad), &encoded, hooks)
    }

    /// Runs the encoder on token ids and their mask, `[batch, seq]` each, under `hooks`.
    pub fn encode(&self, ids: Tensor<2, Int>, mask: Tensor<2, Int>, rows: BatchRows, hooks: &dyn Hooks) -> Encoded {
        let made = self.encoder.forward(self.shared.forward(ids, hooks), mask, &rows, None, hooks);
        Encoded { hidden: made.hidden, mask: made.mask, rows }
    }

    /// Runs the decoder on token ids, `[batch, target]`, under `hooks`: scores `[batch, target, vocabulary]` of the token
    /// that follows each.
    pub fn decode(&self, ids: Tensor<2, Int>, encoded: &Encoded, hooks: &dyn Hooks) -> Tensor<3> {
        let [_, target] = ids.dims();
        let memory =
            Memory { hidden: &encoded.hidden, mask: AttentionMask::new(encoded.mask.clone(), encoded.rows.clone()) };
        let visible = Tensor::ones(ids.dims(), &ids.device());
        let embedded = self.shared.forward(ids, hooks);
        let made = self.decoder.forward(embedded, visible, &encoded.rows, Some(memory), hooks);
        self.scores_of(made.hidden.narrow(1, made.virtual_tokens, target), hooks)
    }

    fn scores_of(&self, hidden: Tensor<3>, hooks: &dyn Hooks) -> Tensor<3> {
        let hidden = widen(hidden);
        let hidden = match self.output.scale {
            Some(scale) => hidden * scale,
            None => hidden,
        };
        match &self.lm_head {
            Some(head) => head.scores(hidden, hooks),
            None => hooks.linear(LinearOp::new(&self.output.site, self.shared.weight.val().transpose(), None), hidden),
        }
    }
}

impl Backbone for T5ForConditionalGeneration {
    fn sites(&self) -> &Sites {
        &self.sites
    }
}

impl Scorer<Seq2SeqBatch> for T5ForConditionalGeneration {
    fn scores(&self, batch: &Seq2SeqBatch, hooks: &dyn Hooks) -> Tensor<3> {
        self.forward(batch, hooks)
    }
}
