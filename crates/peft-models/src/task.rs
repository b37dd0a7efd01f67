//! What a trainer asks of a model, whatever its architecture.

use burn::prelude::*;
use peft_core::{Backbone, Hooks};

use crate::batch::Batch;

/// A model that gives one vector of scores for a text or a pair of texts.
pub trait SequenceClassifier: Backbone {
    /// Scores `[batch, outputs]` under `hooks`.
    fn logits(&self, batch: &Batch, hooks: &dyn Hooks) -> Tensor<2>;
}
