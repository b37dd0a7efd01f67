//! The answer to each question.

use anyhow::{Result, bail};
use peft_data::{PredictedAnswer, Question, Questions};
use peft_trainer::metrics::Asked;
use peft_trainer::score;
use serde_json::{Map, Value, json};

use super::print;
use crate::cli::PredictArgs;
use crate::session::Scorer;

/// Prints the answer to one question, or those to the questions of a file: an object of answers by id, as SQuAD's scripts
/// read it.
pub(super) fn run(args: PredictArgs, scorer: &Scorer) -> Result<()> {
    let (questions, impossible) = match (&args.data, args.question.zip(args.context)) {
        (Some(path), _) => {
            scorer.columns(args.scorer.columns)?;
            let questions = Questions::read(path)?;
            let impossible = questions.has_impossible();
            (questions.rows, impossible)
        }
        (None, Some((text, context))) if !text.trim().is_empty() && !context.trim().is_empty() => {
            let (id, context) = ("1".to_string(), context.into());
            (vec![Question { id, text, context, answers: Vec::new(), impossible: false }], false)
        }
        _ => bail!("no question; give --question with --context, or --data with a file in SQuAD's JSON"),
    };
    let (options, stride) =
        (scorer.options.answers(impossible), scorer.options.doc_stride(scorer.encoder.max_length()));
    let asked = Asked::new(questions, options, stride, &scorer.encoder)?;
    let windows: Vec<_> = asked.windows().iter().map(|window| &window.encoded).collect();
    let scores = score(&*scorer.model, &scorer.adapter, &windows, scorer.pad_id(), args.scorer.batch_size)?;
    let answers = asked.answers(&scores);
    let mut pairs = asked.questions().iter().zip(&answers);
    match (args.json, &args.data) {
        (true, _) => print(pairs.map(|(question, answer)| object(question, answer).to_string())),
        (false, None) => print(pairs.map(|(_, answer)| line(answer))),
        (false, Some(_)) => {
            let by_id: Map<String, Value> =
                pairs.by_ref().map(|(question, answer)| (question.id.clone(), json!(answer.text))).collect();
            print([serde_json::to_string_pretty(&by_id)?].into_iter())
        }
    }
}

/// The answer's probability among its candidates; 0 if there is none.
fn probability(answer: &PredictedAnswer) -> f32 {
    let chosen = answer.candidates.iter().find(|candidate| candidate.text == answer.text);
    chosen.map_or(0.0, |candidate| candidate.probability)
}

/// `answer TAB probability`.
fn line(answer: &PredictedAnswer) -> String {
    format!("{}\t{:.4}", answer.text.replace(['\t', '\n', '\r'], " "), probability(answer))
}

fn object(question: &Question, answer: &PredictedAnswer) -> Value {
    let chosen = answer.candidates.iter().find(|candidate| candidate.text == answer.text);
    let start = chosen.and_then(|candidate| candidate.span.as_ref()).map(|span| span.start);
    json!({
        "id": question.id,
        "question": question.text,
        "answer": answer.text,
        "answer_start": start,
        "probability": probability(answer),
    })
}
