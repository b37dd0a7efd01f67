//! A transformer small enough for a test, with a site of every kind.

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::activation::{gelu, softmax};
use peft_core::nn::{Embedding, LayerNorm, Linear};
use peft_core::{Attends, Backbone, BatchRows, Block, Hooks, Scope, Site, SiteKind, Sites, Spans, Sublayer};

/// Width of the hidden states.
pub const HIDDEN: usize = 8;
/// Number of layers.
pub const LAYERS: usize = 2;
/// Width inside the feed-forward part.
pub const INNER: usize = 12;
/// Number of tokens.
pub const VOCABULARY: usize = 20;
const HEADS: usize = 2;
const POSITIONS: usize = 24;
const OUTPUTS: usize = 3;

/// A post-norm encoder of two layers with a classification head, pooled at its first position.
#[derive(Module, Debug)]
pub struct Mini {
    words: Embedding,
    positions: Embedding,
    norm: LayerNorm,
    layers: Vec<Layer>,
    head: Linear,
    #[module(skip)]
    input: Site,
    #[module(skip)]
    sites: Sites,
}

#[derive(Module, Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention: End,
    up: Linear,
    output: End,
    #[module(skip)]
    prefix: Site,
}

#[derive(Module, Debug)]
struct End {
    dense: Linear,
    norm: LayerNorm,
    #[module(skip)]
    site: Site,
}

impl Mini {
    /// A model of random weights, the same each time. Its modules are `words`, `positions`, `norm`,
    /// `layers.N.{query,key,value,up}`, `layers.N.{attention,output}.{dense,norm}` and `head`.
    pub fn new(device: &Device) -> Self {
        let scope = Scope::root(device, |path| path.to_string());
        let layer = |i: usize| {
            let at = scope.pp("layers").pp(i);
            Layer {
                query: at.linear("query", HIDDEN, HIDDEN, true),
                key: at.linear("key", HIDDEN, HIDDEN, true),
                value: at.linear("value", HIDDEN, HIDDEN, true),
                attention: End::new(&at.pp("attention"), HIDDEN, Block::Attention, i),
                up: at.linear("up", HIDDEN, INNER, true),
                output: End::new(&at.pp("output"), INNER, Block::FeedForward, i),
                prefix: at.site(SiteKind::Attention {
                    attends: Attends::Encoder,
                    n_heads: HEADS,
                    d_head: HIDDEN / HEADS,
                }),
            }
        };
        let mini = Self {
            input: scope.site(SiteKind::Input { d_model: HIDDEN }),
            words: scope.vocabulary("words", VOCABULARY, HIDDEN),
            positions: scope.embedding("positions", POSITIONS, HIDDEN),
            norm: scope.layer_norm("norm", HIDDEN, 1e-12),
            layers: (0..LAYERS).map(layer).collect(),
            head: scope.head().linear("head", HIDDEN, OUTPUTS, true),
            sites: scope.sites(),
        };
        // Weights of BERT's initial size would make every change too small to see.
        crate::drawn(mini, 0.4).no_grad()
    }

    /// Scores `[batch, 3]` of `[batch, seq]` token ids under `hooks`.
    pub fn forward(&self, ids: Tensor<2, Int>, hooks: &dyn Hooks) -> Tensor<2> {
        let [count, text] = ids.dims();
        self.forward_rows(ids, &BatchRows::new(count), text, hooks)
    }

    /// The same for rows of the tasks `tasks`.
    pub fn forward_tasks(&self, ids: Tensor<2, Int>, tasks: &[usize], hooks: &dyn Hooks) -> Tensor<2> {
        let text = ids.dims()[1];
        self.forward_rows(ids, &BatchRows::of_tasks(tasks), text, hooks)
    }

