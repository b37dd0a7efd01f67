//! The operations of a frozen layer, as a hook sees them.
//!
//! An op is a layer's computation held in the hand before it runs: the hook may run it as it is, change its
//! input, its output or its parameters, or add a path beside it. What ran inside (the hooks further left in a
//! composition) is hidden in it, as an inner service is in a stack of `tower` middleware.

use burn::prelude::*;
use burn::tensor::module::embedding;
use peft_kernels::linear::{LowRank, linear, linear_low_rank};
use peft_kernels::norm::{layer_norm, rms_norm};
use peft_kernels::sum::add;

use crate::hooks::Hooks;
use crate::nn::LayerNorm;
use crate::precision::{narrow, widen, wider};
use crate::site::Site;

/// A linear layer about to run: `y = xW + b`.
#[derive(Clone)]
pub struct LinearOp<'a> {
    /// Where it stands.
    pub site: &'a Site,
    /// `[d_in, d_out]`.
    pub weight: Tensor<2>,
    /// `[d_out]`.
    pub bias: Option<Tensor<1>>,
    /// The embedding table that the weight is, transposed, where it has no values of its own: whatever replaces those of
    /// the table replaces the weight.
    pub tied: Option<&'a Site>,
    pub(crate) inner: Option<&'a dyn Hooks>,
}

impl<'a> LinearOp<'a> {
    /// The bare operation.
    pub fn new(site: &'a Site, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        Self { site, weight, bias, tied: None, inner: None }
    }

    /// One whose weight is that of the `table` at another site, `[d_out, d_in]`, transposed.
    pub fn tied(site: &'a Site, at: &'a Site, table: Tensor<2>) -> Self {
        Self { tied: Some(at), ..Self::new(site, table.transpose(), None) }
    }

    /// Runs it, inner hooks included: `[batch, seq, d_in] -> [batch, seq, d_out]`.
    pub fn run(self, x: Tensor<3>) -> Tensor<3> {
        match self.inner {
            Some(hooks) => hooks.linear(Self { inner: None, ..self }, x),
            None => linear(x, self.weight, self.bias),
        }
    }
}

impl LinearOp<'_> {
    /// The weight as the hooks inside leave it, `[d_in, d_out]`: that of the base where there are none. Else it is found
    /// by running the unit vectors, which costs as much as `d_in` rows.
    ///
    /// # Panics
    /// If hooks inside differ from row to row: there is not one weight then.
    pub fn weight_inside(&self) -> Tensor<2> {
        if self.inner.is_none() {
            return widen(self.weight.clone().dequantize());
        }
        let unit = Tensor::<2>::eye(self.weight.dims()[0], &self.weight.device()).unsqueeze::<3>();
        (self.clone().run(unit) - self.at_zero()).squeeze_dim(0)
    }

    /// The bias as the hooks inside leave it, `[d_out]`: that of the base where there are none.
    pub fn bias_inside(&self) -> Option<Tensor<1>> {
        match self.inner {
            None => self.bias.clone().map(widen),
            Some(_) => Some(self.at_zero().flatten(0, 2)),
        }
    }

    /// Everything inside is affine in x: its value at zero is its bias, `[1, 1, d_out]`.
    fn at_zero(&self) -> Tensor<3> {
        self.clone().run(Tensor::zeros([1, 1, self.weight.dims()[0]], &self.weight.device()))
    }

    /// Runs it with trained parameters in place of whatever the base, and the hooks inside, make of them: what
    /// folding those hooks into the weights and then replacing the parameter would give.
    pub fn run_replaced(mut self, weight: Option<Tensor<2>>, bias: Option<Tensor<1>>, x: Tensor<3>) -> Tensor<3> {
        if self.inner.is_none() {
            self.weight = weight.unwrap_or(self.weight);
            self.bias = bias.or(self.bias);
            return self.run(x);
        }
        match (weight, bias) {
            (None, None) => self.run(x),
            (Some(weight), Some(bias)) => linear(x, weight, Some(bias)),
            (Some(weight), None) => linear(x, weight, None) + self.at_zero(),
            (None, Some(bias)) => self.clone().run(x) - self.at_zero() + bias.unsqueeze(),
        }
    }
}

