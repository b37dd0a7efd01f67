//! The innermost loops: a tile of the result stays in registers while a panel of the right-hand matrix goes by.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m512};

use super::matrix::MatrixMut;
use super::sides::{Left, Right, Start};
use super::vector::{Portable, Vector};
use crate::flex::simd::Level;

/// Products that follow each other without a look at where the next ones lie: under a second thread of the same core it is
/// instructions that are scarce, not multipliers.
const AT_ONCE: usize = 4;

/// Adds to `c`, `[m, n]`, the product of `a`, `[m, k]`, and `rows` rows of `b`: those of a block, which begin at `from`.
pub(super) fn multiply(c: &mut MatrixMut<'_>, start: Start<'_>, a: Left<'_>, b: Right<'_>, [from, rows]: [usize; 2]) {
    let [k, n] = b.dims();
    assert!([c.m, k] == a.dims() && c.n == n && from + rows <= k, "the sizes of a product differ");
    if let Left::Strips(a) = a {
        assert_eq!(a.shape(), b.shape(), "the matrices of a product are cut for different levels");
    }
    if let Start::Row(row) = start {
        assert_eq!(row.len(), c.n);
    }
    if let Right::Plain(b) = b {
        assert_eq!(b.col, 1, "the rows of a matrix lie apart");
    }
    match b.shape().level {
        // SAFETY: a shape's level is one that the processor has; the sizes were looked at above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512(c, start, a, b, [from, rows]) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2(c, start, a, b, [from, rows]) },
        // SAFETY: as above.
        _ => unsafe { panels::<Portable>(c, start, a, b, [from, rows]) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn avx512(c: &mut MatrixMut<'_>, start: Start<'_>, a: Left<'_>, b: Right<'_>, at: [usize; 2]) {
    // SAFETY: the caller's.
    unsafe { panels::<__m512>(c, start, a, b, at) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(c: &mut MatrixMut<'_>, start: Start<'_>, a: Left<'_>, b: Right<'_>, at: [usize; 2]) {
    // SAFETY: the caller's.
    unsafe { panels::<__m256>(c, start, a, b, at) }
}

/// Panel by panel, and each by strips of rows: the panel stays in the first-level cache.
#[inline(always)]
unsafe fn panels<V: Vector>(c: &mut MatrixMut<'_>, start: Start<'_>, a: Left<'_>, b: Right<'_>, [from, k]: [usize; 2]) {
    let width = V::WIDTH * V::LEN;
    for first in (0..c.n).step_by(width) {
        let cols = width.min(c.n - first);
        let panel = b.panel(from, k, first);
        // What fills the last register of a packed row is zero; behind a plain one may be nothing.
        let whole = matches!(b, Right::Packed(_)) || cols.is_multiple_of(V::LEN);
        let begin = match start {
            Start::Row(row) => Begin::Row(row[first..].as_ptr()),
            Start::Zero => Begin::Zero,
            Start::Present => Begin::Present,
        };
        let mut i = 0;
        while i < c.m {
            let rows = V::ROWS.min(c.m - i);
            let (a, a_row, a_col) = a.tile(i, from);
            let tile = Tile {
                k,
                a,
                a_row,
                a_col,
                b: panel.values,
                b_row: panel.row,
                c: c.at(i, first),
                c_row: c.row,
                begin,
                cols,
            };
            // SAFETY: the tile lies in the matrices: `rows` and `cols` end where they do.
            i += unsafe {
                match whole {
                    true => tile.some_rows::<V, true>(rows, cols.div_ceil(V::LEN)),
                    false => tile.some_rows::<V, false>(rows, cols.div_ceil(V::LEN)),
                }
            };
        }
    }
}

#[derive(Clone, Copy)]
enum Begin {
    Zero,
    Row(*const f32),
    Present,
}

/// A part of the result that fits the registers, and what it is made of.
struct Tile {
    k: usize,
    a: *const f32,
    a_row: usize,
    a_col: usize,
    b: *const f32,
    b_row: usize,
    c: *mut f32,
    c_row: usize,
    begin: Begin,
    cols: usize,
}

impl Tile {
    /// Runs as many of `rows` rows as a tile of them can have, and says how many that were.
    #[inline(always)]
    unsafe fn some_rows<V: Vector, const WHOLE: bool>(&self, rows: usize, registers: usize) -> usize {
        // SAFETY: the caller's; a tile never has more rows than are left.
        unsafe {
            match rows {
                8.. if V::ROWS >= 8 => self.rows::<V, WHOLE, 8>(registers),
                6.. if V::ROWS == 6 => self.rows::<V, WHOLE, 6>(registers),
                4.. => self.rows::<V, WHOLE, 4>(registers),
                2.. => self.rows::<V, WHOLE, 2>(registers),
                _ => self.rows::<V, WHOLE, 1>(registers),
            }
        }
    }

    #[inline(always)]
    unsafe fn rows<V: Vector, const WHOLE: bool, const R: usize>(&self, registers: usize) -> usize {
        // SAFETY: the caller's.
        unsafe {
            match registers {
                3 if V::WIDTH == 3 => self.run::<V, WHOLE, R, 3>(),
                2 => self.run::<V, WHOLE, R, 2>(),
                _ => self.run::<V, WHOLE, R, 1>(),
            }
        }
        R
    }

    #[inline(always)]
    unsafe fn run<V: Vector, const WHOLE: bool, const R: usize, const N: usize>(&self) {
        // What the last register holds.
        let last = self.cols - (N - 1) * V::LEN;
        // SAFETY: `R` rows and `cols` columns of the result, `k` of the rest, which the caller has.
        unsafe {
            let mut sums = [[V::splat(0.0); N]; R];
            // The lines of the result are there when they are written.
            for i in 0..R {
                for j in 0..N {
                    V::prefetch(self.c.wrapping_add(i * self.c_row + j * V::LEN));
                }
            }
            let done = match (WHOLE && self.b_row == N * V::LEN, self.a_row, self.a_col) {
                (true, row, 1) => self.several_at_once(&mut sums, row, 1),
                (true, 1, col) if col == V::ROWS => self.several_at_once(&mut sums, 1, V::ROWS),
                _ => 0,
            };
            for p in done..self.k {
                let b = self.b.wrapping_add(p * self.b_row);
                add_products(&mut sums, self.rows_at(p * self.a_col, self.a_row), b, if WHOLE { V::LEN } else { last });
            }
            // What the result begins with is added last: a sum of its own is the smaller one, and rounds less.
            for (i, sum) in sums.into_iter().enumerate() {
                let to = self.c.wrapping_add(i * self.c_row);
                let sum = match self.begin {
                    Begin::Zero => sum,
                    Begin::Row(row) => plus(sum, load::<V, N>(row, last)),
                    Begin::Present => plus(sum, load::<V, N>(to, last)),
                };
                store(sum, to, last);
            }
        }
    }

    /// Adds the products of all but the last few columns of `a`, which has these strides, and says of how many. All addresses
    /// are known but for a constant, and nearly nothing but products is left in the loop.
    #[inline(always)]
    unsafe fn several_at_once<V: Vector, const R: usize, const N: usize>(
        &self,
        sums: &mut [[V; N]; R],
        a_row: usize,
        a_col: usize,
    ) -> usize {
        let (mut rows, mut b) = (self.rows_at(0, a_row), self.b);
        for _ in 0..self.k / AT_ONCE {
            for p in 0..AT_ONCE {
                // SAFETY: the caller's.
                unsafe {
                    add_products(
                        sums,
                        rows.map(|row| row.wrapping_add(p * a_col)),
                        b.wrapping_add(p * N * V::LEN),
                        V::LEN,
                    );
                }
            }
            rows = rows.map(|row| row.wrapping_add(AT_ONCE * a_col));
            b = b.wrapping_add(AT_ONCE * N * V::LEN);
        }
        self.k / AT_ONCE * AT_ONCE
    }

    /// Where the rows of `a` are, `at` values on.
    #[inline(always)]
    fn rows_at<const R: usize>(&self, at: usize, a_row: usize) -> [*const f32; R] {
        std::array::from_fn(|i| self.a.wrapping_add(i * a_row + at))
    }
}

/// Adds to `sums` the products of a value of each row and the registers at `b`.
#[inline(always)]
unsafe fn add_products<V: Vector, const R: usize, const N: usize>(
    sums: &mut [[V; N]; R],
    rows: [*const f32; R],
    b: *const f32,
    last: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let b_row = load::<V, N>(b, last);
        for i in 0..R {
            let a = V::splat(*rows[i]);
            for j in 0..N {
                sums[i][j] = sums[i][j].plus_product(a, b_row[j]);
            }
        }
    }
}

/// `N` registers, of which the last holds `last` values.
#[inline(always)]
unsafe fn load<V: Vector, const N: usize>(from: *const f32, last: usize) -> [V; N] {
    // SAFETY: the caller's.
    unsafe {
        std::array::from_fn(|j| match j + 1 == N && last < V::LEN {
            true => V::load_part(from.add(j * V::LEN), last),
            false => V::load(from.add(j * V::LEN)),
        })
    }
}

#[inline(always)]
unsafe fn plus<V: Vector, const N: usize>(a: [V; N], b: [V; N]) -> [V; N] {
    // SAFETY: the caller's.
    std::array::from_fn(|j| unsafe { a[j].plus(b[j]) })
}

#[inline(always)]
unsafe fn store<V: Vector, const N: usize>(values: [V; N], to: *mut f32, last: usize) {
    // SAFETY: the caller's.
    unsafe {
        for (j, value) in values.into_iter().enumerate() {
            match j + 1 == N && last < V::LEN {
                true => value.store_part(to.add(j * V::LEN), last),
                false => value.store(to.add(j * V::LEN)),
            }
        }
    }
}
