//! A score as burn-train's loop, early stopping and terminal interface want it.

use burn::prelude::*;
use burn::tensor::TensorReadError;
use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry, SerializedEntry,
};

use super::judge::Judge;
use super::kind::ScoreKind;
use super::scored::Targets;
use super::tally::{Tally, Values};

/// What a [`Score`] reads of a batch.
pub struct ScoreInput {
    /// `[rows, positions, outputs]`; one position for what is said of a whole text.
    pub scores: Tensor<3>,
    /// What they should have been.
    pub targets: Targets,
    /// The rows' indices in their split.
    pub rows: Vec<usize>,
    /// What was written for each, where anything was.
    pub texts: Vec<Vec<u32>>,
}

/// One [`ScoreKind`] of a split: rows are counted as they come, and the final value is that of all of them.
///
/// While the split runs, the value so far costs one pass over the classes; the two correlations and the scores of answers
/// and of written texts have none until the end. Its burn-train name is [`ScoreKind::name`].
#[derive(Clone)]
pub struct Score {
    kind: ScoreKind,
    name: MetricName,
    judge: Judge,
    batch: Tally,
    split: Tally,
    /// The split's value as of `compute`.
    last: f64,
}

impl Score {
    /// A score without rows, of what is predicted for whole texts.
    pub fn new(kind: ScoreKind) -> Self {
        Self::judged(kind, Judge::Targets)
    }

    /// A score without rows, of the rows that `judge` knows.
    pub fn judged(kind: ScoreKind, judge: Judge) -> Self {
        let name = MetricName::new(kind.name().to_owned());
        let (batch, split) = (Tally::new(&judge), Tally::new(&judge));
        Self { kind, name, judge, batch, split, last: f64::NAN }
    }

    /// All that `judge` gives, the most important first.
    pub fn of(judge: Judge) -> Vec<Self> {
        judge.kinds().into_iter().map(|kind| Self::judged(kind, judge.clone())).collect()
    }

    /// Which one.
    pub fn kind(&self) -> ScoreKind {
        self.kind
    }

    /// What was counted of the split.
    pub(crate) fn tally(&self) -> &Tally {
        &self.split
    }

    /// Whether it can be told while the split runs.
    fn runs(&self) -> bool {
        self.kind.runs() && !matches!(self.judge, Judge::Answers(_) | Judge::Written(_))
    }

    fn entry(&self, tally: &Tally) -> Option<NumericEntry> {
        let rows = tally.rows();
        let value = || NumericEntry::Aggregated { aggregated_value: tally.score(self.kind), count: rows };
        (rows > 0 && self.runs()).then(value)
    }
}

impl Metric for Score {
    type Input = ScoreInput;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes { unit: None, higher_is_better: self.kind.higher_is_better() }.into()
    }

    fn update(&mut self, input: &ScoreInput, _: &MetricMetadata) -> Result<SerializedEntry, TensorReadError> {
        let [_, positions, outputs] = input.scores.dims();
        let values: Vec<f32> = input.scores.clone().try_into_vec_as()?;
        let scored = Values { values: &values, positions, outputs, rows: &input.rows, texts: &input.texts };
        self.split.add(&scored, &input.targets);
        if !self.runs() {
            return Ok(SerializedEntry::not_available(None));
        }
        self.batch = Tally::new(&self.judge);
        self.batch.add(&scored, &input.targets);
        let (value, so_far) = (self.batch.score(self.kind), self.split.score(self.kind));
        let entry = NumericEntry::Aggregated { aggregated_value: value, count: self.batch.rows() };
        Ok(SerializedEntry::new(shown(so_far, &format!("{value:.3}")), entry.serialize()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        self.last = self.split.score(self.kind);
        let formatted = shown(self.last, SerializedEntry::NOT_AVAILABLE);
        Ok(SerializedEntry::new(formatted, self.final_value().serialize()))
    }

    fn clear(&mut self) {
        *self = Self::judged(self.kind, self.judge.clone());
    }
}

impl Numeric for Score {
    fn value(&self) -> Option<NumericEntry> {
        self.entry(&self.batch)
    }

    fn running_value(&self) -> Option<NumericEntry> {
        self.entry(&self.split)
    }

    fn final_value(&self) -> NumericEntry {
        NumericEntry::Final(self.last)
    }
}

/// The wording of burn-train's own metrics.
fn shown(split: f64, batch: &str) -> String {
    format!("epoch {split:.3} - batch {batch}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> MetricMetadata {
        let progress = burn::data::dataloader::Progress::new(1, 1, None);
        MetricMetadata { progress, iteration: None, lr: None }
    }

    fn input(scores: Tensor<3>, targets: Targets) -> ScoreInput {
        let rows = (0..targets.rows()).collect();
        ScoreInput { scores, targets, rows, texts: Vec::new() }
    }

    fn classes(predicted: &[usize], actual: &[usize]) -> ScoreInput {
        let logits: Vec<f32> = predicted.iter().flat_map(|&class| [0.5, class as f32]).collect();
        let data = burn::tensor::TensorData::new(logits, [predicted.len(), 1, 2]);
        input(Tensor::from_data(data, &Device::flex()), Targets::Classes(actual.to_vec()))
    }

    #[test]
    fn f1_is_that_of_the_split_not_the_mean_of_its_batches() {
        let mut score = Score::new(ScoreKind::F1);
        assert!(score.value().is_none());
        score.update(&classes(&[0, 0], &[0, 0]), &metadata()).unwrap();
        let entry = score.update(&classes(&[1, 1, 0], &[1, 0, 1]), &metadata()).unwrap();
        assert_eq!(entry.formatted, "epoch 0.500 - batch 0.500");
        score.update(&classes(&[1], &[1]), &metadata()).unwrap();
        assert_eq!(score.value().unwrap().current(), 1.0);
        // TP 2, FP 1, FN 1, while the batches' own are 0, 0.5 and 1.
        assert_eq!(score.running_value().unwrap().current(), 2.0 / 3.0);
        assert_eq!(score.compute().unwrap().serialized, "0.6666666666666666,final");
        assert_eq!(score.final_value().current(), 2.0 / 3.0);
        score.clear();
        assert!(score.running_value().is_none() && score.final_value().current().is_nan());
    }

    #[test]
    fn a_correlation_has_no_value_before_the_end() {
        let mut score = Score::new(ScoreKind::Pearson);
        for (predicted, actual) in [([1.0, 2.0], vec![2.0, 4.0]), ([3.0, 4.0], vec![6.0, 8.0])] {
            let logits = Tensor::<1>::from_floats(predicted, &Device::flex()).reshape([2, 1, 1]);
            let entry = score.update(&input(logits, Targets::Values(actual)), &metadata()).unwrap();
            assert!(entry.is_not_available());
            assert!(score.value().is_none() && score.running_value().is_none());
        }
        assert_eq!(score.compute().unwrap().formatted, "epoch 1.000 - batch N/A");
        assert!((score.final_value().current() - 1.0).abs() < 1e-15);
    }

    #[test]
    fn half_precision_logits_are_read() {
        let mut score = Score::new(ScoreKind::Accuracy);
        let mut input = classes(&[1, 0], &[1, 1]);
        input.scores = input.scores.cast(burn::tensor::FloatDType::BF16);
        score.update(&input, &metadata()).unwrap();
        assert_eq!(score.running_value().unwrap().current(), 0.5);
    }
}
