//! The encoder without a task.

use burn::module::Module;
use burn::prelude::*;
use peft_core::nn::Linear;
use peft_core::{Hooks, Scope, Spans};

use super::config::BertConfig;
use super::embeddings::{BertEmbeddings, Embedded};
use super::encoder::BertEncoder;
use crate::batch::Batch;
use crate::begun::{Begun, Cut};
use crate::mask::AttentionMask;

/// The path of the list of layers in every model with a head.
pub(super) const LAYERS: &str = "bert.encoder.layer";

/// Embeddings, encoder and, where a task needs it, the pooler.
#[derive(Module, Debug)]
pub struct BertModel {
    embeddings: BertEmbeddings,
    encoder: BertEncoder,
    pooler: Option<BertPooler>,
}

#[derive(Module, Debug)]
struct BertPooler {
    dense: Linear,
}

/// What the encoder makes of a batch.
pub struct BertOutput {
    /// The last layer's states, `[batch, seq, hidden]`; `seq` counts virtual tokens.
    pub hidden: Tensor<3>,
    /// Virtual tokens in front of the text, used or not.
    pub virtual_tokens: usize,
    /// The position at which each row is pooled.
    pub pooled: Vec<usize>,
}

impl BertOutput {
    /// The states of the text's positions alone, `[batch, text, hidden]`.
    pub fn text(self) -> Tensor<3> {
        let text = self.hidden.dims()[1] - self.virtual_tokens;
        self.hidden.narrow(1, self.virtual_tokens, text)
    }
}

impl BertModel {
    /// A model at `scope`, its weights not yet loaded.
    pub fn new(config: &BertConfig, pooler: bool, scope: &Scope) -> Self {
        let h = config.hidden_size;
        Self {
            embeddings: BertEmbeddings::new(config, &scope.pp("embeddings")),
            encoder: BertEncoder::new(config, &scope.pp("encoder")),
            pooler: pooler.then(|| BertPooler { dense: scope.pp("pooler").linear("dense", h, h, true) }),
        }
    }

    /// Runs the encoder on a batch of `[batch, seq]` token ids under `hooks`, or on from where the batch was begun.
    pub fn forward(&self, batch: &Batch, hooks: &dyn Hooks) -> BertOutput {
        self.run(batch, false, hooks)
    }

    /// The same for who reads the position that each row is [pooled](Self::pool) at alone.
    ///
    /// Nothing reads what the last layer makes of the others, so it is run for that position, and the others are there as
    /// keys and values; for all of them where hooks [mix positions](Hooks::mixes_positions), or rows are pooled at different
    /// ones.
    pub fn forward_pooled(&self, batch: &Batch, hooks: &dyn Hooks) -> BertOutput {
        self.run(batch, true, hooks)
    }

    fn run(&self, batch: &Batch, pooled: bool, hooks: &dyn Hooks) -> BertOutput {
        let (Embedded { hidden, front }, mut mask, from) = self.start(batch, hooks);
        let (virtual_tokens, at) = (front.spans.width(), front.pooled);
        let only = same(&at).filter(|_| pooled && from < self.encoder.depth() && !hooks.mixes_positions());
        let hidden = self.encoder.forward(hidden, from.., only, &mut mask, hooks);
        match only {
            Some(_) => BertOutput { hidden, virtual_tokens: 0, pooled: vec![0; at.len()] },
            None => BertOutput { hidden, virtual_tokens, pooled: at },
        }
    }

    /// The states of a batch at `cut`, `[batch, positions, hidden]`, under `hooks`.
    ///
    /// # Panics
    /// If the batch was begun up to a higher cut.
    pub fn begin(&self, batch: &Batch, cut: Cut, hooks: &dyn Hooks) -> Begun {
        let (Embedded { hidden, front }, mut mask, from) = self.start(batch, hooks);
        Begun::up_to(cut, self.encoder.forward(hidden, from..cut.layers(), None, &mut mask, hooks), front)
    }

    /// What is there before the first layer that is still to run, what attention may see of it, and which layer that is.
    fn start(&self, batch: &Batch, hooks: &dyn Hooks) -> (Embedded, AttentionMask, usize) {
        let (embedded, from) = match &batch.begun {
            None => (self.embed(batch, hooks), 0),
            Some(Begun { cut, hidden, front }) => {
                (Embedded { hidden: hidden.clone(), front: front.clone() }, cut.layers())
            }
        };
        let mask = AttentionMask::new(embedded.front.mask(batch.attention_mask.clone()), batch.rows());
        (embedded, mask, from)
    }

    fn embed(&self, batch: &Batch, hooks: &dyn Hooks) -> Embedded {
        let rows = batch.rows();
        let prefix = self.encoder.first_prefix_site().map_or(Spans::none(), |site| hooks.prefix_spans(site, &rows));
        self.embeddings.forward(batch, &prefix, hooks)
    }

    /// The pooled first position, `[batch, 1, hidden]`: a linear map and tanh.
    ///
    /// Under a prompt that is the first virtual token in use, as in the reference, or `[CLS]`: the prompt says which.
    ///
    /// # Panics
    /// If the model was built without a pooler.
    pub fn pool(&self, output: BertOutput, hooks: &dyn Hooks) -> Tensor<3> {
        let pooler = self.pooler.as_ref().expect("the model was built with a pooler");
        pooler.dense.forward(first(output), hooks).tanh()
    }
}

/// The position that is every row's.
fn same(pooled: &[usize]) -> Option<usize> {
    let at = *pooled.first()?;
    pooled.iter().all(|&position| position == at).then_some(at)
}

/// The state at the position each row is pooled at, `[batch, 1, hidden]`.
fn first(output: BertOutput) -> Tensor<3> {
    let BertOutput { hidden, pooled, .. } = output;
    let [rows, _, width] = hidden.dims();
    if let Some(at) = same(&pooled) {
        return hidden.narrow(1, at, 1);
    }
    let at: Vec<i32> = pooled.into_iter().map(|position| position as i32).collect();
    let at = Tensor::<3, Int>::from_data(TensorData::new(at, [rows, 1, 1]), &hidden.device());
    hidden.gather(1, at.repeat_dim(2, width))
}
