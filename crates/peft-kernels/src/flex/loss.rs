//! Cross-entropy, row by row.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::prelude::*;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::buffer::{Dense, tensor};
use super::graph::register;
use super::math::exp;
use super::owned::in_parts;
use super::simd::{LANES, Loop, sum, vectorized};

/// Values that a core takes at a time, at least: a row of a vocabulary is more.
const PART: usize = 8192;

/// Cross-entropy as an extension of Burn's backends.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait LossOps: Backend {
    /// Of each row's class; none where that is below zero.
    fn peft_cross_entropy(logits: FloatTensor<Self>, classes: Arc<[i64]>) -> FloatTensor<Self>;
}

/// See [`crate::loss::cross_entropy`].
pub(crate) fn cross_entropy(logits: Tensor<2>, classes: &[i64]) -> Tensor<1> {
    Tensor::from_dispatch(<Dispatch as LossOps>::peft_cross_entropy(logits.into_dispatch(), classes.into()))
}

impl LossOps for Flex {
    fn peft_cross_entropy(logits: FlexTensor, classes: Arc<[i64]>) -> FlexTensor {
        forward(&Dense::new(logits), &classes).0
    }
}

impl<C: CheckpointStrategy> LossOps for Autodiff<Flex, C> {
    fn peft_cross_entropy(logits: FloatTensor<Self>, classes: Arc<[i64]>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct CrossEntropy;
        impl Backward<Flex, 1> for CrossEntropy {
            type State = (FlexTensor, Arc<[i64]>, Arc<Vec<Statistics>>);

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let grad = Dense::new(grads.consume::<Flex>(&ops.node));
                let (logits, classes, statistics) = ops.state;
                let [of_logits] = ops.parents.map(|node| node.map(|node| node.id));
                register(grads, [(of_logits, Some(backward(logits, &classes, &statistics, &grad)))]);
            }
        }
        let nodes = [logits.node()];
        let logits = logits.into_primitive().to_contiguous();
        let (losses, statistics) = forward(&Dense::new(logits.clone()), &classes);
        match CrossEntropy.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((logits, classes, Arc::new(statistics)), losses),
            OpsKind::UnTracked(prep) => prep.finish(losses),
        }
    }
}

/// The largest value of a row, and one over the sum of `exp(value - largest)`. Their sum as one number, the logarithm of
/// the sum, would round what is far from zero.
type Statistics = [f32; 2];

/// The loss of a row and its statistics.
struct Row<'a> {
    logits: &'a [f32],
    class: usize,
}

impl Loop for Row<'_> {
    type Output = (f32, Statistics);

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Self::Output {
        let row = self.logits;
        let largest = largest(row);
        let sum = sum(row.len(), |i| exp::<FMA>(row[i] - largest));
        (sum.ln() - (row[self.class] - largest), [largest, 1.0 / sum])
    }
}

/// The largest value; what it is where one is not a number does not matter, for the sum is none then.
#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let mut parts = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    for chunk in whole {
        for (part, value) in parts.iter_mut().zip(chunk) {
            *part = if *value > *part { *value } else { *part };
        }
    }
    rest.iter().chain(&parts.clone()).fold(f32::NEG_INFINITY, |most, value| most.max(*value))
}

/// Rows that a core takes at a time.
fn rows_of(width: usize) -> usize {
    PART.div_ceil(width.max(1))
}

fn forward(logits: &Dense, classes: &[i64]) -> (FlexTensor, Vec<Statistics>) {
    let values = logits.values();
    let width = values.len() / classes.len().max(1);
    let mut losses = vec![0.0; classes.len()];
    let mut statistics = vec![[0.0; 2]; classes.len()];
    let some = rows_of(width);
    losses.par_chunks_mut(some).zip(statistics.par_chunks_mut(some)).enumerate().for_each(
        |(i, (losses, statistics))| {
            let rows = values[i * some * width..].chunks_exact(width).zip(&classes[i * some..]);
            for ((loss, statistics), (logits, class)) in losses.iter_mut().zip(statistics).zip(rows) {
                if let Ok(class) = usize::try_from(*class) {
                    (*loss, *statistics) = vectorized(Row { logits, class });
                }
            }
        },
    );
    (tensor(losses, [classes.len()].into()), statistics)
}

/// Logits become their gradient but for the `one`: `(softmax - one where the class is)·grad`.
struct Shares<'a> {
    row: &'a mut [f32],
    statistics: Statistics,
    grad: f32,
}

impl Loop for Shares<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let [largest, share] = self.statistics;
        let factor = share * self.grad;
        for value in self.row.iter_mut() {
            *value = exp::<FMA>(*value - largest) * factor;
        }
    }
}

fn backward(logits: FlexTensor, classes: &[i64], statistics: &[Statistics], grad: &Dense) -> FlexTensor {
    let width = logits.layout().shape()[1];
    let (grad, some) = (grad.values(), rows_of(width));
    in_parts(logits, some * width, |i, rows| {
        for (j, row) in rows.chunks_exact_mut(width).enumerate() {
            let j = i * some + j;
            match usize::try_from(classes[j]) {
                Ok(class) => {
                    vectorized(Shares { row, statistics: statistics[j], grad: grad[j] });
                    row[class] -= grad[j];
                }
                Err(_) => row.fill(0.0),
            }
        }
    })
}
