//! Decompositions of small dense matrices, on the host and in f64: they run once, when an adapter begins.

use burn::prelude::*;
use nalgebra::DMatrix;

mod krylov;

/// `weight` as a matrix in the host's memory; `None` if a value is no number.
pub(crate) fn to_host(weight: Tensor<2>) -> Option<DMatrix<f64>> {
    let [rows, columns] = weight.dims();
    let values: Vec<f64> = weight.into_data().iter::<f64>().collect();
    values.iter().all(|value| value.is_finite()).then(|| DMatrix::from_row_slice(rows, columns, &values))
}

/// `matrix` as a tensor.
pub(crate) fn to_device(matrix: &DMatrix<f64>, device: &Device) -> Tensor<2> {
    // Column-major there, row-major here.
    let values: Vec<f32> = matrix.transpose().iter().map(|&value| value as f32).collect();
    Tensor::from_data(TensorData::new(values, [matrix.nrows(), matrix.ncols()]), device)
}

/// The best approximation of rank `rank`, as `(a, b)` with `a·b` equal to it and the singular values shared out as
/// `share(value)` to `a` and the rest to `b`.
pub(crate) fn truncated(matrix: DMatrix<f64>, rank: usize, share: &dyn Fn(f64) -> f64) -> (DMatrix<f64>, DMatrix<f64>) {
    if matrix.nrows() > matrix.ncols() {
        // The shorter side is the cheaper one.
        let rest = |value: f64| if value > 0.0 { value / share(value) } else { 0.0 };
        let (b, a) = truncated(matrix.transpose(), rank, &rest);
        return (a.transpose(), b.transpose());
    }
    let vectors = krylov::leading(&matrix, rank).unwrap_or_else(|| {
        let svd = matrix.clone().svd(true, false);
        svd.u.map_or_else(|| DMatrix::zeros(matrix.nrows(), 0), |u| u.columns(0, rank.min(u.ncols())).clone_owned())
    });
    let (mut a, mut b) = (DMatrix::zeros(matrix.nrows(), rank), DMatrix::zeros(rank, matrix.ncols()));
    let along = vectors.transpose() * &matrix;
    for (k, row) in along.row_iter().enumerate() {
        let value = row.norm();
        let part = share(value);
        if part > 0.0 {
            a.set_column(k, &(vectors.column(k) * part));
            b.set_row(k, &(row / part));
        }
    }
    (a, b)
}

/// PiSSA (Meng et al. 2024, arXiv:2404.02948): the `rank` largest singular triples of `weight` `[d_in, d_out]` as factors
/// whose product times `scale` they are, each with the roots of the singular values. `None` if a value is no number.
///
/// Exact where the reference's `pissa_niter_N` draws a random subspace: what that approximates.
pub(crate) fn principal(weight: Tensor<2>, rank: usize, scale: f64) -> Option<(Tensor<2>, Tensor<2>)> {
    let device = weight.device();
    let (a, b) = truncated(to_host(weight)? / scale, rank, &f64::sqrt);
    Some((to_device(&a, &device), to_device(&b, &device)))
}

/// OLoRA (Büyükakyüz 2024, arXiv:2406.01775): the first `rank` columns of Q as B and rows of R as A, where `QR` is the
/// transpose of `weight` `[d_in, d_out]`. `None` if a value is no number.
pub(crate) fn leading(weight: Tensor<2>, rank: usize) -> Option<(Tensor<2>, Tensor<2>)> {
    let device = weight.device();
    let (q, r) = qr(to_host(weight)?.transpose(), rank);
    Some((to_device(&r.transpose(), &device), to_device(&q.transpose(), &device)))
}

/// Every other row of the orthogonal factor of a square matrix, and those between.
pub(crate) fn halves(square: Tensor<2>) -> [Tensor<2>; 2] {
    let (device, rank) = (square.device(), square.dims()[0]);
    let values: Vec<f64> = square.into_data().iter::<f64>().collect();
    let (q, _) = qr(DMatrix::from_row_slice(rank, rank, &values), rank);
    [0, 1].map(|first| to_device(&q.select_rows(&(first..rank).step_by(2).collect::<Vec<_>>()), &device))
}

