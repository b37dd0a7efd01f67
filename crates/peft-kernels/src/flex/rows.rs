//! The frozen linear map with a low-rank path of its own for each row of the batch.
//!
//! The cores take parts of a fixed number of rows of the flattened batch, as in the plain map, so a part may hold the end of
//! one row of the batch and the beginning of the next: its paths are taken piece by piece.

mod backward;

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::prelude::*;
use burn_flex::FlexTensor;

use self::backward::{Kept, Wanted, backward};
use super::buffer::{Dense, matrix, tensor};
use super::gemm::{Matrix, MatrixMut, Product, Right, Start, Term, by_rows, sum_of_products, worth_sharing};
use super::graph::{or_nothing, present, register};
use super::linear::scale_rows;
use super::pool::Values;
use crate::linear::LowRank;

/// The map as an extension of Burn's backends.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait RowsOps: Backend {
    /// `xW + b + s·B(A(x))`, or the paths alone where there is no weight. The factors of all paths lie one behind the other.
    fn peft_linear_rows(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        paths: Arc<Paths>,
    ) -> FloatTensor<Self>;
}

/// See [`crate::rows`]. An extension takes no list of tensors: the factors are put one behind the other, which is a copy of
/// what is small and knows how to be differentiated.
pub(crate) fn linear_rows(
    x: Tensor<3>,
    weight: Option<Tensor<2>>,
    bias: Option<Tensor<1>>,
    paths: &[LowRank],
    of_row: &[Option<usize>],
) -> Tensor<3> {
    let flat = |factors: Vec<Tensor<2>>| Tensor::cat(factors.into_iter().map(|f| f.flatten::<1>(0, 1)).collect(), 0);
    let layout = Paths::new(paths, of_row, x.dims()[1]);
    let (weight, bias) = (or_nothing(weight, &x), or_nothing(bias, &x));
    Tensor::from_dispatch(<Dispatch as RowsOps>::peft_linear_rows(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        flat(paths.iter().map(|path| path.a.clone()).collect()).into_dispatch(),
        flat(paths.iter().map(|path| path.b.clone()).collect()).into_dispatch(),
        Arc::new(layout),
    ))
}

/// Where the factors of each path lie, and which path each row of the batch has.
#[derive(Debug)]
pub(crate) struct Paths {
    d_in: usize,
    d_out: usize,
    /// The largest rank.
    rank: usize,
    all: Vec<Place>,
    of_row: Vec<Option<usize>>,
    /// Rows of the flattened batch for each of the batch.
    seq: usize,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// Ranks of the paths before it.
    before: usize,
    rank: usize,
    scale: f32,
}

/// Rows of the flattened batch that have the same path.
struct Piece {
    path: usize,
    from: usize,
    len: usize,
}

impl Paths {
    fn new(paths: &[LowRank], of_row: &[Option<usize>], seq: usize) -> Self {
        let mut before = 0;
        let place = |path: &LowRank| {
            let rank = path.a.dims()[1];
            before += rank;
            Place { before: before - rank, rank, scale: path.scale as f32 }
        };
        let all: Vec<_> = paths.iter().map(place).collect();
        let rank = all.iter().map(|place| place.rank).max().unwrap_or(0);
        let [d_in, d_out] = [paths[0].a.dims()[0], paths[0].b.dims()[1]];
        Self { d_in, d_out, rank, all, of_row: of_row.to_vec(), seq }
    }

    /// The pieces of `len` rows of the flattened batch from `from` on: of each row of the batch what lies in them.
    fn pieces(&self, from: usize, len: usize) -> impl Iterator<Item = Piece> {
        let end = from + len;
        let rows = from / self.seq.max(1)..end.div_ceil(self.seq.max(1));
        rows.filter_map(move |row| {
            let path = self.of_row[row].filter(|&path| self.all[path].rank > 0)?;
            let (first, last) = ((row * self.seq).max(from), ((row + 1) * self.seq).min(end));
            Some(Piece { path, from: first, len: last - first })
        })
    }

