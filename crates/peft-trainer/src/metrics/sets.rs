//! Scores of rows with any number of labels: the labels of all rows counted as one long list of yes and no.

use super::classes::ClassCounts;

/// Yes and no over all labels of all rows, and how many rows are right in every label.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetCounts {
    labels: ClassCounts,
    exact: u64,
    rows: u64,
}

impl SetCounts {
    /// No row yet.
    pub fn new() -> Self {
        Self { labels: ClassCounts::new(2), exact: 0, rows: 0 }
    }

    /// One row: each label predicted beside the same label as it is.
    pub fn add(&mut self, predicted: impl IntoIterator<Item = bool>, actual: &[bool]) {
        let mut exact = true;
        for (predicted, &actual) in predicted.into_iter().zip(actual) {
            self.labels.add(predicted.into(), actual.into());
            exact &= predicted == actual;
        }
        self.exact += u64::from(exact);
        self.rows += 1;
    }

    /// The number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The share of rows that are right in every label; NaN without rows.
    pub fn accuracy(&self) -> f64 {
        self.exact as f64 / self.rows as f64
    }

    /// 2 TP / (2 TP + FP + FN) over all labels of all rows (micro); 0 if there is none, NaN without rows.
    pub fn f1(&self) -> f64 {
        self.labels.f1()
    }

    /// Matthews over all labels of all rows; NaN without rows.
    pub fn matthews(&self) -> f64 {
        self.labels.matthews()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // scikit-learn 1.9.1: `f1_score(average="micro")`, `accuracy_score`, `matthews_corrcoef` of the flattened labels.
    #[test]
    fn agrees_with_scikit_learn() {
        let actual = [[1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 0, 0], [0, 1, 1]];
        let predicted = [[1, 0, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 1]];
        let mut counts = SetCounts::new();
        for (predicted, actual) in predicted.iter().zip(actual) {
            counts.add(predicted.map(|label| label == 1), &actual.map(|label| label == 1));
        }
        assert_eq!(counts.f1(), 0.8);
        assert_eq!(counts.accuracy(), 0.4);
        assert!((counts.matthews() - 0.6071428571428571).abs() < 1e-15);
    }

    #[test]
    fn nothing_found_is_zero_and_no_row_is_nan() {
        assert!(SetCounts::new().f1().is_nan() && SetCounts::new().accuracy().is_nan());
        let mut counts = SetCounts::new();
        counts.add([false, false], &[false, false]);
        assert_eq!((counts.f1(), counts.accuracy()), (0.0, 1.0));
    }
}
