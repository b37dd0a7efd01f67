//! How a product is shared by the cores.
//!
//! A weight that the caches hold is packed once, and the rows of the result go to the cores. A larger one would come
//! from memory for each part of the rows, and its packed copy would go there first: the columns go to the cores instead,
//! each of which packs what its own need, a block at a time that its second-level cache holds.

use rayon::prelude::*;

use super::matrix::{Matrix, MatrixMut};
use super::pack::Packed;
use super::sides::{Right, Start};
use super::source::Source;
use super::{ROWS, Term, sum_of_products, worth_sharing};

/// A matrix, packed where so many rows of another meet it that it pays, or where its rows do not lie in one
/// piece or are of another type.
pub(crate) enum Operand<'a> {
    Packed(Packed),
    Plain(Matrix<'a>),
}

impl<'a> Operand<'a> {
    /// Rows of the other matrix below which packing costs more than it gains.
    const FEW: usize = 24;

    pub(crate) fn new(b: impl Into<Source<'a>>, rows: usize, share: bool) -> Self {
        match b.into() {
            Source::Full(b) if b.col == 1 && rows < Self::FEW => Self::Plain(b),
            b => Self::Packed(Packed::new(b, share)),
        }
    }

    pub(crate) fn right(&self) -> Right<'_> {
        match self {
            Self::Packed(b) => Right::Packed(b),
            Self::Plain(b) => Right::Plain(*b),
        }
    }
}

/// `start + a·b` for the rows of a result to which others may be added: all of it was taken at once, by columns, or
/// each part is taken where the rest of its rows is.
pub(crate) struct Product<'a> {
    start: Start<'a>,
    /// What is left to do.
    left: Option<(Matrix<'a>, Operand<'a>)>,
}

impl<'a> Product<'a> {
    /// Of `a`, `[m, k]`, and `b`, `[k, n]`, in `c`, `[m, n]`.
    pub(crate) fn new(c: &mut MatrixMut<'_>, start: Start<'a>, a: Matrix<'a>, b: impl Into<Source<'a>>) -> Self {
        let b = b.into();
        let [k, n] = b.dims();
        let share = worth_sharing(a.m, n, k);
        if share && by_columns_pays(a.m, [k, n]) {
            by_columns(c, start, a, b);
            return Self { start: Start::Present, left: None };
        }
        Self { start, left: Some((a, Operand::new(b, a.m, share))) }
    }

    /// What `len` rows from `from` on begin with, and the product to be added.
    pub(crate) fn rows(&self, from: usize, len: usize) -> (Start<'_>, Option<Term<'_>>) {
        let left = self.left.as_ref();
        (self.start, left.map(|(a, operand)| Term { a: a.rows(from, len), b: operand.right() }))
    }
}

/// Values of a matrix of which the caches do not hold enough.
const LARGE: usize = 1 << 20;

/// Columns that a core takes at a time, and rows of what it packs for them: whole blocks of every level. What is packed
/// fills half of a second-level cache.
const COLUMNS: usize = 96;
const DEPTH: usize = 768;

/// Whether `m` rows times `[k, n]` are shared by columns: where it is large, or the rows are too few to be shared.
fn by_columns_pays(m: usize, [k, n]: [usize; 2]) -> bool {
    k * n >= LARGE || m <= ROWS
}

/// `c = start + a·b` on all cores.
pub(super) fn by_columns(c: &mut MatrixMut<'_>, start: Start<'_>, a: Matrix<'_>, b: Source<'_>) {
    let [k, _] = b.dims();
    c.split_columns(COLUMNS).into_par_iter().enumerate().for_each(|(i, mut c)| {
        let columns = i * COLUMNS..i * COLUMNS + c.n;
        let mut start = match start {
            Start::Row(row) => Start::Row(&row[columns.clone()]),
            other => other,
        };
        for from in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - from);
            let operand = Operand::new(b.part([from, columns.start], [depth, c.n]), a.m, false);
            for first in (0..c.m).step_by(ROWS) {
                let rows = ROWS.min(c.m - first);
                let term = Term { a: a.part([first, from], [rows, depth]), b: operand.right() };
                sum_of_products(&mut c.part(first, rows, columns.len()), start, &[term]);
            }
            start = Start::Present;
        }
    });
}
