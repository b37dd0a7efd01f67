//! What can be wrong with a checkpoint or its configuration, each with its fix.

use std::io;
use std::path::{Path, PathBuf};

use crate::load::Misfit;
use crate::placement::Shortage;

/// An error of peft-models.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration value that this implementation does not compute.
    #[error("config.json: {field}: {reason}")]
    Config {
        /// Field of `config.json`.
        field: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A setting of generation that contradicts another, or is out of range.
    #[error("generation: {field}: {reason}")]
    Generation {
        /// Field of `generation_config.json`.
        field: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// Scores that are no numbers, while a text was made.
    #[error(
        "the scores of token {token} of text {row} hold what is no number; the base model or the adapter has diverged, \
         evaluate an earlier checkpoint"
    )]
    NotANumber {
        /// The text, from 0.
        row: usize,
        /// The token, from 1.
        token: usize,
    },
    /// A file of an adapter or a model that could not be read or written.
    #[error(transparent)]
    Core(#[from] peft_core::Error),
    /// A folder without weights.
    #[error(
        "no checkpoint in {}: looked for {looked_for}; {holds}; give the folder of a Hugging Face model with its \
         weights",
        folder.display()
    )]
    NoCheckpoint {
        /// The folder.
        folder: PathBuf,
        /// The file names looked for.
        looked_for: String,
        /// What is there instead.
        holds: String,
    },
    /// An index names a shard that is not there.
    #[error("{}: names the shard `{shard}`, which is not in the folder; fetch it as well", index.display())]
    MissingShard {
        /// The index.
        index: PathBuf,
        /// The shard's file name.
        shard: String,
    },
    /// A file that could not be read, or whose content is damaged.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A file that is no JSON, or JSON of another form.
    #[error("{}, line {line}, column {column}: {reason}; correct the file or fetch it again", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What the parser said.
        reason: String,
    },
    /// A tensor that the checkpoint does not hold.
    #[error("{}: no tensor `{name}`; `inspect` lists those there are", path.display())]
    NoTensor {
        /// The weights, or their index.
        path: PathBuf,
        /// The name asked for.
        name: String,
    },
    /// A tensor whose values could not be read.
    #[error("{}: tensor `{name}`: {reason}; the file may be damaged, fetch it again", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A part of a model for which no device has room.
    #[error(transparent)]
    Memory(Box<Shortage>),
    /// Tensors of a checkpoint that are not those of the model.
    #[error(transparent)]
    Misfit(Box<Misfit>),
}

impl Error {
    /// A bad configuration value.
    pub fn config(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Config { field: field.into(), reason: reason.into() }
    }

    /// A bad setting of generation.
    pub(crate) fn generation(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Generation { field, reason: reason.into() }
    }

    /// A file that is not what it should be.
    pub fn file(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::File { path: path.into(), reason: reason.into() }
    }

    /// A file or folder that the operating system would not give.
    pub(crate) fn read(path: &Path, error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::NotFound => "no such file or folder; check the path".into(),
            io::ErrorKind::PermissionDenied => "permission denied; make it readable".into(),
            _ => format!("cannot be read ({error})"),
        };
        Self::file(path, reason)
    }
}

/// Result of peft-models.
pub type Result<T, E = Error> = std::result::Result<T, E>;
