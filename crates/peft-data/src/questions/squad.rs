//! SQuAD's JSON, versions 1.1 and 2, and whether each answer stands where the file says.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::{Answer, Misaligned, Question, Questions};
use crate::error::DataError;
use crate::table::read_text;

#[derive(Deserialize)]
struct File {
    data: Vec<Article>,
}

#[derive(Deserialize)]
struct Article {
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    id: String,
    question: String,
    #[serde(default)]
    answers: Vec<Given>,
    #[serde(default)]
    is_impossible: bool,
}

#[derive(Deserialize)]
struct Given {
    text: String,
    /// In characters. Signed, since some files write -1 for "nowhere".
    answer_start: i64,
}

impl Questions {
    /// Reads SQuAD's JSON, version 1.1 or 2. `answers` may be left out (a file to predict on).
    ///
    /// An answer should stand in the context at the character its `answer_start` counts to. If it does not, blanks
    /// around it are left out and it is tried again; if that does not help its place is unknown ([`Answer::start`]) and
    /// a note of it is in [`Questions::misaligned`]. That is no error, because SQuAD's descendants have a few such
    /// answers.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let file: File = serde_json::from_str(&read_text(path)?)
            .map_err(|error| DataError::Squad { path: path.to_owned(), reason: error.to_string() })?;
        let mut ids = HashSet::new();
        let (mut rows, mut misaligned) = (Vec::new(), Vec::new());
        for paragraph in file.data.into_iter().flat_map(|article| article.paragraphs) {
            let context: Arc<str> = paragraph.context.into();
            for asked in paragraph.qas {
                if !ids.insert(asked.id.clone()) {
                    return Err(DataError::DuplicateQuestion { path: path.to_owned(), id: asked.id });
                }
                let mut answers = Vec::new();
                // An impossible question's answers, if it has any, are only plausible ones.
                for given in asked.answers.into_iter().filter(|_| !asked.is_impossible) {
                    answers.push(align(&context, given).unwrap_or_else(|given| {
                        misaligned.push(note(&asked.id, &context, &given));
                        Answer { text: given.text, start: None }
                    }));
                }
                rows.push(Question {
                    id: asked.id,
                    text: asked.question,
                    context: context.clone(),
                    answers,
                    impossible: asked.is_impossible,
                });
            }
        }
        if rows.is_empty() {
            return Err(DataError::NoQuestions { path: path.to_owned() });
        }
        Ok(Self { path: path.to_owned(), rows, misaligned })
    }
}

/// The answer without blanks around it, if it stands in its place: at the character named or behind the blanks that
/// stood before it.
fn align(context: &str, given: Given) -> Result<Answer, Given> {
    let text = given.text.trim();
    let Ok(start) = usize::try_from(given.answer_start) else { return Err(given) };
    let blanks = given.text.chars().take_while(|c| c.is_whitespace()).count();
    let stands = |at: &usize| {
        let mut rest = context.chars().skip(*at);
        text.chars().all(|expected| rest.next() == Some(expected))
    };
    match [start.saturating_add(blanks), start].into_iter().find(stands) {
        Some(start) if !text.is_empty() => Ok(Answer { text: text.to_owned(), start: Some(start) }),
        _ => Err(given),
    }
}

fn note(id: &str, context: &str, given: &Given) -> Misaligned {
    let start = usize::try_from(given.answer_start).unwrap_or(usize::MAX);
    let found = context.chars().skip(start).take(given.text.chars().count()).collect();
    Misaligned { id: id.to_owned(), answer: given.text.clone(), start: given.answer_start, found }
}
