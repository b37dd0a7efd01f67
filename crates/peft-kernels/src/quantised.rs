//! A frozen weight of few bits on every backend: the CPU's own kernel is in [`crate::linear`], this is for all others.
#![allow(deprecated)] // ndarray is one, there for comparison.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, QuantizedTensor};
use burn::backend::{Autodiff, Backend, Dispatch, TensorMetadata, TensorPrimitive, backend_extension};
use burn::prelude::*;

/// `xW` as an extension of Burn's backends. Burn's own widens `W` under autodiff, and its graph keeps that.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(any(feature = "wgpu", feature = "cuda")),
    Autodiff
)]
trait QuantisedOps: Backend {
    /// `x` `[rows, d_in]`, `weight` `[d_in, d_out]`. A backend that multiplies whole numbers does.
    fn peft_quantised(x: FloatTensor<Self>, weight: QuantizedTensor<Self>) -> FloatTensor<Self> {
        match Self::q_matmul(TensorPrimitive::Float(x), TensorPrimitive::QFloat(weight)) {
            TensorPrimitive::Float(y) => y,
            TensorPrimitive::QFloat(y) => Self::dequantize(y, burn::tensor::FloatDType::F32),
        }
    }
}

#[cfg(feature = "flex")]
impl QuantisedOps for burn::backend::Flex {}
#[cfg(feature = "ndarray")]
impl QuantisedOps for burn::backend::NdArray {}
#[cfg(any(feature = "wgpu", feature = "cuda"))]
impl QuantisedOps for burn::backend::Cube {}

/// `xW`: `x` `[batch, seq, d_in]`, `weight` `[d_in, d_out]` in whole numbers. What is kept for the backward pass is the weight as
/// it is; it is widened there again, one weight at a time.
pub(crate) fn product(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    let [batch, seq, d_in] = x.dims();
    let d_out = weight.dims()[1];
    let rows = x.reshape([batch * seq, d_in]).into_dispatch();
    let y = <Dispatch as QuantisedOps>::peft_quantised(rows, weight.into_dispatch());
    Tensor::<2>::from_dispatch(y).reshape([batch, seq, d_out])
}

impl<B: QuantisedOps, C: CheckpointStrategy> QuantisedOps for Autodiff<B, C> {
    fn peft_quantised(x: FloatTensor<Self>, weight: QuantizedTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Product;
        impl<B: Backend> Backward<B, 1> for Product {
            type State = QuantizedTensor<B>;

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let grad = grads.consume::<B>(&ops.node);
                let [x] = ops.parents;
                if let Some(x) = x {
                    // Not a product with the turned whole numbers: where values are packed, not every backend turns them.
                    let wide = B::dequantize(ops.state, grad.dtype().into());
                    grads.register::<B>(x.id, B::float_matmul(grad, B::float_transpose(wide)));
                }
            }
        }
        let node = x.node();
        let y = B::peft_quantised(x.into_primitive(), weight.clone());
        match Product.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(weight, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
