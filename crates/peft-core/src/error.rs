//! What can go wrong in the hands of a user, each with its fix.

use std::path::PathBuf;

/// An error of peft-core.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A target list, pattern or exclusion names no module of the backbone.
    #[error("{field}: `{target}` matches no module of the model; {hint}")]
    NoMatch {
        /// Configuration field.
        field: &'static str,
        /// What was asked for.
        target: String,
        /// The nearest names.
        hint: String,
    },
    /// A regular expression that does not compile.
    #[error("{field}: `{pattern}` is no regular expression: {reason}")]
    Regex {
        /// Configuration field.
        field: &'static str,
        /// The expression.
        pattern: String,
        /// Why not, in one line.
        reason: String,
    },
    /// A configuration value that makes no sense.
    #[error("{field}: {reason}")]
    Config {
        /// Configuration field.
        field: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Tensors of an adapter file that do not fit the module they are for.
    #[error("the adapter does not fit this model: {0}")]
    Misfit(String),
    /// An adapter name that is taken, unknown or shared.
    #[error("adapter `{name}`: {reason}")]
    Adapter {
        /// Its name.
        name: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A method that does not fold into the weights.
    #[error("{method} cannot be merged: {reason}")]
    CannotMerge {
        /// Its `peft_type`.
        method: &'static str,
        /// Why.
        reason: String,
    },
    /// A merge that would write NaN or infinity into the weights.
    #[error(
        "merging would put {count} NaN or infinite values into `{site}`: the adapter has diverged; use an earlier checkpoint"
    )]
    NotFinite {
        /// The parameter.
        site: String,
        /// How many values.
        count: usize,
    },
}

impl Error {
    /// An I/O failure on `path`, with the remedy where there is one.
    pub fn io(path: impl Into<PathBuf>, error: std::io::Error) -> Self {
        use std::io::ErrorKind::*;
        let remedy = match error.kind() {
            NotFound => "no such file; check the path".to_string(),
            PermissionDenied => "permission denied; choose a folder you may write to".to_string(),
            StorageFull | QuotaExceeded => "the disk is full; free some space and run again with --resume".to_string(),
            _ => error.to_string(),
        };
        Self::File { path: path.into(), reason: remedy }
    }

    /// A malformed file.
    pub fn file(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::File { path: path.into(), reason: reason.into() }
    }

    /// A bad configuration value.
    pub fn config(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Config { field: field.into(), reason: reason.into() }
    }
}

/// Result of peft-core.
pub type Result<T, E = Error> = std::result::Result<T, E>;
