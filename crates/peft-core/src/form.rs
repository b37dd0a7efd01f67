//! What hooks make of a frozen linear map, in closed form.
//!
//! A hook that wraps a layer hides what it does: to know it, the layer has to run. Most methods do one of a few things to a
//! linear map, and those compose. Where the hooks of all rows of a batch say what they do, the frozen product is taken
//! once for the whole batch, whatever the number of adapters.

use burn::prelude::*;
use peft_kernels::linear::LowRank;

use crate::op::LinearOp;
use crate::precision::widen;

/// `y = o ⊙ (W(i ⊙ x) + b) + s·B(A(x)) + c`: a linear map as hooks leave it. It starts as the bare map, and each function
/// gives what is there when the same is done around it, as folding one adapter and then the next into the weights does.
#[derive(Clone, Debug)]
pub struct LinearForm {
    /// W, `[d_in, d_out]`, where it is not the base's.
    pub(crate) weight: Option<Tensor<2>>,
    /// Whether b is the base's.
    pub(crate) base_bias: bool,
    /// b, `[d_out]`, where it is not.
    pub(crate) bias: Option<Tensor<1>>,
    /// i, `[d_in]`.
    pub(crate) input: Option<Tensor<1>>,
    /// o, `[d_out]`.
    pub(crate) output: Option<Tensor<1>>,
    pub(crate) path: Option<LowRank>,
    /// c, `[d_out]`.
    pub(crate) offset: Option<Tensor<1>>,
}

impl LinearForm {
    /// The map as the base has it.
    pub fn bare() -> Self {
        Self { weight: None, base_bias: true, bias: None, input: None, output: None, path: None, offset: None }
    }

    /// With parameters in place of whatever is there: [`LinearOp::run_replaced`].
    pub fn replaced(self, op: &LinearOp<'_>, weight: Option<Tensor<2>>, bias: Option<Tensor<1>>) -> Self {
        let form = match weight {
            Some(weight) => {
                let at_zero = plus(self.bias_or(op).map(|bias| times(self.output, bias)), self.offset);
                Self { weight: Some(weight), base_bias: false, bias: at_zero, ..Self::bare() }
            }
            None => self,
        };
        match bias {
            None => form,
            Some(bias) if form.output.is_none() => Self { base_bias: false, bias: Some(bias), offset: None, ..form },
            Some(bias) => Self { base_bias: false, bias: None, offset: Some(bias), ..form },
        }
    }

    /// With `scale·B(A(x))` beside it: `a` is `[d_in, r]`, `b` `[r, d_out]`.
    pub fn low_rank(self, a: Tensor<2>, b: Tensor<2>, scale: f64) -> Self {
        let path = match self.path {
            None => LowRank { input: None, a, b, scale },
            // Two paths are one, of both ranks.
            Some(path) => LowRank {
                input: None,
                a: Tensor::cat(vec![path.a * path.scale, a * scale], 1),
                b: Tensor::cat(vec![path.b, b], 0),
                scale: 1.0,
            },
        };
        Self { path: Some(path), ..self }
    }

    /// With its input multiplied by `factor`, `[d_in]`.
    pub fn input_scaled(self, factor: Tensor<1>) -> Self {
        let scaled = |path: LowRank| LowRank { a: path.a * factor.clone().unsqueeze_dim(1), ..path };
        Self { path: self.path.map(scaled), input: Some(times(self.input, factor)), ..self }
    }

    /// With its output multiplied by `factor`, `[d_out]`.
    pub fn output_scaled(self, factor: Tensor<1>) -> Self {
        let scaled = |path: LowRank| LowRank { b: path.b * factor.clone().unsqueeze(), ..path };
        Self {
            path: self.path.map(scaled),
            offset: self.offset.map(|offset| offset * factor.clone()),
            output: Some(times(self.output, factor)),
            ..self
        }
    }

    /// With `offset`, `[d_out]`, added to its output.
    pub fn shifted(self, offset: Tensor<1>) -> Self {
        Self { offset: plus(self.offset, Some(offset)), ..self }
    }

    /// b, that of `op` where it is the base's.
    pub(crate) fn bias_or(&self, op: &LinearOp<'_>) -> Option<Tensor<1>> {
        if self.base_bias { op.bias.clone().map(widen) } else { self.bias.clone() }
    }
}

fn times(a: Option<Tensor<1>>, b: Tensor<1>) -> Tensor<1> {
    match a {
        Some(a) => a * b,
        None => b,
    }
}

fn plus(a: Option<Tensor<1>>, b: Option<Tensor<1>>) -> Option<Tensor<1>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}
