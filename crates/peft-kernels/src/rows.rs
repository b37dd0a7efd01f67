//! Low-rank paths that differ from row to row of a batch, beside one linear map.

use burn::prelude::*;

use crate::linear::{LowRank, linear};
#[cfg(feature = "flex")]
use crate::switch::covers;

/// `xW + b + s·B(A(x))` with a path of its own for each row of the batch: row `i` has `paths[of_row[i]]`, or none. `x`
/// `[batch, seq, d_in]`, `weight` `[d_in, d_out]`, `bias` `[d_out]` to `[batch, seq, d_out]`; ranks may differ.
///
/// The map is one product over all rows, whatever the number of paths, and each row's path is summed into it while it is in
/// the cache. One pass over the gradient of the result gives those of all that is tracked.
///
/// # Panics
/// If a path has an input of its own, or `of_row` is not one place in `paths`, or none, for each row.
pub fn linear_low_rank_rows(
    x: Tensor<3>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    paths: &[LowRank],
    of_row: &[Option<usize>],
) -> Tensor<3> {
    check(&x, paths, of_row);
    #[cfg(feature = "flex")]
    if covers(&x) && covers(&weight) && covered(paths) && !weight.is_tracked() {
        return crate::flex::rows::linear_rows(x, Some(weight), bias, paths, of_row);
    }
    linear(x.clone(), weight, bias) + low_rank_rows(x, paths, of_row)
}

/// The paths alone, `s·B(A(x))` on each row, zero where it has none.
///
/// # Panics
/// As [`linear_low_rank_rows`], and if there is no path.
pub fn low_rank_rows(x: Tensor<3>, paths: &[LowRank], of_row: &[Option<usize>]) -> Tensor<3> {
    check(&x, paths, of_row);
    #[cfg(feature = "flex")]
    if covers(&x) && covered(paths) {
        return crate::flex::rows::linear_rows(x, None, None, paths, of_row);
    }
    composed(x, paths, of_row)
}

#[cfg(feature = "flex")]
fn covered(paths: &[LowRank]) -> bool {
    paths.iter().all(|path| covers(&path.a) && covers(&path.b))
}

fn check(x: &Tensor<3>, paths: &[LowRank], of_row: &[Option<usize>]) {
    assert_eq!(x.dims()[0], of_row.len(), "a path, or none, for each row");
    assert!(!paths.is_empty() && paths.iter().all(|path| path.input.is_none()), "paths that read what the map reads");
    assert!(of_row.iter().flatten().all(|&path| path < paths.len()), "a row has a path that is not there");
}

/// Products of stacks of matrices: paths of lower rank than others are filled up with zeros, and rows without one have one
/// of zeros.
fn composed(x: Tensor<3>, paths: &[LowRank], of_row: &[Option<usize>]) -> Tensor<3> {
    let rank = paths.iter().map(|path| path.a.dims()[1]).max().expect("there are paths");
    let ([d_in, _], [_, d_out]) = (paths[0].a.dims(), paths[0].b.dims());
    let (device, dtype) = (x.device(), x.dtype());
    let zeros = |shape: [usize; 2]| Tensor::zeros(shape, (&device, dtype));
    let filled = |matrix: &Tensor<2>, shape: [usize; 2], dim: usize| match shape[dim] {
        0 => matrix.clone(),
        _ => Tensor::cat(vec![matrix.clone(), zeros(shape)], dim),
    };
    let missing = |path: &LowRank| rank - path.a.dims()[1];
    let mut a: Vec<_> = paths.iter().map(|path| filled(&path.a, [d_in, missing(path)], 1)).collect();
    let mut b: Vec<_> = paths.iter().map(|path| filled(&path.b, [missing(path), d_out], 0)).collect();
    if of_row.contains(&None) {
        a.push(zeros([d_in, rank]));
        b.push(zeros([rank, d_out]));
    }
    let places: Vec<i64> = of_row.iter().map(|path| path.unwrap_or(paths.len()) as i64).collect();
    let places = Tensor::<1, Int>::from_data(TensorData::from(&places[..]), &device);
    let scales: Vec<f32> = of_row.iter().map(|path| path.map_or(0.0, |path| paths[path].scale as f32)).collect();
    let scales = Tensor::<3>::from_data(TensorData::new(scales, [of_row.len(), 1, 1]), (&device, dtype));
    let of_rows = |factors: Vec<Tensor<2>>| Tensor::stack::<3>(factors, 0).select(0, places.clone());
    (x.matmul(of_rows(a)) * scales).matmul(of_rows(b))
}

#[cfg(all(test, feature = "flex"))]
mod tests;
