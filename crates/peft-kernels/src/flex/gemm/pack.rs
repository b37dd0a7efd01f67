//! The matrices of a product, put in the order in which the micro-kernel reads them.

use std::cell::Cell;

use rayon::prelude::*;

use super::matrix::Matrix;
use super::sides::Shape;
use crate::flex::pool::Values;

/// A matrix [k, n] in panels: blocks of rows, each block in panels of columns, each panel row by row.
pub(crate) struct Packed {
    values: Vec<f32>,
    k: usize,
    n: usize,
    shape: Shape,
}

/// A part of a [`Packed`]: some rows of some columns, filled with zeros to whole registers.
pub(super) struct Panel {
    pub(super) values: *const f32,
    /// From one row to the next.
    pub(super) row: usize,
}

thread_local! {
    /// The memory of the last one that was dropped on this thread, for the next.
    static SPARE: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// `len` values, whatever they are.
fn spare(len: usize) -> Vec<f32> {
    let mut values = SPARE.take();
    if values.capacity() < len {
        return vec![0.0; len];
    }
    values.resize(len, 0.0);
    values
}

impl Drop for Packed {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        let other = SPARE.take();
        SPARE.set(if other.capacity() > values.capacity() { other } else { values });
    }
}

impl Packed {
    /// Of `b`.
    pub(crate) fn new(b: Matrix<'_>, parallel: bool) -> Self {
        Self::of_shape(b, Shape::get(), parallel)
    }

    pub(super) fn of_shape(b: Matrix<'_>, shape: Shape, parallel: bool) -> Self {
        let mut packed = Self { values: spare(b.m * shape.padded(b.n)), k: b.m, n: b.n, shape };
        packed.fill(b, parallel);
        packed
    }

    /// Rows.
    pub(crate) fn k(&self) -> usize {
        self.k
    }

    /// Columns.
    pub(crate) fn n(&self) -> usize {
        self.n
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    fn fill(&mut self, b: Matrix<'_>, parallel: bool) {
        let (shape, k) = (self.shape, self.k);
        let block_size = shape.depth * shape.padded(b.n);
        for (block, values) in self.values.chunks_mut(block_size.max(1)).enumerate() {
            let (from, rows) = (block * shape.depth, shape.depth.min(k - block * shape.depth));
            let panel = |(panel, values): (usize, &mut [f32])| {
                let first = panel * shape.width;
                fill(values, b, from, rows, first, shape.width.min(b.n - first));
            };
            // All but the last are as wide as can be.
            let panels = rows * shape.width;
            match parallel {
                true => values.par_chunks_mut(panels).enumerate().for_each(panel),
                false => values.chunks_mut(panels).enumerate().for_each(panel),
            }
        }
    }

    /// `rows` rows from `from` on, which is the beginning of a block, of the panel that begins at column `first`.
    pub(super) fn panel(&self, from: usize, rows: usize, first: usize) -> Panel {
        debug_assert!(from.is_multiple_of(self.shape.depth) && first.is_multiple_of(self.shape.width));
        let row = self.shape.width.min(self.shape.padded(self.n) - first);
        let start = from * self.shape.padded(self.n) + first * rows;
        Panel { values: self.values[start..start + rows * row].as_ptr(), row }
    }
}

/// Columns that are read at a time where they lie in one piece: as many streams as a processor follows with ease.
const STREAMS: usize = 4;

/// Copies `[rows, cols]` values of `b` into a panel, whose rows may be longer.
fn fill(panel: &mut [f32], b: Matrix<'_>, from: usize, rows: usize, first: usize, cols: usize) {
    let width = panel.len() / rows;
    if b.col == 1 {
        for (p, to) in panel.chunks_exact_mut(width).enumerate() {
            to[..cols].copy_from_slice(b.row_values(from + p, first, cols));
        }
        return;
    }
    let mut done = 0;
    if b.row == 1 {
        // What is written, a panel of a block, stays in the first-level cache.
        for j in (0..cols / STREAMS * STREAMS).step_by(STREAMS) {
            let columns: [&[f32]; STREAMS] = std::array::from_fn(|q| b.t().row_values(first + j + q, from, rows));
            for (p, to) in panel.chunks_exact_mut(width).enumerate() {
                to[j..j + STREAMS].copy_from_slice(&columns.map(|column| column[p]));
            }
            done = j + STREAMS;
        }
    }
    for j in done..cols {
        for (to, value) in panel[j..].iter_mut().step_by(width).zip(b.column(first + j, from, rows)) {
            *to = value;
        }
    }
}

/// Columns of a matrix as the left-hand one of a product, which is their transpose: in strips of as many as a tile has rows,
/// each as it lay in the rows of the matrix.
pub(crate) struct Strips {
    values: Values,
    m: usize,
    k: usize,
    shape: Shape,
}

impl Strips {
    /// `len` columns of `x` from `from` on; its rows lie in one piece.
    pub(crate) fn of_columns(x: Matrix<'_>, from: usize, len: usize) -> Self {
        Self::of_shape(x, [from, len], Shape::get())
    }

    pub(super) fn of_shape(x: Matrix<'_>, columns: [usize; 2], shape: Shape) -> Self {
        let [_, len] = columns;
        let mut values = Values::new(len.next_multiple_of(shape.height) * x.m);
        match shape.height {
            8 => cut::<8>(&mut values, x, columns),
            6 => cut::<6>(&mut values, x, columns),
            4 => cut::<4>(&mut values, x, columns),
            height => unreachable!("no tile has {height} rows"),
        }
        Self { values, m: len, k: x.m, shape }
    }

    /// Rows and columns of the left-hand matrix.
    pub(super) fn dims(&self) -> [usize; 2] {
        [self.m, self.k]
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Where row `i` and column `from` of the left-hand matrix lies.
    pub(super) fn at(&self, i: usize, from: usize) -> *const f32 {
        debug_assert!(i < self.m && from < self.k, "({i}, {from}) of {} x {}", self.m, self.k);
        let height = self.shape.height;
        self.values[i / height * height * self.k + from * height + i % height..].as_ptr()
    }
}

/// Copies `len` columns of `x` into strips of `H`.
fn cut<const H: usize>(strips: &mut [f32], x: Matrix<'_>, [from, len]: [usize; 2]) {
    for p in 0..x.m {
        let (whole, rest) = x.row_values(p, from, len).as_chunks::<H>();
        for (strip, part) in strips.chunks_exact_mut(H * x.m).zip(whole) {
            strip[p * H..][..H].copy_from_slice(part);
        }
        if !rest.is_empty() {
            strips[whole.len() * H * x.m + p * H..][..rest.len()].copy_from_slice(rest);
        }
    }
}
