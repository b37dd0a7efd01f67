//! The screen for a file or a pipe: whole lines, now and then, and no control codes.

use std::io::Write;
use std::time::Duration;

use super::handle::Screen;
use super::status::Status;

/// How often [`Lines`] reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// After this much time.
    Time(Duration),
    /// After this many optimiser steps; evaluations on the way are silent.
    Steps(usize),
}

impl Default for Every {
    fn default() -> Self {
        Self::Time(Duration::from_secs(10))
    }
}

/// Plain lines. The first step is always told: it shows that the run is under way.
pub struct Lines<W> {
    sink: W,
    every: Every,
    /// When a line was last written, and at which step.
    last: Option<(Duration, usize)>,
}

impl<W: Write + Send> Lines<W> {
    /// Writes to `sink`, whose errors are ignored: a full disk under a log must not stop a run.
    pub fn new(sink: W, every: Every) -> Self {
        Self { sink, every, last: None }
    }

    fn is_due(&self, status: &Status, now: Duration, step: usize) -> bool {
        let Some((time, told)) = self.last else { return true };
        match self.every {
            Every::Time(period) => now.saturating_sub(time) >= period,
            Every::Steps(steps) => status.split().is_none() && step >= told + steps.max(1),
        }
    }
}

impl<W: Write + Send> Screen for Lines<W> {
    fn draw(&mut self, status: &Status, now: Duration) {
        let step = status.last().map_or(0, |report| report.step);
        let details = status.details();
        if details.is_empty() || !self.is_due(status, now, step) {
            return;
        }
        self.last = Some((now, step));
        let place = status.place();
        let gap = if place.is_empty() { "" } else { "  " };
        self.line(&format!("{place}{gap}{details}"));
    }

    fn line(&mut self, line: &str) {
        // In one piece, so that lines of other threads or processes do not cut in.
        let _ = self.sink.write_all(format!("{line}\n").as_bytes());
        let _ = self.sink.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::report;
    use super::*;

    fn run(every: Every, seconds_a_step: u64) -> String {
        let (mut lines, mut status) = (Lines::new(Vec::new(), every), Status::default());
        for step in 1..=25 {
            let now = Duration::from_secs(seconds_a_step * step);
            status.step(report(step as usize, 0.5), now);
            lines.draw(&status, now);
            if step == 12 {
                let end = now + Duration::from_secs(1);
                status.split_starts("valid", 40);
                status.split_at(40);
                lines.draw(&status, end);
                status.evaluated(end);
                lines.line("epoch 1/3  step 12  valid loss 0.391  12s");
            }
        }
        String::from_utf8(lines.sink).unwrap()
    }

    #[test]
    fn by_time() {
        let expected = "\
epoch 1/3  step 1/300  loss 0.500  lr 9.12e-4
epoch 1/3  step 11/300  loss 0.500  lr 9.12e-4  1.0k tokens/s  4m49s left
epoch 1/3  step 12  valid loss 0.391  12s
epoch 1/3  step 21/300  loss 0.500  lr 9.12e-4  1.1k tokens/s  4m25s left
";
        assert_eq!(run(Every::default(), 1), expected);
    }

    #[test]
    fn by_steps() {
        let text = run(Every::Steps(10), 60);
        let steps: Vec<&str> = text.lines().filter_map(|line| line.split("  ").nth(1)).collect();
        assert_eq!(steps, ["step 1/300", "step 11/300", "step 12", "step 21/300"]);
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_long_evaluation_is_told_of() {
        let (mut lines, mut status) = (Lines::new(Vec::new(), Every::default()), Status::default());
        status.split_starts("valid", 900);
        for second in 0..=20 {
            status.split_at(40 * second);
            lines.draw(&status, Duration::from_secs(second as u64));
        }
        let text = String::from_utf8(lines.sink).unwrap();
        assert_eq!(text, "valid 0/900\nvalid 400/900\nvalid 800/900\n");
    }
}
