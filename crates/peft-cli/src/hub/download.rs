//! Fetching what the cache lacks, all of one commit.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};
use indicatif::ProgressBar;

use super::env::HubEnv;
use super::error::HubError;
use super::{CONFIG, INDEX, Need, PICKLE, TOKENIZER, TOKENIZER_CONFIG, VOCABULARY, WEIGHTS, is_plain_path, shards};

/// A download of one commit.
pub(super) struct Download<'a> {
    env: &'a HubEnv,
    api: Api,
    cache: PathBuf,
    id: &'a str,
    revision: &'a str,
    commit: String,
}

impl<'a> Download<'a> {
    /// Asks which commit the revision is, with the one file every model has.
    pub(super) fn start(env: &'a HubEnv, cache: PathBuf, id: &'a str, revision: &'a str) -> Result<Self, HubError> {
        let api = ApiBuilder::from_cache(Cache::new(cache.clone()))
            .with_endpoint(env.endpoint.clone())
            .with_token(env.token.clone())
            .build();
        let commit = String::new();
        let mut download = match api {
            Ok(api) => Self { env, api, cache, id, revision, commit },
            Err(error) => {
                let (endpoint, id, reason) = (env.endpoint.clone(), id.to_owned(), error.to_string());
                return Err(HubError::Unreachable { endpoint, id, reason });
            }
        };
        let url = download.api.repo(download.repo(revision)).url(CONFIG);
        let metadata = download.api.metadata(&url).map_err(|error| download.explain(CONFIG, &error))?;
        if !is_plain_path(metadata.commit_hash()) {
            return Err(download.answer(CONFIG, "x-repo-commit is no commit"));
        }
        download.commit = metadata.commit_hash().to_owned();
        Ok(download)
    }

    /// Fetches what is needed, then lets the revision point at it.
    pub(super) fn all(&self, needs: &[Need]) -> Result<PathBuf, HubError> {
        self.require(&[CONFIG])?;
        for need in needs {
            match need {
                Need::Tokenizer => {
                    if self.require(&[TOKENIZER, VOCABULARY])? == VOCABULARY {
                        // Without it the model lower-cases, as BERT does.
                        self.fetch(TOKENIZER_CONFIG)?;
                    }
                }
                Need::Weights => {
                    if self.require(&[WEIGHTS, INDEX, PICKLE])? == INDEX {
                        for shard in shards(&self.snapshot().join(INDEX))? {
                            self.require(&[&shard])?;
                        }
                    }
                }
            }
        }
        Cache::new(self.cache.clone())
            .repo(self.repo(self.revision))
            .create_ref(&self.commit)
            .map_err(|error| self.cut_short(CONFIG, error.to_string()))?;
        Ok(self.snapshot())
    }

