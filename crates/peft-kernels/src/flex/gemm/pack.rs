//! The matrices of a product, put in the order in which the micro-kernel reads them.

use std::cell::RefCell;

use rayon::prelude::*;

use super::matrix::Matrix;
use super::sides::Shape;
use super::source::Source;
use crate::flex::pool::Values;

/// A matrix [k, n] in panels: blocks of rows, each block in panels of columns, each panel row by row.
pub(crate) struct Packed {
    /// As many as that takes, or more.
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
    /// The memory of some that were dropped on this thread, for the next ones: from the largest down.
    static SPARE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// How many of them are kept, and how many values all but the largest may have: those of a head, of which attention needs
/// several at once.
const SPARES: usize = 6;
const SMALL: usize = 1 << 16;

/// `len` values or more, whatever they are.
fn spare(len: usize) -> Vec<f32> {
    SPARE.with_borrow_mut(|spare| match spare.iter().rposition(|values| values.len() >= len) {
        Some(smallest) => spare.remove(smallest),
        None => vec![0.0; len],
    })
}

impl Drop for Packed {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        // A thread that ends has no memory to keep.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            let place = spare.partition_point(|other| other.len() > values.len());
            spare.insert(place, values);
            let mut kept = 0;
            spare.retain(|values| {
                let keep = kept == 0 || (kept < SPARES && values.len() <= SMALL);
                kept += usize::from(keep);
                keep
            });
        });
    }
}

impl Packed {
    /// Of `b`.
    pub(crate) fn new<'a>(b: impl Into<Source<'a>>, parallel: bool) -> Self {
        Self::of_shape(b.into(), Shape::get(), parallel)
    }

    pub(super) fn of_shape(b: Source<'_>, shape: Shape, parallel: bool) -> Self {
        let [k, n] = b.dims();
        let mut packed = Self { values: spare(k * shape.padded(n)), k, n, shape };
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

    fn fill(&mut self, b: Source<'_>, parallel: bool) {
        let (shape, k, n) = (self.shape, self.k, self.n);
        let (size, block_size) = (k * shape.padded(n), shape.depth * shape.padded(n));
        for (block, values) in self.values[..size].chunks_mut(block_size.max(1)).enumerate() {
            let (from, rows) = (block * shape.depth, shape.depth.min(k - block * shape.depth));
            let columns = TOGETHER * shape.width;
            let some = |(i, panels): (usize, &mut [f32])| {
                let first = i * columns;
                let part = b.part([from, first], [rows, columns.min(n - first)]);
                match shape.width {
                    48 => fill::<48>(panels, part),
                    16 => fill::<16>(panels, part),
                    8 => fill::<8>(panels, part),
                    width => unreachable!("no tile has {width} columns"),
                }
            };
            match parallel {
                true => values.par_chunks_mut(rows * columns).enumerate().for_each(some),
                false => values.chunks_mut(rows * columns).enumerate().for_each(some),
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

/// Panels that are filled at a time: what a row has for them is read in one piece.
const TOGETHER: usize = 4;

/// Copies `b` into panels of `W` columns, of which the last may be narrower, and wider than what is left of `b`.
fn fill<const W: usize>(panels: &mut [f32], b: Source<'_>) {
    if b.in_rows() {
        return lay::<W>(panels, b);
    }
    let ([rows, n], lines) = (b.dims(), b.t().in_rows());
    let mut scratch = b.scratch(SIDE * rows);
    for (i, panel) in panels.chunks_mut(rows * W).enumerate() {
        let (first, width) = (i * W, panel.len() / rows);
        let columns = W.min(n - first);
        let part = b.part([0, first], [rows, columns]);
        let done = if lines { turn(panel, part.t(), &mut scratch) } else { 0 };
        for j in done..columns {
            for (p, to) in panel[j..].iter_mut().step_by(width).enumerate() {
                *to = part.get(p, j);
            }
        }
    }
}

/// Rows and columns that are turned at a time: as many streams as a processor follows with ease.
const SIDE: usize = 4;

/// Copies columns into a panel, which stays in the first-level cache: those that make whole squares. How many those are. The
/// columns are the rows of `turned`, each of which lies in one piece; `scratch` has room for as many as a square has.
fn turn(panel: &mut [f32], turned: Source<'_>, scratch: &mut [f32]) -> usize {
    let [columns, rows] = turned.dims();
    let (width, whole) = (panel.len() / rows, columns / SIDE * SIDE);
    for j in (0..whole).step_by(SIDE) {
        let mut room = scratch.chunks_mut(rows);
        let columns: [&[f32]; SIDE] = std::array::from_fn(|q| turned.row(j + q, room.next().unwrap_or_default()));
        let squares = columns.map(|column| column.as_chunks::<SIDE>().0);
        for (s, to) in panel.chunks_exact_mut(SIDE * width).enumerate() {
            let square = squares.map(|column| column[s]);
            for p in 0..SIDE {
                to[p * width + j..][..SIDE].copy_from_slice(&square.map(|column| column[p]));
            }
        }
        for p in rows / SIDE * SIDE..rows {
            panel[p * width + j..][..SIDE].copy_from_slice(&columns.map(|column| column[p]));
        }
    }
    whole
}

/// Copies the rows of `x`, each of which lies in one piece, into strips of `W` columns, of which the last may be narrower, and
/// wider than what is left of a row.
fn lay<const W: usize>(strips: &mut [f32], x: Source<'_>) {
    let [rows, n] = x.dims();
    let (strip, mut scratch) = (W * rows, x.scratch(n));
    for p in 0..rows {
        let (whole, rest) = x.row(p, &mut scratch).as_chunks::<W>();
        for (strip, part) in strips.chunks_exact_mut(strip).zip(whole) {
            strip[p * W..][..W].copy_from_slice(part);
        }
        if !rest.is_empty() {
            let last = &mut strips[whole.len() * strip..];
            let width = last.len() / rows;
            last[p * width..][..rest.len()].copy_from_slice(rest);
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
        let [from, len] = columns;
        let mut values = Values::new(len.next_multiple_of(shape.height) * x.m);
        let part = x.part([0, from], [x.m, len]).into();
        match shape.height {
            8 => lay::<8>(&mut values, part),
            6 => lay::<6>(&mut values, part),
            4 => lay::<4>(&mut values, part),
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
