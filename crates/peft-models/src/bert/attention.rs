//! Multi-head self-attention (Vaswani et al. 2017, arXiv:1706.03762) with room for a prefix.

use burn::module::Module;
use burn::prelude::*;
use peft_core::nn::{LayerNorm, Linear};
use peft_core::precision::narrow;
use peft_core::{Attends, Block, Dropout, Hooks, KeyValue, Scope, Site, SiteKind, Sublayer};

use super::config::BertConfig;
use crate::mask::{AttentionMask, Look};

/// Self-attention and its output block.
#[derive(Module, Debug)]
pub(super) struct BertAttention {
    self_attention: BertSelfAttention,
    output: BertOutputBlock,
}

#[derive(Module, Debug)]
struct BertSelfAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    dropout: Dropout,
    n_heads: usize,
    #[module(skip)]
    site: Site,
}

impl BertAttention {
    pub(super) fn new(config: &BertConfig, layer: usize, scope: &Scope) -> Self {
        let at = scope.pp("self_attention");
        let (h, n_heads) = (config.hidden_size, config.num_attention_heads);
        let self_attention = BertSelfAttention {
            query: at.linear("query", h, h, true),
            key: at.linear("key", h, h, true),
            value: at.linear("value", h, h, true),
            dropout: Dropout::new(config.attention_probs_dropout_prob),
            n_heads,
            site: at.site(SiteKind::Attention { attends: Attends::Encoder, n_heads, d_head: config.head_size() }),
        };
        let output = BertOutputBlock::new(h, Block::Attention, layer, config, &scope.pp("output"));
        Self { self_attention, output }
    }

    /// Where a prefix enters.
    pub(super) fn prefix_site(&self) -> &Site {
        &self.self_attention.site
    }

    /// `[batch, seq, hidden]`, same shape out, or `[batch, 1, hidden]` where the position at `only` alone reads the others.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        only: Option<usize>,
        mask: &mut AttentionMask,
        hooks: &dyn Hooks,
    ) -> Tensor<3> {
        let own = match only {
            Some(at) => x.clone().narrow(1, at, 1),
            None => x.clone(),
        };
        let h = self.self_attention.forward(&own, &x, mask, hooks);
        self.output.forward(h, own, hooks)
    }
}

impl BertSelfAttention {
    /// What the positions of `own` take from those of `x`.
    fn forward(&self, own: &Tensor<3>, x: &Tensor<3>, mask: &mut AttentionMask, hooks: &dyn Hooks) -> Tensor<3> {
        let [batch, seq, hidden] = own.dims();
        let d_head = hidden / self.n_heads;
        let heads = |layer: &Linear, x: &Tensor<3>| {
            let seq = x.dims()[1];
            layer.forward(x.clone(), hooks).reshape([batch, seq, self.n_heads, d_head]).swap_dims(1, 2)
        };
        let (q, mut k, mut v) = (heads(&self.query, own), heads(&self.key, x), heads(&self.value, x));
        let spans = hooks.prefix_spans(&self.site, mask.rows());
        if let Some(prefix) = hooks.prefix(&self.site, mask.rows()) {
            let prefix = prefix.on_device(&k.device());
            k = Tensor::cat(vec![narrow(prefix.key, k.dtype()), k], 2);
            v = Tensor::cat(vec![narrow(prefix.value, v.dtype()), v], 2);
        }
        let scale = 1.0 / (d_head as f64).sqrt();
        let look = Look { scale, bias: None, prefix: &spans, dropout: &self.dropout };
        let context = mask.attend(q, KeyValue { key: k, value: v }, look);
        context.swap_dims(1, 2).reshape([batch, seq, hidden])
    }
}

/// The end of a sublayer: a linear map, dropout, and the normalised sum with the residual.
#[derive(Module, Debug)]
pub(super) struct BertOutputBlock {
    dense: Linear,
    layer_norm: LayerNorm,
    dropout: Dropout,
    #[module(skip)]
    site: Site,
}

impl BertOutputBlock {
    pub(super) fn new(d_in: usize, after: Block, layer: usize, config: &BertConfig, scope: &Scope) -> Self {
        Self {
            dense: scope.linear("dense", d_in, config.hidden_size, true),
            layer_norm: scope.layer_norm("layer_norm", config.hidden_size, config.layer_norm_eps),
            dropout: Dropout::new(config.hidden_dropout_prob),
            site: scope.site(SiteKind::Sublayer { d_model: config.hidden_size, after, layer }),
        }
    }

    /// `h`: `[batch, seq, d_in]`; `residual` and the result: `[batch, seq, hidden]`.
    pub(super) fn forward(&self, h: Tensor<3>, residual: Tensor<3>, hooks: &dyn Hooks) -> Tensor<3> {
        let output = self.dropout.forward(self.dense.forward(h, hooks));
        Sublayer::new(&self.site, &output, &residual, Some(&self.layer_norm), hooks).finish()
    }
}
