//! A text made of several columns: the input of a model that is told what to do, such as
//! `Tweet text : {Tweet text} Label : ` in Hugging Face's walkthrough of prompt tuning.

use crate::error::DataError;
use crate::table::Table;

/// A text with gaps, each filled from a column.
pub(super) struct Template {
    parts: Vec<Part>,
}

enum Part {
    Text(String),
    Column(usize),
}

impl Template {
    /// Reads a template: `{name}` is a column of the table, `{{` and `}}` are braces.
    pub(super) fn parse(template: &str, table: &Table) -> Result<Self, DataError> {
        let wrong = |reason: &str| DataError::Template { template: template.to_owned(), reason: reason.to_owned() };
        let (mut parts, mut text, mut rest) = (Vec::new(), String::new(), template);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            text.push_str(before);
            if let Some(behind) = brace.strip_prefix("{{") {
                text.push('{');
                rest = behind;
            } else if let Some(behind) = brace.strip_prefix("}}") {
                text.push('}');
                rest = behind;
            } else if let Some(inner) = brace.strip_prefix('{') {
                let (name, behind) = inner
                    .split_once('}')
                    .ok_or_else(|| wrong("a `{` is never closed; write `{column}`, or `{{` for a brace"))?;
                parts.push(Part::Text(std::mem::take(&mut text)));
                parts.push(Part::Column(table.column(name)?));
                rest = behind;
            } else {
                return Err(wrong("a `}` closes nothing; write `}}` for a brace"));
            }
        }
        if parts.is_empty() {
            return Err(wrong("it names no column, so every row would have the same text; write one as `{column}`"));
        }
        text.push_str(rest);
        parts.push(Part::Text(text));
        Ok(Self { parts })
    }

    /// The text of a row.
    pub(super) fn fill(&self, table: &Table, row: usize) -> Result<String, DataError> {
        let mut filled = String::new();
        for part in &self.parts {
            filled.push_str(match part {
                Part::Text(text) => text,
                Part::Column(column) => table.text(row, *column)?,
            });
        }
        Ok(filled)
    }
}
