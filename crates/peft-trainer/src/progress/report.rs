//! What the training loop tells.

use std::time::Duration;

use super::format::{duration, number};

/// One optimiser step that has been taken.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// The pass over the data, from 1.
    pub epoch: usize,
    /// Passes in all.
    pub epochs: usize,
    /// The optimiser step, from 1.
    pub step: usize,
    /// Optimiser steps in all.
    pub steps: usize,
    /// The step's mean loss.
    pub loss: f64,
    /// The step's learning rate.
    pub learning_rate: f64,
    /// Real tokens of the step, those of accumulated batches together, padding not counted.
    pub tokens: usize,
}

/// One evaluation that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalReport {
    /// The pass over the data, from 1.
    pub epoch: usize,
    /// Passes in all.
    pub epochs: usize,
    /// The last optimiser step before it.
    pub step: usize,
    /// The mean training loss since the evaluation before, if there were steps.
    pub train_loss: Option<f64>,
    /// The mean loss of the validation rows.
    pub valid_loss: f64,
    /// Names and values of the scores, in the order to show.
    pub scores: Vec<(String, f64)>,
    /// Since the run began, the parts before a resume included.
    pub elapsed: Duration,
}

impl EvalReport {
    /// `epoch 1/3  step 258  train loss 0.512  valid loss 0.391  accuracy 0.842  1m12s`
    pub fn line(&self) -> String {
        let losses = [("train loss", self.train_loss), ("valid loss", Some(self.valid_loss))];
        let losses = losses.into_iter().filter_map(|(name, loss)| Some((name, loss?)));
        let scores = self.scores.iter().map(|(name, value)| (name.as_str(), *value));
        let values: String = losses.chain(scores).map(|(name, value)| format!("{name} {}  ", number(value))).collect();
        format!("epoch {}/{}  step {}  {values}{}", self.epoch, self.epochs, self.step, duration(self.elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evaluation_is_one_line() {
        let mut report = EvalReport {
            epoch: 1,
            epochs: 3,
            step: 258,
            train_loss: Some(0.5118),
            valid_loss: 0.391,
            scores: vec![("accuracy".to_owned(), 0.842)],
            elapsed: Duration::from_secs(72),
        };
        let line = "epoch 1/3  step 258  train loss 0.512  valid loss 0.391  accuracy 0.842  1m12s";
        assert_eq!(report.line(), line);
        (report.train_loss, report.scores) = (None, vec![]);
        assert_eq!(report.line(), "epoch 1/3  step 258  valid loss 0.391  1m12s");
    }
}
