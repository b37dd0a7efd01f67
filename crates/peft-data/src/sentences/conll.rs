//! The layout of the CoNLL shared tasks: a word a line, its tag in the last column, a blank line after each sentence.
//! The columns between (part of speech, chunk) are passed over.

use std::path::Path;

use super::{Raw, Tags};
use crate::error::{DataError, Place};
use crate::table::read_text;

/// Stands where a document begins. It is no word, and the columns beside it mean nothing.
const DOCUMENT: &str = "-DOCSTART-";

pub(super) fn parse(path: &Path, tags: Tags) -> Result<Vec<Raw>, DataError> {
    let text = read_text(path)?;
    let mut sentences: Vec<Raw> = Vec::new();
    let mut width = None;
    let mut open = false;
    for (number, content) in text.lines().enumerate() {
        let line = number + 1;
        let columns = columns(content);
        if columns.is_empty() || columns[0] == DOCUMENT {
            open = false;
            continue;
        }
        if columns[0].is_empty() {
            return Err(DataError::NoWord { path: path.to_owned(), line });
        }
        let (expected, found) = (*width.get_or_insert(columns.len()), columns.len());
        if expected != found {
            let fix = "separate a word from its tag by a tab or a space, and leave a blank line after each sentence";
            return Err(DataError::RowWidth { path: path.to_owned(), line, expected, found, fix });
        }
        if found == 1 && tags == Tags::Needed {
            return Err(DataError::NoTags { path: path.to_owned() });
        }
        if !open {
            let tags = (tags == Tags::Needed).then(Vec::new);
            sentences.push(Raw { words: Vec::new(), tags, place: Place::Line(line), line_by_line: true });
            open = true;
        }
        if let Some(sentence) = sentences.last_mut() {
            sentence.words.push(columns[0].to_owned());
            if let Some(tags) = &mut sentence.tags {
                tags.push(columns[found - 1].to_owned());
            }
        }
    }
    if sentences.is_empty() {
        return Err(DataError::Empty { path: path.to_owned() });
    }
    Ok(sentences)
}

/// The columns of a line: between tabs where it has any, else between blanks. Only ASCII's blanks count, since a word
/// of a tweet may be a no-break space.
fn columns(line: &str) -> Vec<&str> {
    let line = line.trim_end_matches([' ', '\t', '\r']);
    if line.is_empty() {
        Vec::new()
    } else if line.contains('\t') {
        line.split('\t').map(|column| column.trim_matches(' ')).collect()
    } else {
        line.split(' ').filter(|column| !column.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::blanks("EU  NNP B-NP B-ORG ", &["EU", "NNP", "B-NP", "B-ORG"])]
    #[case::tabs("New York\tO\r", &["New York", "O"])]
    #[case::both("EU \t B-ORG", &["EU", "B-ORG"])]
    #[case::no_break_space("\u{a0}\tO", &["\u{a0}", "O"])]
    #[case::no_word("\tO", &["", "O"])]
    #[case::no_tag("EU\t", &["EU"])]
    #[case::blank("\t ", &[])]
    fn a_line(#[case] line: &str, #[case] expected: &[&str]) {
        assert_eq!(columns(line), expected);
    }
}
