//! The rows of a file, as the task reads them.

use std::path::Path;

use anyhow::{Result, bail};
use peft_data::corpus::{Corpus, Documents};
use peft_data::{Columns, Examples, Labels, Questions, Sentences, Table, Tags, Target};
use peft_trainer::outputs;

use crate::options::{DataOptions, TrainOptions};
use crate::task::{Task, shown};
use crate::terminal::note;

/// Labelled rows.
pub(crate) enum Dataset {
    Texts(Examples, Target),
    Sentences(Sentences),
    Questions(Questions),
    /// Texts of which nothing is said.
    Plain(Corpus),
}

impl Dataset {
    /// Reads `path` and says what was found. With `labels`, another label is an error.
    pub(crate) fn read(
        path: &Path,
        options: &TrainOptions,
        data: &DataOptions,
        labels: Option<&Labels>,
    ) -> Result<Self> {
        let task = options.task();
        if task.is_of_plain_text() {
            return Ok(Self::Plain(plain(path, data, options.documents.unwrap_or(Documents::Paragraphs))?));
        }
        let Some(target) = task.target() else {
            task.refuse_columns(data)?;
            return if task == Task::Token { Self::sentences(path, labels) } else { Self::questions(path) };
        };
        let table = Table::read(path, &data.reading())?;
        let columns = Columns::resolve(&table, &data.names(), Some(target))?;
        let examples = Examples::from_table(&table, &columns, target, labels)?;
        note!("{}: {} rows, {columns}", shown(path), examples.len());
        Ok(Self::Texts(examples, target))
    }

    fn sentences(path: &Path, labels: Option<&Labels>) -> Result<Self> {
        let sentences = Sentences::read(path, Tags::Needed, labels)?;
        let tags = sentences.labels.as_ref().map_or(0, Labels::len);
        note!("{}: {} sentences, {tags} tags", shown(path), sentences.len());
        Ok(Self::Sentences(sentences))
    }

    fn questions(path: &Path) -> Result<Self> {
        let questions = Questions::read(path)?;
        if questions.rows.iter().all(|question| question.answers.is_empty() && !question.impossible) {
            bail!("{}: no question has an answer; give `answers` with `text` and `answer_start`", path.display());
        }
        let impossible = questions.rows.iter().filter(|question| question.impossible).count();
        let without = if impossible > 0 { format!(", {impossible} of them without an answer") } else { String::new() };
        note!("{}: {} questions{without}", shown(path), questions.len());
        if let Some(first) = questions.misaligned.first() {
            let count = questions.misaligned.len();
            note!("warning: {count} answers do not stand where the file says and are not learned; {first}");
        }
        Ok(Self::Questions(questions))
    }

    /// The labels the rows have, if the task has any.
    pub(crate) fn labels(&self) -> Option<&Labels> {
        match self {
            Self::Texts(examples, _) => examples.labels.as_ref(),
            Self::Sentences(sentences) => sentences.labels.as_ref(),
            Self::Questions(_) | Self::Plain(_) => None,
        }
    }

    /// The number of scores a model gives for them: for a text, or at a position.
    pub(crate) fn outputs(&self) -> usize {
        let labels = self.labels().map_or(1, Labels::len);
        match self {
            Self::Texts(_, target) => outputs(*target, labels),
            Self::Sentences(_) => labels,
            Self::Questions(_) => 2,
            Self::Plain(_) => 0,
        }
    }

    /// Whether some of them are questions without an answer.
    pub(crate) fn has_impossible(&self) -> bool {
        matches!(self, Self::Questions(questions) if questions.has_impossible())
    }

    /// Splits off a share of the rows.
    pub(crate) fn split(self, share: f64, seed: u64) -> Result<(Self, Self)> {
        Ok(match self {
            Self::Texts(examples, target) => {
                let (kept, aside) = examples.split(share, seed)?;
                (Self::Texts(kept, target), Self::Texts(aside, target))
            }
            Self::Sentences(sentences) => {
                let (kept, aside) = sentences.split(share, seed)?;
                (Self::Sentences(kept), Self::Sentences(aside))
            }
            Self::Questions(questions) => {
                let (kept, aside) = questions.split(share, seed)?;
                (Self::Questions(kept), Self::Questions(aside))
            }
            Self::Plain(corpus) => {
                // One of so many, all over the text: what stands together is alike.
                let every = (1.0 / share).round().max(2.0) as usize;
                let documents = corpus.documents.into_iter().enumerate();
                let (aside, kept): (Vec<_>, Vec<_>) = documents.partition(|(i, _)| i % every == every - 1);
                let corpus = |of: Vec<(usize, _)>| Corpus { documents: of.into_iter().map(|(_, it)| it).collect() };
                if aside.is_empty() {
                    bail!(
                        "valid_split: {} documents are too few for one of {every} to be held out; name --valid",
                        kept.len()
                    );
                }
                (Self::Plain(corpus(kept)), Self::Plain(corpus(aside)))
            }
        })
    }

    /// What can be learned from.
    ///
    /// # Errors
    /// If there is nothing to learn.
    pub(crate) fn trainable(self) -> Result<Self> {
        match self {
            Self::Texts(examples, Target::Single) if examples.labels.as_ref().is_some_and(|l| l.len() < 2) => {
                bail!("{}: all rows have the same label; there is nothing to learn", examples.path.display())
            }
            Self::Sentences(sentences) if sentences.labels.as_ref().is_some_and(|labels| labels.len() < 2) => {
                bail!("{}: all words have the same tag; there is nothing to learn", sentences.path.display())
            }
            Self::Questions(questions) => {
                let (questions, left_out) = questions.trainable();
                if questions.is_empty() {
                    bail!("{}: no answer stands where the file says; correct answer_start", questions.path.display());
                }
                if left_out > 0 {
                    note!("warning: {left_out} questions without a known answer are left out of the training");
                }
                Ok(Self::Questions(questions))
            }
            rows => Ok(rows),
        }
    }
}

/// Plain text: a file or folder of it, or the column of texts of a table.
pub(crate) fn plain(path: &Path, data: &DataOptions, documents: Documents) -> Result<Corpus> {
    const TABLES: [&str; 5] = ["csv", "tsv", "jsonl", "json", "parquet"];
    let extension = path.extension().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    if !TABLES.contains(&extension.as_str()) {
        let corpus = Corpus::read(path, documents)?;
        note!("{}: {} documents", shown(path), corpus.documents.len());
        return Ok(corpus);
    }
    let table = Table::read(path, &data.reading())?;
    let columns = Columns::resolve(&table, &data.names(), None)?;
    let examples = Examples::from_table(&table, &columns, Target::Single, None)?;
    note!("{}: {} documents, {columns}", shown(path), examples.len());
    let mut corpus = Corpus::from_texts(examples.rows.iter().map(|row| row.text.clone()));
    for (document, row) in corpus.documents.iter_mut().zip(&examples.rows) {
        (document.path, document.line) = (path.to_path_buf(), row.line);
    }
    Ok(corpus)
}
