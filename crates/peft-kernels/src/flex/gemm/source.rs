//! What a right-hand matrix is packed of: f32, or whole numbers and their scales, which are widened on the way.

use super::matrix::Matrix;
use crate::flex::simd::{LANES, Loop, vectorized};

/// A matrix in the type that it is kept in.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// f32.
    Full(Matrix<'a>),
    /// Whole numbers.
    Narrow(Narrow<'a>),
}

impl<'a> From<Matrix<'a>> for Source<'a> {
    fn from(matrix: Matrix<'a>) -> Self {
        Self::Full(matrix)
    }
}

impl<'a> Source<'a> {
    /// Rows and columns.
    pub(crate) fn dims(&self) -> [usize; 2] {
        match self {
            Self::Full(matrix) => [matrix.m, matrix.n],
            Self::Narrow(narrow) => [narrow.m, narrow.n],
        }
    }

    /// The transpose.
    pub(crate) fn t(self) -> Self {
        match self {
            Self::Full(matrix) => Self::Full(matrix.t()),
            Self::Narrow(narrow) => Self::Narrow(narrow.t()),
        }
    }

    /// `[m, n]` of its elements, from row and column `from` on.
    pub(super) fn part(self, from: [usize; 2], dims: [usize; 2]) -> Self {
        match self {
            Self::Full(matrix) => Self::Full(matrix.part(from, dims)),
            Self::Narrow(narrow) => Self::Narrow(narrow.part(from, dims)),
        }
    }

    /// Whether each of its rows lies in one piece.
    pub(super) fn in_rows(&self) -> bool {
        match self {
            Self::Full(matrix) => matrix.col == 1,
            Self::Narrow(narrow) => narrow.col == 1,
        }
    }

    /// Memory for `len` widened values, if any are to be widened.
    pub(super) fn scratch(&self, len: usize) -> Vec<f32> {
        match self {
            Self::Full(_) => Vec::new(),
            Self::Narrow(_) => vec![0.0; len],
        }
    }

    /// Row `i`, which lies in one piece: as it lies, or widened into `scratch`, which has room for it.
    pub(super) fn row<'s>(&self, i: usize, scratch: &'s mut [f32]) -> &'s [f32]
    where
        'a: 's,
    {
        match self {
            Self::Full(matrix) => matrix.row_values(i),
            Self::Narrow(narrow) => {
                let row = &mut scratch[..narrow.n];
                vectorized(Widen { narrow, i, to: row });
                row
            }
        }
    }

    /// Element (i, j).
    pub(super) fn get(&self, i: usize, j: usize) -> f32 {
        match self {
            Self::Full(matrix) => matrix.get(i, j),
            Self::Narrow(narrow) => narrow.get(i, j),
        }
    }
}

/// A matrix of whole numbers, each times the scale of the block that it is in; element (i, j) lies at `i · row + j · col`.
#[derive(Clone, Copy)]
pub(crate) struct Narrow<'a> {
    /// From the first element on.
    values: &'a [i8],
    scales: Scales<'a>,
    m: usize,
    n: usize,
    row: usize,
    col: usize,
}

/// Scales of the blocks of a matrix.
#[derive(Clone, Copy)]
pub(crate) struct Scales<'a> {
    values: &'a [f32],
    /// Rows and columns of a block.
    block: [usize; 2],
    /// From the scale of a block to that of the next below, and beside it.
    steps: [usize; 2],
    /// Rows and columns of the matrix before the part of it that is looked at.
    from: [usize; 2],
}

impl<'a> Scales<'a> {
    /// Those of a matrix of `n` columns, row of blocks by row of blocks.
    pub(crate) fn new(values: &'a [f32], block: [usize; 2], n: usize) -> Self {
        Self { values, block, steps: [n / block[1].max(1), 1], from: [0, 0] }
    }

    /// That of element (i, j).
    fn get(&self, i: usize, j: usize) -> f32 {
        let [i, j] = [(self.from[0] + i) / self.block[0], (self.from[1] + j) / self.block[1]];
        self.values[i * self.steps[0] + j * self.steps[1]]
    }

