//! The end of a run: its adapter in its place, what was reached, and how to use it.

use std::path::Path;

use anyhow::{Context, Result};
use peft_data::{Example, Label};
use peft_trainer::Outcome;

use crate::compute::Compute;
use crate::dataset::Dataset;
use crate::options::TrainOptions;
use crate::predict::written::write_all;
use crate::run_folder::RunFolder;
use crate::session::Scorer;
use crate::task::{Form, Task};
use crate::terminal::say;
use crate::train::thousands;

/// Characters of a text that are shown.
const SHOWN: usize = 300;

/// Puts the chosen adapter in its place and says what was reached; `parameters` are those trained and all there are.
pub(crate) fn conclude(folder: &RunFolder, task: Task, outcome: &Outcome, parameters: [usize; 2]) -> Result<()> {
    let Outcome { state, chosen, checkpoint, total_steps } = outcome;
    let (run, [trained, all]) = (folder.path().display(), parameters);
    if !state.finished {
        return say!("stopped at step {} of {total_steps}; continue with: peft train --resume {run}", state.step);
    }
    let bytes = folder.finish(checkpoint).map_err(|error| folder.with_way_on(error))?;
    if let Some(round) = chosen {
        let scores: Vec<String> = round.scores.iter().map(|(name, score)| format!("{name} {score:.3}")).collect();
        say!("{}, loss {:.3}, at step {} of {total_steps}", scores.join(", "), round.loss, round.step)?;
    }
    say!(
        "trained {} of {} parameters ({:.2} %) in {}",
        thousands(trained),
        thousands(all),
        100.0 * trained as f64 / all as f64,
        peft_trainer::progress::duration(std::time::Duration::from_secs_f64(state.seconds)),
    )?;
    say!("adapter: {run} ({})", size(bytes))?;
    if task.is_of_plain_text() {
        return Ok(());
    }
    say!("use it:  cargo xtask predict --adapter {run} {}", usual(task))
}

/// What `predict` usually takes.
fn usual(task: Task) -> &'static str {
    match task {
        Task::Text => "\"a text\"",
        Task::Choice => "--data a-file-of-rows",
        Task::Qa => "--question \"a question\" --context \"a text\"",
        _ => "\"a text to label\"",
    }
}

/// A row to show what was learned by.
pub(crate) struct Shown {
    row: Example,
    right: String,
}

impl Shown {
    /// The first row, where texts are written.
    pub(crate) fn of(data: &Dataset, options: &TrainOptions) -> Option<Self> {
        let Dataset::Texts(examples, _) = data else { return None };
        let row = examples.rows.first().filter(|_| options.form() == Form::Written)?.clone();
        let right = match row.label.as_ref()? {
            Label::Text(text) => text.clone(),
            Label::Class(class) => {
                let words = options.words(examples.labels.as_ref()?).ok()?;
                words.words().get(*class)?.clone()
            }
            _ => return None,
        };
        Some(Self { row, right })
    }

    /// Says what the run in `folder` writes for it, and what would be right.
    ///
    /// # Errors
    /// What loading the run reports.
    pub(crate) fn show(self, folder: &Path, compute: &Compute) -> Result<()> {
        let scorer = Scorer::load(folder, None, None, compute)?;
        let written = write_all(&scorer, std::slice::from_ref(&self.row), 1)?;
        let written = written.first().context("a text was made")?;
        say!("\nexample: {}\nwritten: {}\nright:   {}", cut(&self.row.text), cut(&written.text), cut(&self.right))
    }
}

/// A text on one line, its end left out where it is long.
fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} …", line[..end].trim_end()),
        None => line,
    }
}

/// `1234567` as `1.2 MB`.
fn size(bytes: u64) -> String {
    match bytes as f64 {
        few if few < 1e6 => format!("{:.1} kB", few / 1e3),
        many => format!("{:.1} MB", many / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_texts_read_well() {
        assert_eq!([size(9744), size(1_234_567)], ["9.7 kB", "1.2 MB"]);
        assert_eq!(cut("two\n lines\tof words"), "two lines of words");
        let long = cut(&"é ".repeat(400));
        assert!(long.ends_with("é …") && long.chars().count() <= SHOWN + 2, "{long}");
    }
}
