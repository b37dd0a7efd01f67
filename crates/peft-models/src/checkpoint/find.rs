//! Which files of a folder hold the weights, and in which format.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::json::read_json;
use crate::error::{Error, Result};

/// How the tensors of a file are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Safetensors,
    PyTorch,
}

/// In order of preference: a file on its own, then the index of one in shards.
const NAMES: [(&str, Format); 2] = [("model.safetensors", Format::Safetensors), ("pytorch_model.bin", Format::PyTorch)];

/// The weights of a folder.
pub(super) struct Found {
    /// The only file, or the index.
    pub(super) path: PathBuf,
    pub(super) format: Format,
    pub(super) files: Vec<PathBuf>,
    /// The shard of each tensor, if there is an index.
    shard_of: BTreeMap<String, String>,
}

/// `*.index.json`; its metadata (a total size) is of no use here.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Finds the weights in `folder`.
pub(super) fn weights(folder: &Path) -> Result<Found> {
    for (name, format) in NAMES {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(Found { files: vec![path.clone()], path, format, shard_of: BTreeMap::new() });
        }
        let index = folder.join(index_of(name));
        if index.is_file() {
            return in_shards(folder, index, format);
        }
    }
    let looked_for = NAMES.iter().flat_map(|(name, _)| [name.to_string(), index_of(name)]).collect::<Vec<_>>();
    Err(Error::NoCheckpoint { folder: folder.into(), looked_for: looked_for.join(", "), holds: contents(folder)? })
}

fn index_of(name: &str) -> String {
    format!("{name}.index.json")
}

fn in_shards(folder: &Path, index: PathBuf, format: Format) -> Result<Found> {
    let Index { weight_map } = read_json(&index)?;
    let mut files = Vec::new();
    for shard in weight_map.values().collect::<BTreeSet<_>>() {
        // A downloaded index decides which files are opened: it shall not reach out of its folder.
        if Path::new(shard).file_name().is_none_or(|name| name != shard.as_str()) {
            return Err(Error::file(&index, format!("`{shard}` is no file name; a shard lies beside its index")));
        }
        let path = folder.join(shard);
        if !path.is_file() {
            return Err(Error::MissingShard { index, shard: shard.clone() });
        }
        files.push(path);
    }
    if files.is_empty() {
        return Err(Error::file(&index, "weight_map is empty: there are no weights; fetch the file again"));
    }
    Ok(Found { path: index, format, files, shard_of: weight_map })
}

impl Found {
    /// Whether the tensor `name` of the file `path` is one of the checkpoint's. An index has the last word: tied
    /// tensors may be stored twice.
    pub(super) fn belongs(&self, name: &str, path: &Path) -> bool {
        self.shard_of.get(name).is_none_or(|shard| path.file_name().is_some_and(|file| file == shard.as_str()))
    }

    /// Checks that every tensor of the index was where it says, so that shards of two checkpoints are not mixed.
    pub(super) fn check(&self, found: impl Fn(&str) -> bool) -> Result<()> {
        match self.shard_of.iter().find(|(name, _)| !found(name)) {
            None => Ok(()),
            Some((name, shard)) => {
                let reason = format!("`{name}` is not in {shard}, where it should be; fetch index and shards again");
                Err(Error::file(&self.path, reason))
            }
        }
    }
}

/// What a folder without weights holds, for the message.
fn contents(folder: &Path) -> Result<String> {
    const SHOWN: usize = 6;
    let entries = fs::read_dir(folder).map_err(|error| Error::read(folder, &error))?;
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(match names.len() {
        0 => "it is empty".into(),
        n if n > SHOWN => format!("it holds {} and {} more", names[..SHOWN].join(", "), n - SHOWN),
        _ => format!("it holds {}", names.join(", ")),
    })
}
