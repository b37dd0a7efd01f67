//! The screen for a terminal: one line that moves, and lines above it that stay.

use std::io::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::handle::Screen;
use super::status::Status;

/// Frames a second: more is seen by nobody and costs time.
const FRAMES: u8 = 10;

/// A progress bar on standard error. It appears with the first step or evaluation.
pub struct Bar {
    bar: ProgressBar,
    shown: bool,
}

impl Bar {
    /// A bar that has not appeared yet.
    pub fn new() -> Self {
        Self::on(ProgressDrawTarget::stderr_with_hz(FRAMES))
    }

    fn on(target: ProgressDrawTarget) -> Self {
        let style = ProgressStyle::with_template("{prefix}  {bar:24}  {msg}").expect("the template is constant");
        let bar = ProgressBar::with_draw_target(Some(1), target).with_style(style.progress_chars("━╸─"));
        Self { bar, shown: false }
    }
}

impl Default for Bar {
    fn default() -> Self {
        Self::new()
    }
}

impl Screen for Bar {
    fn draw(&mut self, status: &Status, _: Duration) {
        let (done, total, place) = match (status.split(), status.last()) {
            (Some(split), None) => (split.done, split.total, String::new()),
            (_, Some(report)) => (report.step, report.steps, status.place()),
            (None, None) => return,
        };
        self.shown = true;
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
        self.bar.set_prefix(place);
        self.bar.set_message(status.details());
    }

    fn line(&mut self, line: &str) {
        let write = || drop(writeln!(std::io::stderr(), "{line}"));
        if self.shown { self.bar.suspend(write) } else { write() }
    }

    fn finish(&mut self) {
        self.bar.finish_and_clear();
        self.shown = false;
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::report;
    use super::*;

    #[test]
    fn it_shows_the_step_and_then_the_evaluation() {
        let (mut bar, mut status) = (Bar::on(ProgressDrawTarget::hidden()), Status::default());
        let shown = |bar: &Bar| {
            let bar = &bar.bar;
            (bar.position(), bar.length(), bar.prefix(), bar.message())
        };
        bar.draw(&status, Duration::ZERO);
        assert!(!bar.shown);
        status.step(report(150, 0.5), Duration::ZERO);
        bar.draw(&status, Duration::ZERO);
        let place = "epoch 1/3  step 150/300".to_owned();
        assert_eq!(shown(&bar), (150, Some(300), place.clone(), "loss 0.500  lr 9.12e-4".to_owned()));
        status.split_starts("valid", 917);
        status.split_at(320);
        bar.draw(&status, Duration::ZERO);
        assert_eq!(shown(&bar), (150, Some(300), place, "valid 320/917".to_owned()));
        bar.finish();
        assert!(!bar.shown && bar.bar.is_finished());
    }

    #[test]
    fn an_evaluation_alone_moves_the_bar() {
        let (mut bar, mut status) = (Bar::on(ProgressDrawTarget::hidden()), Status::default());
        status.split_starts("test", 917);
        status.split_at(320);
        bar.draw(&status, Duration::ZERO);
        assert_eq!((bar.bar.position(), bar.bar.length()), (320, Some(917)));
    }
}
