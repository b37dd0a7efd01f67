//! What is remembered of a split while it runs, whichever kind of target it has.

use super::classes::ClassCounts;
use super::judge::{AnswerTally, Judge, WordTally};
use super::kind::ScoreKind;
use super::scored::Targets;
use super::sets::SetCounts;
use super::values::{pearson, spearman, squared_error};
use super::written::WrittenTally;

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
    Words(WordTally),
    Answers(AnswerTally),
    Written(WrittenTally),
    Likelihood {
        sum: f64,
        tokens: f64,
        texts: usize,
    },
}

/// A batch's scores, off the device.
pub(crate) struct Values<'a> {
    /// `[rows, positions, outputs]`, row by row.
    pub(crate) values: &'a [f32],
    pub(crate) positions: usize,
    pub(crate) outputs: usize,
    /// The rows' indices in their split.
    pub(crate) rows: &'a [usize],
    /// What was written for each, where anything was.
    pub(crate) texts: &'a [Vec<u32>],
}

impl Tally {
    /// Nothing yet of what `judge` judges.
    pub(crate) fn new(judge: &Judge) -> Self {
        match judge {
            Judge::Targets => Self::Empty,
            Judge::Words(tagged) => Self::Words(WordTally::new(tagged.clone())),
            Judge::Answers(asked) => Self::Answers(AnswerTally::new(asked.clone())),
            Judge::Written(written) => Self::Written(WrittenTally::new(written.clone())),
            Judge::Likelihood => Self::Likelihood { sum: 0.0, tokens: 0.0, texts: 0 },
        }
    }

    /// Adds a batch.
    ///
    /// # Panics
    ///
    /// If the rows differ in number or the targets in kind from those before: both are mistakes of the caller.
    pub(crate) fn add(&mut self, scored: &Values<'_>, targets: &Targets) {
        let Values { values, positions, outputs, rows: indices, texts } = *scored;
        if let Self::Written(tally) = self {
            assert_eq!(texts.len(), indices.len(), "a text for each row");
            return indices.iter().zip(texts).for_each(|(&row, ids)| tally.add(row, ids));
        }
        let width = positions * outputs;
        assert_eq!(values.len(), targets.rows() * width, "scores and targets differ in their number of rows");
        if matches!(self, Self::Empty) {
            *self = match targets {
                Targets::Classes(_) | Targets::Choices { .. } => Self::Classes(ClassCounts::new(outputs)),
                Targets::Sets(_) => Self::Sets(SetCounts::new()),
                Targets::Values(_) => Self::Values { predicted: vec![], actual: vec![], squared: 0.0 },
                Targets::Tokens(_) | Targets::Spans(_) | Targets::Texts(_) => {
                    panic!("targets of positions need a judge")
                }
            };
        }
        match (self, targets) {
            (Self::Classes(counts), Targets::Classes(rows)) => {
                values.chunks(width).zip(rows).for_each(|(row, &class)| counts.add(largest(row), class));
            }
            (Self::Likelihood { sum, tokens, texts }, Targets::Texts(_)) => {
                for row in values.chunks(width) {
                    *sum += f64::from(row[0]) * f64::from(row[1]);
                    *tokens += f64::from(row[1]);
                    *texts += 1;
                }
            }
            (Self::Classes(counts), Targets::Choices { choices, .. }) => {
                values.chunks(width).zip(&choices.right).for_each(|(row, &right)| counts.add(largest(row), right));
            }
            (Self::Sets(counts), Targets::Sets(rows)) => {
                for (row, labels) in values.chunks(width).zip(rows) {
                    counts.add(row.iter().map(|&logit| logit > 0.0), labels);
                }
            }
            (Self::Values { predicted, actual, squared }, Targets::Values(rows)) => {
                assert_eq!(width, 1, "a predicted number is one column");
                *squared += squared_error(values, rows);
                predicted.extend_from_slice(values);
                actual.extend_from_slice(rows);
            }
            (Self::Words(tally), Targets::Tokens(_)) => {
                for (&row, scores) in indices.iter().zip(values.chunks(width)) {
                    tally.add(row, &scores.chunks(outputs).map(largest).collect::<Vec<_>>());
                }
            }
            (Self::Answers(tally), Targets::Spans(_)) => {
                indices.iter().zip(values.chunks(width)).for_each(|(&row, scores)| tally.add(row, scores));
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
            Self::Words(tally) => tally.sentences,
            Self::Answers(tally) => tally.windows,
            Self::Written(tally) => tally.texts,
            Self::Likelihood { texts, .. } => *texts,
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
            (Self::Words(tally), kind) => tally.score(kind),
            (Self::Answers(tally), kind) => tally.score(kind),
            (Self::Written(tally), kind) => tally.score(kind),
            (Self::Likelihood { sum, tokens, .. }, ScoreKind::Perplexity) => (-sum / tokens).exp(),
            _ => f64::NAN,
        }
    }
}

/// The first of the largest.
pub fn largest(row: &[f32]) -> usize {
    let better = |best: usize, (class, &logit): (usize, &f32)| if logit > row[best] { class } else { best };
    row.iter().enumerate().fold(0, better)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choices::{ChoiceWeights, Choices};

    fn one_position(values: &[f32], outputs: usize) -> Values<'_> {
        Values { values, positions: 1, outputs, rows: &[0], texts: &[] }
    }

