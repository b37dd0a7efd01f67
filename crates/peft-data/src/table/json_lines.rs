//! JSON lines: one object per line. The columns are all keys that occur, in the order they are first seen; a key
//! that a row leaves out is only an error once that row's value is asked for.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::{Cell, Parsed, ReadOptions, read_text};
use crate::error::{DataError, Place};

pub(super) fn parse(path: &Path, _: &ReadOptions) -> Result<Parsed, DataError> {
    let text = read_text(path)?;
    let mut columns: Vec<String> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    let (mut rows, mut places) = (Vec::new(), Vec::new());
    for (number, content) in text.lines().enumerate() {
        if content.trim().is_empty() {
            continue;
        }
        let line = number + 1;
        let value = serde_json::from_str(content).map_err(|error| DataError::Json {
            path: path.to_owned(),
            line,
            column: error.column(),
            reason: reason(&error),
        })?;
        let Value::Object(object) = value else {
            return Err(DataError::NotAnObject { path: path.to_owned(), line, found: kind(&value) });
        };
        let mut row = vec![None; columns.len()];
        for (key, value) in object {
            let at = *index.entry(key).or_insert_with_key(|key| {
                columns.push(key.clone());
                row.push(None);
                columns.len() - 1
            });
            row[at] = cell(value);
        }
        rows.push(row);
        places.push(Place::Line(line));
    }
    for row in &mut rows {
        row.resize(columns.len(), None);
    }
    Ok(Parsed { columns, rows, places })
}

fn cell(value: Value) -> Option<Cell> {
    match value {
        Value::Null => None,
        Value::Array(values) => Some(Cell::List(values.into_iter().map(text).collect())),
        other => Some(Cell::Text(text(other))),
    }
}

/// A string as it is; anything else as JSON writes it.
fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The parser's words without its ` at line 1 column 5`: it only ever sees one line.
fn reason(error: &serde_json::Error) -> String {
    let words = error.to_string();
    words.rsplit_once(" at line ").map_or(words.clone(), |(reason, _)| reason.to_owned())
}
