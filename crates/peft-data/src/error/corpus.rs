//! What can go wrong with plain text: reading it, making noise of it, training a tokenizer on it.

use std::path::PathBuf;

/// Text to pre-train on that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// A folder without a file of text.
    #[error("`{}` holds no .txt file; put the texts there, or name one file", folder.display())]
    NoText {
        /// The folder.
        folder: PathBuf,
    },
    /// The tokenizer gave up on a document.
    #[error(
        "`{}`, line {line}: the tokenizer failed on the document that begins here ({reason}); shorten or remove it",
        path.display()
    )]
    EncodeDocument {
        /// The file.
        path: PathBuf,
        /// The line the document begins on, from 1.
        line: usize,
        /// What the tokenizer said.
        reason: String,
    },
    /// Text that no data for pre-training can be made of as asked.
    #[error("no data to pre-train on: {reason}")]
    Pretraining {
        /// What is wrong and what to do.
        reason: String,
    },
    /// A tokenizer that cannot be trained as asked.
    #[error("no tokenizer can be trained: {reason}")]
    TrainTokenizer {
        /// What is wrong and what to do.
        reason: String,
    },
}
