//! DoRA (Liu et al. 2024, arXiv:2402.09353): the direction of a weight is adapted by LoRA, its magnitude by a vector of
//! its own: `W' = m ⊙ (W + s·BA) / ‖W + s·BA‖`, the norm being that of what feeds one output.

use burn::prelude::*;
use peft_core::kernels::{add, linear as map, scale};
use peft_core::{Dropout, LinearOp};

use crate::factors::LoraFactors;

/// The norm of what feeds each output of `weight` `[d_in, d_out]`: `[d_out]`.
pub(crate) fn norm(weight: Tensor<2>) -> Tensor<1> {
    weight.square().sum_dim(0).sqrt().squeeze_dim(0)
}

/// `m / ‖W + s·BA‖`, `[d_out]`. The norm is a constant in the backward pass (section 4.3 of the paper), so the sum
/// `W + s·BA` is formed apart from any graph: `r` times as many products as W has values, and one copy of W for a moment.
pub(crate) fn gain(factors: &LoraFactors, magnitude: Tensor<1>, weight: Tensor<2>) -> Tensor<1> {
    let norm = norm(weight.detach() + factors.detached_delta());
    // A column of zeros has no direction: nothing is scaled by it, but it must not divide by zero.
    magnitude / norm.clamp_min(f32::MIN_POSITIVE)
}

/// The linear layer as DoRA has it. Dropout acts on all that the magnitudes scale, as in the reference: on the low-rank
/// path and on the part of the base beyond the layer's own output.
pub(crate) fn linear(
    factors: &LoraFactors,
    magnitude: Tensor<1>,
    op: LinearOp<'_>,
    bias: Option<Tensor<1>>,
    x: Tensor<3>,
    dropout: &Dropout,
) -> Tensor<3> {
    let gain = gain(factors, magnitude, op.weight_inside());
    // The layer's own bias is not scaled: what scaling takes from it is given back. With the low-rank path, whose B takes
    // the gain, that costs no pass over the output.
    let added = bias.clone().or_else(|| op.bias_inside());
    let returned = added.map(|added| added.clone() - added * gain.clone());
    let path = |x| {
        let low = map(x, factors.a.val(), None) * factors.scale;
        map(low, factors.b.val() * gain.clone().unsqueeze(), returned)
    };
    let plain = factors.base(op.clone(), bias.clone(), x.clone());
    if !dropout.is_active(&x.device()) {
        return add(scale(plain, gain.clone()), path(x));
    }
    let dropped = dropout.forward(x);
    plain + factors.base(op, bias, dropped.clone()) * (gain.clone().unsqueeze::<3>() - 1.0) + path(dropped)
}
