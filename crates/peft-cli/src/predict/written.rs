//! Texts made of texts: what is written for each, or which label that means.

use anyhow::{Context, Result};
use peft::models::Generated;
use peft_data::{Encoded, Example, LabelWords};
use peft_trainer::{choose, write};
use serde_json::{Map, Value, json};

use super::{examples, print};
use crate::cli::PredictArgs;
use crate::session::Scorer;
use crate::task::{Form, Task};

/// Prints a line for each text: what was written, with the text behind it where it stands for a label.
pub(super) fn run(args: PredictArgs, scorer: &Scorer) -> Result<()> {
    let rows = examples(&args, scorer)?;
    let encoded = scorer.encoder.encode_all(&rows)?;
    let labels = scorer.labels.as_ref().filter(|_| scorer.task == Task::Single);
    let words = labels.map(|labels| scorer.options.words(labels)).transpose()?;
    let lines = match scorer.options.form() {
        Form::Chosen => chosen(&args, scorer, &rows, &encoded, words.as_ref())?,
        _ => written(&args, scorer, &rows, &encoded, words.as_ref())?,
    };
    print(lines.into_iter())
}

fn written(
    args: &PredictArgs,
    scorer: &Scorer,
    rows: &[Example],
    encoded: &[Encoded],
    words: Option<&LabelWords>,
) -> Result<Vec<String>> {
    let longest = scorer.options.longest(words, &scorer.encoder)?;
    let config = scorer.options.generation(&scorer.base, longest)?;
    let texts: Vec<&Encoded> = encoded.iter().collect();
    let made = write(&*scorer.model, &scorer.adapter, &texts, scorer.pad_id(), &config, args.scorer.batch_size)?;
    let line = |(row, made): (&Example, &Generated)| {
        let best = made.sequences.first().context("a text was made")?;
        let text = scorer.encoder.decode(&best.ids)?;
        let label = words.map(|words| (words.parse(&text), words.nearest(&text)));
        let shown = label.map(|(exact, nearest)| scorer.name(exact.unwrap_or(nearest)));
        if !args.json {
            let plain = |text: &str| text.replace(['\t', '\n', '\r'], " ");
            return Ok(match shown {
                Some(label) => format!("{label}\t{}\t{}", plain(&text), plain(&row.text)),
                None => plain(&text),
            });
        }
        let mut object = Map::from_iter([("text".to_string(), json!(row.text))]);
        if let Some(pair) = &row.text_pair {
            object.insert("text_pair".into(), json!(pair));
        }
        object.insert("written".into(), json!(text));
        object.insert("log_probability".into(), json!(best.score));
        if let (Some(label), Some((exact, _))) = (shown, label) {
            object.insert("label".into(), json!(label));
            object.insert("exact".into(), json!(exact.is_some()));
        }
        Ok(Value::Object(object).to_string())
    };
    rows.iter().zip(&made).map(line).collect()
}

fn chosen(
    args: &PredictArgs,
    scorer: &Scorer,
    rows: &[Example],
    encoded: &[Encoded],
    words: Option<&LabelWords>,
) -> Result<Vec<String>> {
    let offered = |row: &Example| match (words, &row.choices) {
        (Some(words), _) => Ok(words.words().to_vec()),
        (None, Some(own)) => Ok(own.clone()),
        (None, None) => anyhow::bail!("line {}: there is nothing to choose from; name --choice-columns", row.line),
    };
    let offered: Vec<Vec<String>> = rows.iter().map(offered).collect::<Result<_>>()?;
    let longest = scorer.options.longest(words, &scorer.encoder)?;
    let tokens = |texts: &Vec<String>| scorer.encoder.encode_targets(texts, longest);
    let choices = offered.iter().map(tokens).collect::<Result<Vec<_>, _>>()?;
    let texts: Vec<&Encoded> = encoded.iter().collect();
    let shares = choose(&*scorer.model, &scorer.adapter, &texts, &choices, scorer.pad_id(), args.scorer.batch_size)?;
    let line = |((row, offered), shares): ((&Example, &Vec<String>), &Vec<f32>)| {
        let best = peft_trainer::metrics::largest(shares);
        let name = |i: usize| if words.is_some() { scorer.name(i) } else { offered[i].clone() };
        if !args.json {
            let text = row.text.replace(['\t', '\n', '\r'], " ");
            return format!("{}\t{:.4}\t{text}", name(best), shares[best]);
        }
        let all: Map<String, Value> = shares.iter().enumerate().map(|(i, share)| (name(i), json!(share))).collect();
        json!({"text": row.text, "label": name(best), "probability": shares[best], "probabilities": all}).to_string()
    };
    Ok(rows.iter().zip(&offered).zip(&shares).map(line).collect())
}
