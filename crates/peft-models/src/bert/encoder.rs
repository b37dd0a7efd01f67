//! BERT's stack of layers.

use std::slice::SliceIndex;

use burn::module::Module;
use burn::prelude::*;
use peft_core::nn::Linear;
use peft_core::{Block, Hooks, Scope, Site, on_device};

use super::attention::{BertAttention, BertOutputBlock};
use super::config::BertConfig;
use crate::activation::Activation;
use crate::mask::AttentionMask;

/// L layers.
#[derive(Module, Debug)]
pub(super) struct BertEncoder {
    layer: Vec<BertLayer>,
}

/// Attention and a feed-forward part.
#[derive(Module, Debug)]
pub(super) struct BertLayer {
    attention: BertAttention,
    intermediate: BertIntermediate,
    output: BertOutputBlock,
}

#[derive(Module, Debug)]
struct BertIntermediate {
    dense: Linear,
    #[module(skip)]
    activation: Activation,
}

impl BertEncoder {
    pub(super) fn new(config: &BertConfig, scope: &Scope) -> Self {
        let layers = scope.pp("layer");
        Self { layer: (0..config.num_hidden_layers).map(|i| BertLayer::new(config, i, &layers.pp(i))).collect() }
    }

    /// How many layers it has.
    pub(super) fn depth(&self) -> usize {
        self.layer.len()
    }

    /// Where the first layer takes a prefix: its length shifts the positions of the whole model.
    pub(super) fn first_prefix_site(&self) -> Option<&Site> {
        self.layer.first().map(|layer| layer.attention.prefix_site())
    }

    /// Runs the layers at `range`: `[batch, seq, hidden]`, same shape out, or `[batch, 1, hidden]` where the last is run for
    /// the position at `only` alone. Each is run on the device where it is.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        range: impl SliceIndex<[BertLayer], Output = [BertLayer]>,
        only: Option<usize>,
        mask: &mut AttentionMask,
        hooks: &dyn Hooks,
    ) -> Tensor<3> {
        let layers = &self.layer[range];
        layers.iter().enumerate().fold(x, |x, (i, layer)| {
            let only = only.filter(|_| i + 1 == layers.len());
            let device = layer.intermediate.dense.weight.device();
            mask.go_to(&device);
            layer.forward(on_device(x, &device), only, mask, hooks)
        })
    }
}

impl BertLayer {
    fn new(config: &BertConfig, layer: usize, scope: &Scope) -> Self {
        let (h, i) = (config.hidden_size, config.intermediate_size);
        Self {
            attention: BertAttention::new(config, layer, &scope.pp("attention")),
            intermediate: BertIntermediate {
                dense: scope.pp("intermediate").linear("dense", h, i, true),
                activation: config.hidden_act,
            },
            output: BertOutputBlock::new(i, Block::FeedForward, layer, config, &scope.pp("output")),
        }
    }

    fn forward(&self, x: Tensor<3>, only: Option<usize>, mask: &mut AttentionMask, hooks: &dyn Hooks) -> Tensor<3> {
        let x = self.attention.forward(x, only, mask, hooks);
        let h = self.intermediate.activation.forward(self.intermediate.dense.forward(x.clone(), hooks));
        self.output.forward(h, x, hooks)
    }
}