    /// A of a path, `[d_in, r]`.
    fn a<'a>(&self, values: &'a [f32], path: usize) -> Matrix<'a> {
        let Place { before, rank, .. } = self.all[path];
        Matrix::new(&values[before * self.d_in..][..rank * self.d_in], [self.d_in, rank])
    }

    /// B of a path, `[r, d_out]`.
    fn b<'a>(&self, values: &'a [f32], path: usize) -> Matrix<'a> {
        let Place { before, rank, .. } = self.all[path];
        Matrix::new(&values[before * self.d_out..][..rank * self.d_out], [rank, self.d_out])
    }
}

/// Memory for a result: whatever is in it where a product is written first, else zeros, to which the paths are added.
fn room(len: usize, written: bool) -> Values {
    if written { Values::new(len) } else { vec![0.0; len].into() }
}

/// The result, and `s·A(x)` of each row's path, `[rows, rank]`.
fn forward(
    x: &Dense,
    weight: &FlexTensor,
    bias: FlexTensor,
    [a, b]: [&Dense; 2],
    paths: &Paths,
) -> (FlexTensor, Vec<f32>) {
    let x_rows = x.rows();
    let [m, n] = [x_rows.m, paths.d_out];
    let share = worth_sharing(m, n, paths.d_in);
    let bias = present(bias).map(Dense::new);
    let start = bias.as_ref().map_or(Start::Zero, |bias| Start::Row(bias.values()));
    let weight = present(weight.clone());
    let mut out = room(m * n, weight.is_some());
    let mut low = vec![0.0; m * paths.rank];
    let mut whole = MatrixMut::new(&mut out, [m, n], n);
    let product = weight.as_ref().map(|weight| Product::new(&mut whole, start, x_rows, matrix(weight)));
    let low_rows = MatrixMut::new(&mut low, [m, paths.rank], paths.rank);
    by_rows([whole, low_rows], share, |from, [mut c, mut low]| {
        if let Some((start, Some(term))) = product.as_ref().map(|product| product.rows(from, c.m)) {
            sum_of_products(&mut c, start, &[term]);
        }
        for Piece { path, from: first, len } in paths.pieces(from, c.m) {
            let Place { rank, scale, .. } = paths.all[path];
            let [a, b] = [paths.a(a.values(), path), paths.b(b.values(), path)].map(Right::Plain);
            let mut low = low.part(first - from, len, rank);
            sum_of_products(&mut low, Start::Zero, &[Term { a: x_rows.rows(first, len), b: a }]);
            scale_rows(&mut low, scale);
            sum_of_products(&mut c.part(first - from, len, n), Start::Present, &[Term { a: low.view(), b }]);
        }
    });
    let [batch, seq] = [paths.of_row.len(), paths.seq];
    (tensor(out, [batch, seq, n].into()), low)
}

impl RowsOps for Flex {
    fn peft_linear_rows(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        a: FlexTensor,
        b: FlexTensor,
        paths: Arc<Paths>,
    ) -> FlexTensor {
        let [x, a, b] = [x, a, b].map(Dense::new);
        forward(&x, &weight, bias, [&a, &b], &paths).0
    }
}

impl<C: CheckpointStrategy> RowsOps for Autodiff<Flex, C> {
    fn peft_linear_rows(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        paths: Arc<Paths>,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Rows;
        impl Backward<Flex, 4> for Rows {
            type State = Kept;

            fn backward(self, ops: Ops<Kept, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
                let grad = grads.consume::<Flex>(&ops.node);
                let [x, bias, a, b] = ops.parents.map(|node| node.map(|node| node.id));
                let wanted = Wanted { x: x.is_some(), bias: bias.is_some(), a: a.is_some(), b: b.is_some() };
                let found = backward(&ops.state, grad, wanted);
                register(grads, [(x, found.x), (bias, found.bias), (a, found.a), (b, found.b)]);
            }
        }
        debug_assert!(!weight.is_tracked(), "the kernel makes no gradient of the weight");
        let nodes = [x.node(), bias.node(), a.node(), b.node()];
        let weight = weight.into_primitive();
        let [x, a, b] = [x, a, b].map(|tensor| Dense::new(tensor.into_primitive()));
        let (y, low) = forward(&x, &weight, bias.into_primitive(), [&a, &b], &paths);
        match Rows.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(Kept { x, weight, a, b, low: Arc::new(low), paths }, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}
