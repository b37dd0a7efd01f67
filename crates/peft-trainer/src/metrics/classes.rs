//! Scores of one class per row. Accuracy, F1 and Matthews all follow from three counts per class, so the rows need
//! not be kept and the score so far costs one pass over the classes.

/// How often each class was predicted, was right, and both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassCounts {
    both: Vec<u64>,
    predicted: Vec<u64>,
    actual: Vec<u64>,
    rows: u64,
}

impl ClassCounts {
    /// No row yet, of so many classes. An id beyond them counts as one class more.
    pub fn new(classes: usize) -> Self {
        Self { both: vec![0; classes], predicted: vec![0; classes], actual: vec![0; classes], rows: 0 }
    }

    /// The counts of predictions beside targets of the same length (the shorter decides).
    pub fn of(classes: usize, predicted: &[usize], actual: &[usize]) -> Self {
        let mut counts = Self::new(classes);
        predicted.iter().zip(actual).for_each(|(&p, &a)| counts.add(p, a));
        counts
    }

    /// One row.
    pub fn add(&mut self, predicted: usize, actual: usize) {
        let classes = self.both.len().max(predicted + 1).max(actual + 1);
        for counts in [&mut self.both, &mut self.predicted, &mut self.actual] {
            counts.resize(classes, 0);
        }
        self.predicted[predicted] += 1;
        self.actual[actual] += 1;
        self.both[actual] += u64::from(predicted == actual);
        self.rows += 1;
    }

    /// The number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The share of rows that are right; NaN without rows.
    pub fn accuracy(&self) -> f64 {
        self.both.iter().sum::<u64>() as f64 / self.rows as f64
    }

    /// The F1 of class 1 if there are two classes, otherwise the mean over the classes that are predicted or occur
    /// (macro, as scikit-learn's `f1_score`); 0 where a class is never right, NaN without rows.
    pub fn f1(&self) -> f64 {
        if self.rows == 0 {
            return f64::NAN;
        }
        if self.both.len() <= 2 {
            return self.f1_of(1).unwrap_or(0.0);
        }
        let scores: Vec<f64> = (0..self.both.len()).filter_map(|class| self.f1_of(class)).collect();
        scores.iter().sum::<f64>() / scores.len() as f64
    }

    /// 2 TP / (2 TP + FP + FN); none for a class that is neither predicted nor occurs.
    fn f1_of(&self, class: usize) -> Option<f64> {
        let count = |counts: &[u64]| counts.get(class).copied().unwrap_or(0) as f64;
        let sum = count(&self.predicted) + count(&self.actual);
        (sum > 0.0).then(|| 2.0 * count(&self.both) / sum)
    }

    /// The Matthews correlation coefficient of any number of classes, Gorodkin, "Comparing two K-category
    /// assignments by a K-category correlation coefficient" (2004): with s rows, c of them right, and class k
    /// predicted p_k and occurring t_k times,
    /// `(c s - Σ p_k t_k) / sqrt((s² - Σ p_k²) (s² - Σ t_k²))`.
    /// 0 if one class is all that is predicted or all that occurs, NaN without rows.
    pub fn matthews(&self) -> f64 {
        if self.rows == 0 {
            return f64::NAN;
        }
        let dot = |a: &[u64], b: &[u64]| a.iter().zip(b).map(|(&a, &b)| a as f64 * b as f64).sum::<f64>();
        let (rows, right) = (self.rows as f64, self.both.iter().sum::<u64>() as f64);
        let covariance = right * rows - dot(&self.predicted, &self.actual);
        let spread = |counts: &[u64]| rows * rows - dot(counts, counts);
        let scale = (spread(&self.predicted) * spread(&self.actual)).sqrt();
        if scale == 0.0 { 0.0 } else { covariance / scale }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    // Expected values: scikit-learn 1.9.1, `accuracy_score`, `f1_score` (average="binary" for two classes, "macro"
    // for more) and `matthews_corrcoef`.
    #[rstest]
    #[case::two(2, &[1, 0, 1, 1, 0, 1, 0, 0, 1, 0], &[1, 0, 0, 1, 1, 1, 0, 0, 1, 1],
        [0.7, 0.7272727272727273, 0.408248290463863])]
    #[case::four(4, &[2, 0, 2, 1, 0, 3, 1, 1, 2, 3], &[2, 0, 1, 1, 0, 3, 3, 1, 2, 0],
        [0.7, 0.6916666666666667, 0.6081081081081081])]
    #[case::one_never_predicted(3, &[0, 1, 2, 1, 0, 2], &[0, 1, 1, 1, 0, 0],
        [0.6666666666666666, 0.5333333333333333, 0.5773502691896257])]
    #[case::one_absent(4, &[0, 2, 0, 2, 1, 0], &[0, 2, 2, 2, 0, 0],
        [0.6666666666666666, 0.48888888888888893, 0.45226701686664544])]
    #[case::only_the_negative(2, &[0, 0, 0], &[0, 0, 0], [1.0, 0.0, 0.0])]
    #[case::only_the_positive(2, &[1, 1, 1], &[1, 1, 1], [1.0, 1.0, 0.0])]
    #[case::always_one(2, &[0, 1, 0, 1], &[1, 1, 1, 1], [0.5, 0.6666666666666666, 0.0])]
    #[case::always_zero(2, &[0, 1, 0, 1], &[0, 0, 0, 0], [0.5, 0.0, 0.0])]
    fn agrees_with_scikit_learn(
        #[case] classes: usize,
        #[case] actual: &[usize],
        #[case] predicted: &[usize],
        #[case] expected: [f64; 3],
    ) {
        let counts = ClassCounts::of(classes, predicted, actual);
        for (got, want) in [counts.accuracy(), counts.f1(), counts.matthews()].into_iter().zip(expected) {
            assert!((got - want).abs() < 1e-15, "{got} instead of {want}");
        }
    }

    #[test]
    fn no_row_has_no_score() {
        let counts = ClassCounts::new(3);
        assert!([counts.accuracy(), counts.f1(), counts.matthews()].into_iter().all(f64::is_nan));
    }

    #[test]
    fn an_id_beyond_the_classes_is_a_class() {
        assert_eq!(ClassCounts::of(0, &[2, 0], &[2, 0]).matthews(), 1.0);
    }
}
