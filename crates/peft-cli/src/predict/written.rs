//! Texts made of texts: what is written for each, or which label that means.

use anyhow::{Context, Result, bail};
use peft::models::Generated;
use peft_data::{Encoded, Example, LabelWords};
use peft_trainer::metrics::largest;
use peft_trainer::{choose, write};
use serde_json::{Map, Value, json};

use super::{examples, print};
use crate::cli::PredictArgs;
use crate::session::Scorer;
use crate::task::{Form, Task};

/// Prints a line for each text: what was written, with the text behind it where it stands for a label.
pub(super) fn run(args: PredictArgs, scorer: &Scorer) -> Result<()> {
    let rows = examples(&args, scorer)?;
    let lines = match scorer.options.form() {
        Form::Chosen => chosen(&args, scorer, &rows)?,
        _ => written(&args, scorer, &rows)?,
    };
    print(lines.into_iter())
}

/// What was written for a text.
pub(crate) struct Written {
    pub(crate) text: String,
    log_probability: f32,
}

/// A text for each row.
///
/// # Errors
/// What tokenizer and model report.
pub(crate) fn write_all(scorer: &Scorer, rows: &[Example], batch_size: usize) -> Result<Vec<Written>> {
    let words = words(scorer)?;
    let longest = scorer.options.longest(words.as_ref(), &scorer.encoder)?;
    let config = scorer.options.generation(&scorer.base, longest)?;
    let encoded = scorer.encoder.encode_all(rows)?;
    let texts: Vec<&Encoded> = encoded.iter().collect();
    let made = write(&*scorer.model, &scorer.adapter, &texts, scorer.pad_id(), &config, batch_size)?;
    let written = |made: &Generated| {
        let best = made.sequences.first().context("a text was made")?;
        Ok(Written { text: scorer.encoder.decode(&best.ids)?, log_probability: best.score })
    };
    made.iter().map(written).collect()
}

/// The words of the labels, where the run has labels.
fn words(scorer: &Scorer) -> Result<Option<LabelWords>> {
    let labels = scorer.labels.as_ref().filter(|_| scorer.task == Task::Single);
    labels.map(|labels| scorer.options.words(labels)).transpose()
}

fn written(args: &PredictArgs, scorer: &Scorer, rows: &[Example]) -> Result<Vec<String>> {
    let words = words(scorer)?;
    let made = write_all(scorer, rows, args.scorer.batch_size)?;
    let line = |(row, Written { text, log_probability }): (&Example, &Written)| {
        let label = words.as_ref().map(|words| (words.parse(text), words.nearest(text)));
        let shown = label.map(|(exact, nearest)| scorer.name(exact.unwrap_or(nearest)));
        if !args.json {
            return match shown {
                Some(label) => format!("{label}\t{}\t{}", plain(text), plain(&row.text)),
                None => plain(text),
            };
        }
        let mut object = asked(row);
        object.insert("written".into(), json!(text));
        object.insert("log_probability".into(), json!(log_probability));
        if let (Some(label), Some((exact, _))) = (shown, label) {
            object.insert("label".into(), json!(label));
            object.insert("exact".into(), json!(exact.is_some()));
        }
        Value::Object(object).to_string()
    };
    Ok(rows.iter().zip(&made).map(line).collect())
}

/// A text on one line, in one column.
fn plain(text: &str) -> String {
    text.replace(['\t', '\n', '\r'], " ")
}

/// What a row asks, as the beginning of its object.
fn asked(row: &Example) -> Map<String, Value> {
    let mut object = Map::from_iter([("text".to_string(), json!(row.text))]);
    if let Some(pair) = &row.text_pair {
        object.insert("text_pair".into(), json!(pair));
    }
    object
}

fn chosen(args: &PredictArgs, scorer: &Scorer, rows: &[Example]) -> Result<Vec<String>> {
    let words = words(scorer)?;
    let offered = |row: &Example| match (&words, &row.choices) {
        (Some(words), _) => Ok(words.words().to_vec()),
        (None, Some(own)) => Ok(own.clone()),
        (None, None) => bail!("a text alone offers nothing to choose from; give --data with a file that has choices"),
    };
    let offered: Vec<Vec<String>> = rows.iter().map(offered).collect::<Result<_>>()?;
    let longest = scorer.options.longest(words.as_ref(), &scorer.encoder)?;
    let tokens = |texts: &Vec<String>| scorer.encoder.encode_targets(texts, longest);
    let choices = offered.iter().map(tokens).collect::<Result<Vec<_>, _>>()?;
    let encoded = scorer.encoder.encode_all(rows)?;
    let texts: Vec<&Encoded> = encoded.iter().collect();
    let shares = choose(&*scorer.model, &scorer.adapter, &texts, &choices, scorer.pad_id(), args.scorer.batch_size)?;
    let line = |((row, offered), shares): ((&Example, &Vec<String>), &Vec<f32>)| {
        let best = largest(shares);
        let name = |i: usize| if words.is_some() { scorer.name(i) } else { offered[i].clone() };
        if !args.json {
            return format!("{}\t{:.4}\t{}", plain(&name(best)), shares[best], plain(&row.text));
        }
        let mut object = asked(row);
        object.insert("label".into(), json!(name(best)));
        object.insert("probability".into(), json!(shares[best]));
        // By label where all rows have the same; two of a row's own choices may be one text.
        let shares = match words.is_some() {
            true => shares.iter().enumerate().map(|(i, share)| (name(i), json!(share))).collect::<Map<_, _>>().into(),
            false => {
                object.insert("choices".into(), json!(offered));
                json!(shares)
            }
        };
        object.insert("probabilities".into(), shares);
        Value::Object(object).to_string()
    };
    Ok(rows.iter().zip(&offered).zip(&shares).map(line).collect())
}