    /// Fetches the first of some files that there is.
    fn require<'n>(&self, names: &[&'n str]) -> Result<&'n str, HubError> {
        for &name in names {
            if self.fetch(name)? {
                return Ok(name);
            }
        }
        Err(self.not_found(&names.join(" or ")))
    }

    /// Fetches a file; `false` if the hub has no such file.
    fn fetch(&self, name: &str) -> Result<bool, HubError> {
        let pointer = self.snapshot().join(name);
        if pointer.exists() {
            return Ok(true);
        }
        // A link whose file is gone would be in the way of the new one.
        let _ = fs::remove_file(&pointer);
        let seen = Rc::new(Seen::default());
        let attempt = || {
            let meter = Meter { seen: Rc::clone(&seen), bar: ProgressBar::new(0) };
            self.api.repo(self.repo(&self.commit)).download_with_progress(name, meter)
        };
        let mut outcome = attempt();
        // What is left of an earlier download cannot be gone on with: it is too long, or already whole.
        if matches!(&outcome, Err(ApiError::InvalidResume))
            || outcome.as_ref().is_err_and(|error| status(error) == Some(416))
        {
            self.discard(name);
            outcome = attempt();
        }
        let path = match outcome {
            Ok(path) => path,
            Err(error) if status(&error) == Some(404) => return Ok(false),
            Err(error) => return Err(self.explain(name, &error)),
        };
        let arrived = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let announced = seen.announced.get() as u64;
        // More than announced is right where the hub announced the compressed size, but not after going on with
        // part of a file: then the hub sent all of it again.
        if arrived < announced || (arrived > announced && seen.resumed.get() > Some(0)) {
            if let Ok(blob) = fs::canonicalize(&path) {
                let _ = fs::remove_file(blob);
            }
            let _ = fs::remove_file(&path);
            return Err(self.cut_short(name, format!("{arrived} bytes of {announced}")));
        }
        if path != pointer {
            return Err(self.answer(name, "it is of another commit than config.json"));
        }
        Ok(true)
    }

    /// Removes what an earlier download left of a file.
    fn discard(&self, name: &str) {
        let repo = self.repo(&self.commit);
        if let Ok(metadata) = self.api.metadata(&self.api.repo(repo.clone()).url(name)) {
            let blob = Cache::new(self.cache.clone()).repo(repo).blob_path(metadata.etag());
            let _ = fs::remove_file(blob.with_extension("part"));
        }
    }

    fn repo(&self, revision: &str) -> Repo {
        Repo::with_revision(self.id.to_owned(), RepoType::Model, revision.to_owned())
    }

    fn snapshot(&self) -> PathBuf {
        Cache::new(self.cache.clone()).repo(self.repo(&self.commit)).pointer_path(&self.commit)
    }

    fn explain(&self, file: &str, error: &ApiError) -> HubError {
        let (endpoint, id) = (self.env.endpoint.clone(), self.id.to_owned());
        match (status(error), error) {
            (Some(404), _) => self.not_found(file),
            (Some(status @ (401 | 403)), _) => HubError::Refused { endpoint, id, status },
            (Some(status), _) => HubError::Status { endpoint, id, file: file.to_owned(), status },
            (None, ApiError::RequestError(reason)) => {
                HubError::Unreachable { endpoint, id, reason: reason.to_string() }
            }
            (None, ApiError::LockAcquisition(_)) => HubError::Busy { id, file: file.to_owned() },
            (None, ApiError::IoError(reason)) => self.cut_short(file, reason.to_string()),
            (None, other) => self.answer(file, &other.to_string()),
        }
    }

    fn not_found(&self, file: &str) -> HubError {
        HubError::NotFound {
            endpoint: self.env.endpoint.clone(),
            id: self.id.to_owned(),
            revision: self.revision.to_owned(),
            file: file.to_owned(),
        }
    }

    fn cut_short(&self, file: &str, reason: String) -> HubError {
        let (endpoint, id) = (self.env.endpoint.clone(), self.id.to_owned());
        HubError::CutShort { endpoint, id, file: file.to_owned(), reason, cache: self.cache.clone() }
    }

    fn answer(&self, file: &str, reason: &str) -> HubError {
        let (endpoint, id) = (self.env.endpoint.clone(), self.id.to_owned());
        HubError::Answer { endpoint, id, file: file.to_owned(), reason: reason.to_owned() }
    }
}

/// The HTTP status in an error. Its type is that of the HTTP library beneath, which is not ours to name; its text is
/// `http status: 404`.
fn status(error: &ApiError) -> Option<u16> {
    let ApiError::RequestError(inner) = error else { return None };
    inner.to_string().strip_prefix("http status: ")?.parse().ok()
}

/// What a download told of itself on the way.
#[derive(Default)]
struct Seen {
    /// The size the hub announced.
    announced: Cell<usize>,
    /// The bytes that were there already, which is the first progress a download reports.
    resumed: Cell<Option<usize>>,
}

/// Shows the progress, and keeps what is needed to check the outcome.
struct Meter {
    seen: Rc<Seen>,
    bar: ProgressBar,
}

impl Progress for Meter {
    fn init(&mut self, size: usize, filename: &str) {
        self.seen.announced.set(size);
        self.seen.resumed.set(None);
        Progress::init(&mut self.bar, size, filename);
    }

    fn update(&mut self, size: usize) {
        let resumed = self.seen.resumed.get().unwrap_or(size);
        self.seen.resumed.set(Some(resumed));
        Progress::update(&mut self.bar, size);
    }

    fn finish(&mut self) {
        Progress::finish(&mut self.bar);
    }
}