impl LinearOp<'_> {
    /// Runs it with something added to its parameters, whatever the base, and the hooks inside, make of them: what
    /// folding those hooks into the weights and then adding would give.
    pub fn run_added(mut self, weight: Option<Tensor<2>>, bias: Option<Tensor<1>>, x: Tensor<3>) -> Tensor<3> {
        if self.inner.is_none() {
            self.weight = plus(self.weight, weight);
            self.bias = sum(self.bias, bias);
            return self.run(x);
        }
        let y = self.run(x.clone());
        match (weight, bias) {
            (Some(weight), bias) => y + linear(x, weight, bias),
            (None, bias) => plus(y, bias.map(Tensor::unsqueeze)),
        }
    }
}

impl LinearOp<'_> {
    /// Runs it with a path of low rank beside it, and a trained bias in place of whatever the base, and the hooks inside,
    /// make of its own: `y + s·B(A(x))`. Around a bare operation that is one pass over the data.
    pub fn run_low_rank(self, bias: Option<Tensor<1>>, x: Tensor<3>, path: LowRank) -> Tensor<3> {
        if self.inner.is_none() {
            return linear_low_rank(x, self.weight, bias.or(self.bias), path);
        }
        let input = path.input.unwrap_or_else(|| x.clone());
        self.run_replaced(None, bias, x) + linear(linear(input, path.a, None) * path.scale, path.b, None)
    }
}

/// What a normalisation does to the hidden state before it scales it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Normalised {
    /// To mean zero and variance one.
    Layer,
    /// To a mean square of one.
    Rms,
}

/// A normalisation about to run.
#[derive(Clone)]
pub struct NormOp<'a> {
    /// Where it stands.
    pub site: &'a Site,
    /// Scale, `[d_model]`.
    pub weight: Tensor<1>,
    /// Shift, `[d_model]`.
    pub bias: Option<Tensor<1>>,
    pub(crate) kind: Normalised,
    pub(crate) epsilon: f64,
    pub(crate) inner: Option<&'a dyn Hooks>,
}

impl<'a> NormOp<'a> {
    /// A layer normalisation (Ba et al. 2016, arXiv:1607.06450).
    pub fn layer(site: &'a Site, weight: Tensor<1>, bias: Option<Tensor<1>>, epsilon: f64) -> Self {
        Self { site, weight, bias, kind: Normalised::Layer, epsilon, inner: None }
    }

    /// A normalisation by the root of the mean square (Zhang and Sennrich 2019, arXiv:1910.07467).
    pub fn rms(site: &'a Site, weight: Tensor<1>, epsilon: f64) -> Self {
        Self { site, weight, bias: None, kind: Normalised::Rms, epsilon, inner: None }
    }

    /// Runs it, inner hooks included. `[batch, seq, d_model]`, same shape out.
    pub fn run(self, x: Tensor<3>) -> Tensor<3> {
        match self.inner {
            Some(hooks) => hooks.norm(Self { inner: None, ..self }, x),
            // In f32 whatever the types: a square overflows half precision.
            None => {
                let dtype = x.dtype();
                let (x, weight, bias) = (widen(x), widen(self.weight), self.bias.map(widen));
                let y = match self.kind {
                    Normalised::Layer => layer_norm(x, None, weight, bias, self.epsilon),
                    Normalised::Rms => rms_norm(x, weight, bias, self.epsilon),
                };
                narrow(y, dtype)
            }
        }
    }
}

impl NormOp<'_> {
    /// Runs it with trained parameters in place of whatever the base, and the hooks inside, make of them.
    pub fn run_replaced(mut self, weight: Option<Tensor<1>>, bias: Option<Tensor<1>>, x: Tensor<3>) -> Tensor<3> {
        if self.inner.is_none() || (weight.is_some() && bias.is_some()) {
            self.inner = None;
            self.weight = weight.unwrap_or(self.weight);
            self.bias = bias.or(self.bias);
            return self.run(x);
        }
        // A normalised zero is zero: the value there is the bias of what is inside.
        let (width, device) = (self.weight.dims()[0], x.device());
        let zero = || Tensor::zeros([1, 1, width], &device);
        match (weight, bias) {
            (Some(weight), _) => {
                let bias = self.clone().run(zero());
                Self { inner: None, weight, bias: None, ..self }.run(x) + bias
            }
            (None, Some(bias)) => self.clone().run(x.clone()) - self.clone().run(zero()) + bias.unsqueeze(),
            (None, None) => self.run(x),
        }
    }
}

