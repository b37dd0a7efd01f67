//! Rows scaled by one vector, on all cores.

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
use super::simd::{Loop, fma, vectorized};

/// Rows that a core takes at a time.
const ROWS: usize = 64;

/// Scaling as an extension of Burn's backends.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait ScaleOps: Backend {
    /// `x ⊙ by`, one vector for all rows.
    fn peft_scale(x: FloatTensor<Self>, by: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// See [`crate::scale::scale`].
pub(crate) fn scale(x: Tensor<3>, by: Tensor<1>) -> Tensor<3> {
    Tensor::from_dispatch(<Dispatch as ScaleOps>::peft_scale(x.into_dispatch(), by.into_dispatch()))
}

impl ScaleOps for Flex {
    fn peft_scale(x: FlexTensor, by: FlexTensor) -> FlexTensor {
        scaled(&Dense::new(x), &Dense::new(by))
    }
}

impl<C: CheckpointStrategy> ScaleOps for Autodiff<Flex, C> {
    fn peft_scale(x: FloatTensor<Self>, by: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Scale;
        impl Backward<Flex, 2> for Scale {
            /// What was scaled, if the vector has a gradient, and the vector.
            type State = (Option<Dense>, Dense);

            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let grad = Dense::new(grads.consume::<Flex>(&ops.node));
                let (x, by) = ops.state;
                let [of_x, of_by] = ops.parents.map(|node| node.map(|node| node.id));
                let found = [(of_x, of_x.map(|_| scaled(&grad, &by))), (of_by, x.map(|x| products(&x, &grad, &by)))];
                register(grads, found);
            }
        }
        let (nodes, wanted) = ([x.node(), by.node()], by.is_tracked());
        let (x, by) = (Dense::new(x.into_primitive()), Dense::new(by.into_primitive()));
        let y = scaled(&x, &by);
        match Scale.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((wanted.then_some(x), by), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

fn scaled(x: &Dense, by: &Dense) -> FlexTensor {
    let (values, by) = (x.values(), by.values());
    let part = (ROWS * by.len()).max(1);
    let mut y = Values::new(values.len());
    y.par_chunks_mut(part).zip(values.par_chunks(part)).for_each(|(y, x)| vectorized(Rows { x, by, y }));
    tensor(y, x.shape().clone())
}

struct Rows<'a> {
    x: &'a [f32],
    by: &'a [f32],
    y: &'a mut [f32],
}

impl Loop for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let rows = self.x.chunks_exact(self.by.len());
        for (y, x) in self.y.chunks_exact_mut(self.by.len()).zip(rows) {
            for (y, (x, by)) in y.iter_mut().zip(x.iter().zip(self.by)) {
                *y = x * by;
            }
        }
    }
}

/// The gradient of the vector: the sum of `x ⊙ grad` over all rows, in parts of a fixed size.
fn products(x: &Dense, grad: &Dense, by: &Dense) -> FlexTensor {
    let width = by.values().len();
    let part = (ROWS * width).max(1);
    let parts: Vec<Vec<f32>> = x
        .values()
        .par_chunks(part)
        .zip(grad.values().par_chunks(part))
        .map(|(x, grad)| vectorized(Sum { x, grad, width }))
        .collect();
    let mut sum = vec![0.0; width];
    for part in parts {
        sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    tensor(sum, by.shape().clone())
}

struct Sum<'a> {
    x: &'a [f32],
    grad: &'a [f32],
    width: usize,
}

impl Loop for Sum<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> Vec<f32> {
        let mut sum = vec![0.0; self.width];
        for (x, grad) in self.x.chunks_exact(self.width).zip(self.grad.chunks_exact(self.width)) {
            for (sum, (x, grad)) in sum.iter_mut().zip(x.iter().zip(grad)) {
                *sum = fma::<FMA>(*x, *grad, *sum);
            }
        }
        sum
    }
}
