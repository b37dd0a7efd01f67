//! Dropout, in the memory of what it reads where nobody else has that.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::prelude::*;
use burn_flex::FlexTensor;

use super::graph::register;
use super::owned::in_parts;
use super::simd::{Loop, vectorized};
use crate::attention::Dropped;
use crate::dropout::{GROUP, Mask};

/// Values that a core takes at a time: whole groups.
const PART: usize = 4096 * GROUP;

/// Dropout as an extension of Burn's backends.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait DropoutOps: Backend {
    /// See [`crate::dropout::dropout`].
    fn peft_dropout(x: FloatTensor<Self>, dropped: Dropped) -> FloatTensor<Self>;
}

/// See [`crate::dropout::dropout`].
pub(crate) fn dropout<const D: usize>(x: Tensor<D>, dropped: Dropped) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as DropoutOps>::peft_dropout(x.into_dispatch(), dropped))
}

impl DropoutOps for Flex {
    fn peft_dropout(x: FlexTensor, dropped: Dropped) -> FlexTensor {
        let mask = Mask::new(dropped);
        in_parts(x, PART, |i, values| vectorized(Part { mask, from: i * (PART / GROUP), values }))
    }
}

struct Part<'a> {
    mask: Mask,
    from: usize,
    values: &'a mut [f32],
}

impl Loop for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.mask.apply(self.from, self.values);
    }
}

impl<C: CheckpointStrategy> DropoutOps for Autodiff<Flex, C> {
    fn peft_dropout(x: FloatTensor<Self>, dropped: Dropped) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Drop;
        impl Backward<Flex, 1> for Drop {
            type State = Dropped;

            fn backward(self, ops: Ops<Dropped, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let grad = grads.consume::<Flex>(&ops.node);
                let [x] = ops.parents.map(|node| node.map(|node| node.id));
                register(grads, [(x, Some(Flex::peft_dropout(grad, ops.state)))]);
            }
        }
        let nodes = [x.node()];
        let y = Flex::peft_dropout(x.into_primitive(), dropped);
        match Drop.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(dropped, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
