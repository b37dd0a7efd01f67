//! What a trainer asks of a model, whatever its architecture and its task.

use burn::prelude::*;
use peft_core::{Backbone, Hooks};

use crate::batch::Batch;

/// A model that gives scores for texts.
pub trait Scorer: Backbone {
    /// Scores `[rows, positions, outputs]` under `hooks`: at each position of the text (virtual tokens are not among
    /// them), or at a single one where a text is scored as a whole. Where one text is made of another, the positions are
    /// those of the text that is made, and the rows those of [`Batch::target`].
    fn scores(&self, batch: &Batch, hooks: &dyn Hooks) -> Tensor<3>;
}