    fn forward_rows(&self, ids: Tensor<2, Int>, rows: &BatchRows, text: usize, hooks: &dyn Hooks) -> Tensor<2> {
        let device = ids.device();
        let prefix = hooks.prefix_spans(&self.layers[0].prefix, rows);
        let mut x = self.words.forward(ids, hooks);
        let (mut prompt, mut pooled) = (Spans::none(), vec![0; rows.len()]);
        if let Some(given) = hooks.prompt(&self.input, rows) {
            pooled = (0..rows.len()).map(|row| given.pooled_at(row)).collect();
            x = Tensor::cat(vec![given.embeddings, x], 1);
            prompt = given.spans;
        }
        let x = x + self.positions.forward(positions(rows, text, &prefix, &prompt, &device), hooks);
        let x = self.norm.forward(x, hooks);
        let seen: Vec<Vec<bool>> =
            (0..rows.len()).map(|row| prompt.used(row).chain(std::iter::repeat_n(true, text)).collect()).collect();
        let x = self.layers.iter().fold(x, |x, layer| layer.forward(x, rows, &seen, hooks));
        let at: Vec<i32> = pooled.into_iter().map(|position| position as i32).collect();
        let at = Tensor::<3, Int>::from_data(TensorData::new(at, [rows.len(), 1, 1]), &device);
        self.head.forward(x.gather(1, at.repeat_dim(2, HIDDEN)), hooks).squeeze_dim(1)
    }
}

fn positions(rows: &BatchRows, text: usize, prefix: &Spans, prompt: &Spans, device: &Device) -> Tensor<2, Int> {
    let width = prompt.width() + text;
    let mut ids = Vec::with_capacity(rows.len() * width);
    for row in 0..rows.len() {
        let mut next = if prefix.is_empty() { 0 } else { prefix.len(row) as i32 };
        for used in prompt.used(row).chain(std::iter::repeat_n(true, text)) {
            ids.push(next);
            next += i32::from(used);
        }
    }
    Tensor::from_data(TensorData::new(ids, [rows.len(), width]), device)
}

impl Layer {
    fn forward(&self, x: Tensor<3>, rows: &BatchRows, seen: &[Vec<bool>], hooks: &dyn Hooks) -> Tensor<3> {
        let [batch, seq, _] = x.dims();
        let device = x.device();
        let heads = |layer: &Linear| {
            layer.forward(x.clone(), hooks).reshape([batch, seq, HEADS, HIDDEN / HEADS]).swap_dims(1, 2)
        };
        let (q, mut k, mut v) = (heads(&self.query), heads(&self.key), heads(&self.value));
        let spans = hooks.prefix_spans(&self.prefix, rows);
        if let Some(prefix) = hooks.prefix(&self.prefix, rows) {
            k = Tensor::cat(vec![prefix.key, k], 2);
            v = Tensor::cat(vec![prefix.value, v], 2);
        }
        let hidden: Vec<bool> =
            (0..batch).flat_map(|row| spans.used(row).chain(seen[row].iter().copied())).map(|seen| !seen).collect();
        let hidden = Tensor::<4, Bool>::from_data(TensorData::new(hidden, [batch, 1, 1, spans.width() + seq]), &device);
        let scores = (q / ((HIDDEN / HEADS) as f64).sqrt()).matmul(k.transpose());
        let shape = scores.shape();
        let context = softmax(scores.mask_fill(hidden.expand(shape), -1e30), 3).matmul(v);
        let h = self.attention.forward(context.swap_dims(1, 2).reshape([batch, seq, HIDDEN]), x, hooks);
        let inner = gelu(self.up.forward(h.clone(), hooks));
        self.output.forward(inner, h, hooks)
    }
}

impl End {
    fn new(scope: &Scope, d_in: usize, after: Block, layer: usize) -> Self {
        Self {
            dense: scope.linear("dense", d_in, HIDDEN, true),
            norm: scope.layer_norm("norm", HIDDEN, 1e-12),
            site: scope.site(SiteKind::Sublayer { d_model: HIDDEN, after, layer }),
        }
    }

    fn forward(&self, h: Tensor<3>, residual: Tensor<3>, hooks: &dyn Hooks) -> Tensor<3> {
        let output = self.dense.forward(h, hooks);
        Sublayer::new(&self.site, &output, &residual, Some(&self.norm), hooks).finish()
    }
}

impl Backbone for Mini {
    fn sites(&self) -> &Sites {
        &self.sites
    }
}
