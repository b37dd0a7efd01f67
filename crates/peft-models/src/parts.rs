//! Gradients of one part of a model at a time (gradient checkpointing; Chen et al. 2016, arXiv:1604.06174).
//!
//! A step's memory is what the backward pass reads of all layers. Here the layers run without a graph first, and only what
//! lies between them is kept. Then, from the top down, each is run once more with its graph, and the gradient of what it has
//! made goes through it and is that of what it read. So there is the graph of one layer at a time, for one more forward pass.
//! Values are the same: a layer is given the same numbers, and drops what it dropped.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::prelude::*;
use burn::tensor::Gradients;
use peft_core::{Adapter, Draws, Method, with_own_draws};

use crate::batch::Batch;
use crate::begun::Cut;
use crate::task::Scorer;

/// Gradients of a `loss` of `model`'s scores, with respect to the parameters of `adapter`: those of one graph over the whole
/// model, with the memory of one over a layer (Chen et al. 2016, arXiv:1604.06174). `loss` is asked once, of the
/// [scores](Scorer::scores) `[rows, positions, outputs]`, and answers `[1]`. `seed` decides what a device drops that draws
/// its own masks and cannot draw them again.
///
/// A model is taken apart where it can be [cut](Scorer::cut); what is above the last of its layers there, the whole decoder
/// of a T5, goes with that layer.
pub fn gradients_in_parts<M: Scorer, P: Method>(
    model: &M,
    adapter: &Adapter<P>,
    batch: &Batch,
    seed: u64,
    loss: impl FnOnce(Tensor<3>) -> Tensor<1>,
) -> GradientsParams {
    let run = || in_parts(model, adapter, batch, loss);
    match model.devices().iter().all(Draws::are_repeatable) {
        true => run(),
        false => with_own_draws(seed, run),
    }
}

fn in_parts<M: Scorer, P: Method>(
    model: &M,
    adapter: &Adapter<P>,
    batch: &Batch,
    loss: impl FnOnce(Tensor<3>) -> Tensor<1>,
) -> GradientsParams {
    let mut found = GradientsAccumulator::new();
    let mut keep = |gradients| found.accumulate(adapter, GradientsParams::from_grads(gradients, adapter));
    let still = adapter.clone().no_grad();
    let (mut next, cuts) = places(model, adapter, &still, batch);
    let mut parts = Vec::new();
    for cut in cuts {
        let part = Part { batch: next, cut, draws: Draws::here() };
        next = batch.clone().with_begun(model.begin(&part.batch, cut, &still));
        parts.push(part);
    }
    // What the lowest part reads needs no gradient.
    let (input, top) = if parts.is_empty() { (None, next) } else { leaf(next) };
    let mut gradients = loss(model.scores(&top, adapter)).backward();
    let mut above = gradient_of(input, &mut gradients);
    keep(gradients);
    while let (Some(part), Some(gradient)) = (parts.pop(), above) {
        let (input, batch) = if parts.is_empty() { (None, part.batch) } else { leaf(part.batch) };
        let made = part.draws.again(|| model.begin(&batch, part.cut, adapter)).hidden;
        let mut gradients = (made * Tensor::from_inner(gradient)).sum().backward();
        above = gradient_of(input, &mut gradients);
        keep(gradients);
    }
    found.grads()
}

/// A part of a model: what it reads, how far it goes, and where the draws stood when it began.
struct Part {
    batch: Batch,
    cut: Cut,
    draws: Draws,
}

/// The batch as the lowest part with something to train reads it, and where that and all others but the last end.
fn places<M: Scorer, P: Method>(
    model: &M,
    adapter: &Adapter<P>,
    still: &Adapter<P>,
    batch: &Batch,
) -> (Batch, Vec<Cut>) {
    let Some(top) = model.cut(&[]) else { return (batch.clone(), Vec::new()) };
    let begun = batch.begun.as_ref().map(|begun| begun.cut);
    let from = begun.or_else(|| model.cut(&adapter.sites()));
    let cuts: Vec<Cut> = (from.map_or(0, |cut| cut.layers()) + 1..top.of()).map(|layers| top.at(layers)).collect();
    match from {
        Some(cut) if begun.is_none() && !cuts.is_empty() => {
            (batch.clone().with_begun(model.begin(batch, cut, still)), cuts)
        }
        _ => (batch.clone(), cuts),
    }
}

/// The same batch, whose states are the beginning of a graph, and these.
fn leaf(batch: Batch) -> (Option<Tensor<3>>, Batch) {
    let Some(mut begun) = batch.begun.clone() else { return (None, batch) };
    begun.hidden = begun.hidden.detach().require_grad();
    (Some(begun.hidden.clone()), batch.with_begun(begun))
}

/// The gradient of `input`, taken out.
fn gradient_of(input: Option<Tensor<3>>, gradients: &mut Gradients) -> Option<Tensor<3>> {
    input.and_then(|input| input.grad_remove(gradients))
}
