//! Putting a checkpoint's tensors into a model that was built without values.
//!
//! In two passes. The first compares names and shapes and reads no value, so that a checkpoint that does not fit
//! costs nothing and is reported whole: every missing, unexpected and mis-shaped tensor in one message. The second
//! reads tensor by tensor into parameters that were never initialised; what the file does not hold and need not (a
//! new head) keeps its lazy initialisation.

mod misfit;
mod plan;
mod skeleton;

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::DType;
use peft_core::{Naming, Sites};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use plan::{Plan, Source};

pub use misfit::{Misfit, Missing, Reshaped};
pub use skeleton::Skeleton;

/// What a model allows of the checkpoints it is loaded from.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The part of a name that checkpoints may have or lack, e.g. `bert.`; empty if there is none.
    pub prefix: &'static str,
    /// Whether a tensor of the file may go unused, e.g. `embeddings.position_ids`. Asked with the name as it is in
    /// the file and with the prefix removed.
    pub ignored: fn(&str) -> bool,
    /// Whether a parameter, by its reference name, may be missing from the file: it is then drawn anew.
    pub fresh: fn(&str) -> bool,
    /// The reference name whose tensor stands in for a missing one, e.g. the word embeddings for a decoder tied to
    /// them.
    pub tied: fn(&str) -> Option<String>,
    /// Whether a parameter, by its reference name, is drawn anew although the file may hold it: the head of another
    /// task.
    pub replaced: fn(&str) -> bool,
}

impl Rules {
    /// Every parameter in the file, every tensor in the model, no prefix.
    pub const STRICT: Self =
        Self { prefix: "", ignored: |_| false, fresh: |_| false, tied: |_| None, replaced: |_| false };
}

/// A loaded model, and what its checkpoint did not settle.
#[derive(Clone, Debug)]
pub struct Loaded<M> {
    /// The model.
    pub module: M,
    /// Reference names of the parameters that were not in the file and are drawn anew when first used.
    pub fresh: Vec<String>,
    /// Tensors of the file that the model has no use for.
    pub ignored: Vec<String>,
}

impl<M> Loaded<M> {
    /// The same with another form of the module.
    pub fn map<N>(self, form: impl FnOnce(M) -> N) -> Loaded<N> {
        Loaded { module: form(self.module), fresh: self.fresh, ignored: self.ignored }
    }

    /// The modules that are new, by the name `modules_to_save` takes: `pooler` for `bert.pooler.dense.weight`. They
    /// must be trained, and saved with the adapter.
    pub fn fresh_modules(&self, prefix: &str) -> Vec<&str> {
        let names = self.fresh.iter().map(|name| name.strip_prefix(prefix).unwrap_or(name));
        let mut modules: Vec<&str> = names.filter_map(|name| name.split('.').next()).collect();
        modules.dedup();
        modules
    }
}

/// Fills the float parameters of `module` from `checkpoint`.
///
/// A parameter at the path `owner.leaf` is the tensor `name.leaf`, where `name` is the reference name of `owner`:
/// its site's if it has one, else what `naming` says. Names with and without [`Rules::prefix`] are recognised, and
/// for normalisations `gamma` and `beta`. Values are converted to `f32`, and linear weights transposed from the
/// file's `[d_out, d_in]` to `[d_in, d_out]`. Parameters keep their id, their device and whether they train.
///
/// # Errors
/// [`Error::Misfit`] naming all tensors that are missing, unexpected or of another shape, before any value is read;
/// [`Error::Tensor`] if a value cannot be read.
pub fn load<M: Module>(
    module: M,
    sites: &Sites,
    naming: Naming,
    checkpoint: &Checkpoint,
    rules: &Rules,
) -> Result<Loaded<M>> {
    let Plan { sources, fresh, ignored } = Plan::new(&module, sites, naming, checkpoint, rules)?;
    let mut fill = Fill { checkpoint, sources: sources.into_iter(), error: None };
    let module = module.map(&mut fill);
    match fill.error {
        Some(error) => Err(error),
        None => Ok(Loaded { module, fresh, ignored }),
    }
}

/// How many outputs the head whose matrix is `key` has, and whether they are the checkpoint's own: the `outputs` asked for,
/// or as many as the checkpoint's, if that head is `own` and not one of another task under the same name.
pub(crate) fn outputs_of(
    checkpoint: &Checkpoint,
    key: &str,
    own: bool,
    outputs: Option<usize>,
) -> Result<(usize, bool)> {
    let stored = checkpoint.shape(key).and_then(|shape| shape.first().copied()).filter(|_| own);
    match outputs.or(stored) {
        Some(outputs) => Ok((outputs, stored == Some(outputs))),
        None => Err(Error::file(
            checkpoint.path(),
            "has no classification head; train one, or give the adapter that brings it",
        )),
    }
}

/// Replaces each parameter by its source, in the order of the plan: visitors and mappers walk a module alike.
struct Fill<'a, S> {
    checkpoint: &'a Checkpoint,
    sources: S,
    error: Option<Error>,
}

impl<S: Iterator<Item = Option<Source>>> ModuleMapper for Fill<'_, S> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let source = self.sources.next().expect("a module maps the parameters it visits");
        let Some(source) = source.filter(|_| self.error.is_none()) else { return param };
        match values(self.checkpoint, &source) {
            Ok(data) => {
                let (id, tensor) = (param.id, Tensor::from_data(data, &param.lazy_device()));
                param.transform_for_load(tensor, id)
            }
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}

/// The values of a tensor as `f32` in the model's layout.
fn values(checkpoint: &Checkpoint, source: &Source) -> Result<TensorData> {
    let data = checkpoint.read(&source.key)?.convert_dtype(DType::F32);
    Ok(if source.transpose { transpose(data) } else { data })
}

/// `[rows, columns]` to a contiguous `[columns, rows]`.
///
/// Done here and not by the tensor, whose transpose would be a strided view in every matrix product to come.
fn transpose(data: TensorData) -> TensorData {
    /// Square tiles, so that neither side strides through memory it has just evicted.
    const TILE: usize = 32;
    let [rows, columns] = data.shape().dims();
    let from = data.as_slice::<f32>().expect("converted to f32");
    let mut to = vec![0.0; from.len()];
    for r0 in (0..rows).step_by(TILE) {
        for c0 in (0..columns).step_by(TILE) {
            for r in r0..rows.min(r0 + TILE) {
                for c in c0..columns.min(c0 + TILE) {
                    to[c * rows + r] = from[r * columns + c];
                }
            }
        }
    }
    TensorData::new(to, [columns, rows])
}

#[cfg(test)]
mod tests;
