//! burn-train's side of the progress: how far an evaluation has come, and the end. Everything else burn-train tells a
//! renderer, the training loop has told better.

use std::error::Error;

use burn::train::LearnerSummary;
use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::MetricDefinition;
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation, MetricsRendererTraining,
};

use super::handle::ProgressHandle;

/// burn-train's name of the split whose progress the steps tell.
const TRAIN: &str = "train";

/// A burn-train renderer that draws through a [`ProgressHandle`].
pub struct Renderer {
    progress: ProgressHandle,
}

impl Renderer {
    pub(super) fn new(progress: ProgressHandle) -> Self {
        Self { progress }
    }

    fn split_starts(&self, name: &str, total: usize) {
        self.progress.change(|status, _| {
            status.split_starts(name, total);
            true
        });
    }

    fn split_at(&self, done: usize) {
        self.progress.change(|status, _| status.split_at(done));
    }

    // Not shown: the evaluation's line follows.
    fn split_ends(&self) {
        self.progress.change(|status, _| {
            status.split_ends();
            false
        });
    }
}

impl MetricsRendererTraining for Renderer {
    fn update_train(&mut self, _: MetricState) {}

    fn update_valid(&mut self, _: MetricState) {}

    // The default prints a table to standard output, which is the program's.
    fn on_train_end(&mut self, _: Option<LearnerSummary>) -> Result<(), Box<dyn Error>> {
        self.progress.finish();
        Ok(())
    }
}

impl TrainingProgressLogger for Renderer {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}

    fn update_epoch(&mut self, _: usize) {}

    fn start_split(&mut self, split: &str, total_items: usize) {
        if split != TRAIN {
            self.split_starts(split, total_items);
        }
    }

    fn update_split(&mut self, items_processed: usize) {
        self.split_at(items_processed);
    }

    fn end_split(&mut self) {
        self.split_ends();
    }

    fn end(&mut self) {
        self.progress.finish();
    }

    // One per iteration: no news.
    fn log_event_training(&mut self, _: String) {}
}

impl MetricsRendererEvaluation for Renderer {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}

    fn on_test_end(&mut self, _: Option<LearnerSummary>) -> Result<(), Box<dyn Error>> {
        self.progress.finish();
        Ok(())
    }
}

impl EvaluationProgressLogger for Renderer {
    fn start_global_progress(&mut self, _: usize) {}

    fn start_test(&mut self, name: &str, total_items: usize) {
        self.split_starts(name, total_items);
    }

    fn update_test_progress(&mut self, items_processed: usize) {
        self.split_at(items_processed);
    }

    fn end_test(&mut self) {
        self.split_ends();
    }

    fn end_global_progress(&mut self) {
        self.progress.finish();
    }

    fn log_event_evaluation(&mut self, _: String) {}
}

impl MetricsRenderer for Renderer {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, _: MetricDefinition) {}
}

#[cfg(test)]
mod tests {
    use super::super::handle::Screen;
    use super::super::status::{Status, tests::report};
    use super::*;
    use crate::progress::EvalReport;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    /// Writes down what it is shown.
    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<String>>>);

    impl Screen for Notes {
        fn draw(&mut self, status: &Status, _: Duration) {
            self.0.lock().unwrap().push(status.details());
        }

        fn line(&mut self, line: &str) {
            self.0.lock().unwrap().push(line.to_owned());
        }

        fn finish(&mut self) {
            self.0.lock().unwrap().push("end".to_owned());
        }
    }

    #[test]
    fn the_loop_and_burn_train_draw_on_one_screen() {
        let notes = Notes::default();
        let progress = ProgressHandle::new(notes.clone());
        let mut burn: Box<dyn MetricsRenderer> = Box::new(progress.renderer());
        burn.start_split("train", 2);
        burn.update_split(1);
        progress.step(report(1, 0.5));
        burn.start_split("valid", 4);
        burn.update_split(3);
        burn.end_split();
        let (train_loss, valid_loss, elapsed) = (None, 0.25, Duration::from_secs(3));
        let scores = vec![("f1".to_owned(), 0.5)];
        progress.evaluated(EvalReport { epoch: 1, epochs: 1, step: 1, train_loss, valid_loss, scores, elapsed });
        progress.message("saved");
        burn.end();
        let step = "loss 0.500  lr 9.12e-4";
        let line = "epoch 1/1  step 1  valid loss 0.250  f1 0.500  3s";
        assert_eq!(*notes.0.lock().unwrap(), [step, "valid 0/4", "valid 3/4", line, "saved", "end"]);
    }
}