/// The first `rank` columns of Q and rows of R, by Householder reflections with LAPACK's signs: the diagonal of R has
/// the sign opposite to the column's first value. Q is `[m, rank]`, R is `[rank, n]`; `rank` is at most m and n.
fn qr(mut matrix: DMatrix<f64>, rank: usize) -> (DMatrix<f64>, DMatrix<f64>) {
    let rows = matrix.nrows();
    // Each reflection is I - t·v·vᵀ.
    let mut reflections = Vec::with_capacity(rank);
    for k in 0..rank {
        let mut v = matrix.view((k, k), (rows - k, 1)).column(0).clone_owned();
        let (first, below) = (v[0], v.rows(1, rows - k - 1).norm_squared());
        if below == 0.0 {
            continue;
        }
        let diagonal = -(first * first + below).sqrt().copysign(first);
        v[0] = first - diagonal;
        let t = 2.0 / v.norm_squared();
        let mut rest = matrix.view_mut((k, k), (rows - k, matrix.ncols() - k));
        let along = rest.tr_mul(&v) * t;
        rest.ger(-1.0, &v, &along, 1.0);
        reflections.push((k, v, t));
    }
    let mut q = DMatrix::identity(rows, rank);
    for (k, v, t) in reflections.into_iter().rev() {
        let mut rest = q.view_mut((k, 0), (rows - k, rank));
        let along = rest.tr_mul(&v) * t;
        rest.ger(-1.0, &v, &along, 1.0);
    }
    let r = matrix.rows(0, rank).upper_triangle();
    (q, r)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> DMatrix<f64> {
        DMatrix::from_row_slice(4, 3, &[4., 1., -2., -3., 2., 0.5, 1., 1., 7., 2., -6., 3.])
    }

    /// `torch.linalg.qr` of the same matrix.
    #[test]
    fn the_signs_of_qr_are_lapacks() {
        let (q, r) = qr(sample(), 3);
        assert!((&q * &r - sample()).norm() < 1e-12);
        assert!((q.transpose() * &q - DMatrix::identity(3, 3)).norm() < 1e-12);
        for (k, want) in [-5.4772, -6.0305, -7.6694].into_iter().enumerate() {
            assert!((r[(k, k)] - want).abs() < 1e-4, "{r}");
        }
        let (q1, r1) = qr(sample(), 1);
        assert!((q1 - q.columns(0, 1)).norm() < 1e-12 && (r1 - r.rows(0, 1)).norm() < 1e-12);
    }

    #[test]
    fn truncation_leaves_the_smaller_singular_values() {
        let sample = sample();
        let mut values = sample.clone().singular_values().iter().copied().collect::<Vec<f64>>();
        values.sort_by(f64::total_cmp);
        let (a, b) = truncated(sample.clone(), 2, &f64::sqrt);
        assert!(((sample.clone() - &a * &b).norm() - values[0]).abs() < 1e-12);
        // The singular values are shared equally.
        assert!(((a.transpose() * a).trace() - (&b * b.transpose()).trace()).abs() < 1e-12);
        assert!(
            (sample.clone() - {
                let (a, b) = truncated(sample, 3, &|value| value);
                a * b
            })
            .norm()
                < 1e-12
        );
    }

    /// Large enough to be found in a subspace, with two values close together and one that is double.
    #[test]
    fn a_subspace_gives_what_the_whole_decomposition_does() {
        let mut state = 7u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / f64::from(1u32 << 31) - 0.5
        };
        let orthogonal = |matrix: DMatrix<f64>| matrix.qr().q();
        let (left, right) = (
            orthogonal(DMatrix::from_fn(300, 300, |_, _| next())),
            orthogonal(DMatrix::from_fn(350, 300, |_, _| next())),
        );
        let mut values: Vec<f64> = (0..300).map(|k| 0.9f64.powi(k)).collect();
        (values[1], values[2]) = (0.95, 0.95);
        values[3] = values[4] * (1.0 + 1e-4);
        let wide = &left * DMatrix::from_diagonal(&values.clone().into()) * right.transpose();
        assert!(krylov::leading(&wide, 4).is_some());
        for rank in [1, 3, 4, 5] {
            let want = left.columns(0, rank)
                * DMatrix::from_diagonal(&values[..rank].to_vec().into())
                * right.columns(0, rank).transpose();
            for (matrix, want) in [(wide.clone(), want.clone()), (wide.transpose(), want.transpose())] {
                let (a, b) = truncated(matrix, rank, &f64::sqrt);
                assert!((a * b - &want).norm() < 1e-9, "rank {rank}");
            }
        }
        // Of a matrix of rank 2 nothing is left over, and of zeros nothing is made.
        let low = left.columns(0, 2) * right.columns(0, 2).transpose();
        let (a, b) = truncated(low.clone(), 5, &|_| 1.0);
        assert!((&a * &b - low).norm() < 1e-9 && b.rows(2, 3).norm() < 1e-9);
        let (a, b) = truncated(DMatrix::zeros(300, 310), 3, &f64::sqrt);
        assert_eq!((a.norm(), b.norm()), (0.0, 0.0));
    }

    #[test]
    fn what_is_no_number_is_not_decomposed() {
        let device = Device::flex();
        assert!(principal(Tensor::from_data([[1.0, f32::NAN]], &device), 1, 1.0).is_none());
        assert!(leading(Tensor::from_data([[1.0, f32::INFINITY]], &device), 1).is_none());
    }
}
