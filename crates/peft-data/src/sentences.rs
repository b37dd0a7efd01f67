//! Sentences whose words each have a tag: token classification, of which named entities are the usual case.

mod columns;
mod conll;
mod entities;

use std::path::{Path, PathBuf};

pub use entities::{Entity, EntityMetrics, EntityScore, OUTSIDE, entities, names_entities};

use crate::error::{DataError, Place, nearest};
use crate::random::Random;
use crate::task::Labels;

/// Whether a file's tags are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tags {
    /// They are, and a file without any is an error: training and evaluation.
    Needed,
    /// They are not, whatever they are: prediction.
    Ignored,
}

/// The words of one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// The words as the file separates them.
    pub words: Vec<String>,
    /// Each word's tag as a label's id, where tags are read.
    pub tags: Option<Vec<usize>>,
    /// The line of the file (in Parquet the row) it begins on, from 1.
    pub line: usize,
}

/// The sentences of a file, and the labels their tags are ids of.
#[derive(Debug, Clone, PartialEq)]
pub struct Sentences {
    /// The file they come from.
    pub path: PathBuf,
    /// The sentences, in the file's order.
    pub rows: Vec<Sentence>,
    /// The labels; `None` where neither the file nor the caller gives any.
    pub labels: Option<Labels>,
}

/// What a format hands over.
struct Raw {
    words: Vec<String>,
    /// `None` where tags are ignored.
    tags: Option<Vec<String>>,
    place: Place,
    /// Whether each word has a line of its own, from `place` on.
    line_by_line: bool,
}

impl Raw {
    /// Where a word stands.
    fn place_of(&self, word: usize) -> Place {
        match self.place {
            Place::Line(line) if self.line_by_line => Place::Line(line + word),
            place => place,
        }
    }
}

impl Sentences {
    /// Reads `.jsonl`, `.ndjson`, `.json` (one object per line) and `.parquet` with the lists `tokens` (or `words`) and
    /// `ner_tags` (or `tags`), and any other file as CoNLL: a word a line with its tag in the last column, and a blank
    /// line after each sentence.
    ///
    /// Without `labels` the tags found become the labels; with them (a validation file, a resumed run) a tag outside is
    /// an error that names the line.
    pub fn read(path: impl AsRef<Path>, tags: Tags, labels: Option<&Labels>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        let raw = match extension.as_str() {
            "jsonl" | "ndjson" | "json" | "parquet" => columns::parse(path, tags)?,
            _ => conll::parse(path, tags)?,
        };
        let labels = match (labels, tags) {
            (Some(labels), _) => Some(labels.clone()),
            (None, Tags::Ignored) => None,
            (None, Tags::Needed) => {
                Some(Labels::from_values(raw.iter().flat_map(|row| row.tags.iter().flatten()).map(String::as_str)))
            }
        };
        let rows = raw
            .into_iter()
            .map(|row| {
                let ids = match (&row.tags, &labels) {
                    (Some(tags), Some(labels)) => Some(ids(path, &row, tags, labels)?),
                    _ => None,
                };
                Ok(Sentence { words: row.words, tags: ids, line: row.place.number() })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { path: path.to_owned(), rows, labels })
    }

    /// The number of sentences.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no sentence; a file without one is not read.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Splits off a fraction of the sentences, at random. Returns what is left and what was set aside, both in the
    /// file's order.
    pub fn split(self, fraction: f64, seed: u64) -> Result<(Self, Self), DataError> {
        let rows = self.rows.len();
        let wanted = (rows as f64 * fraction).round() as usize;
        if !(fraction > 0.0 && fraction < 1.0) || wanted == 0 || wanted >= rows {
            return Err(DataError::Split { fraction, rows });
        }
        let mut order: Vec<usize> = (0..rows).collect();
        Random::new(seed, 0).shuffle(&mut order);
        let mut aside = vec![false; rows];
        order[..wanted].iter().for_each(|&index| aside[index] = true);
        let part = |rows: Vec<Sentence>| Self { path: self.path.clone(), rows, labels: self.labels.clone() };
        let (mut kept, mut held_out) = (Vec::new(), Vec::new());
        for (row, aside) in self.rows.into_iter().zip(aside) {
            if aside { held_out.push(row) } else { kept.push(row) }
        }
        Ok((part(kept), part(held_out)))
    }
}

/// The ids of a sentence's tags.
fn ids(path: &Path, row: &Raw, tags: &[String], labels: &Labels) -> Result<Vec<usize>, DataError> {
    let id = |(word, tag): (usize, &String)| {
        labels.id(tag).ok_or_else(|| DataError::UnknownLabel {
            path: path.to_owned(),
            place: row.place_of(word),
            label: tag.clone(),
            nearest: nearest(tag, labels.names()),
            known: labels.names().to_vec(),
        })
    };
    tags.iter().enumerate().map(id).collect()
}
