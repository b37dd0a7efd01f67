//! The first few singular vectors of a matrix of which a full decomposition would take minutes: block Lanczos with all of
//! the basis kept orthogonal, until the residuals say that it has converged.

use nalgebra::{DMatrix, DVector};

/// Residuals, as a share of the largest eigenvalue, below which a vector counts as found.
const CONVERGED: f64 = 1e-11;
/// A vector of which less than this is new adds nothing to a basis.
const NEW: f64 = 1e-10;

/// The left singular vectors of the `rank` largest singular values of `matrix`, as columns, or fewer if it has no more.
/// `None` if they are not found in a subspace that is small beside it.
pub(super) fn leading(matrix: &DMatrix<f64>, rank: usize) -> Option<DMatrix<f64>> {
    let (size, width) = (matrix.nrows(), rank + 8);
    let transposed = matrix.transpose();
    let (mut basis, mut images): (Vec<DVector<f64>>, Vec<DVector<f64>>) = (Vec::new(), Vec::new());
    let mut block = start(size, width);
    let mut next_check = 4 * width;
    while next_check <= size / 2 {
        let before = basis.len();
        for column in block.column_iter() {
            basis.extend(orthonormal(column.clone_owned(), &basis));
        }
        let grown = basis.len() > before;
        if grown {
            block = image(&transposed, &basis[before..]);
            images.extend(block.column_iter().map(|column| column.clone_owned()));
        }
        if !grown || basis.len() >= next_check {
            let (vectors, residual) = ritz(&basis, &images, rank)?;
            if !grown || residual < CONVERGED {
                return Some(vectors);
            }
            next_check *= 2;
        }
    }
    None
}

/// `MMᵀ` times each of `vectors`, from the transpose of M. A row of M is read for all of them at once: a large matrix lies
/// outside the caches.
fn image(transposed: &DMatrix<f64>, vectors: &[DVector<f64>]) -> DMatrix<f64> {
    let mut inner = DMatrix::zeros(transposed.nrows(), vectors.len());
    for (i, row) in transposed.column_iter().enumerate() {
        vectors.iter().zip(inner.column_iter_mut()).for_each(|(vector, mut sum)| sum.axpy(vector[i], &row, 1.0));
    }
    let mut outer = DMatrix::zeros(transposed.ncols(), vectors.len());
    for (i, row) in transposed.column_iter().enumerate() {
        inner.column_iter().enumerate().for_each(|(j, column)| outer[(i, j)] = row.dot(&column));
    }
    outer
}

/// The best vectors in the subspace and their largest residual, `‖(MMᵀ - θ)v‖ / θ₁`.
fn ritz(basis: &[DVector<f64>], images: &[DVector<f64>], rank: usize) -> Option<(DMatrix<f64>, f64)> {
    if basis.is_empty() {
        return None;
    }
    let (basis, images) = (DMatrix::from_columns(basis), DMatrix::from_columns(images));
    let small = basis.transpose() * &images;
    let eigen = ((&small + small.transpose()) * 0.5).symmetric_eigen();
    let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
    order.sort_by(|&i, &j| eigen.eigenvalues[j].total_cmp(&eigen.eigenvalues[i]));
    order.truncate(rank);
    let inside = eigen.eigenvectors.select_columns(&order);
    let (vectors, images) = (&basis * &inside, &images * &inside);
    let largest = eigen.eigenvalues[order[0]];
    let residual = order
        .iter()
        .enumerate()
        .map(|(k, &i)| (images.column(k) - vectors.column(k) * eigen.eigenvalues[i]).norm())
        .fold(0.0, f64::max);
    Some((vectors, if largest > 0.0 { residual / largest } else { 0.0 }))
}

/// What of `vector` is orthogonal to `basis`, at length one; `None` if that is next to nothing.
fn orthonormal(mut vector: DVector<f64>, basis: &[DVector<f64>]) -> Option<DVector<f64>> {
    let whole = vector.norm();
    // Once leaves rounding of the size of what was taken away; twice is enough.
    for _ in 0..2 {
        for other in basis {
            vector.axpy(-other.dot(&vector), other, 1.0);
        }
    }
    let left = vector.norm();
    (left > NEW * whole && left.is_normal()).then(|| vector / left)
}

/// Vectors that look random and are the same each time, so that an adapter is loaded as it was begun.
fn start(size: usize, width: usize) -> DMatrix<f64> {
    let mut state = 0u64;
    DMatrix::from_fn(size, width, |_, _| {
        // SplitMix64 (Steele et al. 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    })
}
