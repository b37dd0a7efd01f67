//! Head by head, and some queries at a time.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::sync::Arc;

use burn_flex::{FlexTensor, Layout};
use rayon::prelude::*;

use super::super::buffer::tensor;
use super::super::gemm::{Matrix, MatrixMut, Operand, Packed, Right, Start, Term, sum_of_products};
use super::super::pool::Values;
use super::super::simd::vectorized;
use super::softmax::{Again, Drop, Scale, Scores, Softmax, SoftmaxBackward, Statistics};
use crate::attention::Dropped;

/// How many queries are looked at together: their scores stay in the second-level cache.
const QUERIES: usize = 64;

/// Multiplications of a head below which all heads are done by one core.
const WORTH_SHARING: usize = 1 << 12;

/// What attention reads.
#[derive(Clone, Debug)]
pub(super) struct Inputs {
    query: Heads,
    key: Heads,
    value: Heads,
    bias: Option<Heads>,
    hidden: FlexTensor,
    scale: f32,
    dropout: Option<Dropped>,
}

/// A tensor of four dimensions, the last of which lies in one piece.
#[derive(Clone, Debug)]
struct Heads {
    tensor: FlexTensor,
    dims: [usize; 4],
    strides: [usize; 4],
}

impl Heads {
    fn new(tensor: FlexTensor) -> Self {
        let flat = tensor.layout().strides();
        let tensor =
            if flat[3] == 1 && flat.iter().all(|stride| *stride >= 0) { tensor } else { tensor.to_contiguous() };
        let of = |d: usize| (tensor.layout().shape()[d], tensor.layout().strides()[d] as usize);
        let at = [0, 1, 2, 3].map(of);
        Self { dims: at.map(|(dim, _)| dim), strides: at.map(|(_, stride)| stride), tensor }
    }

    /// The values from the first of a head on.
    fn values(&self, row: usize, head: usize) -> &[f32] {
        let row = if self.dims[0] == 1 { 0 } else { row };
        let start = self.tensor.layout().start_offset() + row * self.strides[0] + head * self.strides[1];
        &self.tensor.storage::<f32>()[start..]
    }

    /// A head, `[positions, d_head]`.
    fn head(&self, row: usize, head: usize) -> Matrix<'_> {
        Matrix::strided(self.values(row, head), [self.dims[2], self.dims[3]], [self.strides[2], 1])
    }
}

impl Inputs {
    pub(super) fn new(
        query: FlexTensor,
        key: FlexTensor,
        value: FlexTensor,
        bias: Option<FlexTensor>,
        hidden: FlexTensor,
        scale: f32,
        dropout: Option<Dropped>,
    ) -> Self {
        let [query, key, value] = [query, key, value].map(Heads::new);
        let flat = hidden.layout().strides();
        let hidden =
            if flat[3] == 1 && flat.iter().all(|stride| *stride >= 0) { hidden } else { hidden.to_contiguous() };
        Self { query, key, value, bias: bias.map(Heads::new), hidden, scale, dropout }
    }

    fn sizes(&self) -> Sizes {
        let [rows, heads, queries, d_head] = self.query.dims;
        Sizes { rows, heads, queries, keys: self.key.dims[2], d_head }
    }

    /// What becomes of the scores of the queries from `from` on.
    fn scores(&self, row: usize, head: usize, from: usize) -> Scores<'_> {
        let bias = self.bias.as_ref().map(|bias| {
            let next = if bias.dims[2] == 1 { 0 } else { bias.strides[2] };
            (&bias.values(row, head)[from * next..], next)
        });
        let layout = self.hidden.layout();
        let (dims, strides) = (layout.shape(), layout.strides());
        let stride = |d: usize| if dims[d] == 1 { 0 } else { strides[d] as usize };
        let next = stride(2);
        let start = layout.start_offset() + row * stride(0) + from * next;
        Scores { scale: self.scale, bias, hidden: (&self.hidden.storage::<u8>()[start..], next) }
    }

    fn drop_weights(&self, weights: &mut MatrixMut<'_>, row: usize, head: usize, from: usize) {
        let Some(Dropped { prob, seed }) = self.dropout else { return };
        let Sizes { heads, queries, .. } = self.sizes();
        let first = (row * heads + head) * queries + from;
        vectorized(Drop { rows: weights, prob: prob as f32, seed, first });
    }
}

#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    d_head: usize,
}

impl Sizes {
    /// Runs `f` for each row and head.
    fn each(self, f: impl Fn(usize, usize) + Sync) {
        let all = self.rows * self.heads;
        let of = |i: usize| f(i / self.heads, i % self.heads);
        match self.queries * self.keys * self.d_head >= WORTH_SHARING {
            true => (0..all).into_par_iter().for_each(of),
            false => (0..all).for_each(of),
        }
    }
}

/// Memory for heads that lie beside each other, as a linear map reads them: `[rows, positions, heads, d_head]`.
struct Beside {
    values: Values,
    dims: [usize; 4],
}

/// Where each head of a [`Beside`] is written.
#[derive(Clone, Copy)]
struct Places {
    data: *mut f32,
    dims: [usize; 4],
}

