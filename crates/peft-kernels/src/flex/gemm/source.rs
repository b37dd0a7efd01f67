//! What a right-hand matrix is packed of: f32, or fewer bits, which are widened on the way.

use burn::tensor::{bf16, f16};

use super::matrix::Matrix;
use crate::flex::simd::{LANES, Loop, vectorized};

/// A matrix in the type that it is kept in.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// f32.
    Full(Matrix<'a>),
    /// Fewer bits.
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

/// A matrix of fewer bits than f32, whose element (i, j) lies at `i · row + j · col`.
#[derive(Clone, Copy)]
pub(crate) struct Narrow<'a> {
    values: Elements<'a>,
    m: usize,
    n: usize,
    row: usize,
    col: usize,
}

/// What it holds, from its first element on.
#[derive(Clone, Copy)]
pub(crate) enum Elements<'a> {
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
    /// Whole numbers, times the scale of the block that they are in.
    I8(&'a [i8], Scales<'a>),
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
    pub(crate) fn new(values: Elements<'a>, [m, n]: [usize; 2], [row, col]: [usize; 2]) -> Self {
        let len = match values {
            Elements::F16(values) => values.len(),
            Elements::Bf16(values) => values.len(),
            Elements::I8(values, _) => values.len(),
        };
        assert!(row == 1 || col == 1, "a matrix has no line that lies in one piece");
        assert!(m == 0 || n == 0 || (m - 1) * row + (n - 1) * col < len, "a matrix ends behind its memory");
        Self { values, m, n, row, col }
    }

    fn t(self) -> Self {
        let values = match self.values {
            Elements::I8(values, Scales { values: scales, block, steps, from }) => {
                let [block, steps, from] = [block, steps, from].map(|[a, b]| [b, a]);
                Elements::I8(values, Scales { values: scales, block, steps, from })
            }
            half => half,
        };
        Self { values, m: self.n, n: self.m, row: self.col, col: self.row }
    }

    fn part(self, [i, j]: [usize; 2], [m, n]: [usize; 2]) -> Self {
        assert!(i + m <= self.m && j + n <= self.n);
        let first = i * self.row + j * self.col;
        let values = match self.values {
            Elements::F16(values) => Elements::F16(&values[first..]),
            Elements::Bf16(values) => Elements::Bf16(&values[first..]),
            Elements::I8(values, scales) => {
                let from = [scales.from[0] + i, scales.from[1] + j];
                Elements::I8(&values[first..], Scales { from, ..scales })
            }
        };
        Self { values, m, n, ..self }
    }

    fn get(&self, i: usize, j: usize) -> f32 {
        let at = i * self.row + j * self.col;
        match self.values {
            Elements::F16(values) => from_f16(values[at]),
            Elements::Bf16(values) => from_bf16(values[at]),
            Elements::I8(values, scales) => scales.get(i, j) * f32::from(values[at]),
        }
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
        let start = i * narrow.row;
        match narrow.values {
            Elements::F16(values) => each(to, &values[start..][..to.len()], from_f16),
            Elements::Bf16(values) => each(to, &values[start..][..to.len()], from_bf16),
            Elements::I8(values, scales) => {
                let (mut to, mut values) = (to, &values[start..]);
                for (scale, same) in scales.along(i) {
                    let len = same.min(to.len());
                    let ((now, later), (from, rest)) = (to.split_at_mut(len), values.split_at(len));
                    each(now, from, |value| scale * f32::from(value));
                    (to, values) = (later, rest);
                    if to.is_empty() {
                        break;
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn each<T: Copy>(to: &mut [f32], from: &[T], f: impl Fn(T) -> f32) {
    let ((to, to_rest), (from, from_rest)) = (to.as_chunks_mut::<LANES>(), from.as_chunks::<LANES>());
    to.iter_mut().zip(from).for_each(|(to, from)| *to = from.map(&f));
    to_rest.iter_mut().zip(from_rest).for_each(|(to, from)| *to = f(*from));
}

#[inline(always)]
fn from_bf16(value: bf16) -> f32 {
    f32::from_bits(u32::from(value.to_bits()) << 16)
}

/// Exact, and without a branch: the exponent is moved by a product, which makes of f16's subnormals what they are.
#[inline(always)]
fn from_f16(value: f16) -> f32 {
    /// 2^112: what f32's exponents are above f16's.
    const MOVE: f32 = f32::from_bits((127 + 112) << 23);
    /// f16's infinity, and what is no number, before the move.
    const INFINITE: u32 = 0x7c00 << 13;
    let bits = u32::from(value.to_bits());
    let size = (bits & 0x7fff) << 13;
    let moved = (f32::from_bits(size) * MOVE).to_bits();
    let size = if size >= INFINITE { size | 0x7f80_0000 } else { moved };
    f32::from_bits(size | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_of_half_precision_is_widened_as_it_is() {
        for bits in 0..=u16::MAX {
            let (half, brain) = (f16::from_bits(bits), bf16::from_bits(bits));
            for (got, want) in [(from_f16(half), half.to_f32()), (from_bf16(brain), brain.to_f32())] {
                assert!(got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()), "{bits:#x}: {got} {want}");
            }
        }
    }

    #[test]
    fn a_part_of_a_transpose_has_the_scales_of_its_blocks() {
        let ([m, n], [height, width]) = ([6, 8], [3, 2]);
        let values: Vec<i8> = (0..(m * n) as i8).map(|i| i - 20).collect();
        let scales: Vec<f32> = (0..m / height * n / width).map(|i| 1.0 + i as f32).collect();
        let want = |i: usize, j: usize| {
            let block = i / height * (n / width) + j / width;
            scales[block] * f32::from(values[i * n + j])
        };
        let whole = Narrow::new(Elements::I8(&values, Scales::new(&scales, [height, width], n)), [m, n], [n, 1]);
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
