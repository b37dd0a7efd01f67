//! A stack of layers: the encoder, or the decoder.

use std::ops::Range;

use burn::module::Module;
use burn::prelude::*;
use peft_core::nn::RmsNorm;
use peft_core::precision::narrow;
use peft_core::{Attends, BatchRows, Dropout, Hooks, Scope, Site, SiteKind, on_device};

use super::attention::{AttentionBlock, Reads};
use super::bias::{Buckets, Positions, RelativeBias};
use super::config::T5Config;
use super::feed_forward::FeedForwardBlock;
use super::kept::Kept;
use crate::activation::Activation;
use crate::batch::Batch;
use crate::begun::{Begun, Cut, Front};
use crate::mask::AttentionMask;

/// Layers and the normalisation behind the last of them.
#[derive(Module, Debug)]
pub(super) struct T5Stack {
    block: Vec<T5Block>,
    final_layer_norm: RmsNorm,
    dropout: Dropout,
    #[module(skip)]
    buckets: Buckets,
    #[module(skip)]
    input: Site,
}

/// One layer.
#[derive(Module, Debug)]
struct T5Block {
    attention: AttentionBlock,
    cross_attention: Option<AttentionBlock>,
    feed_forward: FeedForwardBlock,
}

/// What a stack makes of a text.
pub(super) struct Stacked {
    /// `[batch, seq, d_model]`; `seq` counts virtual tokens.
    pub(super) hidden: Tensor<3>,
    /// One where a token is, virtual ones included, `[batch, seq]`.
    pub(super) mask: Tensor<2, Int>,
    /// Virtual tokens in front of the text, used or not.
    pub(super) virtual_tokens: usize,
}

/// Some of a stack's layers, and what they are to read.
struct Part {
    hidden: Tensor<3>,
    front: Front,
    layers: Range<usize>,
}

/// An encoder's output as a decoder reads it.
pub(super) struct Memory {
    pub(super) hidden: Tensor<3>,
    pub(super) mask: AttentionMask,
}

impl Memory {
    fn go_to(&mut self, device: &Device) {
        self.hidden = on_device(self.hidden.clone(), device);
        self.mask.go_to(device);
    }
}

impl T5Stack {
    /// A stack at `scope`, a decoder if `attends` says so.
    pub(super) fn new(config: &T5Config, part: (Activation, bool), attends: Attends, scope: &Scope) -> Self {
        let decoder = attends == Attends::Decoder;
        let buckets = Buckets::new(config, !decoder);
        let (first, layers) = match decoder {
            true => (config.num_layers, config.decoder_layers()),
            false => (0, config.num_layers),
        };
        let input = scope.site(SiteKind::Input { d_model: config.d_model });
        let blocks = scope.pp("block");
        let block = |i: usize| {
            let (layer, at) = (first + i, blocks.pp(i));
            let classes = (i == 0).then(|| buckets.count());
            T5Block {
                attention: AttentionBlock::new(config, attends, classes, layer, &at.pp("attention")),
                cross_attention: decoder
                    .then(|| AttentionBlock::new(config, Attends::Cross, None, layer, &at.pp("cross_attention"))),
                feed_forward: FeedForwardBlock::new(config, part, layer, &at.pp("feed_forward")),
            }
        };
        Self {
            block: (0..layers).map(block).collect(),
            final_layer_norm: scope.rms_norm("final_layer_norm", config.d_model, config.layer_norm_epsilon),
            dropout: Dropout::new(config.dropout_rate),
            buckets,
            input,
        }
    }

    /// Runs the layers on the embeddings of a text, `[batch, text, d_model]`. `mask` is one where a token is,
    /// `[batch, text]`.
    pub(super) fn forward(
        &self,
        embedded: Tensor<3>,
        mask: Tensor<2, Int>,
        rows: &BatchRows,
        memory: Option<Memory>,
        hooks: &dyn Hooks,
    ) -> Stacked {
        self.finished(self.run(self.whole(embedded, rows, hooks), mask, rows, memory, None, hooks).0, hooks)
    }

    /// [`forward`](Self::forward) of an encoder on a batch, which `embed` embeds, or on from where the batch was begun.
    pub(super) fn read(&self, batch: &Batch, embed: impl FnOnce() -> Tensor<3>, hooks: &dyn Hooks) -> Stacked {
        let part = self.rest(batch, embed, hooks);
        self.finished(self.run(part, batch.attention_mask.clone(), &batch.rows(), None, None, hooks).0, hooks)
    }

    /// The states of a batch at `cut`.
    pub(super) fn begin_reading(
        &self,
        cut: Cut,
        batch: &Batch,
        embed: impl FnOnce() -> Tensor<3>,
        hooks: &dyn Hooks,
    ) -> Begun {
        let rest = self.rest(batch, embed, hooks);
        let (front, layers) = (rest.front.clone(), rest.layers.start..cut.layers());
        let part = Part { layers, ..rest };
        let made = self.run(part, batch.attention_mask.clone(), &batch.rows(), None, None, hooks).0;
        Begun::up_to(cut, made.hidden, front)
    }

    /// The layers that a batch has not been through.
    fn rest(&self, batch: &Batch, embed: impl FnOnce() -> Tensor<3>, hooks: &dyn Hooks) -> Part {
        match &batch.begun {
            None => self.whole(embed(), &batch.rows(), hooks),
            Some(Begun { cut, hidden, front }) => {
                Part { hidden: hidden.clone(), front: front.clone(), layers: cut.layers()..self.block.len() }
            }
        }
    }