impl NormOp<'_> {
    /// Runs it with something added to its parameters, whatever the base, and the hooks inside, make of them.
    pub fn run_added(mut self, weight: Option<Tensor<1>>, bias: Option<Tensor<1>>, x: Tensor<3>) -> Tensor<3> {
        if self.inner.is_none() {
            self.weight = plus(self.weight, weight);
            self.bias = sum(self.bias, bias);
            return self.run(x);
        }
        let y = self.clone().run(x.clone());
        match (weight, bias) {
            (Some(weight), bias) => y + Self { inner: None, weight, bias, ..self }.run(x),
            (None, bias) => plus(y, bias.map(Tensor::unsqueeze)),
        }
    }
}

/// A table look-up about to run.
#[derive(Clone)]
pub struct EmbeddingOp<'a> {
    /// Where it stands.
    pub site: &'a Site,
    /// `[rows, d_model]`.
    pub weight: Tensor<2>,
    pub(crate) inner: Option<&'a dyn Hooks>,
}

impl<'a> EmbeddingOp<'a> {
    /// The bare look-up.
    pub fn new(site: &'a Site, weight: Tensor<2>) -> Self {
        Self { site, weight, inner: None }
    }

    /// Runs it, inner hooks included: `[batch, seq] -> [batch, seq, d_model]`.
    pub fn run(self, ids: Tensor<2, Int>) -> Tensor<3> {
        match self.inner {
            Some(hooks) => hooks.embedding(Self { inner: None, ..self }, ids),
            None => widen(embedding(self.weight, ids)),
        }
    }
}

impl EmbeddingOp<'_> {
    /// The table as the hooks inside leave it, `[rows, d_model]`: that of the base where there are none. Else it is
    /// found by looking up every row.
    pub fn weight_inside(&self) -> Tensor<2> {
        if self.inner.is_none() {
            return widen(self.weight.clone());
        }
        let rows = self.weight.dims()[0] as i64;
        let every = Tensor::<1, Int>::arange(0..rows, &self.weight.device()).unsqueeze::<2>();
        self.clone().run(every).squeeze_dim(0)
    }

    /// Runs it with a trained table in place of whatever the base, and the hooks inside, make of it.
    pub fn run_replaced(self, weight: Option<Tensor<2>>, ids: Tensor<2, Int>) -> Tensor<3> {
        match weight {
            Some(weight) => embedding(weight, ids),
            None => self.run(ids),
        }
    }
}

impl EmbeddingOp<'_> {
    /// Runs it with something added to the table, whatever the base, and the hooks inside, make of it.
    pub fn run_added(self, weight: Option<Tensor<2>>, ids: Tensor<2, Int>) -> Tensor<3> {
        let found = weight.map(|weight| embedding(weight, ids.clone()));
        plus(self.run(ids), found)
    }
}

fn sum(a: Option<Tensor<1>>, b: Option<Tensor<1>>) -> Option<Tensor<1>> {
    match a {
        Some(a) => Some(plus(a, b)),
        None => b,
    }
}

fn plus<const D: usize>(value: Tensor<D>, more: Option<Tensor<D>>) -> Tensor<D> {
    match more {
        Some(more) => widen(value) + more,
        None => value,
    }
}

/// The end of an attention or feed-forward block: `norm(h + residual)` in a post-norm model, `h + residual` in
/// a pre-norm one.
pub struct Sublayer<'a> {
    /// Where it stands.
    pub site: &'a Site,
    /// The block's own output, `[batch, seq, d_model]`.
    pub output: &'a Tensor<3>,
    /// What will be added to it, `[batch, seq, d_model]`.
    pub residual: &'a Tensor<3>,
    /// The normalisation that follows, in a post-norm model.
    pub norm: Option<&'a LayerNorm>,
    pub(crate) hooks: &'a dyn Hooks,
}

impl<'a> Sublayer<'a> {
    /// The end of a block whose normalisation runs under `hooks`: those in force in the whole model.
    pub fn new(
        site: &'a Site,
        output: &'a Tensor<3>,
        residual: &'a Tensor<3>,
        norm: Option<&'a LayerNorm>,
        hooks: &'a dyn Hooks,
    ) -> Self {
        Self { site, output, residual, norm, hooks }
    }

    /// The normalisation that follows, applied to `x` as the hooks in force have it; `x` itself in a pre-norm model.
    pub fn normalise(&self, x: Tensor<3>) -> Tensor<3> {
        self.norm.map_or(x.clone(), |norm| norm.wide(x, self.hooks))
    }