// SAFETY: heads do not overlap, and each is asked for once.
unsafe impl Sync for Places {}

impl Beside {
    fn new(rows: usize, positions: usize, heads: usize, d_head: usize, wanted: bool) -> Self {
        let rows = if wanted { rows } else { 0 };
        Self { values: Values::new(rows * positions * heads * d_head), dims: [rows, positions, heads, d_head] }
    }

    fn places(&mut self) -> Places {
        Places { data: self.values.as_mut_ptr(), dims: self.dims }
    }

    /// As `[rows, heads, positions, d_head]`.
    fn tensor(self) -> FlexTensor {
        let tensor = tensor(self.values, self.dims.into());
        let layout: Layout = tensor.layout().transpose(1, 2);
        tensor.with_layout(layout)
    }
}

impl Places {
    /// `len` positions of a head, from `from` on.
    ///
    /// # Safety
    /// Nobody else has them.
    unsafe fn head<'a>(self, row: usize, head: usize, from: usize, len: usize) -> MatrixMut<'a> {
        let [rows, positions, heads, d_head] = self.dims;
        assert!(row < rows && head < heads && from + len <= positions);
        let start = ((row * positions + from) * heads + head) * d_head;
        // SAFETY: it lies in the values, and the caller has it alone.
        unsafe { MatrixMut::between(self.data.add(start), [len, d_head], heads * d_head) }
    }
}

thread_local! {
    /// Scores, and gradients of them, of some queries.
    static SCORES: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// From one query's scores to the next one's: an odd number of cache lines, for a column of them is read as well, and would
/// otherwise lie in a few sets of the first-level cache.
fn next_row(keys: usize) -> usize {
    const LINE: usize = 16;
    (keys.div_ceil(LINE) | 1) * LINE
}

/// Gives `f` room for the scores of some queries, and for as many again.
fn with_scores<R>(queries: usize, keys: usize, f: impl FnOnce([&mut [f32]; 2]) -> R) -> R {
    let size = queries * next_row(keys);
    SCORES.with_borrow_mut(|scores| {
        f(scores.each_mut().map(|scores| {
            scores.resize(scores.len().max(size), 0.0);
            &mut scores[..size]
        }))
    })
}

/// The scores of `some` queries.
fn of_queries(scores: &mut [f32], some: usize, keys: usize) -> MatrixMut<'_> {
    let row = next_row(keys);
    MatrixMut::new(&mut scores[..some * row], [some, keys], row)
}

/// The context, `[rows, heads, queries, d_head]`, and the statistics of each query of each head.
pub(super) fn forward(inputs: &Inputs) -> (FlexTensor, Vec<Statistics>) {
    let sizes = inputs.sizes();
    let Sizes { rows, heads, queries, keys, d_head } = sizes;
    let mut context = Beside::new(rows, queries, heads, d_head, true);
    let places = context.places();
    let mut statistics = vec![[0.0; 2]; rows * heads * queries];
    let all: Vec<_> = statistics.chunks_mut(queries.max(1)).map(std::sync::Mutex::new).collect();
    sizes.each(|row, head| {
        let mut statistics = all[row * heads + head].lock().expect("no other thread has this head");
        let (q, k, v) = (inputs.query.head(row, head), inputs.key.head(row, head), inputs.value.head(row, head));
        let (keys_turned, values) = (Packed::new(k.t(), false), Operand::new(v, queries, false));
        with_scores(QUERIES.min(queries), keys, |[scores, _]| {
            for from in (0..queries).step_by(QUERIES) {
                let some = QUERIES.min(queries - from);
                let mut weights = of_queries(scores, some, keys);
                let products = Term { a: q.rows(from, some), b: Right::Packed(&keys_turned) };
                sum_of_products(&mut weights, Start::Zero, &[products]);
                let (scores, statistics) = (inputs.scores(row, head, from), &mut statistics[from..from + some]);
                vectorized(Softmax { scores, rows: &mut weights, statistics });
                inputs.drop_weights(&mut weights, row, head, from);
                // SAFETY: each head is asked for once, and each of its queries.
                let mut context = unsafe { places.head(row, head, from, some) };
                sum_of_products(&mut context, Start::Zero, &[Term { a: weights.view(), b: values.right() }]);
            }
        });
    });
    drop(all);
    (context.tensor(), statistics)
}

/// What is kept for the backward pass.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    inputs: Inputs,
    statistics: Arc<Vec<Statistics>>,
}

impl Kept {
    pub(super) fn new(inputs: Inputs, statistics: Vec<Statistics>) -> Self {
        Self { inputs, statistics: Arc::new(statistics) }
    }
}

/// Which gradients are asked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) query: bool,
    pub(super) key: bool,
    pub(super) value: bool,
    pub(super) bias: bool,
}

/// Those that are.
pub(super) struct Found {
    pub(super) query: Option<FlexTensor>,
    pub(super) key: Option<FlexTensor>,
    pub(super) value: Option<FlexTensor>,
    pub(super) bias: Option<FlexTensor>,
}

