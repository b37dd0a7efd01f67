//! What a trainer asks of a model, whatever its architecture and its task.

use std::ops::ControlFlow;

use burn::prelude::*;
use peft_core::{Backbone, Hooks, Site};

use crate::batch::Batch;
use crate::begun::{Begun, Cut};
use crate::error::{Error, Result};
use crate::generate::{Emitted, Generated, GenerationConfig};

/// A model that gives scores for texts.
pub trait Scorer: Backbone {
    /// Scores `[rows, positions, outputs]` under `hooks`: at each position of the text (virtual tokens are not among
    /// them), or at a single one where a text is scored as a whole. Where one text is made of another, the positions are
    /// those of the text that is made, and the rows those of [`Batch::target`].
    fn scores(&self, batch: &Batch, hooks: &dyn Hooks) -> Tensor<3>;

    /// The highest place in the model with all of `touched` above it: below it an adapter that acts at these sites changes
    /// nothing. `None` if no layer is below it, and for a model that cannot be read in several goes.
    fn cut(&self, touched: &[Site]) -> Option<Cut> {
        let _ = touched;
        None
    }

    /// What it makes of a batch's texts up to a `cut` of its own, from their beginning or from where the batch was
    /// [begun](Batch::begun), under `hooks`. Where these treat rows and positions each by themselves, a text's states do not
    /// depend on the other texts, nor on how far it is padded.
    ///
    /// # Panics
    /// If the batch was begun up to a higher cut.
    fn begin(&self, batch: &Batch, cut: Cut, hooks: &dyn Hooks) -> Begun {
        let _ = (batch, hooks);
        unreachable!("{cut:?} is no cut of a model that has none")
    }

    /// Makes texts of those of a batch under `hooks`, telling each token as [`stream`](crate::generate::stream) does.
    ///
    /// # Errors
    /// A model that makes none, and what [`stream`](crate::generate::stream) reports.
    fn stream(
        &self,
        batch: &Batch,
        config: &GenerationConfig,
        hooks: &dyn Hooks,
        told: &mut dyn FnMut(Emitted) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>> {
        let _ = (batch, config, hooks, told);
        Err(Error::config("model_type", "has no decoder and makes no text; use a T5"))
    }

    /// [`stream`](Self::stream) to nobody.
    ///
    /// # Errors
    /// As there.
    fn generate(&self, batch: &Batch, config: &GenerationConfig, hooks: &dyn Hooks) -> Result<Vec<Generated>> {
        self.stream(batch, config, hooks, &mut |_| ControlFlow::Continue(()))
    }
}
