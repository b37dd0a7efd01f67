//! Sums on all cores.

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
use super::pool::Values;

/// Values that a core takes at a time.
const PART: usize = 16_384;

/// Sums as an extension of Burn's backends.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait SumOps: Backend {
    /// `a + b`, of one shape.
    fn peft_add(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// See [`crate::sum::add`].
pub(crate) fn add(a: Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    Tensor::from_dispatch(<Dispatch as SumOps>::peft_add(a.into_dispatch(), b.into_dispatch()))
}

impl SumOps for Flex {
    fn peft_add(a: FlexTensor, b: FlexTensor) -> FlexTensor {
        let (a, b) = (Dense::new(a), Dense::new(b));
        let (left, right) = (a.values(), b.values());
        let mut sum = Values::new(left.len());
        sum.par_chunks_mut(PART).zip(left.par_chunks(PART).zip(right.par_chunks(PART))).for_each(|(sum, (a, b))| {
            sum.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum = a + b);
        });
        tensor(sum, a.shape().clone())
    }
}

impl<C: CheckpointStrategy> SumOps for Autodiff<Flex, C> {
    fn peft_add(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Add;
        impl Backward<Flex, 2> for Add {
            type State = ();

            fn backward(self, ops: Ops<(), 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let grad = grads.consume::<Flex>(&ops.node);
                let [a, b] = ops.parents.map(|node| node.map(|node| node.id));
                register(grads, [(a, Some(grad.clone())), (b, Some(grad))]);
            }
        }
        let nodes = [a.node(), b.node()];
        let sum = Flex::peft_add(a.into_primitive(), b.into_primitive());
        match Add.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((), sum),
            OpsKind::UnTracked(prep) => prep.finish(sum),
        }
    }
}
