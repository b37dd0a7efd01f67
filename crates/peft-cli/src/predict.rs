//! `peft predict`: texts in, labels and probabilities out; or words in, tags out; or questions in, answers out.

mod answers;
mod words;
pub(crate) mod written;

use std::io::{BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Result, bail};
use peft_data::{Columns, Example, Examples, Table, Target};
use peft_trainer::metrics::largest;
use peft_trainer::predict;
use serde_json::{Map, Value, json};

use crate::cli::PredictArgs;
use crate::compute::Compute;
use crate::options::DataOptions;
use crate::session::Scorer;
use crate::task::{Form, Task};
use crate::terminal::unless_closed;

/// A label counts as given from this probability on, where a text may have several.
const THRESHOLD: f32 = 0.5;

pub(crate) fn run(args: PredictArgs, compute: &Compute) -> Result<()> {
    let scorer = Scorer::load(&args.scorer.adapter, args.scorer.model.as_deref(), args.scorer.dtype, compute)?;
    if args.question.is_some() && scorer.task != Task::Qa {
        bail!("--question: the adapter was trained for the task {}, not for qa; leave it out", scorer.task.name());
    }
    if scorer.task.is_of_plain_text() {
        bail!("--adapter: it was trained for the task {}, which predicts nothing of a text", scorer.task.name());
    }
    match scorer.task.target() {
        Some(_) if scorer.options.form() != Form::Scored => written::run(args, &scorer),
        Some(target) => texts(args, &scorer, target),
        None if scorer.task == Task::Token => words::run(args, &scorer),
        None => answers::run(args, &scorer),
    }
}

/// Labels of whole texts.
fn texts(args: PredictArgs, scorer: &Scorer, target: Target) -> Result<()> {
    let examples = examples(&args, scorer)?;
    let encoded = scorer.encoder.encode_all(&examples)?;
    let scores = predict(&*scorer.model, &scorer.adapter, &encoded, scorer.pad_id(), target, args.scorer.batch_size)?;
    let line = |(example, scores): (&Example, &Vec<f32>)| match args.json {
        true => scorer.object(example, scores, target),
        false => scorer.line(example, scores, target),
    };
    print(examples.iter().zip(&scores).map(line))
}

/// The texts that are asked about.
fn examples(args: &PredictArgs, scorer: &Scorer) -> Result<Vec<Example>> {
    let examples = match (&args.data, args.text.is_empty()) {
        (Some(path), _) => read_examples(path, &scorer.columns(args.scorer.columns.clone())?, scorer.task)?,
        (None, false) => lines(args.text.iter().map(String::as_str)),
        (None, true) => lines(standard_input()?.lines()),
    };
    if examples.is_empty() {
        bail!("no texts; give them as arguments, with --data, or a line each on standard input");
    }
    Ok(examples)
}

/// The texts of a file, whatever it says is right for them.
pub(crate) fn read_examples(path: &Path, columns: &DataOptions, task: Task) -> Result<Vec<Example>> {
    let table = Table::read(path, &columns.reading())?;
    let mut names = columns.names();
    names.label = None;
    let target = task.target().unwrap_or(Target::Single);
    Ok(Examples::from_table(&table, &Columns::resolve(&table, &names, None)?, target, None)?.rows)
}

/// Writes lines to standard output.
pub(crate) fn print(lines: impl Iterator<Item = String>) -> Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in lines {
        unless_closed(writeln!(out, "{line}"))?;
    }
    unless_closed(out.flush())
}

pub(crate) fn standard_input() -> Result<String> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1;
        anyhow::anyhow!("standard input: line {line} is not UTF-8 text; convert it first")
    })
}

pub(crate) fn lines<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<Example> {
    let example = |(i, text): (usize, &str)| Example {
        text: text.to_string(),
        text_pair: None,
        choices: None,
        label: None,
        line: i + 1,
    };
    texts.enumerate().map(example).filter(|example| !example.text.trim().is_empty()).collect()
}

impl Scorer {
    fn name(&self, id: usize) -> String {
        self.labels.as_ref().and_then(|labels| labels.name(id)).map_or_else(|| id.to_string(), str::to_string)
    }

    /// `label TAB probability TAB text`; several labels with commas between.
    fn line(&self, example: &Example, scores: &[f32], target: Target) -> String {
        let text = example.text.replace(['\t', '\n', '\r'], " ");
        match target {
            Target::Regression => format!("{:.4}\t{text}", scores[0]),
            Target::Single | Target::Choice | Target::Text => {
                let best = largest(scores);
                format!("{}\t{:.4}\t{text}", self.name(best), scores[best])
            }
            Target::Multi => {
                let given: Vec<usize> = (0..scores.len()).filter(|&id| scores[id] >= THRESHOLD).collect();
                let names: Vec<String> = given.iter().map(|&id| self.name(id)).collect();
                let shown: Vec<String> = given.iter().map(|&id| format!("{:.4}", scores[id])).collect();
                format!("{}\t{}\t{text}", names.join(","), shown.join(","))
            }
        }
    }

    fn object(&self, example: &Example, scores: &[f32], target: Target) -> String {
        let mut object = Map::from_iter([("text".to_string(), json!(example.text))]);
        if let Some(pair) = &example.text_pair {
            object.insert("text_pair".into(), json!(pair));
        }
        let all: Map<String, Value> =
            scores.iter().enumerate().map(|(id, score)| (self.name(id), json!(score))).collect();
        match target {
            Target::Regression => object.insert("score".into(), json!(scores[0])),
            Target::Single | Target::Choice | Target::Text => {
                object.insert("label".into(), json!(self.name(largest(scores))));
                object.insert("probability".into(), json!(scores[largest(scores)]));
                object.insert("probabilities".into(), Value::Object(all))
            }
            Target::Multi => {
                let given: Vec<String> =
                    (0..scores.len()).filter(|&id| scores[id] >= THRESHOLD).map(|id| self.name(id)).collect();
                object.insert("labels".into(), json!(given));
                object.insert("probabilities".into(), Value::Object(all))
            }
        };
        Value::Object(object).to_string()
    }
}
