//! Products of f32 matrices.
//!
//! As in BLIS (Van Zee and van de Geijn 2015, doi:10.1145/2764454), with what a frozen transformer allows: the right-hand
//! matrix is packed, the left-hand one, whose rows are long, is read where it lies, unless it is the transpose of what lies
//! there (`Strips`). The result goes to the cores in parts
//! (`product` says of what), and no element's sum depends on how many there are.

mod matrix;
mod micro;
mod pack;
mod product;
mod sides;
mod source;
mod vector;

#[cfg(test)]
mod tests;

use rayon::prelude::*;

pub(crate) use matrix::{Matrix, MatrixMut};
pub(crate) use pack::{Packed, Strips};
pub(crate) use product::{Operand, Product};
use sides::Left;
pub(crate) use sides::{Right, Start};
pub(crate) use source::{Narrow, Scales, Source};

/// Rows of the result that a core takes at a time: whole tiles of every level, and what they are made of stays in the
/// second-level cache.
pub(crate) const ROWS: usize = 48;

/// Below so many multiplications a product is not worth a second core.
const WORTH_SHARING: usize = 1 << 19;

/// One product of a sum of them.
pub(crate) struct Term<'a> {
    /// `[m, k]`.
    pub(crate) a: Matrix<'a>,
    /// `[k, n]`.
    pub(crate) b: Right<'a>,
}

/// `c = start + Σ a·b`, on this core.
pub(crate) fn sum_of_products(c: &mut MatrixMut<'_>, start: Start<'_>, terms: &[Term<'_>]) {
    terms.iter().fold(start, |start, term| add(c, start, Left::Plain(term.a), term.b));
}

/// `c = a·b`, on this core, where `a` is the transpose of what the strips were cut of.
pub(crate) fn product_of_strips(c: &mut MatrixMut<'_>, a: &Strips, b: &Packed) {
    add(c, Start::Zero, Left::Strips(a), Right::Packed(b));
}

/// Adds a product to what `c` begins with, block by block, and says what the next one begins with.
fn add<'s>(c: &mut MatrixMut<'_>, start: Start<'s>, a: Left<'_>, b: Right<'_>) -> Start<'s> {
    let (depth, [k, _]) = (b.shape().depth, b.dims());
    (0..k).step_by(depth).fold(start, |start, from| {
        micro::multiply(c, start, a, b, [from, depth.min(k - from)]);
        Start::Present
    })
}

/// Whether a product of these sizes is shared by the cores.
pub(crate) fn worth_sharing(m: usize, n: usize, k: usize) -> bool {
    m * n * k >= WORTH_SHARING
}

/// Gives `f` the rows of matrices of as many rows in parts, and where each part begins: on all cores if `share`.
pub(crate) fn by_rows<const N: usize>(
    matrices: [MatrixMut<'_>; N],
    share: bool,
    f: impl Fn(usize, [MatrixMut<'_>; N]) + Sync,
) {
    let mut parts = matrices.map(|matrix| matrix.split(ROWS).into_iter());
    let mut next = || -> Option<[MatrixMut<'_>; N]> {
        let part: Vec<_> = parts.iter_mut().map_while(Iterator::next).collect();
        part.try_into().ok()
    };
    let parts: Vec<_> = std::iter::from_fn(&mut next).collect();
    match share {
        true => parts.into_par_iter().enumerate().for_each(|(i, part)| f(i * ROWS, part)),
        false => parts.into_iter().enumerate().for_each(|(i, part)| f(i * ROWS, part)),
    }
}

/// Rows whose products are summed before they meet those of others.
const SUMMED: usize = 512;

/// `a·b` of few rows, `[m, k]`, and a long `b`, `[k, n]`, whose rows lie in one piece: `[m, n]`. The sum over k is taken
/// in parts of a fixed size, on all cores.
pub(crate) fn reduce(a: Matrix<'_>, b: Matrix<'_>) -> Vec<f32> {
    let [m, n] = [a.m, b.n];
    let part = |from: usize| {
        let rows = SUMMED.min(b.m - from);
        let mut out = vec![0.0; m * n];
        let term = Term { a: a.t().rows(from, rows).t(), b: Right::Plain(b.rows(from, rows)) };
        sum_of_products(&mut MatrixMut::new(&mut out, [m, n], n), Start::Zero, &[term]);
        out
    };
    let starts: Vec<usize> = (0..b.m).step_by(SUMMED).collect();
    let parts: Vec<Vec<f32>> = match worth_sharing(m, n, b.m) {
        true => starts.into_par_iter().map(part).collect(),
        false => starts.into_iter().map(part).collect(),
    };
    let sum = |mut sum: Vec<f32>, part: Vec<f32>| {
        sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        sum
    };
    parts.into_iter().reduce(sum).unwrap_or_else(|| vec![0.0; m * n])
}
