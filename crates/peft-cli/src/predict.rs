//! `peft predict`: texts in, labels and probabilities out.

use std::io::{BufWriter, Read, Write};

use anyhow::{Result, bail};
use burn::prelude::Device;
use peft_data::{Columns, Example, Examples, Table, Target};
use peft_trainer::predict;
use serde_json::{Map, Value, json};

use crate::cli::PredictArgs;
use crate::eval::or_of_run;
use crate::session::Scorer;
use crate::terminal::unless_closed;

/// A label counts as given from this probability on, where a text may have several.
const THRESHOLD: f32 = 0.5;

pub(crate) fn run(args: PredictArgs, device: &Device) -> Result<()> {
    let scorer = Scorer::load(&args.scorer.adapter, args.scorer.model.as_deref(), device)?;
    let examples = match (&args.data, args.text.is_empty()) {
        (Some(path), _) => {
            let columns = or_of_run(args.scorer.columns, &scorer);
            let table = Table::read(path, &columns.reading())?;
            let mut names = columns.names();
            names.label = None;
            Examples::from_table(&table, &Columns::resolve(&table, &names, None)?, scorer.target, None)?.rows
        }
        (None, false) => lines(args.text.iter().map(String::as_str)),
        (None, true) => lines(standard_input()?.lines()),
    };
    if examples.is_empty() {
        bail!("no texts; give them as arguments, with --data, or a line each on standard input");
    }
    let encoded = scorer.encoder.encode_all(&examples)?;
    let (pad, target) = (scorer.pad_id(), scorer.target);
    let scores = predict(&*scorer.bert, &scorer.adapter, &encoded, pad, target, args.scorer.batch_size)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for (example, scores) in examples.iter().zip(&scores) {
        let line = if args.json { scorer.object(example, scores) } else { scorer.line(example, scores) };
        unless_closed(writeln!(out, "{line}"))?;
    }
    unless_closed(out.flush())
}

fn standard_input() -> Result<String> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1;
        anyhow::anyhow!("standard input: line {line} is not UTF-8 text; convert it first")
    })
}

fn lines<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<Example> {
    let example =
        |(i, text): (usize, &str)| Example { text: text.to_string(), text_pair: None, label: None, line: i + 1 };
    texts.enumerate().map(example).filter(|example| !example.text.trim().is_empty()).collect()
}

impl Scorer {
    fn name(&self, id: usize) -> String {
        self.labels.as_ref().and_then(|labels| labels.name(id)).map_or_else(|| id.to_string(), str::to_string)
    }

    /// `label TAB probability TAB text`; several labels with commas between.
    fn line(&self, example: &Example, scores: &[f32]) -> String {
        let text = example.text.replace(['\t', '\n', '\r'], " ");
        match self.target {
            Target::Regression => format!("{:.4}\t{text}", scores[0]),
            Target::Single => {
                let best = best(scores);
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

    fn object(&self, example: &Example, scores: &[f32]) -> String {
        let mut object = Map::from_iter([("text".to_string(), json!(example.text))]);
        if let Some(pair) = &example.text_pair {
            object.insert("text_pair".into(), json!(pair));
        }
        let all: Map<String, Value> =
            scores.iter().enumerate().map(|(id, score)| (self.name(id), json!(score))).collect();
        match self.target {
            Target::Regression => object.insert("score".into(), json!(scores[0])),
            Target::Single => {
                object.insert("label".into(), json!(self.name(best(scores))));
                object.insert("probability".into(), json!(scores[best(scores)]));
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

/// The index of the highest score, the first of equals.
fn best(scores: &[f32]) -> usize {
    (0..scores.len()).reduce(|best, id| if scores[id] > scores[best] { id } else { best }).unwrap_or(0)
}
