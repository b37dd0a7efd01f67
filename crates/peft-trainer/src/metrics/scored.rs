//! What one step of training or evaluation hands to the metrics.

use std::ops::Range;

use burn::prelude::*;
use burn::tensor::{ExecutionError, TensorData};
use burn::train::metric::{AccuracyInput, Adaptor, ItemLazy, LossInput};

use super::score::ScoreInput;
use crate::choices::{ChoiceWeights, Choices};

/// What the rows of a batch should have been.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// One class id per row.
    Classes(Vec<usize>),
    /// For each row, whether each label applies: `[rows][classes]`.
    Sets(Vec<Vec<bool>>),
    /// One number per row.
    Values(Vec<f32>),
    /// One class id per position of each row. A negative one, and a position behind the last, are passed over.
    Tokens(Vec<Vec<i64>>),
    /// The first and the last position of each row's answer. A position that the row does not have is passed over.
    Spans(Vec<(usize, usize)>),
    /// The tokens to write for each row. A negative one is passed over.
    Texts(Vec<Vec<i64>>),
    /// The texts to choose from.
    Choices {
        /// The texts, and which of them is right.
        choices: Choices,
        /// Of the losses.
        weights: ChoiceWeights,
        /// The most choices that a row of the split has.
        most: usize,
    },
}

/// The span of an answer that nobody knows.
pub(crate) const NOWHERE: (usize, usize) = (usize::MAX, usize::MAX);

impl Targets {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Classes(rows) => rows.len(),
            Self::Sets(rows) => rows.len(),
            Self::Values(rows) => rows.len(),
            Self::Tokens(rows) => rows.len(),
            Self::Spans(rows) => rows.len(),
            Self::Texts(rows) => rows.len(),
            Self::Choices { choices, .. } => choices.right.len(),
        }
    }

    /// Those of some rows.
    ///
    /// # Panics
    /// If there are no such rows.
    pub fn share(&self, rows: Range<usize>) -> Self {
        match self {
            Self::Classes(all) => Self::Classes(all[rows].to_vec()),
            Self::Sets(all) => Self::Sets(all[rows].to_vec()),
            Self::Values(all) => Self::Values(all[rows].to_vec()),
            Self::Tokens(all) => Self::Tokens(all[rows].to_vec()),
            Self::Spans(all) => Self::Spans(all[rows].to_vec()),
            Self::Texts(all) => Self::Texts(all[rows].to_vec()),
            Self::Choices { choices, weights, most } => {
                Self::Choices { choices: choices.share(rows), weights: *weights, most: *most }
            }
        }
    }

    /// How many losses are there to be averaged, of scores at so many positions: 0 where there is nothing to learn.
    pub(crate) fn losses(&self, positions: usize) -> usize {
        match self {
            Self::Tokens(rows) | Self::Texts(rows) => labelled(rows, positions).count(),
            _ => self.rows(),
        }
    }
}

/// The class at each of `positions` places of each row, row by row: `(place, class)` of those that have one.
pub(crate) fn labelled(rows: &[Vec<i64>], positions: usize) -> impl Iterator<Item = (i64, i64)> {
    rows.iter().enumerate().flat_map(move |(row, classes)| {
        let place = move |position: usize| (row * positions + position) as i64;
        let known = classes.iter().take(positions).enumerate().filter(|(_, class)| **class >= 0);
        known.map(move |(position, &class)| (place(position), class))
    })
}

/// A batch's outcome, off the autodiff graph: the metrics run on another thread and must not keep the graph alive.
#[derive(Debug, Clone)]
pub struct Scored {
    /// The losses of the batch as [`losses`](crate::losses) gives them: each, so that the mean of a split does not weigh
    /// batches.
    pub loss: Tensor<1>,
    /// `[rows, positions, outputs]`; one position for what is said of a whole text, and the likelihoods of choices and
    /// of texts in place of the scores of a whole vocabulary: what [`objective`](crate::objective) keeps.
    pub scores: Tensor<3>,
    /// What they should have been.
    pub targets: Targets,
    /// Real tokens in the batch, padding not counted.
    pub tokens: usize,
    /// The rows' indices in their split.
    pub rows: Vec<usize>,
    /// What was written for each, where anything was.
    pub texts: Vec<Vec<u32>>,
    /// Why nothing could be written: a step cannot fail.
    pub fault: Option<String>,
}

impl ItemLazy for Scored {
    fn sync(self) -> Result<Self, ExecutionError> {
        // Dispatches what is queued and reads nothing back, as burn-train's own outputs do.
        self.loss.device().flush()?;
        Ok(Self { loss: self.loss.without_autodiff(), scores: self.scores.without_autodiff(), ..self })
    }
}

