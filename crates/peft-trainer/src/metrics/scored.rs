//! What one step of training or evaluation hands to the metrics.

use burn::prelude::*;
use burn::tensor::{ExecutionError, TensorData};
use burn::train::metric::{AccuracyInput, Adaptor, ItemLazy, LossInput};

use super::score::ScoreInput;

/// What the rows of a batch should have been.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// One class id per row.
    Classes(Vec<usize>),
    /// For each row, whether each label applies: `[rows][classes]`.
    Sets(Vec<Vec<bool>>),
    /// One number per row.
    Values(Vec<f32>),
}

impl Targets {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Classes(rows) => rows.len(),
            Self::Sets(rows) => rows.len(),
            Self::Values(rows) => rows.len(),
        }
    }
}

/// A batch's outcome, off the autodiff graph: the metrics run on another thread and must not keep the graph alive.
#[derive(Debug, Clone)]
pub struct Scored {
    /// The loss of each row, `[rows]`: per row, so that the mean of a split weighs rows and not batches.
    pub loss: Tensor<1>,
    /// `[rows, classes]`; `[rows, 1]` for numbers.
    pub logits: Tensor<2>,
    /// What they should have been.
    pub targets: Targets,
    /// Real tokens in the batch, padding not counted.
    pub tokens: usize,
}

impl ItemLazy for Scored {
    fn sync(self) -> Result<Self, ExecutionError> {
        // Dispatches what is queued and reads nothing back, as burn-train's own outputs do.
        self.loss.device().flush()?;
        Ok(Self { loss: self.loss.without_autodiff(), logits: self.logits.without_autodiff(), ..self })
    }
}

impl Adaptor<LossInput> for Scored {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.loss.clone())
    }
}

impl Adaptor<ScoreInput> for Scored {
    fn adapt(&self) -> ScoreInput {
        ScoreInput { logits: self.logits.clone(), targets: self.targets.clone() }
    }
}

/// For burn-train's `AccuracyMetric`, which counts in percent. Rows of several labels are given as two columns, "some
/// label wrong" and "all right", so that it counts exact matches.
///
/// # Panics
///
/// For numbers, which have no accuracy: register a [`Score`](super::Score) of [`scores_for`](super::scores_for).
impl Adaptor<AccuracyInput> for Scored {
    fn adapt(&self) -> AccuracyInput {
        let device = self.logits.device();
        match &self.targets {
            Targets::Classes(rows) => {
                let ids: Vec<i64> = rows.iter().map(|&id| id as i64).collect();
                let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [rows.len()]), &device);
                AccuracyInput::new(self.logits.clone(), ids)
            }
            Targets::Sets(rows) => {
                let [count, classes] = self.logits.dims();
                let flat: Vec<bool> = rows.iter().flatten().copied().collect();
                let actual = Tensor::<2, Bool>::from_data(TensorData::new(flat, [count, classes]), &device);
                let right = self.logits.clone().greater_scalar(0.0).equal(actual).all_dim(1).float();
                let columns = Tensor::cat(vec![right.clone().neg().add_scalar(1.0), right], 1);
                AccuracyInput::new(columns, Tensor::<1, Int>::ones([count], &device))
            }
            Targets::Values(_) => panic!("an AccuracyMetric was registered for a task that predicts numbers"),
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
        Scored { loss, logits, targets, tokens: 8 }
    }

    #[test]
    fn burns_own_metrics_read_it() {
        let device = Device::flex();
        let one = scored(Tensor::from_floats([[2.0, 1.0], [0.0, 1.0]], &device), Targets::Classes(vec![0, 0]));
        assert_eq!(accuracy(&one), 50.0);
        let sets = Targets::Sets(vec![vec![true, false], vec![true, true]]);
        let many = scored(Tensor::from_floats([[2.0, -1.0], [-3.0, 1.0]], &device), sets);
        assert_eq!(accuracy(&many), 50.0);
        let mut loss = LossMetric::new();
        loss.update(&many.adapt(), &metadata()).unwrap();
        assert_eq!(loss.final_value().current(), 2.0);
    }

    #[test]
    fn syncing_leaves_the_graph() {
        let device = Device::flex().autodiff();
        let logits = Tensor::<2>::ones([2, 2], &device).require_grad().mul_scalar(2.0);
        let synced = scored(logits, Targets::Classes(vec![1, 1])).sync().unwrap();
        assert!(!synced.logits.device().is_autodiff() && !synced.loss.device().is_autodiff());
    }
}