pub(super) fn backward(Kept { inputs, statistics }: &Kept, grad: FlexTensor, wanted: Wanted) -> Found {
    let grad = Heads::new(grad);
    let sizes = inputs.sizes();
    let Sizes { rows, heads, queries, keys, d_head } = sizes;
    let through = wanted.query || wanted.key || wanted.bias;
    let beside = |positions, wanted| Beside::new(rows, positions, heads, d_head, wanted);
    let mut query = beside(queries, wanted.query);
    let (mut key, mut value) = (beside(keys, wanted.key), beside(keys, wanted.value));
    // Of the scores: rows and heads the other way round, so that a head is a place of it.
    let mut bias = Beside::new(rows * heads, queries, 1, keys, wanted.bias);
    let [query_at, key_at, value_at, bias_at] = [&mut query, &mut key, &mut value, &mut bias].map(Beside::places);
    sizes.each(|row, head| {
        let (q, k, v) = (inputs.query.head(row, head), inputs.key.head(row, head), inputs.value.head(row, head));
        let g = grad.head(row, head);
        let keys_turned = Packed::new(k.t(), false);
        let values_turned = through.then(|| Packed::new(v.t(), false));
        let keys_plain = wanted.query.then(|| Operand::new(k, queries, false));
        let statistics = &statistics[(row * heads + head) * queries..][..queries];
        with_scores(QUERIES.min(queries), keys, |[scores, grads]| {
            for from in (0..queries).step_by(QUERIES) {
                let some = QUERIES.min(queries - from);
                let start = if from == 0 { Start::Zero } else { Start::Present };
                let (q, g) = (q.rows(from, some), g.rows(from, some));
                let mut weights = of_queries(scores, some, keys);
                let products = Term { a: q, b: Right::Packed(&keys_turned) };
                sum_of_products(&mut weights, Start::Zero, &[products]);
                let (scores, statistics) = (inputs.scores(row, head, from), &statistics[from..from + some]);
                vectorized(Again { scores, rows: &mut weights, statistics });
                let mut grads = of_queries(grads, some, keys);
                if wanted.value {
                    let dropped = match inputs.dropout {
                        None => weights.view(),
                        Some(_) => {
                            (0..some).for_each(|i| grads.row_mut(i).copy_from_slice(weights.row_mut(i)));
                            inputs.drop_weights(&mut grads, row, head, from);
                            grads.view()
                        }
                    };
                    // SAFETY: each head is asked for once at a time.
                    let mut value = unsafe { value_at.head(row, head, 0, keys) };
                    sum_of_products(
                        &mut value,
                        start,
                        &[Term { a: dropped.t(), b: Operand::new(g, keys, false).right() }],
                    );
                }
                let Some(values_turned) = &values_turned else { continue };
                sum_of_products(&mut grads, Start::Zero, &[Term { a: g, b: Right::Packed(values_turned) }]);
                inputs.drop_weights(&mut grads, row, head, from);
                vectorized(SoftmaxBackward { weights: &mut weights, grads: &mut grads, statistics });
                if wanted.bias {
                    // SAFETY: as above.
                    let mut bias = unsafe { bias_at.head(row * heads + head, 0, from, some) };
                    (0..some).for_each(|i| bias.row_mut(i).copy_from_slice(grads.row_mut(i)));
                }
                vectorized(Scale { rows: &mut grads, by: inputs.scale });
                if let Some(keys_plain) = &keys_plain {
                    // SAFETY: as above.
                    let mut query = unsafe { query_at.head(row, head, from, some) };
                    sum_of_products(&mut query, Start::Zero, &[Term { a: grads.view(), b: keys_plain.right() }]);
                }
                if wanted.key {
                    // SAFETY: as above.
                    let mut key = unsafe { key_at.head(row, head, 0, keys) };
                    sum_of_products(
                        &mut key,
                        start,
                        &[Term { a: grads.view().t(), b: Operand::new(q, keys, false).right() }],
                    );
                }
            }
        });
    });
    Found {
        query: wanted.query.then(|| query.tensor()),
        key: wanted.key.then(|| key.tensor()),
        value: wanted.value.then(|| value.tensor()),
        bias: inputs.bias.as_ref().filter(|_| wanted.bias).map(|of| of.sum_of(&bias.values, sizes)),
    }
}

impl Heads {
    /// The gradient of a bias: that of the scores, summed over the rows and queries that share it.
    fn sum_of(&self, scores: &[f32], Sizes { rows, heads, queries, keys, .. }: Sizes) -> FlexTensor {
        let [of_rows, _, of_queries, _] = self.dims;
        let mut out = vec![0.0; of_rows * heads * of_queries * keys];
        for (i, from) in scores.chunks_exact(keys).enumerate() {
            let (row, head, query) = (i / queries / heads, i / queries % heads, i % queries);
            let (row, query) = (row.min(of_rows - 1), query.min(of_queries - 1));
            let at = ((row * heads + head) * of_queries + query) * keys;
            out[at..at + keys].iter_mut().zip(from).for_each(|(out, from)| *out += from);
        }
        debug_assert!(of_rows == 1 || of_rows == rows);
        tensor(out, [of_rows, heads, of_queries, keys].into())
    }
}
