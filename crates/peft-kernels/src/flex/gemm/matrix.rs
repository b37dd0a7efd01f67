//! Matrices in memory.
#![allow(unsafe_code)]

use std::marker::PhantomData;

/// A matrix whose element (i, j) lies at `i · row + j · col`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    data: *const f32,
    /// Rows.
    pub(crate) m: usize,
    /// Columns.
    pub(crate) n: usize,
    /// From one row to the next.
    pub(crate) row: usize,
    /// From one column to the next.
    pub(crate) col: usize,
    lifetime: PhantomData<&'a [f32]>,
}

// SAFETY: it is a reference to its elements, as `&[f32]` is.
unsafe impl Send for Matrix<'_> {}
// SAFETY: as above.
unsafe impl Sync for Matrix<'_> {}

impl<'a> Matrix<'a> {
    /// One with any strides.
    ///
    /// # Panics
    /// If `data` ends before its last element.
    pub(crate) fn strided(data: &'a [f32], [m, n]: [usize; 2], [row, col]: [usize; 2]) -> Self {
        assert!(m == 0 || n == 0 || (m - 1) * row + (n - 1) * col < data.len(), "a matrix ends behind its memory");
        Self { data: data.as_ptr(), m, n, row, col, lifetime: PhantomData }
    }

    /// One whose rows lie one behind the other.
    pub(crate) fn new(data: &'a [f32], [m, n]: [usize; 2]) -> Self {
        Self::strided(data, [m, n], [n, 1])
    }

    /// The transpose.
    pub(crate) fn t(self) -> Self {
        Self { m: self.n, n: self.m, row: self.col, col: self.row, ..self }
    }

    /// `len` of its rows.
    pub(crate) fn rows(self, from: usize, len: usize) -> Self {
        assert!(from + len <= self.m);
        Self { data: self.data.wrapping_add(from * self.row), m: len, ..self }
    }

    /// `[m, n]` of its elements, from row and column `from` on.
    pub(crate) fn part(self, from: [usize; 2], [m, n]: [usize; 2]) -> Self {
        assert!(from[0] + m <= self.m && from[1] + n <= self.n);
        Self { data: self.data.wrapping_add(from[0] * self.row + from[1] * self.col), m, n, ..self }
    }

    /// The first `len` of its columns.
    pub(crate) fn cols(self, len: usize) -> Self {
        assert!(len <= self.n);
        Self { n: len, ..self }
    }

    /// Where element (i, j) lies.
    #[inline(always)]
    pub(super) fn at(&self, i: usize, j: usize) -> *const f32 {
        debug_assert!(i < self.m && j < self.n, "({i}, {j}) of {} x {}", self.m, self.n);
        self.data.wrapping_add(i * self.row + j * self.col)
    }

    /// The values of row `i`, which lie one behind the other.
    pub(super) fn row_values(&self, i: usize) -> &'a [f32] {
        assert!(self.col == 1 && i < self.m);
        // SAFETY: it is a part of what the matrix was made of.
        unsafe { std::slice::from_raw_parts(self.data.add(i * self.row), self.n) }
    }

    /// Element (i, j).
    pub(super) fn get(&self, i: usize, j: usize) -> f32 {
        assert!(i < self.m && j < self.n);
        // SAFETY: as above.
        unsafe { self.data.add(i * self.row + j * self.col).read() }
    }
}

/// A matrix to write to, whose rows lie apart from each other.
#[derive(Debug)]
pub(crate) struct MatrixMut<'a> {
    data: *mut f32,
    /// Rows.
    pub(crate) m: usize,
    /// Columns.
    pub(crate) n: usize,
    /// From one row to the next.
    pub(crate) row: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is the one reference to its elements, as `&mut [f32]` is.
unsafe impl Send for MatrixMut<'_> {}

impl<'a> MatrixMut<'a> {
    /// One whose rows are `row` apart.
    ///
    /// # Panics
    /// If the rows overlap or `data` ends before the last.
    pub(crate) fn new(data: &'a mut [f32], [m, n]: [usize; 2], row: usize) -> Self {
        assert!(row >= n && (m == 0 || (m - 1) * row + n <= data.len()), "a matrix ends behind its memory");
        Self { data: data.as_mut_ptr(), m, n, row, lifetime: PhantomData }
    }

    /// One that lies between others in the same memory, from `data` on.
    ///
    /// # Safety
    /// Its elements lie in memory that lives as long as it, and nothing else reads or writes them while it is used.
    pub(crate) unsafe fn between(data: *mut f32, [m, n]: [usize; 2], row: usize) -> Self {
        Self { data, m, n, row, lifetime: PhantomData }
    }

    /// Parts of `rows` rows, the last with what is left.
    pub(crate) fn split(self, rows: usize) -> Vec<MatrixMut<'a>> {
        let part = |from: usize| MatrixMut {
            data: self.data.wrapping_add(from * self.row),
            m: rows.min(self.m - from),
            n: self.n,
            row: self.row,
            lifetime: PhantomData,
        };
        (0..self.m).step_by(rows).map(part).collect()
    }

    /// Parts of `cols` columns, the last with what is left.
    pub(crate) fn split_columns(&mut self, cols: usize) -> Vec<MatrixMut<'_>> {
        let part = |from: usize| MatrixMut {
            data: self.data.wrapping_add(from),
            m: self.m,
            n: cols.min(self.n - from),
            row: self.row,
            lifetime: PhantomData,
        };
        (0..self.n).step_by(cols).map(part).collect()
    }

    /// The first `cols` columns of `len` of its rows.
    pub(crate) fn part(&mut self, from: usize, len: usize, cols: usize) -> MatrixMut<'_> {
        assert!(from + len <= self.m && cols <= self.n);
        let data = self.data.wrapping_add(from * self.row);
        MatrixMut { data, m: len, n: cols, row: self.row, lifetime: PhantomData }
    }

    /// Where element (i, j) lies.
    #[inline(always)]
    pub(super) fn at(&mut self, i: usize, j: usize) -> *mut f32 {
        debug_assert!(i < self.m && j < self.n, "({i}, {j}) of {} x {}", self.m, self.n);
        self.data.wrapping_add(i * self.row + j)
    }

    /// Row `i`.
    pub(crate) fn row_mut(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.m);
        // SAFETY: the row lies in the memory, and `self` is the one reference to it.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(i * self.row), self.n) }
    }

    /// What is in it, to be read.
    pub(crate) fn view(&self) -> Matrix<'_> {
        Matrix { data: self.data, m: self.m, n: self.n, row: self.row, col: 1, lifetime: PhantomData }
    }
}
