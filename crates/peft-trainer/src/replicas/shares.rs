//! A batch cut into shares, and what they taught put together again.

use std::collections::HashSet;

use burn::module::{ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::prelude::*;
use peft_core::{Method, on_device};
use peft_models::Scorer;

use crate::batches::{LabelledBatch, step_seed};
use crate::metrics::Scored;
use crate::trainee::{Learned, Trainee};

/// Some rows of a batch, with a seed that no other share has.
pub(super) struct Share(pub(super) LabelledBatch);

impl Share {
    pub(super) fn on_device(self, device: &Device) -> Self {
        Self(LabelledBatch { batch: self.0.batch.on_device(device), ..self.0 })
    }
}

/// `item` in `count` shares of rows that follow each other, or fewer if it has fewer rows. They differ by one row at most and
/// stay padded to the width of the batch, so that a row's losses are the same in a share as in the whole.
pub(super) fn split(item: LabelledBatch, count: usize) -> Vec<Share> {
    let all = item.targets.rows();
    let count = count.min(all).max(1);
    let start = |share: usize| share * (all / count) + share.min(all % count);
    let share = |i: usize| {
        let rows = start(i)..start(i + 1);
        Share(LabelledBatch {
            batch: item.batch.share(rows.clone()),
            targets: item.targets.share(rows.clone()),
            // Those of the batch are counted where it is whole.
            tokens: 0,
            seed: step_seed(item.seed, 0, i + 1),
            rows: item.rows[rows].to_vec(),
            generation: None,
        })
    };
    (0..count).map(share).collect()
}

/// Gradients and outcomes of the whole batch, on the device of `trainee`. Each share weighs as much as it has losses in the
/// mean; the sum goes by the order of the shares, whichever was ready first.
pub(super) fn join<M: Scorer, P: Method>(trainee: &Trainee<M, P>, learned: Vec<Learned>) -> (GradientsParams, Scored) {
    let losses: usize = learned.iter().map(|share| share.losses).sum();
    // Where nothing is to be learned from any, the first stands for all: its gradients are zero but for a penalty's.
    let counts = |i: usize, share: &Learned| if losses == 0 { usize::from(i == 0) } else { share.losses };
    let weights: Vec<f64> =
        learned.iter().enumerate().map(|(i, share)| counts(i, share) as f64 / losses.max(1) as f64).collect();
    let (grads, scored): (Vec<_>, Vec<_>) = learned.into_iter().map(|share| (share.grads, share.scored)).unzip();
    let counted: Vec<bool> = weights.iter().map(|&weight| weight > 0.0).collect();
    let mut mean = Mean { shares: grads, weights, seen: HashSet::new(), mean: GradientsParams::new() };
    trainee.visit(&mut mean);
    (mean.mean, together(scored, &counted))
}

/// The outcomes of all shares as one; the losses are of those alone that count.
fn together(scored: Vec<Scored>, counted: &[bool]) -> Scored {
    let (mut losses, mut scores) = (Vec::new(), Vec::new());
    let (device, mut rest) = (scored[0].loss.device(), None);
    for (share, counts) in scored.into_iter().zip(counted) {
        if *counts {
            losses.push(on_device(share.loss.clone(), &device));
        }
        scores.push(on_device(share.scores.clone(), &device));
        rest.get_or_insert(share);
    }
    let Some(first) = rest else { unreachable!("a batch has at least one share") };
    Scored { loss: Tensor::cat(losses, 0), scores: Tensor::cat(scores, 0), ..first }
}

/// The weighted mean of gradients by parameter.
struct Mean {
    shares: Vec<GradientsParams>,
    weights: Vec<f64>,
    /// A parameter that a module holds twice has one gradient.
    seen: HashSet<ParamId>,
    mean: GradientsParams,
}

impl ModuleVisitor for Mean {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !self.seen.insert(param.id) {
            return;
        }
        let device = param.lazy_device().inner();
        let terms = self.shares.iter_mut().zip(&self.weights).filter_map(|(share, &weight)| {
            let grad = share.remove::<D>(param.id)?;
            // A share that does not count is left out: it may have nothing but zeros to give.
            (weight > 0.0).then(|| on_device(grad, &device).mul_scalar(weight))
        });
        if let Some(sum) = terms.reduce(|sum, term| sum + term) {
            self.mean.register(param.id, sum);
        }
    }
}
