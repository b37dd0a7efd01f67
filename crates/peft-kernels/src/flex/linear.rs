//! The frozen linear map and the low-rank path beside it.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::prelude::*;
use burn_flex::FlexTensor;
use std::sync::Arc;

use super::buffer::{Dense, matrix, tensor};
use super::gemm::{
    Matrix, MatrixMut, Operand, Packed, Product, Start, Strips, Term, by_rows, product_of_strips, reduce,
    sum_of_products, worth_sharing,
};
use super::graph::{or_nothing, present, register};
use super::pool::Values;
use super::weight::Weight;
use crate::linear::LowRank;

/// The map as an extension of Burn's backends.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait LinearOps: Backend {
    /// `xW + b` of a frozen weight.
    fn peft_linear(
        x: FloatTensor<Self>,
        #[extension_type] weight: Weight<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// `xW + b` of one in f32 that is trained.
    fn peft_linear_trained(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// `xW + b + s·B(A(input or x))`.
    fn peft_linear_low_rank(
        x: FloatTensor<Self>,
        input: FloatTensor<Self>,
        #[extension_type] weight: Weight<Self>,
        bias: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self>;
}

/// See [`crate::linear::linear`].
pub(crate) fn linear(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    let bias = or_nothing(bias, &x).into_dispatch();
    let (x, trained) = (x.into_dispatch(), weight.is_tracked());
    Tensor::from_dispatch(match trained {
        true => <Dispatch as LinearOps>::peft_linear_trained(x, weight.into_dispatch(), bias),
        false => <Dispatch as LinearOps>::peft_linear(x, Weight::new(weight), bias),
    })
}

/// See [`crate::linear::linear_low_rank`].
pub(crate) fn linear_low_rank(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>, path: LowRank) -> Tensor<3> {
    let (input, bias) = (or_nothing(path.input, &x), or_nothing(bias, &x));
    Tensor::from_dispatch(<Dispatch as LinearOps>::peft_linear_low_rank(
        x.into_dispatch(),
        input.into_dispatch(),
        Weight::new(weight),
        bias.into_dispatch(),
        path.a.into_dispatch(),
        path.b.into_dispatch(),
        path.scale as f32,
    ))
}

impl LinearOps for Flex {
    fn peft_linear(x: FlexTensor, weight: Weight<Self>, bias: FlexTensor) -> FlexTensor {
        forward(&Dense::new(x), &weight, bias, None).0
    }

    fn peft_linear_trained(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        Self::peft_linear(x, Weight::Float(weight), bias)
    }

    fn peft_linear_low_rank(
        x: FlexTensor,
        input: FlexTensor,
        weight: Weight<Self>,
        bias: FlexTensor,
        a: FlexTensor,
        b: FlexTensor,
        scale: f32,
    ) -> FlexTensor {
        let x = Dense::new(x);
        let input = present(input).map_or_else(|| x.clone(), Dense::new);
        forward(&x, &weight, bias, Some(&Path { input, a, b, scale })).0
    }
}

/// A low-rank path.
#[derive(Clone, Debug)]
struct Path {
    /// `[.., d_in]`.
    input: Dense,
    /// `[d_in, r]`.
    a: FlexTensor,
    /// `[r, d_out]`.
    b: FlexTensor,
    scale: f32,
}

/// The result, and with a path `s·A(x)`, `[rows, r]`.
fn forward(x: &Dense, weight: &Weight<Flex>, bias: FlexTensor, path: Option<&Path>) -> (FlexTensor, Values) {
    let (weight, x_rows) = (weight.source(), x.rows());
    let ([k, n], m) = (weight.dims(), x_rows.m);
    let share = worth_sharing(m, n, k);
    let bias = present(bias).map(Dense::new);
    let start = bias.as_ref().map_or(Start::Zero, |bias| Start::Row(bias.values()));
    let beside = path.map(|path| {
        let [a, b] = [&path.a, &path.b].map(|factor| Operand::new(matrix(factor), m, false));
        (path.input.rows(), a, b, path.scale)
    });
    let rank = path.map_or(0, |path| matrix(&path.a).n);
    let (mut out, mut low) = (Values::new(m * n), Values::new(m * rank));
    let mut whole = MatrixMut::new(&mut out, [m, n], n);
    let product = Product::new(&mut whole, start, x_rows, weight);
    by_rows([whole, MatrixMut::new(&mut low, [m, rank], rank)], share, |from, [mut c, mut low]| {
        let (start, term) = product.rows(from, c.m);
        let mut terms: Vec<_> = term.into_iter().collect();
        if let Some((input, a, b, scale)) = &beside {
            sum_of_products(&mut low, Start::Zero, &[Term { a: input.rows(from, c.m), b: a.right() }]);
            scale_rows(&mut low, *scale);
            terms.push(Term { a: low.view(), b: b.right() });
        }
        sum_of_products(&mut c, start, &terms);
    });
    (like(x, n, out), low)
}

pub(super) fn scale_rows(matrix: &mut MatrixMut<'_>, scale: f32) {
    (0..matrix.m).for_each(|i| matrix.row_mut(i).iter_mut().for_each(|value| *value *= scale));
}

/// `values` in the shape of `x`, but for the last dimension.
fn like(x: &Dense, last: usize, values: Values) -> FlexTensor {
    let mut shape = x.shape().to_vec();
    *shape.last_mut().expect("a linear map reads vectors") = last;
    tensor(values, shape.into())
}

/// What a backward pass is asked for.
#[derive(Clone, Copy, Default)]
struct Wanted {
    x: bool,
    /// Of the path's own input, where that is not the map's.
    input: bool,
    a: bool,
    b: bool,
    bias: bool,
}

/// What it gives.
#[derive(Default)]
struct Gradients5 {
    x: Option<FlexTensor>,
    input: Option<FlexTensor>,
    a: Option<FlexTensor>,
    b: Option<FlexTensor>,
    bias: Option<FlexTensor>,
}

/// What is kept for it.
#[derive(Clone, Debug)]
struct Kept {
    /// In the type that the model keeps it in.
    weight: Weight<Flex>,
    path: Option<KeptPath>,
}

#[derive(Clone, Debug)]
struct KeptPath {
    path: Path,
    /// `s·A(x)`, `[rows, r]`.
    low: Arc<Values>,
    /// Whether the path reads what the map reads.
    shared: bool,
}

fn backward(kept: &Kept, grad: FlexTensor, wanted: Wanted) -> Gradients5 {
    let (grad, weight) = (Dense::new(grad), kept.weight.source());
    let g = grad.rows();
    let ([n, k], m) = (weight.dims(), g.m);
    let share = worth_sharing(m, n, k);
    let path = kept.path.as_ref();
    let mut out = Gradients5 { bias: wanted.bias.then(|| sum_of_rows(g)), ..Default::default() };
    let shared = path.is_some_and(|path| path.shared);
    let low_wanted = wanted.a || wanted.input || (wanted.x && shared);
    let low = path.filter(|_| low_wanted);
    let beside = low.map(|KeptPath { path, .. }| {
        let [a, b] = [&path.a, &path.b].map(|factor| Operand::new(matrix(factor).t(), m, false));
        (a, b, path.scale)
    });
    let rank = low.map_or(0, |low| matrix(&low.path.a).n);
    let [x_cols, input_cols] = [wanted.x, wanted.input].map(|wanted| if wanted { n } else { 0 });
    let mut x = Values::new(m * x_cols);
    let mut input = Values::new(m * input_cols);
    let mut u = Values::new(m * rank);
    let outs = [(&mut x, x_cols), (&mut input, input_cols), (&mut u, rank)];
    let mut outs = outs.map(|(values, cols)| MatrixMut::new(&mut *values, [m, cols], cols));
    let product = wanted.x.then(|| Product::new(&mut outs[0], Start::Zero, g, weight.t()));
    by_rows(outs, share, |from, [mut x, mut input, mut u]| {
        let g = g.rows(from, x.m);
        let (start, term) = product.as_ref().map_or((Start::Zero, None), |product| product.rows(from, x.m));
        let mut terms: Vec<_> = term.into_iter().collect();
        if let Some((a, b, scale)) = &beside {
            sum_of_products(&mut u, Start::Zero, &[Term { a: g, b: b.right() }]);
            scale_rows(&mut u, *scale);
            let through = Term { a: u.view(), b: a.right() };
            match shared {
                true if wanted.x => terms.push(through),
                false if wanted.input => sum_of_products(&mut input, Start::Zero, &[through]),
                _ => {}
            }
        }
        sum_of_products(&mut x, start, &terms);
    });
    out.x = wanted.x.then(|| like(&grad, n, x));
    out.input = wanted.input.then(|| like(&grad, n, input));
    if let Some(KeptPath { path, low, .. }) = path {
        let rank = matrix(&path.a).n;
        let (low, u) = (Matrix::new(low, [m, rank]), Matrix::new(&u, [if wanted.a { m } else { 0 }, rank]));
        out.a = wanted.a.then(|| transposed(reduce(u.t(), path.input.rows()), [rank, n]));
        out.b = wanted.b.then(|| tensor(reduce(low.t(), g), [rank, g.n].into()));
    }
    out
}

/// The gradient of a weight, `[d_in, d_out]`: `xᵀ·grad`.
fn weight_gradient(x: &Dense, grad: &Dense) -> FlexTensor {
    let (x, g) = (x.rows(), grad.rows());
    let [k, n] = [x.n, g.n];
    let share = worth_sharing(k, n, x.m);
    let packed = Packed::new(g, share);
    let mut out = Values::new(k * n);
    by_rows([MatrixMut::new(&mut out, [k, n], n)], share, |from, [mut c]| {
        let columns = Strips::of_columns(x, from, c.m);
        product_of_strips(&mut c, &columns, &packed);
    });
    tensor(out, [k, n].into())
}

/// The sum of all rows, `[n]`.
pub(super) fn sum_of_rows(rows: Matrix<'_>) -> FlexTensor {
    let ones = vec![1.0; rows.m];
    tensor(reduce(Matrix::new(&ones, [1, rows.m]), rows), [rows.n].into())
}

/// The transpose of a small matrix.
fn transposed(values: Vec<f32>, [m, n]: [usize; 2]) -> FlexTensor {
    let values: Vec<f32> = (0..m * n).map(|i| values[i % m * n + i / m]).collect();
    tensor(values, [n, m].into())
}

impl<C: CheckpointStrategy> LinearOps for Autodiff<Flex, C> {
    fn peft_linear(x: FloatTensor<Self>, weight: Weight<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Linear;
        impl Backward<Flex, 2> for Linear {
            type State = Kept;

            fn backward(self, ops: Ops<Kept, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let grad = grads.consume::<Flex>(&ops.node);
                let [x, bias] = ops.parents.map(|node| node.map(|node| node.id));
                let wanted = Wanted { x: x.is_some(), bias: bias.is_some(), ..Default::default() };
                let found = backward(&ops.state, grad, wanted);
                register(grads, [(x, found.x), (bias, found.bias)]);
            }
        }
        let (nodes, weight) = ([x.node(), bias.node()], weight.frozen());
        let (y, _) = forward(&Dense::new(x.into_primitive()), &weight, bias.into_primitive(), None);
        match Linear.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(Kept { weight, path: None }, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn peft_linear_trained(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Linear;
        impl Backward<Flex, 3> for Linear {
            /// Also what the map read.
            type State = (Kept, Dense);

            fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
                let grad = grads.consume::<Flex>(&ops.node);
                let [x, weight, bias] = ops.parents.map(|node| node.map(|node| node.id));
                let (kept, read) = ops.state;
                let of_weight = weight.is_some().then(|| weight_gradient(&read, &Dense::new(grad.clone())));
                let wanted = Wanted { x: x.is_some(), bias: bias.is_some(), ..Default::default() };
                let found = backward(&kept, grad, wanted);
                register(grads, [(x, found.x), (weight, of_weight), (bias, found.bias)]);
            }
        }
        let nodes = [x.node(), weight.node(), bias.node()];
        let (x, weight) = (Dense::new(x.into_primitive()), Weight::Float(weight.into_primitive()));
        let (y, _) = forward(&x, &weight, bias.into_primitive(), None);
        match Linear.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((Kept { weight, path: None }, x), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn peft_linear_low_rank(
        x: FloatTensor<Self>,
        input: FloatTensor<Self>,
        weight: Weight<Self>,
        bias: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct LowRank;
        impl Backward<Flex, 5> for LowRank {
            type State = Kept;

            fn backward(self, ops: Ops<Kept, 5>, grads: &mut Gradients, _: &mut Checkpointer) {
                let grad = grads.consume::<Flex>(&ops.node);
                let [x, input, bias, a, b] = ops.parents.map(|node| node.map(|node| node.id));
                let wanted = Wanted {
                    x: x.is_some(),
                    input: input.is_some(),
                    bias: bias.is_some(),
                    a: a.is_some(),
                    b: b.is_some(),
                };
                let found = backward(&ops.state, grad, wanted);
                register(grads, [(x, found.x), (input, found.input), (bias, found.bias), (a, found.a), (b, found.b)]);
            }
        }
        let nodes = [x.node(), input.node(), bias.node(), a.node(), b.node()];
        let (x, weight) = (Dense::new(x.into_primitive()), weight.frozen());
        let input = present(input.into_primitive()).map(Dense::new);
        let shared = input.is_none();
        let input = input.unwrap_or_else(|| x.clone());
        let path = Path { input, a: a.into_primitive(), b: b.into_primitive(), scale };
        let (y, low) = forward(&x, &weight, bias.into_primitive(), Some(&path));
        match LowRank.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let path = Some(KeptPath { path, low: Arc::new(low), shared });
                prep.finish(Kept { weight, path }, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
