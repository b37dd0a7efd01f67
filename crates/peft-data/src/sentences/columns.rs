//! Sentences as rows of a table: a list of words and a list of tags, as Hugging Face's data sets hold them.

use std::path::Path;

use super::{Raw, Tags};
use crate::error::DataError;
use crate::table::{Cell, ReadOptions, Table};

const WORDS: [&str; 2] = ["tokens", "words"];
const TAGS: [&str; 2] = ["ner_tags", "tags"];

pub(super) fn parse(path: &Path, tags: Tags) -> Result<Vec<Raw>, DataError> {
    let table = Table::read(path, &ReadOptions::default())?;
    let words = match find(&table, WORDS) {
        Some(column) => column,
        None => table.column(WORDS[0])?,
    };
    let tags = match (tags, find(&table, TAGS)) {
        (Tags::Ignored, _) => None,
        (Tags::Needed, None) => return Err(DataError::NoTags { path: path.to_owned() }),
        (Tags::Needed, found) => found,
    };
    (0..table.len())
        .map(|row| {
            let words = list(&table, row, words)?;
            let tags = tags.map(|column| list(&table, row, column)).transpose()?;
            let place = table.place(row);
            if let Some(tags) = tags.as_ref().filter(|tags| tags.len() != words.len()) {
                let (words, tags) = (words.len(), tags.len());
                return Err(DataError::TagCount { path: path.to_owned(), place, words, tags });
            }
            Ok(Raw { words, tags, place, line_by_line: false })
        })
        .collect()
}

fn find(table: &Table, names: [&str; 2]) -> Option<usize> {
    names.into_iter().find_map(|name| table.columns().iter().position(|column| column == name))
}

/// A list that holds something.
fn list(table: &Table, row: usize, column: usize) -> Result<Vec<String>, DataError> {
    match table.value(row, column)? {
        Cell::List(values) if values.is_empty() => Err(table.missing(row, column)),
        Cell::List(values) => Ok(values.clone()),
        Cell::Text(_) => Err(DataError::NotAList {
            path: table.path().to_owned(),
            place: table.place(row),
            column: table.columns()[column].clone(),
        }),
    }
}
