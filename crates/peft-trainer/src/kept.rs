//! What an adapter cannot change, computed once a text (`cache_frozen`).
//!
//! Where a method leaves a model's lower layers alone, they make the same of a text in every epoch. Their states are kept,
//! and later steps begin above them.
//!
//! An entry is never stale: it is found by all of a text's tokens, not by a row's number nor by a hash; it lies with the very
//! model it was made by; and neither memory nor file outlives the process, so that a run which is resumed makes it anew.

mod store;
#[cfg(test)]
pub(crate) mod tests;
mod texts;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::DType;
use peft_core::precision::{narrow, widen};
use peft_core::{Frozen, Hooks, Identity, Method};
use peft_models::{Batch, Begun, Cut, Scorer};

use crate::error::{Error, Result};
use crate::rows::Rows;
use crate::trainee::Trainee;
use store::{Slot, Store};
use texts::Texts;

/// The part of the model that is run once for each text: all below the lowest place where the adapter acts.
///
/// # Errors
/// [`Error::Setting`] where there is no such part, where the adapter mixes positions, or texts are not the same each time they
/// are read.
pub fn frozen_part<M: Scorer, P: Method>(trainee: &Trainee<M, P>, rows: &Rows) -> Result<Cut> {
    let refuse = |reason: String| Err(Error::Setting { setting: "cache_frozen", reason });
    if !rows.is_empty() && rows.text(0).is_none() {
        return refuse("other words are hidden each time a text is read, so nothing can be kept; leave it out".into());
    }
    // A mean over a row is one over its padding too.
    if trainee.adapter.mixes_positions() {
        return refuse("an adapter with use_gating reads padding, which is not kept; leave it out".into());
    }
    let touched = trainee.adapter.sites();
    if let Some(cut) = trainee.backbone.cut(&touched) {
        return Ok(cut);
    }
    match trainee.backbone.sites().iter().find(|entry| touched.contains(&entry.site)) {
        Some(lowest) => refuse(format!(
            "the adapter acts at `{}` already, and no layer is below that; leave the lower layers alone (lora: \
             layers_to_transform; adapter: leave_out; target_modules that name upper layers; or the method last-layers or \
             head), or leave it out",
            lowest.site
        )),
        None => refuse("this model is not read in two goes; leave it out".into()),
    }
}

/// States of texts at a cut.
pub(crate) struct Kept<M: Module> {
    cut: Cut,
    inner: Mutex<Inner<M>>,
}

struct Inner<M: Module> {
    model: Frozen<M>,
    texts: Texts,
    /// Those that were computed, by the text's number.
    slots: Vec<Option<Slot>>,
    store: Store,
    /// Width of a state, and the type the model has it in.
    form: Option<(usize, DType)>,
}

/// Gives a batch what is known of it.
pub(crate) trait Begin: fmt::Debug + Send + Sync {
    /// The same batch, begun.
    ///
    /// # Errors
    /// A file that cannot be written or read.
    fn begun(&self, batch: Batch) -> Result<Batch>;
}

impl<M: Scorer> Kept<M> {
    /// Nothing yet. `model` runs without dropout and without gradients; `parts` are the rows there are, each with the
    /// batches that are run together; `memory` is the bound in bytes beyond which states go to a file in `folder`.
    pub(crate) fn new(
        model: Frozen<M>,
        cut: Cut,
        parts: &[(&Rows, Vec<Vec<usize>>)],
        memory: u64,
        folder: &Path,
    ) -> Self {
        let inner = Inner {
            model: model.valid(),
            texts: Texts::of(parts),
            slots: Vec::new(),
            store: Store::new(memory, folder),
            form: None,
        };
        Self { cut, inner: Mutex::new(inner) }
    }
}

impl<M: Scorer> Begin for Kept<M> {
    fn begun(&self, batch: Batch) -> Result<Batch> {
        let mut inner = self.inner.lock().expect("no holder panics");
        let texts = inner.texts.numbers(&batch);
        let len = inner.texts.len();
        inner.slots.resize_with(len, || None);
        for &text in &texts {
            if inner.slots[text].is_none() {
                inner.run(self.cut, text)?;
            }
        }
        let positions = self.cut.positions(batch.input_ids.dims()[1]);
        let hidden = inner.states(&texts, positions, &batch.input_ids.device())?;
        Ok(batch.with_begun(Begun::new(self.cut, hidden)))
    }
}

impl<M: Scorer> Inner<M> {
    /// Runs a text and those that belong together with it.
    fn run(&mut self, cut: Cut, text: usize) -> Result<()> {
        let together = self.texts.together(text).to_vec();
        let batch = self.texts.batch(&together, &self.model.device());
        let hidden = self.model.begin(&batch, cut, &Identity).hidden;
        let ([_, positions, width], dtype) = (hidden.dims(), hidden.dtype());
        self.form = Some((width, dtype));
        let values: Vec<f32> = widen(hidden).into_data().try_into_vec().expect("states in f32");
        for (text, values) in together.into_iter().zip(values.chunks(positions * width)) {
            let own = cut.positions(self.texts.positions(text)) * width;
            self.slots[text] = Some(self.store.put(&values[..own])?);
        }
        Ok(())
    }

    /// The states of texts that were run, `[texts, positions, width]`: zeros where a text has no more of them.
    fn states(&mut self, texts: &[usize], positions: usize, device: &Device) -> Result<Tensor<3>> {
        let (width, dtype) = self.form.unwrap_or((0, DType::F32));
        let row = positions * width;
        let mut values = vec![0f32; texts.len() * row];
        for (&text, into) in texts.iter().zip(values.chunks_mut(row.max(1))) {
            if let Some(slot) = &self.slots[text] {
                let len = slot.len().min(row);
                self.store.read(slot, &mut into[..len])?;
            }
        }
        let values = TensorData::new(values, [texts.len(), positions, width]);
        Ok(narrow(Tensor::from_data(values, device), dtype))
    }
}

impl<M: Module> fmt::Debug for Kept<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("cut", &self.cut).finish_non_exhaustive()
    }
}

/// As a loader holds it.
pub(crate) type Keeper = Arc<dyn Begin>;
