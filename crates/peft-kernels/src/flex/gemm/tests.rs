//! Products against the sum of their parts in f64.

use super::sides::Shape;
use super::*;
use crate::flex::simd::Level;

/// Whole numbers of a small range: their products are exact in any order.
fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let next = |i: u64| (seed.wrapping_mul(31).wrapping_add(i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % 17;
    (0..len as u64).map(|i| next(i) as f32 - 8.0).collect()
}

fn expected(a: Matrix<'_>, b: Matrix<'_>, start: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let mut out = Vec::new();
    for i in 0..a.m {
        for j in 0..b.n {
            out.push((0..b.m).map(|p| a.get(i, p) * b.get(p, j)).sum::<f32>() + start(i, j));
        }
    }
    out
}

/// Sizes with and without what is left of a tile, a panel and a block.
const SIZES: [[usize; 3]; 8] =
    [[1, 1, 1], [1, 48, 7], [2, 50, 3], [5, 16, 257], [13, 47, 256], [64, 96, 300], [130, 33, 513], [3, 200, 1]];

#[test]
fn products_of_any_size_are_the_sums_of_their_parts() {
    for [m, n, k] in SIZES {
        let (a, b, row) = (numbers(m * k, 1), numbers(k * n, 2), numbers(n, 3));
        let a_matrix = Matrix::new(&a, [m, k]);
        for b in [Matrix::new(&b, [k, n]), Matrix::new(&b, [n, k]).t()] {
            let packed = Packed::new(b, true);
            let mut rights = vec![Right::Packed(&packed)];
            if b.col == 1 {
                rights.push(Right::Plain(b));
            }
            for right in rights {
                let mut c = numbers(m * n, 4);
                let present = c.clone();
                let term = || Term { a: a_matrix, b: right };
                let run = |c: &mut Vec<f32>, start| {
                    sum_of_products(&mut MatrixMut::new(c, [m, n], n), start, &[term()]);
                };
                run(&mut c, Start::Present);
                assert_eq!(c, expected(a_matrix, b, |i, j| present[i * n + j]), "{m} {n} {k}");
                run(&mut c, Start::Row(&row));
                assert_eq!(c, expected(a_matrix, b, |_, j| row[j]), "{m} {n} {k}");
                run(&mut c, Start::Zero);
                assert_eq!(c, expected(a_matrix, b, |_, _| 0.0), "{m} {n} {k}");
            }
        }
    }
}

#[test]
fn every_level_of_instructions_gives_the_same() {
    let [m, n, k] = [37, 101, 70];
    let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
    let (a, b) = (Matrix::new(&a, [k, m]).t(), Matrix::new(&b, [k, n]));
    let want = expected(a, b, |_, _| 0.0);
    for level in [Level::Portable, Level::Avx2, Level::Avx512].into_iter().filter(|level| *level <= Level::found()) {
        let packed = Packed::of_shape(b.into(), Shape::of(level), false);
        let mut c = vec![f32::NAN; m * n];
        let term = Term { a, b: Right::Packed(&packed) };
        sum_of_products(&mut MatrixMut::new(&mut c, [m, n], n), Start::Zero, &[term]);
        assert_eq!(c, want, "{level:?}");
    }
}

#[test]
fn nothing_beside_the_result_is_written() {
    let (a, b) = (numbers(5 * 3, 1), numbers(3 * 7, 2));
    let mut c = vec![9.0; 5 * 10];
    let packed = Packed::new(Matrix::new(&b, [3, 7]), false);
    let term = Term { a: Matrix::new(&a, [5, 3]), b: Right::Packed(&packed) };
    sum_of_products(&mut MatrixMut::new(&mut c, [5, 7], 10), Start::Zero, &[term]);
    assert!(c.chunks(10).all(|row| row[7..] == [9.0; 3] && row[..7] != [9.0; 7]));
}

#[test]
fn parts_on_all_cores_are_the_whole() {
    let [m, n, k] = [ROWS * 3 + 5, 50, 40];
    let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
    let (a, b) = (Matrix::new(&a, [m, k]), Matrix::new(&b, [k, n]));
    let packed = Packed::new(b, true);
    let mut c = vec![0.0; m * n];
    by_rows([MatrixMut::new(&mut c, [m, n], n)], true, |from, [mut part]| {
        let rows = part.m;
        sum_of_products(&mut part, Start::Zero, &[Term { a: a.rows(from, rows), b: Right::Packed(&packed) }]);
    });
    assert_eq!(c, expected(a, b, |_, _| 0.0));
}

/// Packed from the type that it is kept in, and turned.
#[test]
fn a_matrix_of_whole_numbers_is_multiplied_as_what_they_stand_for() {
    for ([m, n, k], block) in
        [([5, 64, 300], [1, 32]), ([60, 51, 40], [40, 51]), ([50, 1120, 960], [1, 32]), ([7, 36, 26], [13, 4])]
    {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let whole: Vec<i8> = b.iter().map(|&b| b as i8).collect();
        let scales: Vec<f32> = (0..k / block[0] * (n / block[1])).map(|i| [0.5, 1.0, 2.0][i % 3]).collect();
        let scaled: Vec<f32> =
            (0..k * n).map(|at| b[at] * scales[at / n / block[0] * (n / block[1]) + at % n / block[1]]).collect();
        let narrow = Narrow::new(&whole, Scales::new(&scales, block, n), [k, n], [n, 1]);
        let (full, other) = (Matrix::new(&scaled, [k, n]), numbers(m * n, 3));
        let sides = [
            (Matrix::new(&a, [m, k]), Source::Narrow(narrow), full),
            (Matrix::new(&other, [m, n]), Source::Narrow(narrow).t(), full.t()),
        ];
        for (a, source, full) in sides {
            let mut c = vec![f32::NAN; m * full.n];
            let mut all = MatrixMut::new(&mut c, [m, full.n], full.n);
            let product = Product::new(&mut all, Start::Zero, a, source);
            by_rows([all], true, |from, [mut part]| {
                let (start, term) = product.rows(from, part.m);
                sum_of_products(&mut part, start, &term.into_iter().collect::<Vec<_>>());
            });
            assert_eq!(c, expected(a, full, |_, _| 0.0), "{m} {n} {k}");
        }
    }
}

/// In one product and in parts of rows, for what is small, large, or has few rows.
#[test]
fn products_are_the_same_by_rows_and_by_columns() {
    for [m, n, k] in [[3, 130, 1600], [ROWS * 2 + 5, 50, 40], [50, 1100, 1000], [7, 500, 801]] {
        let (a, b, row) = (numbers(m * k, 1), numbers(k * n, 2), numbers(n, 3));
        let a = Matrix::new(&a, [m, k]);
        for b in [Matrix::new(&b, [k, n]), Matrix::new(&b, [n, k]).t()] {
            let want = expected(a, b, |_, j| row[j]);
            let mut c = vec![f32::NAN; m * n];
            product::by_columns(&mut MatrixMut::new(&mut c, [m, n], n), Start::Row(&row), a, b.into());
            assert_eq!(c, want, "by columns: {m} {n} {k}");
            let mut c = vec![f32::NAN; m * n];
            let mut whole = MatrixMut::new(&mut c, [m, n], n);
            let product = Product::new(&mut whole, Start::Row(&row), a, b);
            by_rows([whole], true, |from, [mut part]| {
                let (start, term) = product.rows(from, part.m);
                sum_of_products(&mut part, start, &term.into_iter().collect::<Vec<_>>());
            });
            assert_eq!(c, want, "by rows: {m} {n} {k}");
        }
    }
}

#[test]
fn a_long_sum_is_taken_in_parts() {
    let [m, n, k] = [3, 20, SUMMED * 2 + 7];
    let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
    let (a, b) = (Matrix::new(&a, [k, m]).t(), Matrix::new(&b, [k, n]));
    assert_eq!(reduce(a, b), expected(a, b, |_, _| 0.0));
}

#[test]
#[should_panic(expected = "ends behind its memory")]
fn a_matrix_beyond_its_memory_is_refused() {
    Matrix::strided(&[0.0; 5], [2, 3], [3, 1]);
}

#[test]
fn strips_of_columns_are_the_transpose() {
    // Whole strips of every level and what is left of them, whole groups of rows and what is left.
    for ([m, n, k], from) in [([48, 32, 400], 0), ([37, 21, 70], 3), ([2, 4, 5], 1), ([11, 50, 3], 2)] {
        let (x, g) = (numbers(k * (from + m), 1), numbers(k * n, 2));
        let (x, g) = (Matrix::new(&x, [k, from + m]), Matrix::new(&g, [k, n]));
        let want = expected(x.part([0, from], [k, m]).t(), g, |_, _| 0.0);
        for level in [Level::Portable, Level::Avx2, Level::Avx512].into_iter().filter(|level| *level <= Level::found())
        {
            let shape = Shape::of(level);
            let (strips, packed) = (Strips::of_shape(x, [from, m], shape), Packed::of_shape(g.into(), shape, false));
            let mut c = vec![f32::NAN; m * n];
            product_of_strips(&mut MatrixMut::new(&mut c, [m, n], n), &strips, &packed);
            assert_eq!(c, want, "{level:?}: {m} {n} {k}");
        }
    }
}
