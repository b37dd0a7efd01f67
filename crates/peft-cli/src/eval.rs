//! `peft eval`.

use anyhow::Result;
use peft_data::{AnswerMetrics, AnswerScore, EntityMetrics, EntityScore};
use peft_trainer::{Detail, Evaluation, evaluate};
use serde_json::{Map, Value, json};

use crate::cli::EvalArgs;
use crate::compute::Compute;
use crate::dataset::Dataset;
use crate::session::Scorer;
use crate::task::Task;
use crate::terminal::say;

pub(crate) fn run(args: EvalArgs, compute: &Compute) -> Result<()> {
    let scorer = Scorer::load(&args.scorer.adapter, args.scorer.model.as_deref(), args.scorer.dtype, compute)?;
    let columns = scorer.columns(args.scorer.columns)?;
    let data = Dataset::read(&args.data, &scorer.options, &columns, scorer.labels.as_ref())?;
    let answers = scorer.options.answers(data.has_impossible());
    let rows = scorer.tokenising(answers).rows(data)?;
    let measured = evaluate(&*scorer.model, &scorer.adapter, rows, args.scorer.batch_size)?;
    if args.json { say!("{}", object(measured)) } else { table(&measured, scorer.task) }
}

fn table(measured: &Evaluation, task: Task) -> Result<()> {
    let rows = match task {
        Task::Token => "sentences",
        Task::Qa => "questions",
        _ => "rows",
    };
    let names = measured.scores.iter().map(|(name, _)| name.len());
    let width = names.fold("sentences".len(), usize::max);
    say!("{rows:<width$} {}\n{:<width$} {:.4}", measured.rows, "loss", measured.loss)?;
    for (name, score) in &measured.scores {
        say!("{name:<width$} {score:.4}")?;
    }
    match &measured.detail {
        Detail::None => Ok(()),
        Detail::Entities(metrics) => entities(metrics),
        Detail::Answers(metrics) if metrics.impossible().questions == 0 => Ok(()),
        Detail::Answers(metrics) => answers(metrics),
    }
}

/// A line for each type of entity.
fn entities(metrics: &EntityMetrics) -> Result<()> {
    let width = metrics.by_type().map(|(kind, _)| kind.chars().count()).chain([4]).max().unwrap_or(0);
    for (i, (kind, score)) in metrics.by_type().enumerate() {
        if i == 0 {
            say!("\n{:<width$}  precision  recall  f1      entities  predicted", "type")?;
        }
        let EntityScore { precision, recall, f1, gold, predicted, .. } = score;
        say!("{kind:<width$}  {precision:<9.4}  {recall:.4}  {f1:.4}  {gold:<8}  {predicted}")?;
    }
    Ok(())
}

/// Questions with an answer and those without.
fn answers(metrics: &AnswerMetrics) -> Result<()> {
    say!("\n{:<14}  f1      exact_match  questions", "")?;
    for (name, score) in [("with an answer", metrics.answerable()), ("without", metrics.impossible())] {
        say!("{name:<14}  {:.4}  {:<11.4}  {}", score.f1, score.exact, score.questions)?;
    }
    Ok(())
}

fn object(measured: Evaluation) -> Value {
    let mut line =
        Map::from_iter([("rows".to_string(), json!(measured.rows)), ("loss".to_string(), json!(measured.loss))]);
    line.extend(measured.scores.into_iter().map(|(name, score)| (name, json!(score))));
    match measured.detail {
        Detail::None => {}
        Detail::Entities(metrics) => {
            let kinds = metrics.by_type().map(|(kind, score)| {
                let EntityScore { precision, recall, f1, gold, predicted, .. } = score;
                let fields = json!({
                    "precision": precision, "recall": recall, "f1": f1, "entities": gold, "predicted": predicted,
                });
                (kind.to_string(), fields)
            });
            line.insert("types".into(), Value::Object(kinds.collect()));
        }
        Detail::Answers(metrics) => {
            let fields =
                |score: AnswerScore| json!({"exact_match": score.exact, "f1": score.f1, "questions": score.questions});
            line.insert("answerable".into(), fields(metrics.answerable()));
            line.insert("impossible".into(), fields(metrics.impossible()));
        }
    }
    Value::Object(line)
}
