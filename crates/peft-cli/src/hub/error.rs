//! What goes wrong on the way to a model's files, each with what to do about it.

use std::path::PathBuf;

/// What goes wrong on the way to a model's files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum HubError {
    /// A path that names a file.
    #[error("`{0}` is a file; give the folder that holds config.json and the weights")]
    File(String),
    /// Neither a folder nor an id.
    #[error(
        "`{0}` is neither a folder nor the id of a model on the hub; check the path, or give an id such as \
         `google-bert/bert-base-uncased`"
    )]
    NoSuchModel(String),
    /// A revision that cannot be one.
    #[error("`{0}` is no revision; give a branch, a tag or a commit of the model")]
    Revision(String),
    /// Offline, and the cache does not hold all files.
    #[error(
        "`{id}` is not in the cache ({} lacks its {missing}) and {variable} turns offline mode on; unset \
         {variable}, or give a local folder",
        cache.display()
    )]
    Offline { id: String, cache: PathBuf, missing: &'static str, variable: &'static str },
    /// No folder for the cache.
    #[error("no home folder to keep `{0}` in; set HF_HOME to a folder")]
    NoCache(String),
    /// The hub knows no such model, revision or file.
    #[error(
        "{endpoint} has no {file} for `{id}` at revision `{revision}`; check the id's spelling and the revision \
         (there is no local folder of that name either)"
    )]
    NotFound { endpoint: String, id: String, revision: String, file: String },
    /// The hub refuses access.
    #[error(
        "{endpoint} refuses access to `{id}` (HTTP {status}); check the id's spelling, and if the model is private \
         or gated accept its terms there and set HF_TOKEN to a token that may read it"
    )]
    Refused { endpoint: String, id: String, status: u16 },
    /// The hub answers with another error.
    #[error("{endpoint} answers HTTP {status} for {file} of `{id}`; try again later, or check HF_ENDPOINT")]
    Status { endpoint: String, id: String, file: String, status: u16 },
    /// The hub cannot be reached.
    #[error(
        "cannot reach {endpoint} for `{id}` ({reason}); check the network and HF_ENDPOINT, or fetch the model \
         elsewhere and give its folder"
    )]
    Unreachable { endpoint: String, id: String, reason: String },
    /// The answer lacks what the hub sends.
    #[error("{endpoint} does not answer as a hub does for {file} of `{id}` ({reason}); check HF_ENDPOINT")]
    Answer { endpoint: String, id: String, file: String, reason: String },
    /// A download that stopped.
    #[error(
        "{file} of `{id}` did not arrive whole from {endpoint} ({reason}); run again to go on where it stopped, and \
         check the space left in {}",
        cache.display()
    )]
    CutShort { endpoint: String, id: String, file: String, reason: String, cache: PathBuf },
    /// Another process is at it.
    #[error("another process is downloading {file} of `{id}`; wait for it, then run again")]
    Busy { id: String, file: String },
    /// A list of shards that cannot be used.
    #[error("`{}` is no usable list of shards ({reason}); remove it and run again", path.display())]
    Index { path: PathBuf, reason: String },
}