    /// All layers, on an embedded text and what a prompt puts in front of it.
    fn whole(&self, embedded: Tensor<3>, rows: &BatchRows, hooks: &dyn Hooks) -> Part {
        let (mut hidden, mut front) = (embedded, Front::none(rows.len()));
        if let Some(prompt) = hooks.prompt(&self.input, rows) {
            hidden = Tensor::cat(vec![narrow(prompt.embeddings, hidden.dtype()), hidden], 1);
            front.spans = prompt.spans;
        }
        Part { hidden: self.dropout.forward(hidden), front, layers: 0..self.block.len() }
    }

    /// Runs some layers on their own. Keys and values are put where `keep` says. Also the bias of the attentions.
    fn run(
        &self,
        part: Part,
        mask: Tensor<2, Int>,
        rows: &BatchRows,
        mut memory: Option<Memory>,
        mut keep: Option<&mut Vec<Kept>>,
        hooks: &dyn Hooks,
    ) -> (Stacked, Option<Positions>) {
        let Part { mut hidden, front, layers } = part;
        let [count, text] = mask.dims();
        let mask = front.mask(mask);
        let mut visible = match memory {
            Some(_) => AttentionMask::causal(mask.clone(), rows.clone()),
            None => AttentionMask::new(mask.clone(), rows.clone()),
        };
        let virtual_tokens = front.spans.width();
        let table = self.block.first().and_then(|block| block.attention.bias_table(hooks));
        let positions = table.map(|table| Positions { buckets: self.buckets, table, rows: count, prompt: front.spans });
        let mut bias = positions.clone().map(|positions| RelativeBias::new(positions, text));
        for block in &self.block[layers] {
            // Each layer is run where it is, with all that it reads.
            let device = block.attention.device();
            hidden = on_device(hidden, &device);
            visible.go_to(&device);
            bias.iter_mut().for_each(|bias| bias.go_to(&device));
            memory.iter_mut().for_each(|memory| memory.go_to(&device));
            let reads = Reads { memory: None, mask: &mut visible, bias: bias.as_mut(), keep: keep.as_deref_mut() };
            hidden = block.attention.forward(hidden, reads, hooks);
            if let (Some(attention), Some(memory)) = (&block.cross_attention, &mut memory) {
                let (keep, mask) = (keep.as_deref_mut(), &mut memory.mask);
                let reads = Reads { memory: Some(&memory.hidden), mask, bias: None, keep };
                hidden = attention.forward(hidden, reads, hooks);
            }
            hidden = block.feed_forward.forward(hidden, hooks);
        }
        (Stacked { hidden, mask, virtual_tokens }, positions)
    }

    /// The first token of each text, embedded, `[rows, 1, d_model]`: what [`forward`](Self::forward) makes of it, and
    /// what a decoder needs to go on.
    pub(super) fn begin(
        &self,
        embedded: Tensor<3>,
        rows: &BatchRows,
        memory: Memory,
        hooks: &dyn Hooks,
    ) -> (Tensor<3>, Cache) {
        let [count, text, _] = embedded.dims();
        let mask = Tensor::ones([count, text], &embedded.device());
        let mut kept = Vec::new();
        let (made, positions) =
            self.run(self.whole(embedded, rows, hooks), mask, rows, Some(memory), Some(&mut kept), hooks);
        let made = self.finished(made, hooks);
        let hidden = made.hidden.narrow(1, made.virtual_tokens, text);
        (hidden, Cache { kept, positions, text })
    }

    /// The next token of each continuation, embedded, `[rows, beams, d_model]`, same shape out.
    pub(super) fn step(&self, embedded: Tensor<3>, cache: &mut Cache, hooks: &dyn Hooks) -> Tensor<3> {
        cache.text += 1;
        let mut bias = cache.positions.clone().map(|positions| RelativeBias::new(positions, cache.text).of_last());
        let (mut hidden, mut kept) = (embedded, cache.kept.iter_mut());
        for block in &self.block {
            let device = block.attention.device();
            hidden = on_device(hidden, &device);
            bias.iter_mut().for_each(|bias| bias.go_to(&device));
            for (attention, bias) in [(Some(&block.attention), bias.as_mut()), (block.cross_attention.as_ref(), None)] {
                let Some(attention) = attention else { continue };
                hidden = attention.step(hidden, kept.next().expect("one for each attention"), bias, hooks);
            }
            hidden = block.feed_forward.forward(hidden, hooks);
        }
        self.finish(hidden, hooks)
    }

    /// What stands behind the last layer.
    fn finished(&self, made: Stacked, hooks: &dyn Hooks) -> Stacked {
        Stacked { hidden: self.dropout.forward(self.finish(made.hidden, hooks)), ..made }
    }

    fn finish(&self, hidden: Tensor<3>, hooks: &dyn Hooks) -> Tensor<3> {
        self.final_layer_norm.forward(on_device(hidden, &self.final_layer_norm.weight.device()), hooks)
    }
}

/// What a decoder keeps of the texts it is making.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    /// Of each attention, in the order they run.
    kept: Vec<Kept>,
    positions: Option<Positions>,
    /// Tokens of each text, the first included.
    text: usize,
}

impl Cache {
    /// Keeps the rows at `rows` alone, in that order.
    pub(super) fn select(&mut self, rows: &[usize]) {
        self.kept.iter_mut().for_each(|kept| kept.select(rows));
        self.positions = self.positions.take().map(|positions| positions.select(rows));
    }

    /// Continues `from`: for each row, as many of its continuations as there are to be, by their places.
    pub(super) fn reorder(&mut self, from: &[usize]) {
        self.kept.iter_mut().for_each(|kept| kept.reorder(from));
    }
}
