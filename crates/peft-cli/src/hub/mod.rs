//! Where a model's files are: a local folder, or an id on the Hugging Face hub, whose files are fetched once into
//! the cache that Python's `huggingface_hub` shares.
//!
//! Three promises shape this module. A model that is in the cache is used without a single request. All files come
//! from one commit, and the branch points at it only when the last is there, so a download that was cut short is
//! never taken for a model. And each thing a user can get wrong has a message that says what to do.
mod download;
mod env;
mod error;
#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use hf_hub::Repo;

use download::Download;
use env::HubEnv;
pub(crate) use error::HubError;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.txt";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const PICKLE: &str = "pytorch_model.bin";

/// What is needed of a model beside its `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// `tokenizer.json`, or else `vocab.txt` with `tokenizer_config.json`.
    Tokenizer,
    /// `model.safetensors`, or else its shards and their index, or else `pytorch_model.bin`.
    Weights,
}

/// The folder with a model's files: `model` itself where it is a folder, else the cached snapshot of the hub's
/// model of that id, fetched where it is not complete. `revision` is a branch, tag or commit; `main` by default.
pub(crate) fn resolve(model: &str, revision: Option<&str>, needs: &[Need]) -> Result<PathBuf, HubError> {
    let env = HubEnv::from_vars(|name| std::env::var(name).ok(), std::env::home_dir());
    resolve_in(&env, model, revision, needs)
}
fn resolve_in(env: &HubEnv, model: &str, revision: Option<&str>, needs: &[Need]) -> Result<PathBuf, HubError> {
    let path = Path::new(model);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    if path.exists() {
        return Err(HubError::File(model.to_owned()));
    }
    if !is_id(model) {
        return Err(HubError::NoSuchModel(model.to_owned()));
    }
    let revision = revision.unwrap_or("main");
    if !is_plain_path(revision) {
        return Err(HubError::Revision(revision.to_owned()));
    }
    let cache = env.cache.clone().ok_or_else(|| HubError::NoCache(model.to_owned()))?;
    let repo = cache.join(Repo::model(model.to_owned()).folder_name());
    let missing = match cached(&repo, revision) {
        Some(snapshot) => match missing(&snapshot, needs) {
            None => return Ok(snapshot),
            Some(missing) => missing,
        },
        None => CONFIG,
    };
    if let Some(variable) = env.offline {
        return Err(HubError::Offline { id: model.to_owned(), cache, missing, variable });
    }
    Download::start(env, cache, model, revision)?.all(needs)
}

/// `name` or `organisation/name`.
fn is_id(model: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && !part.contains("..")
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    model.split('/').count() <= 2 && model.split('/').all(part)
}

/// Whether a name from elsewhere stays inside the folder it is joined to, and inside its part of a URL.
fn is_plain_path(name: &str) -> bool {
    !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/'))
        && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

/// The cached snapshot of a revision: of the commit its reference names, or of the commit it is itself.
fn cached(repo: &Path, revision: &str) -> Option<PathBuf> {
    let named = fs::read_to_string(repo.join("refs").join(revision)).ok();
    let commit = named.as_deref().map_or(revision, str::trim);
    let snapshot = repo.join("snapshots").join(commit);
    (!commit.is_empty() && snapshot.is_dir()).then_some(snapshot)
}

/// The first thing a snapshot lacks.
fn missing(snapshot: &Path, needs: &[Need]) -> Option<&'static str> {
    let has = |name: &str| snapshot.join(name).exists();
    if !has(CONFIG) {
        return Some(CONFIG);
    }
    let sharded = || match shards(&snapshot.join(INDEX)) {
        Ok(names) => names.iter().all(|name| has(name)),
        Err(_) => false,
    };
    needs.iter().find_map(|need| match need {
        Need::Tokenizer => (!has(TOKENIZER) && !has(VOCABULARY)).then_some("tokenizer"),
        Need::Weights => (!has(WEIGHTS) && !sharded() && !has(PICKLE)).then_some("weights"),
    })
}

/// The files that an index of shards names.
fn shards(index: &Path) -> Result<BTreeSet<String>, HubError> {
    let broken = |reason: String| HubError::Index { path: index.to_owned(), reason };
    let bytes = fs::read(index).map_err(|error| broken(error.to_string()))?;
    let json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
    let map = json.get("weight_map").and_then(|map| map.as_object());
    let map = map.ok_or_else(|| broken("it has no weight_map".to_owned()))?;
    map.values()
        .map(|file| match file.as_str() {
            Some(name) if is_plain_path(name) => Ok(name.to_owned()),
            _ => Err(broken(format!("{file} is no file name"))),
        })
        .collect()
}
