//! Multi-head attention (Vaswani et al. 2017, arXiv:1706.03762) without scale or biases, with relative positions and
//! room for a prefix.

use burn::module::Module;
use burn::prelude::*;
use peft_core::nn::{Embedding, Linear, RmsNorm};
use peft_core::precision::narrow;
use peft_core::{Attends, Block, Dropout, Hooks, KeyValue, Scope, Site, SiteKind, Sublayer};

use super::bias::RelativeBias;
use super::config::T5Config;
use super::kept::Kept;
use crate::mask::{AttentionMask, Look};

/// The block: what it reads is normalised, and it is added to the hidden state.
#[derive(Module, Debug)]
pub(super) struct AttentionBlock {
    inner: Attention,
    layer_norm: RmsNorm,
    dropout: Dropout,
    #[module(skip)]
    site: Site,
}

#[derive(Module, Debug)]
struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    /// Of the stack's first layer, for all of them.
    relative_attention_bias: Option<Embedding>,
    dropout: Dropout,
    n_heads: usize,
    d_head: usize,
    #[module(skip)]
    site: Site,
}

/// What an attention reads beside the hidden state.
pub(super) struct Reads<'a> {
    /// The encoder's output, `[batch, seq, d_model]`, in an attention to it.
    pub(super) memory: Option<&'a Tensor<3>>,
    /// What it may not look at.
    pub(super) mask: &'a mut AttentionMask,
    /// The relative positions, in an attention of a text with itself.
    pub(super) bias: Option<&'a mut RelativeBias>,
    /// Where its keys and values are put, if what it reads is the beginning of a text that is to be continued.
    pub(super) keep: Option<&'a mut Vec<Kept>>,
}

impl AttentionBlock {
    /// With `buckets`, the attention holds the bias of that many classes of distances.
    pub(super) fn new(
        config: &T5Config,
        attends: Attends,
        buckets: Option<usize>,
        layer: usize,
        scope: &Scope,
    ) -> Self {
        let (h, inner, n_heads, at) = (config.d_model, config.inner(), config.num_heads, scope.pp("inner"));
        let attention = Attention {
            q: at.linear("q", h, inner, false),
            k: at.linear("k", h, inner, false),
            v: at.linear("v", h, inner, false),
            o: at.linear("o", inner, h, false),
            relative_attention_bias: buckets.map(|count| at.embedding("relative_attention_bias", count, n_heads)),
            dropout: Dropout::new(config.dropout_rate),
            n_heads,
            d_head: config.d_kv,
            site: at.site(SiteKind::Attention { attends, n_heads, d_head: config.d_kv }),
        };
        let after = if attends == Attends::Cross { Block::CrossAttention } else { Block::Attention };
        Self {
            inner: attention,
            layer_norm: scope.rms_norm("layer_norm", h, config.layer_norm_epsilon),
            dropout: Dropout::new(config.dropout_rate),
            site: scope.site(SiteKind::Sublayer { d_model: h, after, layer }),
        }
    }

    /// Where it is run.
    pub(super) fn device(&self) -> Device {
        self.inner.q.weight.device()
    }

    /// The bias of each class of distances, `[1 or batch, classes, heads]`.
    pub(super) fn bias_table(&self, hooks: &dyn Hooks) -> Option<Tensor<3>> {
        let table = self.inner.relative_attention_bias.as_ref()?;
        let (count, device) = (table.weight.dims()[0] as i64, table.weight.device());
        Some(table.forward(Tensor::<1, Int>::arange(0..count, &device).unsqueeze(), hooks))
    }

    /// `[batch, seq, d_model]`, same shape out.
    pub(super) fn forward(&self, x: Tensor<3>, reads: Reads<'_>, hooks: &dyn Hooks) -> Tensor<3> {
        let normalised = self.layer_norm.forward(x.clone(), hooks);
        let output = self.dropout.forward(self.inner.forward(normalised, reads, hooks));
        Sublayer::new(&self.site, &output, &x, None, hooks).finish()
    }

    /// The next token of each continuation, `[rows, beams, d_model]`, same shape out. With a bias it reads the text it
    /// continues, else what was kept alone.
    pub(super) fn step(
        &self,
        x: Tensor<3>,
        kept: &mut Kept,
        bias: Option<&mut RelativeBias>,
        hooks: &dyn Hooks,
    ) -> Tensor<3> {
        let normalised = self.layer_norm.forward(x.clone(), hooks);
        let output = self.inner.step(normalised, kept, bias, hooks);
        Sublayer::new(&self.site, &output, &x, None, hooks).finish()
    }
}

impl Attention {
    fn forward(&self, x: Tensor<3>, reads: Reads<'_>, hooks: &dyn Hooks) -> Tensor<3> {
        let Reads { memory, mask, bias, keep } = reads;
        let source = memory.unwrap_or(&x);
        let q = self.heads(&self.q, &x, hooks);
        let (mut k, mut v) = (self.heads(&self.k, source, hooks), self.heads(&self.v, source, hooks));
        let spans = hooks.prefix_spans(&self.site, mask.rows());
        if let Some(prefix) = hooks.prefix(&self.site, mask.rows()) {
            let prefix = prefix.on_device(&k.device());
            k = Tensor::cat(vec![narrow(prefix.key, k.dtype()), k], 2);
            v = Tensor::cat(vec![narrow(prefix.value, v.dtype()), v], 2);
        }
        if let Some(keep) = keep {
            let hidden = (memory.is_some() || k.dims()[2] > 1).then(|| mask.of_last(&spans));
            keep.push(Kept::new(KeyValue { key: k.clone(), value: v.clone() }, hidden, spans.clone()));
        }
        let bias = bias.map(|bias| bias.of(&spans));
        let look = Look { scale: 1.0, bias, prefix: &spans, dropout: &self.dropout };
        self.out(mask.attend(q, KeyValue { key: k, value: v }, look), hooks)
    }

    fn step(&self, x: Tensor<3>, kept: &mut Kept, bias: Option<&mut RelativeBias>, hooks: &dyn Hooks) -> Tensor<3> {
        if bias.is_some() {
            kept.push(self.heads(&self.k, &x, hooks), self.heads(&self.v, &x, hooks));
        }
        self.out(kept.attend(self.heads(&self.q, &x, hooks), bias), hooks)
    }

    /// `[batch, seq, d_model]` to `[batch, heads, seq, d_head]`.
    fn heads(&self, layer: &Linear, x: &Tensor<3>, hooks: &dyn Hooks) -> Tensor<4> {
        let [batch, seq, _] = x.dims();
        layer.forward(x.clone(), hooks).reshape([batch, seq, self.n_heads, self.d_head]).swap_dims(1, 2)
    }

    /// `[batch, heads, seq, d_head]` to `[batch, seq, d_model]`.
    fn out(&self, context: Tensor<4>, hooks: &dyn Hooks) -> Tensor<3> {
        let [batch, _, seq, _] = context.dims();
        self.o.forward(context.swap_dims(1, 2).reshape([batch, seq, self.n_heads * self.d_head]), hooks)
    }
}
