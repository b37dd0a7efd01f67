//! From words on the command line to values of options.

use std::collections::BTreeMap;

use peft::core::targets::{OneOrMany, Targets};
use peft::lora::{Bias, Init};
use peft_data::corpus::Documents;
use peft_trainer::{Keep, OptimizerKind};
use serde::Deserialize;

use crate::task::{LabelAs, Task};

/// Values by module name or expression.
pub(crate) type Pattern<V> = BTreeMap<String, V>;

pub(super) fn task(given: &str) -> Result<Task, String> {
    word(given, "single, multi, regression, token, qa, text, choice, mlm or spans")
}

pub(super) fn documents(given: &str) -> Result<Documents, String> {
    word(given, "lines, paragraphs or files")
}

pub(super) fn label_as(given: &str) -> Result<LabelAs, String> {
    word(given, "text, choice or head")
}

pub(super) fn bias(given: &str) -> Result<Bias, String> {
    word(given, "none, all or lora_only")
}

pub(super) fn optimizer(given: &str) -> Result<OptimizerKind, String> {
    word(given, "adamw or adafactor")
}

pub(super) fn keep(given: &str) -> Result<Keep, String> {
    word(given, "best or last")
}

/// A value that serialises to one word.
fn word<T: for<'de> Deserialize<'de>>(given: &str, choices: &str) -> Result<T, String> {
    serde_json::from_value(given.into()).map_err(|_| format!("choose {choices}"))
}

pub(super) fn init(given: &str) -> Result<Init, String> {
    match given {
        "true" => Ok(Init::Standard(true)),
        "false" => Ok(Init::Standard(false)),
        name => Ok(Init::Named(name.to_string())),
    }
}

/// Names with commas between, or one regular expression: whatever holds a character that no name has.
pub(super) fn targets(given: &str) -> Result<Targets, String> {
    let expression = given.contains(['*', '+', '?', '[', '(', '|', '\\', '^', '$', '{']);
    Ok(match expression || given.eq_ignore_ascii_case(peft::core::targets::ALL_LINEAR) {
        true => Targets::Pattern(given.to_string()),
        false => Targets::List(split(given).collect()),
    })
}

pub(super) fn names(given: &str) -> Result<OneOrMany<String>, String> {
    Ok(OneOrMany::Many(split(given).collect()))
}

pub(super) fn indices(given: &str) -> Result<OneOrMany<usize>, String> {
    let index = |part: String| part.parse().map_err(|_| format!("`{part}` is no layer index"));
    split(given).map(index).collect::<Result<_, _>>().map(OneOrMany::Many)
}

pub(super) fn pattern<V: std::str::FromStr>(given: &str) -> Result<Pattern<V>, String> {
    let entry = |part: String| match part.split_once('=').map(|(name, value)| (name.to_string(), value.parse())) {
        Some((name, Ok(value))) => Ok((name, value)),
        _ => Err(format!("`{part}` is not name=number")),
    };
    split(given).map(entry).collect()
}

fn split(given: &str) -> impl Iterator<Item = String> {
    given.split(',').map(|part| part.trim().to_string()).filter(|part| !part.is_empty())
}

pub(super) fn bits(given: &str) -> Result<u8, String> {
    match given {
        "8" => Ok(8),
        "4" => Ok(4),
        _ => Err("choose 8 or 4".to_string()),
    }
}
