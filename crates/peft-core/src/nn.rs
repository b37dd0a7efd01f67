//! The layers of a frozen backbone: each knows its site and runs through the hooks in force.
//!
//! They differ from `burn::nn`'s in that, and in their parameter names, which are those of the reference
//! (`weight`, `bias`), so that a site's name plus the field's name is the name of the tensor in a checkpoint.
//! Parameters start lazily: a model built from a configuration alone costs no memory, and whatever a checkpoint
//! does not fill (a new head) draws its values when first used.

use burn::module::{Module, Param, ParamId};
use burn::prelude::*;
use burn::tensor::DType;
use peft_kernels::norm::layer_norm;
use peft_kernels::sum::add;

use crate::devices::on_device;
use crate::draw;
use crate::hooks::Hooks;
use crate::op::{EmbeddingOp, LinearOp, NormOp};
use crate::precision::{narrow, widen};
use crate::site::Site;

/// Standard deviation of new weights: BERT's and T5's `initializer_range`.
const INITIALIZER_RANGE: f64 = 0.02;

/// `y = xW + b` at a site.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[d_in, d_out]`: the transpose of the reference's layout.
    pub weight: Param<Tensor<2>>,
    /// `[d_out]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    site: Site,
}

impl Linear {
    /// A frozen layer with weights drawn from N(0, 0.02²) and a zero bias when first used.
    pub fn new(site: Site, d_in: usize, d_out: usize, bias: bool, device: &Device) -> Self {
        Self { weight: normal([d_in, d_out], device), bias: bias.then(|| constant(d_out, 0.0, device)), site }
    }

    /// `[batch, seq, d_in] -> [batch, seq, d_out]` under `hooks`, in the type of the weight.
    pub fn forward(&self, x: Tensor<3>, hooks: &dyn Hooks) -> Tensor<3> {
        narrow(self.scores(x, hooks), self.weight.val().dtype())
    }

    /// The same in f32: for scores that a loss is taken of. A head may be on another device than what it reads.
    pub fn scores(&self, x: Tensor<3>, hooks: &dyn Hooks) -> Tensor<3> {
        let bias = self.bias.as_ref().map(|b| b.val());
        hooks.linear(LinearOp::new(&self.site, self.weight.val(), bias), widen(on_device(x, &self.weight.device())))
    }

    /// The type of its weight.
    pub fn dtype(&self) -> DType {
        self.weight.val().dtype()
    }
}

/// Layer normalisation at a site (Ba et al. 2016, arXiv:1607.06450).
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Scale, `[d_model]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[d_model]`.
    pub bias: Option<Param<Tensor<1>>>,
    epsilon: f64,
    #[module(skip)]
    site: Site,
}

impl LayerNorm {
    /// A frozen normalisation with scale one and shift zero.
    pub fn new(site: Site, d_model: usize, epsilon: f64, device: &Device) -> Self {
        let (weight, bias) = (constant(d_model, 1.0, device), Some(constant(d_model, 0.0, device)));
        Self { weight, bias, epsilon, site }
    }

    /// The operation this layer stands for.
    pub fn op(&self) -> NormOp<'_> {
        NormOp::layer(&self.site, self.weight.val(), self.bias.as_ref().map(|b| b.val()), self.epsilon)
    }

    /// `[batch, seq, d_model]`, same shape out, under `hooks`, in the type of the scale.
    pub fn forward(&self, x: Tensor<3>, hooks: &dyn Hooks) -> Tensor<3> {
        narrow(self.wide(x, hooks), self.weight.val().dtype())
    }

    /// The same in f32.
    pub(crate) fn wide(&self, x: Tensor<3>, hooks: &dyn Hooks) -> Tensor<3> {
        hooks.norm(self.op(), widen(x))
    }

    /// The same of a sum of f32: one pass over it where no hook wants to see the sum.
    pub(crate) fn of_sum(&self, x: Tensor<3>, residual: Tensor<3>, hooks: &dyn Hooks) -> Tensor<3> {
        if hooks.acts_at(&self.site) {
            return self.wide(add(x, residual), hooks);
        }
        let bias = self.bias.as_ref().map(|bias| widen(bias.val()));
        layer_norm(x, Some(residual), widen(self.weight.val()), bias, self.epsilon)
    }
}

/// Normalisation by the root of the mean square at a site (Zhang and Sennrich 2019, arXiv:1910.07467): no mean is
/// subtracted and no bias is added.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// Scale, `[d_model]`.
    pub weight: Param<Tensor<1>>,
    epsilon: f64,
    #[module(skip)]
    site: Site,
}

impl RmsNorm {
    /// A frozen normalisation with scale one.
    pub fn new(site: Site, d_model: usize, epsilon: f64, device: &Device) -> Self {
        Self { weight: constant(d_model, 1.0, device), epsilon, site }
    }

    /// `[batch, seq, d_model]`, same shape out, under `hooks`, in the type of the scale.
    pub fn forward(&self, x: Tensor<3>, hooks: &dyn Hooks) -> Tensor<3> {
        let weight = self.weight.val();
        let dtype = weight.dtype();
        narrow(hooks.norm(NormOp::rms(&self.site, weight, self.epsilon), widen(x)), dtype)
    }
}

/// A table of vectors at a site.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[rows, d_model]`.
    pub weight: Param<Tensor<2>>,
    #[module(skip)]
    site: Site,
}

impl Embedding {
    /// A frozen table drawn from N(0, 0.02²) when first used.
    pub fn new(site: Site, rows: usize, d_model: usize, device: &Device) -> Self {
        Self { weight: normal([rows, d_model], device), site }
    }

    /// Where it stands.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// `[batch, seq]` indices to `[batch, seq, d_model]` vectors, under `hooks`, in the type of the table.
    pub fn forward(&self, ids: Tensor<2, Int>, hooks: &dyn Hooks) -> Tensor<3> {
        let weight = self.weight.val();
        let dtype = weight.dtype();
        narrow(hooks.embedding(EmbeddingOp::new(&self.site, weight), ids), dtype)
    }

    /// Scores of the rows at a site `at` of its own, under `hooks`: `[batch, seq, d_model] -> [batch, seq, rows]`. The
    /// weight of a head that is tied to the table.
    pub fn scores(&self, x: Tensor<3>, at: &Site, hooks: &dyn Hooks) -> Tensor<3> {
        hooks.linear(LinearOp::tied(at, &self.site, self.weight.val()), x)
    }
}

fn normal(shape: [usize; 2], device: &Device) -> Param<Tensor<2>> {
    let init = move |device: &Device, grad: bool| draw::normal(shape, INITIALIZER_RANGE, device).set_require_grad(grad);
    Param::uninitialized(ParamId::new(), init, device.clone(), false, shape.into())
}

fn constant(len: usize, value: f32, device: &Device) -> Param<Tensor<1>> {
    let init = move |device: &Device, grad: bool| Tensor::full([len], value, device).set_require_grad(grad);
    Param::uninitialized(ParamId::new(), init, device.clone(), false, [len].into())
}
