//! Linear maps, most of them frozen, and the low-rank path beside them.

use burn::prelude::*;

use crate::switch::covers;

/// A path of low rank beside a linear map: `s·B(A(x))` (Hu et al. 2021, arXiv:2106.09685).
#[derive(Clone, Debug)]
pub struct LowRank {
    /// What it reads in place of the map's input, `[batch, seq, d_in]`: the same after dropout.
    pub input: Option<Tensor<3>>,
    /// `[d_in, r]`.
    pub a: Tensor<2>,
    /// `[r, d_out]`.
    pub b: Tensor<2>,
    /// s.
    pub scale: f64,
}

/// `xW + b`: `x` `[batch, seq, d_in]`, `weight` `[d_in, d_out]`, `bias` `[d_out]` to `[batch, seq, d_out]`.
///
/// What was read is kept for the backward pass where the weight is tracked alone.
pub fn linear(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if covers(&x) && covers(&weight) {
        return crate::flex::linear::linear(x, weight, bias);
    }
    let _ = covers::<3>;
    burn::tensor::module::linear(x, weight, bias)
}

/// `xW + b + s·B(A(x))`, shapes as in [`linear`]: the path is summed into the product while that is in the cache, and one
/// pass over the gradient of the result gives those of all that is tracked. The kernel makes no gradient of the weight: where
/// that is tracked, Burn's own operations run.
pub fn linear_low_rank(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>, path: LowRank) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if covers(&x) && covers(&weight) && covers(&path.a) && covers(&path.b) {
        return crate::flex::linear::linear_low_rank(x, weight, bias, path);
    }
    composed(x, weight, bias, path)
}

fn composed(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>, path: LowRank) -> Tensor<3> {
    use burn::tensor::module::linear;
    let input = path.input.unwrap_or_else(|| x.clone());
    linear(x, weight, bias) + linear(linear(input, path.a, None) * path.scale, path.b, None)
}

#[cfg(all(test, feature = "flex"))]
mod tests;
