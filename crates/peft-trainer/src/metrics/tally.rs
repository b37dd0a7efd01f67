//! What is remembered of a split while it runs, whichever kind of target it has.

use super::classes::ClassCounts;
use super::kind::ScoreKind;
use super::scored::Targets;
use super::sets::SetCounts;
use super::values::{pearson, spearman, squared_error};

/// The rows seen so far, as little of them as the scores need.
#[derive(Debug, Clone, Default)]
pub(crate) enum Tally {
    #[default]
    Empty,
    Classes(ClassCounts),
    Sets(SetCounts),
    /// Correlations of ranks need every row.
    Values {
        predicted: Vec<f32>,
        actual: Vec<f32>,
        squared: f64,
    },
}

impl Tally {
    /// Adds a batch: `logits` is `[rows, classes]`, row by row.
    ///
    /// # Panics
    ///
    /// If the rows differ in number or the targets in kind from those before: both are mistakes of the caller.
    pub(crate) fn add(&mut self, logits: &[f32], classes: usize, targets: &Targets) {
        assert_eq!(logits.len(), targets.rows() * classes, "logits and targets differ in their number of rows");
        if matches!(self, Self::Empty) {
            *self = match targets {
                Targets::Classes(_) => Self::Classes(ClassCounts::new(classes)),
                Targets::Sets(_) => Self::Sets(SetCounts::new()),
                Targets::Values(_) => Self::Values { predicted: vec![], actual: vec![], squared: 0.0 },
            };
        }
        match (self, targets) {
            (Self::Classes(counts), Targets::Classes(rows)) => {
                logits.chunks(classes).zip(rows).for_each(|(row, &class)| counts.add(largest(row), class));
            }
            (Self::Sets(counts), Targets::Sets(rows)) => {
                for (row, labels) in logits.chunks(classes).zip(rows) {
                    counts.add(row.iter().map(|&logit| logit > 0.0), labels);
                }
            }
            (Self::Values { predicted, actual, squared }, Targets::Values(rows)) => {
                assert_eq!(classes, 1, "a predicted number is one column");
                *squared += squared_error(logits, rows);
                predicted.extend_from_slice(logits);
                actual.extend_from_slice(rows);
            }
            _ => panic!("the targets of a split are not all of one kind"),
        }
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Classes(counts) => counts.rows() as usize,
            Self::Sets(counts) => counts.rows() as usize,
            Self::Values { actual, .. } => actual.len(),
        }
    }

    /// The score of all rows so far; NaN without rows, or for a score that the targets do not have.
    pub(crate) fn score(&self, kind: ScoreKind) -> f64 {
        match (self, kind) {
            (Self::Classes(counts), ScoreKind::Accuracy) => counts.accuracy(),
            (Self::Classes(counts), ScoreKind::F1) => counts.f1(),
            (Self::Classes(counts), ScoreKind::Matthews) => counts.matthews(),
            (Self::Sets(counts), ScoreKind::Accuracy) => counts.accuracy(),
            (Self::Sets(counts), ScoreKind::F1) => counts.f1(),
            (Self::Sets(counts), ScoreKind::Matthews) => counts.matthews(),
            (Self::Values { predicted, actual, .. }, ScoreKind::Pearson) => pearson(predicted, actual),
            (Self::Values { predicted, actual, .. }, ScoreKind::Spearman) => spearman(predicted, actual),
            (Self::Values { actual, squared, .. }, ScoreKind::MeanSquaredError) => squared / actual.len() as f64,
            _ => f64::NAN,
        }
    }
}

/// The first of the largest.
fn largest(row: &[f32]) -> usize {
    let better = |best: usize, (class, &logit): (usize, &f32)| if logit > row[best] { class } else { best };
    row.iter().enumerate().fold(0, better)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_largest_wins() {
        assert_eq!([largest(&[0.0, 2.0, 2.0]), largest(&[1.0]), largest(&[-3.0, -1.0])], [1, 0, 1]);
    }

    #[test]
    fn a_score_the_targets_do_not_have_is_nan() {
        let mut tally = Tally::default();
        assert!(tally.score(ScoreKind::Accuracy).is_nan());
        tally.add(&[1.0, 0.0], 2, &Targets::Classes(vec![0]));
        assert!(tally.score(ScoreKind::Pearson).is_nan());
        assert_eq!((tally.score(ScoreKind::Accuracy), tally.rows()), (1.0, 1));
    }

    #[test]
    #[should_panic(expected = "not all of one kind")]
    fn one_split_has_one_kind_of_target() {
        let mut tally = Tally::default();
        tally.add(&[1.0], 1, &Targets::Values(vec![1.0]));
        tally.add(&[1.0], 1, &Targets::Classes(vec![0]));
    }
}