    /// Those along row `i`, each with how many elements it is for, without an end.
    #[inline(always)]
    fn along(&self, i: usize) -> impl Iterator<Item = (f32, usize)> {
        let Self { values, block: [height, width], steps, from } = *self;
        let first = (from[0] + i) / height * steps[0] + from[1] / width * steps[1];
        let (scales, left) = (values[first..].iter().step_by(steps[1]), width - from[1] % width);
        scales.copied().zip(std::iter::once(left).chain(std::iter::repeat(width)))
    }
}

impl<'a> Narrow<'a> {
    /// One with strides of which one is 1.
    ///
    /// # Panics
    /// If neither is, or the values end before its last element.
    pub(crate) fn new(values: &'a [i8], scales: Scales<'a>, [m, n]: [usize; 2], [row, col]: [usize; 2]) -> Self {
        assert!(row == 1 || col == 1, "a matrix has no line that lies in one piece");
        assert!(m == 0 || n == 0 || (m - 1) * row + (n - 1) * col < values.len(), "a matrix ends behind its memory");
        Self { values, scales, m, n, row, col }
    }

    fn t(self) -> Self {
        let Scales { values, block, steps, from } = self.scales;
        let [block, steps, from] = [block, steps, from].map(|[a, b]| [b, a]);
        let scales = Scales { values, block, steps, from };
        Self { values: self.values, scales, m: self.n, n: self.m, row: self.col, col: self.row }
    }

    fn part(self, [i, j]: [usize; 2], [m, n]: [usize; 2]) -> Self {
        assert!(i + m <= self.m && j + n <= self.n);
        let from = [self.scales.from[0] + i, self.scales.from[1] + j];
        let values = &self.values[i * self.row + j * self.col..];
        Self { values, scales: Scales { from, ..self.scales }, m, n, ..self }
    }

    fn get(&self, i: usize, j: usize) -> f32 {
        self.scales.get(i, j) * f32::from(self.values[i * self.row + j * self.col])
    }
}

/// Widens row `i`, which lies in one piece.
struct Widen<'a, 's> {
    narrow: &'s Narrow<'a>,
    i: usize,
    to: &'s mut [f32],
}

impl Loop for Widen<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { narrow, i, to } = self;
        debug_assert!(narrow.col == 1 && i < narrow.m);
        let (mut to, mut values) = (to, &narrow.values[i * narrow.row..]);
        for (scale, same) in narrow.scales.along(i) {
            let len = same.min(to.len());
            let ((now, later), (from, rest)) = (to.split_at_mut(len), values.split_at(len));
            scaled(now, from, scale);
            (to, values) = (later, rest);
            if to.is_empty() {
                break;
            }
        }
    }
}

/// `to = scale · from`, register by register.
#[inline(always)]
fn scaled(to: &mut [f32], from: &[i8], scale: f32) {
    let widen = |value: i8| scale * f32::from(value);
    let ((to, to_rest), (from, from_rest)) = (to.as_chunks_mut::<LANES>(), from.as_chunks::<LANES>());
    to.iter_mut().zip(from).for_each(|(to, from)| *to = from.map(widen));
    to_rest.iter_mut().zip(from_rest).for_each(|(to, from)| *to = widen(*from));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_transpose_has_the_scales_of_its_blocks() {
        let ([m, n], [height, width]) = ([6, 8], [3, 2]);
        let values: Vec<i8> = (0..(m * n) as i8).map(|i| i - 20).collect();
        let scales: Vec<f32> = (0..m / height * n / width).map(|i| 1.0 + i as f32).collect();
        let want = |i: usize, j: usize| {
            let block = i / height * (n / width) + j / width;
            scales[block] * f32::from(values[i * n + j])
        };
        let whole = Narrow::new(&values, Scales::new(&scales, [height, width], n), [m, n], [n, 1]);
        let part = Source::Narrow(whole).part([1, 3], [4, 5]);
        let mut scratch = part.scratch(5);
        for i in 0..4 {
            let expected: Vec<f32> = (0..5).map(|j| want(i + 1, j + 3)).collect();
            assert_eq!(part.row(i, &mut scratch), expected);
            for (j, expected) in expected.into_iter().enumerate() {
                assert_eq!((part.get(i, j), part.t().get(j, i)), (expected, expected));
                assert_eq!(Source::Narrow(whole).t().part([3, 1], [5, 4]).get(j, i), expected);
            }
        }
    }
}
