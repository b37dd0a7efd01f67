//! The encoder without a task.

use burn::module::Module;
use burn::prelude::*;
use peft_core::nn::Linear;
use peft_core::{Hooks, Scope, Spans};

use super::config::BertConfig;
use super::embeddings::BertEmbeddings;
use super::encoder::BertEncoder;
use crate::batch::Batch;
use crate::mask::AttentionMask;

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
    /// Virtual tokens in front of the text.
    pub prompt: Spans,
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

    /// Runs the encoder on a batch of `[batch, seq]` token ids under `hooks`.
    pub fn forward(&self, batch: &Batch, hooks: &dyn Hooks) -> BertOutput {
        let rows = batch.rows();
        let prefix = self.encoder.first_prefix_site().map_or(Spans::none(), |site| hooks.prefix_spans(site, rows));
        let embedded = self.embeddings.forward(batch, &prefix, hooks);
        let mut mask = AttentionMask::new(embedded.mask);
        let hidden = self.encoder.forward(embedded.hidden, &mut mask, hooks);
        BertOutput { hidden, prompt: embedded.prompt }
    }

    /// The pooled first position, `[batch, 1, hidden]`: a linear map and tanh.
    ///
    /// Under a prompt the first position is the first virtual token in use, as in the reference.
    ///
    /// # Panics
    /// If the model was built without a pooler.
    pub fn pool(&self, output: BertOutput, hooks: &dyn Hooks) -> Tensor<3> {
        let pooler = self.pooler.as_ref().expect("the model was built with a pooler");
        pooler.dense.forward(first(output), hooks).tanh()
    }
}

/// The state at each row's first position in use, `[batch, 1, hidden]`.
fn first(output: BertOutput) -> Tensor<3> {
    let BertOutput { hidden, prompt } = output;
    let [rows, _, width] = hidden.dims();
    let at: Vec<i32> = (0..rows).map(|row| prompt.first(row) as i32).collect();
    if at.iter().all(|&position| position == 0) {
        return hidden.narrow(1, 0, 1);
    }
    let at = Tensor::<3, Int>::from_data(TensorData::new(at, [rows, 1, 1]), &hidden.device());
    hidden.gather(1, at.repeat_dim(2, width))
}
