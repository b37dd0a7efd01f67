//! BERT's input: word, position and segment embeddings, and the virtual tokens a prompt puts in front.

use burn::module::Module;
use burn::prelude::*;
use peft_core::nn::{Embedding, LayerNorm};
use peft_core::precision::narrow;
use peft_core::{Dropout, Hooks, Scope, Site, SiteKind, Spans};

use super::config::BertConfig;
use crate::batch::Batch;
use crate::begun::Front;

/// The sum of three tables, normalised.
#[derive(Module, Debug)]
pub(super) struct BertEmbeddings {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Embedding,
    layer_norm: LayerNorm,
    dropout: Dropout,
    #[module(skip)]
    input: Site,
}

/// The embedded input, prompt included.
pub(super) struct Embedded {
    /// `[batch, seq, hidden]`, `seq` counting virtual tokens.
    pub(super) hidden: Tensor<3>,
    /// These.
    pub(super) front: Front,
}

impl BertEmbeddings {
    pub(super) fn new(config: &BertConfig, scope: &Scope) -> Self {
        let h = config.hidden_size;
        Self {
            input: scope.site(SiteKind::Input { d_model: h }),
            word_embeddings: scope.vocabulary("word_embeddings", config.vocab_size, h),
            position_embeddings: scope.embedding("position_embeddings", config.max_position_embeddings, h),
            token_type_embeddings: scope.embedding("token_type_embeddings", config.type_vocab_size, h),
            layer_norm: scope.layer_norm("layer_norm", h, config.layer_norm_eps),
            dropout: Dropout::new(config.hidden_dropout_prob),
        }
    }

    /// Embeds a batch. `prefix` shifts the positions by as many as it has on a row, as the reference does.
    pub(super) fn forward(&self, batch: &Batch, prefix: &Spans, hooks: &dyn Hooks) -> Embedded {
        let (rows, [count, text]) = (batch.rows(), batch.input_ids.dims());
        let device = batch.input_ids.device();
        let mut hidden = self.word_embeddings.forward(batch.input_ids.clone(), hooks);
        let mut types = batch.token_type_ids.clone();
        let mut front = Front::none(count);
        if let Some(prompt) = hooks.prompt(&self.input, &rows) {
            let width = prompt.spans.width();
            let pooled = (0..count).map(|row| prompt.pooled_at(row)).collect();
            hidden = Tensor::cat(vec![narrow(prompt.embeddings, hidden.dtype()), hidden], 1);
            types = Tensor::cat(vec![Tensor::zeros([count, width], &device), types], 1);
            front = Front { spans: prompt.spans, pooled };
        }
        let positions = positions(count, text, prefix, &front.spans, &device);
        let position = self.position_embeddings.forward(positions, hooks);
        let segment = self.token_type_embeddings.forward(types, hooks);
        let hidden = self.layer_norm.forward(hidden + position + segment, hooks);
        Embedded { hidden: self.dropout.forward(hidden), front }
    }
}

/// Position ids `[rows, seq]`: consecutive over the virtual tokens a row uses and its text, beginning after its
/// prefix.
fn positions(rows: usize, text: usize, prefix: &Spans, prompt: &Spans, device: &Device) -> Tensor<2, Int> {
    let width = prompt.width() + text;
    let mut ids = Vec::with_capacity(rows * width);
    for row in 0..rows {
        let mut next = if prefix.is_empty() { 0 } else { prefix.len(row) as i32 };
        for used in prompt.used(row).chain(std::iter::repeat_n(true, text)) {
            ids.push(next);
            next += i32::from(used);
        }
    }
    Tensor::from_data(TensorData::new(ids, [rows, width]), device)
}