    #[test]
    fn the_first_of_the_largest_wins() {
        assert_eq!([largest(&[0.0, 2.0, 2.0]), largest(&[1.0]), largest(&[-3.0, -1.0])], [1, 0, 1]);
    }

    #[test]
    fn a_score_the_targets_do_not_have_is_nan() {
        let mut tally = Tally::default();
        assert!(tally.score(ScoreKind::Accuracy).is_nan());
        tally.add(&one_position(&[1.0, 0.0], 2), &Targets::Classes(vec![0]));
        assert!(tally.score(ScoreKind::Pearson).is_nan());
        assert_eq!((tally.score(ScoreKind::Accuracy), tally.rows()), (1.0, 1));
    }

    #[test]
    #[should_panic(expected = "not all of one kind")]
    fn one_split_has_one_kind_of_target() {
        let mut tally = Tally::default();
        tally.add(&one_position(&[1.0], 1), &Targets::Values(vec![1.0]));
        tally.add(&one_position(&[1.0], 1), &Targets::Classes(vec![0]));
    }
    /// Two batches of texts: of each its mean log-likelihood a token and how many tokens it has.
    #[test]
    fn perplexity_is_that_of_all_tokens() {
        let mut tally = Tally::new(&Judge::Likelihood);
        assert!(tally.score(ScoreKind::Perplexity).is_nan());
        for values in [&[-1.0f32, 3.0, -2.0, 1.0][..], &[-0.5, 4.0]] {
            let texts = vec![vec![1]; values.len() / 2];
            let values = Values { values, positions: 1, outputs: 2, rows: &[0, 1][..texts.len()], texts: &[] };
            tally.add(&values, &Targets::Texts(texts));
        }
        // 3 + 2 + 2 over 8 tokens; the mean of the texts' own would be 7/6.
        assert_eq!((tally.score(ScoreKind::Perplexity), tally.rows()), ((7.0f64 / 8.0).exp(), 3));
        assert!(tally.score(ScoreKind::Accuracy).is_nan());
    }

    /// The first row has two choices, the second three.
    #[test]
    fn the_likeliest_choice_of_each_row_is_counted() {
        let choices = Choices { labels: vec![vec![1]; 5], rows: vec![0, 0, 1, 1, 1], right: vec![1, 0] };
        let targets = Targets::Choices { choices, weights: ChoiceWeights::default(), most: 3 };
        let mut tally = Tally::new(&Judge::Targets);
        let values = [-0.3, -0.2, -1e9, -3.0, -0.1, -0.2];
        tally.add(&Values { values: &values, positions: 1, outputs: 3, rows: &[0, 1], texts: &[] }, &targets);
        assert_eq!((tally.score(ScoreKind::Accuracy), tally.rows()), (0.5, 2));
    }
}
