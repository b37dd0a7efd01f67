//! Normalisations, and the sum with a residual before one.

use burn::prelude::*;

use crate::switch::covers;

/// Layer normalisation (Ba et al. 2016, arXiv:1607.06450) of `x`, or of `x + residual`: `[batch, seq, d_model]`, same shape
/// out; `weight` and `bias` are `[d_model]`. Of what it reads it keeps the sum alone for the backward pass.
pub fn layer_norm(
    x: Tensor<3>,
    residual: Option<Tensor<3>>,
    weight: Tensor<1>,
    bias: Option<Tensor<1>>,
    epsilon: f64,
) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if covers(&x)
        && covers(&weight)
        && residual.as_ref().is_none_or(|more| covers(more) && more.dims() == x.dims())
        && bias.as_ref().is_none_or(covers)
    {
        return crate::flex::norm::norm(x, residual, weight, bias, epsilon, true);
    }
    let _ = covers::<3>;
    burn::tensor::module::layer_norm(plus(x, residual), weight, bias, epsilon)
}

/// Normalisation by the root of the mean square (Zhang and Sennrich 2019, arXiv:1910.07467); shapes as in [`layer_norm`].
pub fn rms_norm(x: Tensor<3>, weight: Tensor<1>, bias: Option<Tensor<1>>, epsilon: f64) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if covers(&x) && covers(&weight) && bias.as_ref().is_none_or(covers) {
        return crate::flex::norm::norm(x, None, weight, bias, epsilon, false);
    }
    composed_rms(x, weight, bias, epsilon)
}

fn composed_rms(x: Tensor<3>, weight: Tensor<1>, bias: Option<Tensor<1>>, epsilon: f64) -> Tensor<3> {
    let root = (x.clone().square().mean_dim(2) + epsilon).sqrt();
    plus(x / root * weight.unsqueeze(), bias.map(Tensor::unsqueeze))
}

fn plus(x: Tensor<3>, more: Option<Tensor<3>>) -> Tensor<3> {
    match more {
        Some(more) => x + more,
        None => x,
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn normalisations_are_the_compositions() {
        for width in [1, 3, 16, 50, 384] {
            for (with_residual, with_bias) in [(false, false), (true, true), (true, false), (false, true)] {
                let (x, weight) = (leaf([3, 45, width], 1), leaf([width], 2));
                let residual = with_residual.then(|| leaf([3, 45, width], 3));
                let bias = with_bias.then(|| leaf([width], 4));
                // One value has no variance: nothing is left of it.
                let bound = if width == 1 { 1e-3 } else { 3e-6 };
                let check = |got: Tensor<3>, want: Tensor<3>| {
                    close(&got, &want, bound, "result");
                    let (g, w) = (backward(&got), backward(&want));
                    if width > 1 {
                        same_gradient((&x, &g), (&x, &w), 1e-5, "x");
                        same_gradient((&weight, &g), (&weight, &w), 1e-5, "weight");
                    }
                    if let Some(bias) = &bias {
                        same_gradient((bias, &g), (bias, &w), 1e-5, "bias");
                    }
                    if let Some(residual) = residual.as_ref().filter(|_| width > 1) {
                        same_gradient((residual, &g), (residual, &w), 1e-5, "residual");
                    }
                };
                let sum = plus(x.clone(), residual.clone());
                let got = layer_norm(x.clone(), residual.clone(), weight.clone(), bias.clone(), 1e-12);
                check(got, burn::tensor::module::layer_norm(sum, weight.clone(), bias.clone(), 1e-12));
                if !with_residual {
                    let got = rms_norm(x.clone(), weight.clone(), bias.clone(), 1e-6);
                    check(got, composed_rms(x.clone(), weight.clone(), bias.clone(), 1e-6));
                }
            }
        }
    }

    #[test]
    fn what_is_not_tracked_has_no_gradient() {
        let (x, weight) = (constant([2, 5, 8], 1), constant([8], 2));
        let residual = leaf([2, 5, 8], 3);
        let y = layer_norm(x.clone(), Some(residual.clone()), weight.clone(), None, 1e-6);
        let grads = backward(&y);
        assert!(residual.grad(&grads).is_some() && x.grad(&grads).is_none() && weight.grad(&grads).is_none());
    }

    #[test]
    fn a_row_with_what_is_no_number_is_none() {
        let x = constant([1, 3, 8], 1).slice_fill([0..1, 1..2, 2..3], f32::NAN);
        let y = layer_norm(x, None, constant([8], 2), None, 1e-6).into_data().iter::<f32>().collect::<Vec<_>>();
        assert!(y[8..16].iter().all(|y| y.is_nan()) && y[..8].iter().chain(&y[16..]).all(|y| y.is_finite()));
    }
}
