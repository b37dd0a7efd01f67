//! Linear maps, most of them frozen, and the low-rank path beside them.

use burn::prelude::*;
use burn::tensor::DType;

use crate::switch::covers;
#[cfg(feature = "flex")]
use crate::switch::is_on_flex;

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

/// `xW + b`: `x` `[batch, seq, d_in]`, `weight` `[d_in, d_out]`, `bias` `[d_out]` to `[batch, seq, d_out]`, in the type of `x`.
///
/// A frozen weight may be whole numbers with a scale for each block or for all (QLoRA: Dettmers et al. 2023,
/// arXiv:2305.14314). Then what is kept for the backward pass is the weight as it is: the kernel widens what of it a core multiplies
/// next, forward and backward; elsewhere Burn widens one weight at a time. With a weight in half precision the product is in
/// that type. What was read is kept for the backward pass only where the weight is tracked.
pub fn linear(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    let bias = bias.map(|bias| bias.cast(x.dtype()));
    #[cfg(feature = "flex")]
    if covers(&x) && covers_weight(&weight) {
        return crate::flex::linear::linear(x, weight, bias);
    }
    let _ = covers::<3>;
    plain(x, weight, bias)
}

/// `xW + b + s·B(A(x))`, shapes and types as in [`linear`]: the path is summed into the product while that is in the cache, and
/// one pass over the gradient of the result gives those of all that is tracked. That kernel makes no gradient of the weight:
/// where that is tracked, the three maps run one by one.
pub fn linear_low_rank(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>, path: LowRank) -> Tensor<3> {
    let bias = bias.map(|bias| bias.cast(x.dtype()));
    #[cfg(feature = "flex")]
    if covers(&x) && covers_weight(&weight) && !weight.is_tracked() && covers(&path.a) && covers(&path.b) {
        return crate::flex::linear::linear_low_rank(x, weight, bias, path);
    }
    let input = path.input.unwrap_or_else(|| x.clone());
    linear(x, weight, bias) + linear(linear(input, path.a, None) * path.scale, path.b, None)
}

/// Whether the kernels take a weight of its type: of scales in two levels they do not.
#[cfg(feature = "flex")]
fn covers_weight(weight: &Tensor<2>) -> bool {
    match weight.dtype() {
        DType::F32 => is_on_flex(weight),
        DType::QFloat(scheme) => is_on_flex(weight) && burn_std::quantization::global_scale_dtype(&scheme).is_none(),
        _ => false,
    }
}

/// Burn's own product, in the type of the weight.
fn plain(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    use burn::tensor::module::linear;
    let (dtype, inside) = (x.dtype(), weight.dtype());
    let y = match inside {
        DType::QFloat(_) => crate::quantised::product(x, weight),
        _ if dtype == inside => return linear(x, weight, bias),
        _ => linear(x.cast(inside), weight, None).cast(dtype),
    };
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests;
