//! Plain text to pre-train on: documents, one stream of their tokens, and chunks of it that a model learns to repair.

mod masking;
mod spans;

use std::fs;
use std::path::{Path, PathBuf};

pub use masking::{MaskedChunk, TokenMasking};
pub use spans::{CorruptedChunk, SpanCorruption};

use crate::error::{CorpusError, DataError};
use crate::table::read_text;
use crate::tokens::Encoder;

/// What a document is in a file of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Documents {
    /// Each line that is not blank.
    Lines,
    /// What stands between blank lines.
    Paragraphs,
    /// The whole file.
    Files,
}

/// A text that belongs together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The text.
    pub text: String,
    /// The file it comes from.
    pub path: PathBuf,
    /// The line it begins on, from 1.
    pub line: usize,
}

/// Whether what is left at the end of a stream becomes a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LastChunk {
    /// It does, shorter than the others.
    Kept,
    /// It does not.
    Dropped,
}

/// Texts in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Corpus {
    /// The documents.
    pub documents: Vec<Document>,
}

impl Corpus {
    /// Reads a file of UTF-8 text, whatever it is called, or all `.txt` files of a folder in the order of their names.
    ///
    /// # Errors
    /// A file that cannot be read, is empty or is no UTF-8 (with its line), and a folder without a `.txt` file.
    pub fn read(path: impl AsRef<Path>, documents: Documents) -> Result<Self, DataError> {
        let path = path.as_ref();
        let mut corpus = Self::default();
        for file in files(path)? {
            corpus.add(&file, &read_text(&file)?, documents);
        }
        Ok(corpus)
    }

    /// Texts that are at hand; a document each, on lines counted from 1.
    pub fn from_texts<S: Into<String>>(texts: impl IntoIterator<Item = S>) -> Self {
        let document = |(index, text): (usize, S)| Document { text: text.into(), path: "".into(), line: index + 1 };
        Self { documents: texts.into_iter().enumerate().map(document).collect() }
    }

    fn add(&mut self, path: &Path, text: &str, documents: Documents) {
        let mut open: Option<Document> = None;
        for (index, line) in text.lines().enumerate() {
            let blank = line.trim().is_empty();
            if documents == Documents::Lines || (documents == Documents::Paragraphs && blank) {
                self.documents.extend(open.take());
            }
            match &mut open {
                Some(document) => {
                    document.text.push('\n');
                    document.text.push_str(line);
                }
                None if blank => {}
                None => open = Some(Document { text: line.to_owned(), path: path.to_owned(), line: index + 1 }),
            }
        }
        self.documents.extend(open);
    }
}

impl Encoder {
    /// The tokens of all documents as one stream, nothing cut. Each document is followed by the token that ends one:
    /// BERT's `[SEP]`, or T5's `</s>`.
    ///
    /// # Errors
    /// A tokenizer without either, and a document that it fails on, with file and line.
    pub fn encode_corpus(&self, corpus: &Corpus) -> Result<Vec<u32>, DataError> {
        /// Documents tokenised at a time: enough for every core, few enough for the tokenizer's records to stay small.
        const AT_ONCE: usize = 1024;
        let end = self.sep_id().or_else(|| self.eos_id()).ok_or_else(|| {
            wrong("the tokenizer has neither a separator nor an end; name sep_token or eos_token in tokenizer_config.json")
        })?;
        let mut stream = Vec::new();
        for documents in corpus.documents.chunks(AT_ONCE) {
            for ids in self.encode_whole(documents)? {
                stream.extend(ids);
                stream.push(end);
            }
        }
        Ok(stream)
    }
}

/// Cuts a stream into chunks of `length` tokens.
///
/// ```
/// use peft_data::corpus::{LastChunk, chunks};
///
/// assert_eq!(chunks(&[1, 2, 3, 4, 5], 2, LastChunk::Kept)?, [vec![1, 2], vec![3, 4], vec![5]]);
/// assert_eq!(chunks(&[1, 2, 3, 4, 5], 2, LastChunk::Dropped)?, [vec![1, 2], vec![3, 4]]);
/// # Ok::<(), peft_data::DataError>(())
/// ```
///
/// # Errors
/// A length of 0, and a stream that gives no chunk.
pub fn chunks(stream: &[u32], length: usize, last: LastChunk) -> Result<Vec<Vec<u32>>, DataError> {
    if length == 0 {
        return Err(wrong("chunks of 0 tokens hold nothing; give at least 1"));
    }
    let whole = stream.len() / length * length;
    let kept = if last == LastChunk::Kept { stream } else { &stream[..whole] };
    if kept.is_empty() {
        return Err(wrong(&format!(
            "{} tokens give no chunk of {length}; give more text, or a smaller length",
            stream.len()
        )));
    }
    Ok(kept.chunks(length).map(<[u32]>::to_vec).collect())
}

/// The files to read.
fn files(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |source| DataError::Read { path: path.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.is_file() && file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("txt")) {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() { Err(DataError::Corpus(CorpusError::NoText { folder: path.to_owned() })) } else { Ok(files) }
}

fn wrong(reason: &str) -> DataError {
    DataError::Corpus(CorpusError::Pretraining { reason: reason.to_owned() })
}
