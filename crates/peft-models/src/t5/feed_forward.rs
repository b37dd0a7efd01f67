//! The feed-forward part: two linear maps and a nonlinearity between them, or a gate.

use burn::module::Module;
use burn::prelude::*;
use peft_core::nn::{Linear, RmsNorm};
use peft_core::precision::widen;
use peft_core::{Block, Dropout, Hooks, Scope, Site, SiteKind, Sublayer};

use super::config::T5Config;
use crate::activation::Activation;

/// The block: what it reads is normalised, and it is added to the hidden state.
#[derive(Module, Debug)]
pub(super) struct FeedForwardBlock {
    inner: Inner,
    layer_norm: RmsNorm,
    dropout: Dropout,
    #[module(skip)]
    site: Site,
}

/// `wo(act(wi(x)))`, or with a gate `wo(act(wi_0(x)) ⊙ wi_1(x))`.
#[derive(Module, Debug)]
struct Inner {
    wi: Option<Linear>,
    wi_0: Option<Linear>,
    wi_1: Option<Linear>,
    wo: Linear,
    dropout: Dropout,
    #[module(skip)]
    activation: Activation,
}

impl FeedForwardBlock {
    pub(super) fn new(config: &T5Config, (activation, gated): (Activation, bool), layer: usize, scope: &Scope) -> Self {
        let (h, d_ff, at) = (config.d_model, config.d_ff, scope.pp("inner"));
        let linear = |name: &str, present: bool| present.then(|| at.linear(name, h, d_ff, false));
        let inner = Inner {
            wi: linear("wi", !gated),
            wi_0: linear("wi_0", gated),
            wi_1: linear("wi_1", gated),
            // Of a trained model, what goes in overflows f16 (transformers' `_keep_in_fp32_modules`).
            wo: at.wide().linear("wo", d_ff, h, false),
            dropout: Dropout::new(config.dropout_rate),
            activation,
        };
        Self {
            inner,
            layer_norm: scope.rms_norm("layer_norm", h, config.layer_norm_epsilon),
            dropout: Dropout::new(config.dropout_rate),
            site: scope.site(SiteKind::Sublayer { d_model: h, after: Block::FeedForward, layer }),
        }
    }

    /// `[batch, seq, d_model]`, same shape out.
    pub(super) fn forward(&self, x: Tensor<3>, hooks: &dyn Hooks) -> Tensor<3> {
        let normalised = self.layer_norm.forward(x.clone(), hooks);
        let output = self.dropout.forward(self.inner.forward(normalised, hooks));
        Sublayer::new(&self.site, &output, &x, None, hooks).finish()
    }
}

impl Inner {
    fn forward(&self, x: Tensor<3>, hooks: &dyn Hooks) -> Tensor<3> {
        // In f32 from here on, and so are the hidden states that this is added to.
        let run = |layer: &Option<Linear>| layer.as_ref().map(|layer| widen(layer.forward(x.clone(), hooks)));
        let active = run(&self.wi).or_else(|| run(&self.wi_0)).expect("one of the two is there");
        let hidden = match run(&self.wi_1) {
            Some(gate) => self.activation.gated(active, gate),
            None => self.activation.forward(active),
        };
        self.wo.forward(self.dropout.forward(hidden), hooks)
    }
}
