//! The gradients of the map with a path for each row.

use std::sync::Arc;

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::{Paths, Piece, Place, room};
use crate::flex::buffer::{Dense, matrix, tensor};
use crate::flex::gemm::{
    Matrix, MatrixMut, Packed, Product, Right, Start, Term, by_rows, sum_of_products, worth_sharing,
};
use crate::flex::graph::present;
use crate::flex::linear::{scale_rows, sum_of_rows};

/// What a backward pass is asked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) x: bool,
    pub(super) bias: bool,
    pub(super) a: bool,
    pub(super) b: bool,
}

/// What it gives.
pub(super) struct Found {
    pub(super) x: Option<FlexTensor>,
    pub(super) bias: Option<FlexTensor>,
    pub(super) a: Option<FlexTensor>,
    pub(super) b: Option<FlexTensor>,
}

/// What is kept for it.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) x: Dense,
    pub(super) weight: FlexTensor,
    pub(super) a: Dense,
    pub(super) b: Dense,
    /// `s·A(x)`, `[rows, rank]`.
    pub(super) low: Arc<Vec<f32>>,
    pub(super) paths: Arc<Paths>,
}

pub(super) fn backward(kept: &Kept, grad: FlexTensor, wanted: Wanted) -> Found {
    let (grad, paths) = (Dense::new(grad), &*kept.paths);
    let g = grad.rows();
    let (m, n, rank) = (g.m, paths.d_in, paths.rank);
    let share = worth_sharing(m, n, paths.d_out);
    let weight = present(kept.weight.clone()).filter(|_| wanted.x);
    let (x_cols, u_cols) = (if wanted.x { n } else { 0 }, if wanted.x || wanted.a { rank } else { 0 });
    let mut x = room(m * x_cols, weight.is_some());
    let mut u = vec![0.0; m * u_cols];
    let mut whole = MatrixMut::new(&mut x, [m, x_cols], x_cols);
    let product = weight.as_ref().map(|weight| Product::new(&mut whole, Start::Zero, g, matrix(weight).t()));
    by_rows([whole, MatrixMut::new(&mut u, [m, u_cols], u_cols)], share, |from, [mut x, mut u]| {
        if let Some((start, Some(term))) = product.as_ref().map(|product| product.rows(from, x.m)) {
            sum_of_products(&mut x, start, &[term]);
        }
        if u_cols == 0 {
            return;
        }
        for Piece { path, from: first, len } in paths.pieces(from, x.m) {
            let Place { rank, scale, .. } = paths.all[path];
            let mut u = u.part(first - from, len, rank);
            let b = Packed::new(paths.b(kept.b.values(), path).t(), false);
            sum_of_products(&mut u, Start::Zero, &[Term { a: g.rows(first, len), b: Right::Packed(&b) }]);
            scale_rows(&mut u, scale);
            if wanted.x {
                let a = Packed::new(paths.a(kept.a.values(), path).t(), false);
                let mut x = x.part(first - from, len, n);
                sum_of_products(&mut x, Start::Present, &[Term { a: u.view(), b: Right::Packed(&a) }]);
            }
        }
    });
    let [batch, seq] = [paths.of_row.len(), paths.seq];
    let (u, low) = (Matrix::new(&u, [if wanted.a { m } else { 0 }, rank]), Matrix::new(&kept.low, [m, rank]));
    Found {
        bias: wanted.bias.then(|| sum_of_rows(g)),
        a: wanted.a.then(|| {
            let transposed = |sum: Vec<f32>, rank: usize| (0..n * rank).map(|i| sum[i % rank * n + i / rank]).collect();
            factors(paths, u, kept.x.rows(), transposed)
        }),
        b: wanted.b.then(|| factors(paths, low, g, |sum, _| sum)),
        x: wanted.x.then(|| tensor(x, [batch, seq, n].into())),
    }
}

/// The gradients of one factor of all paths, one behind the other: `Σ narrowᵀ·wide` over the rows of each, `[r, n]`, as
/// `stored` lays it out.
fn factors(
    paths: &Paths,
    narrow: Matrix<'_>,
    wide: Matrix<'_>,
    stored: impl Fn(Vec<f32>, usize) -> Vec<f32> + Sync,
) -> FlexTensor {
    let mut rows = vec![Vec::new(); paths.all.len()];
    for (row, path) in paths.of_row.iter().enumerate() {
        rows[path.unwrap_or_default()].extend(path.map(|_| row));
    }
    let of_path = |path: usize| {
        let (rank, n) = (paths.all[path].rank, wide.n);
        let mut sum = vec![0.0; rank * n];
        for &row in &rows[path] {
            let (narrow, wide) = (narrow.rows(row * paths.seq, paths.seq), wide.rows(row * paths.seq, paths.seq));
            let term = Term { a: narrow.cols(rank).t(), b: Right::Plain(wide) };
            sum_of_products(&mut MatrixMut::new(&mut sum, [rank, n], n), Start::Present, &[term]);
        }
        stored(sum, rank)
    };
    let sums: Vec<Vec<f32>> = match worth_sharing(wide.m, wide.n, paths.rank) {
        true => (0..paths.all.len()).into_par_iter().map(of_path).collect(),
        false => (0..paths.all.len()).map(of_path).collect(),
    };
    let values = sums.concat();
    let len = values.len();
    tensor(values, [len].into())
}