impl Adaptor<LossInput> for Scored {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.loss.clone())
    }
}

impl Adaptor<ScoreInput> for Scored {
    fn adapt(&self) -> ScoreInput {
        ScoreInput {
            scores: self.scores.clone(),
            targets: self.targets.clone(),
            rows: self.rows.clone(),
            texts: self.texts.clone(),
        }
    }
}

/// For burn-train's `AccuracyMetric`, which counts in percent. Rows of several labels are given as two columns, "some
/// label wrong" and "all right", so that it counts exact matches; of positions it counts those that have a class.
///
/// # Panics
///
/// For numbers, answers and texts, which have no accuracy: register the scores of [`Rows::scores`](crate::Rows::scores).
impl Adaptor<AccuracyInput> for Scored {
    fn adapt(&self) -> AccuracyInput {
        let device = self.scores.device();
        let [count, positions, outputs] = self.scores.dims();
        let flat = self.scores.clone().reshape([count * positions, outputs]);
        let ints = |ids: Vec<i64>| Tensor::<1, Int>::from_data(TensorData::from(ids.as_slice()), &device);
        match &self.targets {
            Targets::Classes(rows) => AccuracyInput::new(flat, ints(rows.iter().map(|&id| id as i64).collect())),
            Targets::Tokens(rows) => {
                let (places, classes): (Vec<i64>, Vec<i64>) = labelled(rows, positions).unzip();
                AccuracyInput::new(flat.select(0, ints(places)), ints(classes))
            }
            Targets::Sets(rows) => {
                let members: Vec<bool> = rows.iter().flatten().copied().collect();
                let actual = Tensor::<2, Bool>::from_data(TensorData::new(members, [count, outputs]), &device);
                let right = flat.greater_scalar(0.0).equal(actual).all_dim(1).float();
                let columns = Tensor::cat(vec![right.clone().neg().add_scalar(1.0), right], 1);
                AccuracyInput::new(columns, Tensor::<1, Int>::ones([count], &device))
            }
            Targets::Choices { choices, .. } => {
                AccuracyInput::new(flat, ints(choices.right.iter().map(|&id| id as i64).collect()))
            }
            Targets::Values(_) | Targets::Spans(_) | Targets::Texts(_) => {
                panic!("an AccuracyMetric was registered for a task that has no accuracy")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::train::metric::{AccuracyMetric, LossMetric, Metric, MetricMetadata, Numeric};

    fn metadata() -> MetricMetadata {
        let progress = burn::data::dataloader::Progress::new(1, 1, None);
        MetricMetadata { progress, iteration: None, lr: None }
    }

    fn accuracy(scored: &Scored) -> f64 {
        let mut metric = AccuracyMetric::new();
        metric.update(&scored.adapt(), &metadata()).unwrap();
        metric.final_value().current()
    }

    fn scored(logits: Tensor<2>, targets: Targets) -> Scored {
        let loss = Tensor::from_floats([1.0, 3.0], &logits.device());
        Scored {
            loss,
            scores: logits.unsqueeze_dim(1),
            targets,
            tokens: 8,
            rows: vec![0, 1],
            texts: Vec::new(),
            fault: None,
        }
    }

    #[test]
    fn burns_own_metrics_read_it() {
        let device = Device::flex();
        let one = scored(Tensor::from_floats([[2.0, 1.0], [0.0, 1.0]], &device), Targets::Classes(vec![0, 0]));
        assert_eq!(accuracy(&one), 50.0);
        let sets = Targets::Sets(vec![vec![true, false], vec![true, true]]);
        let many = scored(Tensor::from_floats([[2.0, -1.0], [-3.0, 1.0]], &device), sets);
        assert_eq!(accuracy(&many), 50.0);
        let logits = Tensor::from_floats([[[2.0, 1.0], [0.0, 1.0], [9.0, 0.0]]], &device);
        let tags = Targets::Tokens(vec![vec![1, 1, -100]]);
        let words = Scored { scores: logits, ..scored(Tensor::zeros([1, 1], &device), tags) };
        assert_eq!(accuracy(&words), 50.0);
        let mut loss = LossMetric::new();
        loss.update(&many.adapt(), &metadata()).unwrap();
        assert_eq!(loss.final_value().current(), 2.0);
    }

    #[test]
    fn syncing_leaves_the_graph() {
        let device = Device::flex().autodiff();
        let logits = Tensor::<2>::ones([2, 2], &device).require_grad().mul_scalar(2.0);
        let synced = scored(logits, Targets::Classes(vec![1, 1])).sync().unwrap();
        assert!(!synced.scores.device().is_autodiff() && !synced.loss.device().is_autodiff());
    }
}
