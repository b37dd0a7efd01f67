//! Scores of predicted numbers. The sums run in double precision over centred values, so that numbers far from zero
//! lose nothing.

/// Pearson's correlation coefficient, in [-1, 1]: `Σ(x-x̄)(y-ȳ) / sqrt(Σ(x-x̄)² Σ(y-ȳ)²)`.
///
/// 0 if one side is constant, where SciPy gives NaN: a model that answers the same to everything has learnt nothing,
/// and a best checkpoint is still to be chosen. NaN without rows or if a number is not finite.
pub fn pearson(predicted: &[f32], actual: &[f32]) -> f64 {
    correlation(&widened(predicted), &widened(actual))
}

/// Spearman's rank correlation: [`pearson`] of the ranks, where equal numbers share the mean of their ranks.
pub fn spearman(predicted: &[f32], actual: &[f32]) -> f64 {
    if !predicted.iter().chain(actual).all(|value| value.is_finite()) {
        return f64::NAN;
    }
    correlation(&ranks(predicted), &ranks(actual))
}

/// The mean of the squared differences; NaN without rows.
pub fn mean_squared_error(predicted: &[f32], actual: &[f32]) -> f64 {
    squared_error(predicted, actual) / predicted.len() as f64
}

/// The sum of the squared differences.
pub(crate) fn squared_error(predicted: &[f32], actual: &[f32]) -> f64 {
    predicted.iter().zip(actual).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2)).sum()
}

fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

fn correlation(x: &[f64], y: &[f64]) -> f64 {
    if x.is_empty() || !x.iter().chain(y).all(|value| value.is_finite()) {
        return f64::NAN;
    }
    // Asked of the values, not of the variance: the rounding of a mean makes a constant's variance tiny, not zero.
    if [x, y].iter().any(|side| side.iter().all(|value| *value == side[0])) {
        return 0.0;
    }
    let mean = |side: &[f64]| side.iter().sum::<f64>() / side.len() as f64;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let (x, y) = (x - mean_x, y - mean_y);
        (xy, xx, yy) = (xy + x * y, xx + x * x, yy + y * y);
    }
    (xy / (xx.sqrt() * yy.sqrt())).clamp(-1.0, 1.0)
}

/// Ranks from 1; equal numbers get the mean of the ranks they take up.
fn ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for tie in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = first as f64 + (tie.len() as f64 + 1.0) / 2.0;
        tie.iter().for_each(|&row| ranks[row] = rank);
        first += tie.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    // Expected values: SciPy 1.17.1 `pearsonr` and `spearmanr`, scikit-learn 1.9.1 `mean_squared_error`.
    #[rstest]
    #[case::distinct(&[3.0, 1.5, 4.25, 0.5, 2.0, 5.0, 2.75], &[2.5, 1.0, 4.5, 0.75, 2.25, 3.5, 3.0],
        [0.904697233379857, 0.9285714285714288, 0.42857142857142855])]
    #[case::ties(&[1.0, 2.0, 2.0, 3.0, 5.0, 5.0, 5.0, 0.0], &[0.5, 2.0, 2.0, 2.0, 4.0, 6.0, 4.0, 1.0],
        [0.9033736663466144, 0.9367088607594939, 0.65625])]
    #[case::reversed(&[1.0, 2.0, 3.0, 4.0], &[4.0, 3.0, 2.0, 1.0], [-1.0, -1.0, 5.0])]
    // Here SciPy has NaN for the correlations.
    #[case::constant(&[1.0, 2.0, 3.0, 4.0], &[2.5, 2.5, 2.5, 2.5], [0.0, 0.0, 1.25])]
    fn agrees_with_scipy(#[case] actual: &[f32], #[case] predicted: &[f32], #[case] expected: [f64; 3]) {
        let got = [pearson(predicted, actual), spearman(predicted, actual), mean_squared_error(predicted, actual)];
        for (got, want) in got.into_iter().zip(expected) {
            assert!((got - want).abs() < 1e-14, "{got} instead of {want}");
        }
    }

    #[test]
    fn a_constant_with_a_rounded_mean_is_still_constant() {
        assert_eq!(pearson(&[0.1; 7], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), 0.0);
        assert_eq!(pearson(&[3.0], &[2.0]), 0.0);
    }

    #[test]
    fn an_offset_loses_nothing() {
        let near: Vec<f32> = (0..64).map(|row| ((row * 37) % 64) as f32).collect();
        let other: Vec<f32> = (0..64).map(|row| ((row * 11) % 64) as f32).collect();
        let far: Vec<f32> = near.iter().map(|value| value + 1e6).collect();
        assert!((pearson(&near, &other) - pearson(&far, &other)).abs() < 1e-12);
    }

    #[test]
    fn nothing_and_nan_have_no_score() {
        assert!(pearson(&[], &[]).is_nan() && spearman(&[], &[]).is_nan() && mean_squared_error(&[], &[]).is_nan());
        let broken = [1.0, f32::NAN, 3.0];
        assert!(pearson(&broken, &[1.0, 2.0, 3.0]).is_nan() && spearman(&broken, &[1.0, 2.0, 3.0]).is_nan());
    }

    #[test]
    fn ties_share_their_mean_rank() {
        assert_eq!(ranks(&[2.0, 1.0, 2.0, -0.0, 0.0, 2.0]), [5.0, 3.0, 5.0, 1.5, 1.5, 5.0]);
    }
}