    /// Runs the hooks on the block's output, then the sum and the normalisation: what a model does here.
    pub fn finish(&self) -> Tensor<3> {
        let dtype = wider(self.output.dtype(), self.residual.dtype());
        let (output, residual) = (widen(self.output.clone()), widen(self.residual.clone()));
        let at = self.with(&output, &residual, self.hooks);
        let h = self.hooks.sublayer(&at, output.clone());
        let op = AddNormOp { site: self.site, residual: &residual, norm: self.norm, hooks: self.hooks, inner: None };
        narrow(self.hooks.add_norm(op, h), dtype)
    }

    /// The same place for some of the rows, under their own hooks.
    pub(crate) fn with<'b>(
        &'b self,
        output: &'b Tensor<3>,
        residual: &'b Tensor<3>,
        hooks: &'b dyn Hooks,
    ) -> Sublayer<'b> {
        Sublayer { site: self.site, output, residual, norm: self.norm, hooks }
    }
}

/// The sum of a sublayer's output and its residual about to be taken, and normalised in a post-norm model.
#[derive(Clone)]
pub struct AddNormOp<'a> {
    /// Where it stands: the site of the sublayer.
    pub site: &'a Site,
    /// `[batch, seq, d_model]`.
    pub residual: &'a Tensor<3>,
    /// The normalisation that follows, in a post-norm model.
    pub norm: Option<&'a LayerNorm>,
    pub(crate) hooks: &'a dyn Hooks,
    pub(crate) inner: Option<&'a dyn Hooks>,
}

impl AddNormOp<'_> {
    /// Runs it, inner hooks included: `norm(h + residual)`.
    pub fn run(self, h: Tensor<3>) -> Tensor<3> {
        if let Some(hooks) = self.inner {
            return hooks.add_norm(Self { inner: None, ..self }, h);
        }
        let residual = self.residual.clone();
        match self.norm {
            Some(norm) => norm.of_sum(h, residual, self.hooks),
            None => add(h, residual),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Tolerance};

    use super::*;

    /// Scales and shifts every normalisation, as a method may.
    struct Affine;

    impl Hooks for Affine {
        fn norm(&self, op: NormOp<'_>, x: Tensor<3>) -> Tensor<3> {
            op.run(x) * 3.0 + 0.5
        }
    }

    fn close(got: Tensor<3>, want: Tensor<3>) {
        near(got, want, 1e-6);
    }

    fn near(got: Tensor<3>, want: Tensor<3>, bound: f32) {
        got.into_data().assert_approx_eq::<f32>(&want.into_data(), Tolerance::absolute(bound));
    }

    #[test]
    fn a_mean_square_is_normalised_and_its_scale_replaced() {
        let device = Device::flex();
        let site = Site::new("norm", "norm");
        let (scale, other) = (Tensor::from_data([2.0, 1.0], &device), Tensor::from_data([-1.0, 4.0], &device));
        let x = Tensor::<3>::from_data([[[3.0, 4.0], [0.0, 0.0]]], &device);
        // The root of (9 + 16) / 2.
        let root = 12.5f32.sqrt();
        let normal = Tensor::<3>::from_data([[[3.0 / root, 4.0 / root], [0.0, 0.0]]], &device);
        let op = || NormOp::rms(&site, scale.clone(), 1e-9);
        let by = |scale: &Tensor<1>| normal.clone() * scale.clone().unsqueeze();
        close(op().run(x.clone()), by(&scale));
        // Its square has no place in half precision.
        let half = NormOp::rms(&site, scale.clone().cast(DType::F16), 1e-9).run((x.clone() * 200.0).cast(DType::F16));
        assert_eq!(half.dtype(), DType::F16);
        near(half.cast(DType::F32), by(&scale), 2e-3);
        let affine = Affine;
        let within = || NormOp { inner: Some(&affine), ..op() };
        close(within().run(x.clone()), by(&scale) * 3.0 + 0.5);
        close(within().run_replaced(Some(other.clone()), None, x.clone()), by(&other) + 0.5);
        close(op().run_replaced(Some(other.clone()), None, x.clone()), by(&other));
        close(op().run_added(Some(other.clone()), None, x.clone()), by(&(scale.clone() + other.clone())));
        close(within().run_added(Some(other.clone()), None, x), by(&scale) * 3.0 + 0.5 + by(&other));
    }
}
