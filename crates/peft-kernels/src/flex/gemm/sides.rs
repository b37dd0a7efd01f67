//! What a product is made of, as the micro-kernel sees it: how matrices are cut, both of them, and what the result begins
//! with.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m512};

use super::matrix::Matrix;
use super::pack::{Packed, Panel, Strips};
use super::vector::{Portable, Vector};
use crate::flex::simd::Level;

/// How matrices are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) level: Level,
    /// Rows of a tile of the result.
    pub(super) height: usize,
    /// Columns of a panel.
    pub(super) width: usize,
    /// Rows of a block: a panel of one fits the first-level cache beside what it is multiplied with.
    pub(super) depth: usize,
    /// Columns are filled up to a multiple of it.
    lanes: usize,
}

impl Shape {
    pub(super) fn get() -> Self {
        Self::of(Level::get())
    }

    pub(super) fn of(level: Level) -> Self {
        let ([height, registers, lanes], depth) = match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => (tile::<__m512>(), 256),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => (tile::<__m256>(), 384),
            _ => (tile::<Portable>(), 256),
        };
        Self { level, height, width: registers * lanes, depth, lanes }
    }

    /// `n` columns and those that fill the last register.
    pub(super) fn padded(&self, n: usize) -> usize {
        n.next_multiple_of(self.lanes)
    }
}

/// Rows of a tile, registers of a row and values of a register.
fn tile<V: Vector>() -> [usize; 3] {
    [V::ROWS, V::WIDTH, V::LEN]
}

/// What a result begins with.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a> {
    /// Nothing.
    Zero,
    /// A value for each column.
    Row(&'a [f32]),
    /// What stands there.
    Present,
}

/// The left-hand matrix of a product.
#[derive(Clone, Copy)]
pub(super) enum Left<'a> {
    /// Read where it is.
    Plain(Matrix<'a>),
    /// The transpose of another.
    Strips(&'a Strips),
}

impl Left<'_> {
    /// Rows and columns.
    pub(super) fn dims(&self) -> [usize; 2] {
        match self {
            Self::Plain(a) => [a.m, a.n],
            Self::Strips(a) => a.dims(),
        }
    }

    /// Where row `i` and column `from` lies, and how far the next row and the next column are, within a tile.
    #[inline(always)]
    pub(super) fn tile(&self, i: usize, from: usize) -> (*const f32, usize, usize) {
        match self {
            Self::Plain(a) => (a.at(i, from), a.row, a.col),
            Self::Strips(a) => (a.at(i, from), 1, a.shape().height),
        }
    }
}

/// The right-hand matrix of a product.
#[derive(Clone, Copy)]
pub(crate) enum Right<'a> {
    /// Many rows will meet it.
    Packed(&'a Packed),
    /// It is read where it is: its rows have to lie in one piece.
    Plain(Matrix<'a>),
}

impl<'a> Right<'a> {
    /// Rows and columns.
    pub(super) fn dims(&self) -> [usize; 2] {
        match self {
            Self::Packed(b) => [b.k(), b.n()],
            Self::Plain(b) => [b.m, b.n],
        }
    }

    pub(super) fn shape(&self) -> Shape {
        match self {
            Self::Packed(b) => b.shape(),
            Self::Plain(_) => Shape::get(),
        }
    }

    /// `rows` rows from `from` on of the columns that begin at `first`.
    pub(super) fn panel(&self, from: usize, rows: usize, first: usize) -> Panel {
        match self {
            Self::Packed(b) => b.panel(from, rows, first),
            Self::Plain(b) => Panel { values: b.at(from, first), row: b.row },
        }
    }
}
