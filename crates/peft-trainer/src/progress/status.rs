//! Where a run stands, as every screen shows it. The time is handed in, so that a test can be exact.

use std::collections::VecDeque;
use std::time::Duration;

use super::format::{count, duration, number, rate};
use super::report::StepReport;

/// Steps that the running loss, the speed and the time left are taken over: enough to be calm, few enough to forget
/// the first ones, in which a GPU compiles its kernels.
const WINDOW: usize = 50;

/// How far an evaluation has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitProgress {
    /// `valid`, or the name of a test.
    pub name: String,
    /// Rows done.
    pub done: usize,
    /// Rows in all.
    pub total: usize,
}

/// The state that is shown.
#[derive(Debug, Clone, Default)]
pub struct Status {
    last: Option<StepReport>,
    split: Option<SplitProgress>,
    marks: VecDeque<Mark>,
    /// When the last step ended.
    stepped: Duration,
    /// Spent in evaluations.
    paused: Duration,
}

#[derive(Debug, Clone)]
struct Mark {
    /// In training, evaluations not counted.
    time: Duration,
    step: usize,
    tokens: usize,
    loss: f64,
}

impl Status {
    /// Takes in a step that ended `now`, counted from any fixed moment.
    pub fn step(&mut self, report: StepReport, now: Duration) {
        if self.marks.len() > WINDOW {
            self.marks.pop_front();
        }
        let time = now.saturating_sub(self.paused);
        self.marks.push_back(Mark { time, step: report.step, tokens: report.tokens, loss: report.loss });
        self.stepped = now;
        self.last = Some(report);
    }

    /// Takes in that an evaluation ended `now`: the time since the last step was not training.
    pub fn evaluated(&mut self, now: Duration) {
        self.paused += now.saturating_sub(self.stepped);
        self.stepped = now;
        self.split = None;
    }

    /// An evaluation begins.
    pub fn split_starts(&mut self, name: &str, total: usize) {
        self.split = Some(SplitProgress { name: name.to_owned(), done: 0, total });
    }

    /// An evaluation has come so far; `false` if none runs.
    pub fn split_at(&mut self, done: usize) -> bool {
        let Some(split) = &mut self.split else { return false };
        split.done = done;
        true
    }

    /// No evaluation runs any more.
    pub fn split_ends(&mut self) {
        self.split = None;
    }

    /// The evaluation that runs.
    pub fn split(&self) -> Option<&SplitProgress> {
        self.split.as_ref()
    }

    /// The last step.
    pub fn last(&self) -> Option<&StepReport> {
        self.last.as_ref()
    }

    /// The mean loss of the last steps.
    pub fn loss(&self) -> Option<f64> {
        let recent = self.marks.iter().rev().take(WINDOW);
        let steps = recent.len();
        (steps > 0).then(|| recent.map(|mark| mark.loss).sum::<f64>() / steps as f64)
    }

    /// Real tokens per second of training; none before the second step.
    pub fn tokens_per_second(&self) -> Option<f64> {
        // The first mark only says when the others began.
        let tokens: usize = self.marks.iter().skip(1).map(|mark| mark.tokens).sum();
        let seconds = self.span()?.0.as_secs_f64();
        (seconds > 0.0).then(|| tokens as f64 / seconds)
    }

    /// The training time left at the speed of the last steps; evaluations come on top. None before the second step.
    pub fn left(&self) -> Option<Duration> {
        let (time, steps) = self.span()?;
        let last = self.last.as_ref()?;
        let left = last.steps.saturating_sub(last.step) as f64;
        Duration::try_from_secs_f64(time.as_secs_f64() / steps as f64 * left).ok()
    }

    /// Time and steps between the first mark and the last.
    fn span(&self) -> Option<(Duration, usize)> {
        let (first, last) = (self.marks.front()?, self.marks.back()?);
        let steps = last.step.checked_sub(first.step)?;
        (steps > 0).then(|| (last.time.saturating_sub(first.time), steps))
    }

    /// `epoch 1/3  step 258/774`, empty before the first step.
    pub fn place(&self) -> String {
        let place = |r: &StepReport| format!("epoch {}/{}  step {}/{}", r.epoch, r.epochs, r.step, r.steps);
        self.last.as_ref().map(place).unwrap_or_default()
    }

    /// `loss 0.512  lr 9.12e-4  12.3k tokens/s  1m12s left`, or as much as is known; during an evaluation
    /// `valid 320/917`.
    pub fn details(&self) -> String {
        if let Some(split) = &self.split {
            return format!("{} {}/{}", split.name, split.done, split.total);
        }
        let parts = [
            self.loss().map(|loss| format!("loss {}", number(loss))),
            self.last.as_ref().map(|report| format!("lr {}", rate(report.learning_rate))),
            self.tokens_per_second().map(|speed| format!("{} tokens/s", count(speed))),
            self.left().map(|left| format!("{} left", duration(left))),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::progress) fn report(step: usize, loss: f64) -> StepReport {
        StepReport { epoch: 1, epochs: 3, step, steps: 300, loss, learning_rate: 9.123e-4, tokens: 1000 }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn speed_and_time_left_come_with_the_second_step() {
        let mut status = Status::default();
        assert_eq!((status.place(), status.details()), (String::new(), String::new()));
        // The wait for the first step, in which data are read and kernels compiled, counts for nothing.
        status.step(report(1, 0.5), seconds(100));
        assert_eq!(status.details(), "loss 0.500  lr 9.12e-4");
        status.step(report(2, 0.7), seconds(102));
        assert_eq!(status.place(), "epoch 1/3  step 2/300");
        assert_eq!(status.details(), "loss 0.600  lr 9.12e-4  500 tokens/s  9m56s left");
    }

    #[test]
    fn evaluations_do_not_slow_the_speed() {
        let mut status = Status::default();
        status.step(report(10, 0.5), seconds(10));
        status.step(report(11, 0.5), seconds(12));
        status.split_starts("valid", 917);
        status.split_at(320);
        assert_eq!(status.details(), "valid 320/917");
        status.evaluated(seconds(112));
        status.step(report(12, 0.5), seconds(114));
        assert_eq!(status.tokens_per_second(), Some(500.0));
        assert_eq!(status.left(), Some(seconds(2 * 288)));
    }

    #[test]
    fn only_the_last_steps_count() {
        let mut status = Status::default();
        for step in 1..=100 {
            let loss = if step <= 50 { 9.0 } else { 1.0 };
            let time = if step <= 50 { 100 * step } else { 5000 + step - 50 };
            status.step(report(step, loss), seconds(time as u64));
        }
        assert_eq!(status.loss(), Some(1.0));
        assert_eq!(status.tokens_per_second(), Some(1000.0));
        assert_eq!(status.left(), Some(seconds(200)));
    }

    #[test]
    fn the_last_step_leaves_nothing() {
        let mut status = Status::default();
        status.step(report(299, f64::NAN), seconds(1));
        status.step(report(300, 0.5), seconds(2));
        assert_eq!(status.details(), "loss NaN  lr 9.12e-4  1.0k tokens/s  0s left");
    }

    #[test]
    fn progress_without_an_evaluation_is_ignored() {
        let mut status = Status::default();
        assert!(!status.split_at(3));
        assert_eq!(status.split(), None);
        status.split_starts("test", 5);
        status.split_ends();
        assert_eq!(status.split(), None);
    }
}
