//! A tag for each word.

use anyhow::{Context, Result, bail};
use peft_data::{EncodedWords, Sentence, Sentences, Tags};
use peft_trainer::metrics::largest;
use peft_trainer::score;
use serde_json::json;

use super::{print, standard_input};
use crate::cli::PredictArgs;
use crate::session::Scorer;

/// Prints a line a word, and an empty one after each sentence, as CoNLL's files have it.
pub(super) fn run(args: PredictArgs, scorer: &Scorer) -> Result<()> {
    let sentences = match (&args.data, args.text.is_empty()) {
        (Some(path), _) => {
            scorer.columns(args.scorer.columns)?;
            Sentences::read(path, Tags::Ignored, None)?.rows
        }
        (None, false) => split(args.text.iter().map(String::as_str)),
        (None, true) => split(standard_input()?.lines()),
    };
    if sentences.is_empty() {
        bail!("no sentences; give them as arguments, with --data, or a line each on standard input");
    }
    let labels = scorer.labels.as_ref().context("the adapter has no labels")?;
    let encoded = scorer.encoder.encode_words(&sentences)?;
    let texts: Vec<_> = encoded.iter().map(|words| &words.encoded).collect();
    let scores = score(&*scorer.model, &scorer.adapter, &texts, scorer.pad_id(), args.scorer.batch_size)?;
    let shown = |(sentence, (encoded, scores)): (&Sentence, (&EncodedWords, &Vec<f32>))| {
        let classes: Vec<usize> = scores.chunks(labels.len()).map(largest).collect();
        let tags = encoded.tags(&classes, labels);
        if args.json {
            return json!({"tokens": sentence.words, "ner_tags": tags}).to_string();
        }
        sentence.words.iter().zip(tags).map(|(word, tag)| format!("{word}\t{tag}\n")).collect()
    };
    print(sentences.iter().zip(encoded.iter().zip(&scores)).map(shown))
}

/// A sentence of each text that is not blank, its words between blanks.
fn split<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<Sentence> {
    let sentence = |(i, text): (usize, &str)| Sentence {
        words: text.split_whitespace().map(str::to_string).collect(),
        tags: None,
        line: i + 1,
    };
    texts.enumerate().map(sentence).filter(|sentence| !sentence.words.is_empty()).collect()
}
