//! `peft eval`.

use anyhow::Result;
use burn::prelude::Device;
use peft_data::{Columns, Examples, Table};
use peft_trainer::{Rows, evaluate};
use serde_json::{Map, Value, json};

use crate::cli::EvalArgs;
use crate::options::DataOptions;
use crate::session::Scorer;
use crate::terminal::say;

pub(crate) fn run(args: EvalArgs, device: &Device) -> Result<()> {
    let scorer = Scorer::load(&args.scorer.adapter, args.scorer.model.as_deref(), device)?;
    let columns = or_of_run(args.scorer.columns, &scorer);
    let table = Table::read(&args.data, &columns.reading())?;
    let resolved = Columns::resolve(&table, &columns.names(), Some(scorer.target))?;
    let examples = Examples::from_table(&table, &resolved, scorer.target, scorer.labels.as_ref())?;
    let rows = Rows::new(&examples, &scorer.encoder, scorer.outputs)?;
    let measured =
        evaluate(&*scorer.bert, &scorer.adapter, rows, scorer.target, scorer.outputs, args.scorer.batch_size)?;
    if args.json {
        let mut line =
            Map::from_iter([("rows".to_string(), json!(measured.rows)), ("loss".to_string(), json!(measured.loss))]);
        line.extend(measured.scores.into_iter().map(|(name, score)| (name, json!(score))));
        say!("{}", Value::Object(line))?;
    } else {
        say!("rows      {}\nloss      {:.4}", measured.rows, measured.loss)?;
        for (name, score) in &measured.scores {
            say!("{name:<9} {score:.4}")?;
        }
    }
    Ok(())
}

/// The columns named now, or else those the run was trained on.
pub(crate) fn or_of_run(given: DataOptions, scorer: &Scorer) -> DataOptions {
    let run = scorer.options.data();
    DataOptions {
        text_column: given.text_column.or(run.text_column),
        pair_column: given.pair_column.or(run.pair_column),
        label_column: given.label_column.or(run.label_column),
        no_header: given.no_header.or(run.no_header),
        quotes: given.quotes.or(run.quotes),
        no_quotes: given.no_quotes.or(run.no_quotes),
    }
}
