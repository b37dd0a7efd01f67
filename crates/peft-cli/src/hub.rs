//! Where a model's files are: a local folder, or an id on the Hugging Face hub, whose files are fetched once into
//! the cache that Python's `huggingface_hub` shares.
//!
//! Three promises shape this module. A model that is in the cache is used without a single request. All files come
//! from one commit, and the branch points at it only when the last is there, so a download that was cut short is
//! never taken for a model. And each thing a user can get wrong has a message that says what to do.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};
use indicatif::ProgressBar;

const ENDPOINT: &str = "https://huggingface.co";
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

/// What the environment says about the hub, read in one place.
#[derive(Debug, Clone)]
struct HubEnv {
    endpoint: String,
    cache: Option<PathBuf>,
    token: Option<String>,
    /// The variable that turns offline mode on.
    offline: Option<&'static str>,
}

impl HubEnv {
    /// The rules of Python's `huggingface_hub`, so that both use one cache and one login.
    fn from_vars(var: impl Fn(&str) -> Option<String>, home: Option<PathBuf>) -> Self {
        let set = |name: &str| var(name).filter(|value| !value.trim().is_empty());
        let folder = |name: &str| set(name).map(PathBuf::from);
        let hf_home = folder("HF_HOME")
            .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| home.map(|home| home.join(".cache/huggingface")));
        let token_file = folder("HF_TOKEN_PATH").or_else(|| hf_home.as_ref().map(|home| home.join("token")));
        let token = set("HF_TOKEN").or_else(|| fs::read_to_string(token_file?).ok());
        let on = |value: String| matches!(value.trim().to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on");
        Self {
            endpoint: set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()).trim_end_matches('/').to_owned(),
            cache: folder("HF_HUB_CACHE").or_else(|| hf_home.map(|home| home.join("hub"))),
            token: token.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()),
            offline: ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].into_iter().find(|name| var(name).is_some_and(on)),
        }
    }
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

/// A download of one commit.
struct Download<'a> {
    env: &'a HubEnv,
    api: Api,
    cache: PathBuf,
    id: &'a str,
    revision: &'a str,
    commit: String,
}

impl<'a> Download<'a> {
    /// Asks which commit the revision is, with the one file every model has.
    fn start(env: &'a HubEnv, cache: PathBuf, id: &'a str, revision: &'a str) -> Result<Self, HubError> {
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
    fn all(&self, needs: &[Need]) -> Result<PathBuf, HubError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};
    use std::thread::JoinHandle;

    const ID: &str = "org/tiny";
    const ALL: [Need; 2] = [Need::Tokenizer, Need::Weights];

    /// A hub with one model, on loopback.
    struct Hub {
        address: SocketAddr,
        state: Arc<Mutex<State>>,
        thread: Option<JoinHandle<()>>,
        cache: tempfile::TempDir,
    }

    struct State {
        files: HashMap<String, Vec<u8>>,
        commit: String,
        requests: Vec<String>,
        /// Answer everything with this.
        refuse: Option<u16>,
        /// Close the connection halfway through this file, once.
        cut: Option<String>,
        /// Announce the length of what is sent.
        announce: bool,
        /// Send whole files whatever part is asked for.
        whole: bool,
        stop: bool,
    }

    impl Hub {
        fn new(files: &[(&str, &str)]) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let files = files.iter().map(|(n, b)| (n.to_string(), b.as_bytes().to_vec())).collect();
            let state = Arc::new(Mutex::new(State {
                files,
                commit: "c0ffee".to_owned(),
                requests: Vec::new(),
                refuse: None,
                cut: None,
                announce: true,
                whole: false,
                stop: false,
            }));
            let shared = Arc::clone(&state);
            let thread = std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut state = shared.lock().unwrap();
                    if state.stop {
                        return;
                    }
                    let _ = answer(stream.unwrap(), &mut state);
                }
            });
            let cache = tempfile::tempdir().unwrap();
            Self { address, state, thread: Some(thread), cache }
        }

        fn env(&self) -> HubEnv {
            HubEnv {
                endpoint: format!("http://{}", self.address),
                cache: Some(self.cache.path().to_owned()),
                token: None,
                offline: None,
            }
        }

        fn resolve(&self) -> Result<PathBuf, HubError> {
            resolve_in(&self.env(), ID, None, &ALL)
        }

        fn set(&self, change: impl FnOnce(&mut State)) {
            change(&mut self.state.lock().unwrap());
        }

        fn requests(&self) -> Vec<String> {
            std::mem::take(&mut self.state.lock().unwrap().requests)
        }
    }

    impl Drop for Hub {
        fn drop(&mut self) {
            self.set(|state| state.stop = true);
            let _ = TcpStream::connect(self.address);
            let _ = self.thread.take().unwrap().join();
        }
    }

    fn answer(mut stream: TcpStream, state: &mut State) -> std::io::Result<()> {
        let head: Vec<String> = BufReader::new(stream.try_clone()?)
            .lines()
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .collect();
        state.requests.push(head.join("\n"));
        let header = |name: &str| {
            let mut pairs = head.iter().filter_map(|line| line.split_once(": "));
            pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
        };
        let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
        let name = path.strip_prefix("/org/tiny/resolve/").and_then(|rest| rest.split_once('/'));
        let file = name.and_then(|(_, name)| Some((name, state.files.get(name)?)));
        let (status, body) = match (state.refuse, &file) {
            (Some(status), _) => (status, None),
            (None, None) => (404, None),
            (None, Some((_, content))) => (206, Some(content)),
        };
        let Some(content) = body else {
            return write!(stream, "HTTP/1.1 {status} No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        };
        let range = header("range").unwrap_or_default();
        let (from, to) = range.trim_start_matches("bytes=").split_once('-').unwrap();
        let (from, size) = (from.parse::<usize>().unwrap(), content.len());
        if from >= size {
            return write!(stream, "HTTP/1.1 416 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        }
        let from = if state.whole && to.is_empty() { 0 } else { from };
        let part = &content[from..to.parse::<usize>().map_or(size, |to| to + 1)];
        let name = file.map_or("", |(name, _)| name);
        let cut = to.is_empty() && state.cut.as_deref() == Some(name);
        let length = if state.announce { part.len().to_string() } else { String::new() };
        write!(
            stream,
            "HTTP/1.1 206 Part\r\nx-repo-commit: {}\r\netag: \"tag-{name}\"\r\nconnection: close\r\n\
             content-range: bytes {from}-{}/{size}\r\n",
            state.commit,
            from + part.len() - 1
        )?;
        if state.announce {
            write!(stream, "content-length: {length}\r\n")?;
        }
        write!(stream, "\r\n")?;
        let sent = if cut { &part[..part.len() / 2] } else { part };
        if cut {
            state.cut = None;
        }
        stream.write_all(sent)
    }

    const MODEL: [(&str, &str); 3] =
        [("config.json", "{}"), ("tokenizer.json", "{\"model\": 1}"), ("model.safetensors", "weights!")];

    #[test]
    fn a_model_is_fetched_once_and_then_works_without_the_hub() {
        let hub = Hub::new(&MODEL);
        let folder = hub.resolve().unwrap();
        for (name, content) in MODEL {
            assert_eq!(fs::read_to_string(folder.join(name)).unwrap(), content);
        }
        assert!(!hub.requests().is_empty());
        assert_eq!(hub.resolve().unwrap(), folder);
        assert!(hub.requests().is_empty(), "the second call asked the hub");
        let env = HubEnv { offline: Some("HF_HUB_OFFLINE"), ..hub.env() };
        assert_eq!(resolve_in(&env, ID, None, &ALL).unwrap(), folder);
        assert_eq!(resolve_in(&env, ID, Some("c0ffee"), &ALL).unwrap(), folder);
        assert!(hub.requests().is_empty());
    }

    #[test]
    fn offline_without_the_model_says_which_variable_to_unset() {
        let hub = Hub::new(&MODEL);
        let env = HubEnv { offline: Some("TRANSFORMERS_OFFLINE"), ..hub.env() };
        let message = resolve_in(&env, ID, None, &ALL).unwrap_err().to_string();
        assert!(message.contains("`org/tiny` is not in the cache"), "{message}");
        assert!(message.contains("unset TRANSFORMERS_OFFLINE, or give a local folder"), "{message}");
        assert!(hub.requests().is_empty());
    }

    #[test]
    fn a_later_need_is_fetched_from_the_same_commit() {
        let hub = Hub::new(&MODEL);
        let first = resolve_in(&hub.env(), ID, None, &[Need::Tokenizer]).unwrap();
        assert!(!first.join("model.safetensors").exists());
        assert_eq!(hub.resolve().unwrap(), first);
        assert!(first.join("model.safetensors").exists());
        // The branch moves on: whatever is fetched next comes with its own config.
        let _ = fs::remove_file(first.join("model.safetensors"));
        hub.set(|state| state.commit = "beef".to_owned());
        let second = hub.resolve().unwrap();
        assert_ne!(first, second);
        assert_eq!(missing(&second, &ALL), None);
    }

    #[test]
    fn a_body_cut_short_is_an_error_and_is_gone_on_with() {
        let hub = Hub::new(&MODEL);
        hub.set(|state| state.cut = Some("model.safetensors".to_owned()));
        let message = hub.resolve().unwrap_err().to_string();
        assert!(message.contains("model.safetensors of `org/tiny` did not arrive whole"), "{message}");
        let env = HubEnv { offline: Some("HF_HUB_OFFLINE"), ..hub.env() };
        let message = resolve_in(&env, ID, None, &ALL).unwrap_err().to_string();
        assert!(message.contains("is not in the cache"), "{message}");
        hub.requests();
        let folder = hub.resolve().unwrap();
        assert_eq!(fs::read_to_string(folder.join("model.safetensors")).unwrap(), "weights!");
        let resumed = hub.requests().iter().any(|r| r.to_lowercase().contains("range: bytes=4-"));
        assert!(resumed, "the second half alone is asked for");
    }

    #[test]
    fn a_body_cut_short_without_a_length_is_an_error_too() {
        let hub = Hub::new(&MODEL);
        hub.set(|state| {
            state.announce = false;
            state.cut = Some("model.safetensors".to_owned());
        });
        let message = hub.resolve().unwrap_err().to_string();
        assert!(message.contains("(4 bytes of 8)"), "{message}");
        let folder = hub.resolve().unwrap();
        assert_eq!(fs::read_to_string(folder.join("model.safetensors")).unwrap(), "weights!");
    }

    #[test]
    fn what_an_earlier_download_left_does_not_block() {
        for left in ["weights!", "far more than the file"] {
            let hub = Hub::new(&MODEL);
            let blobs = hub.cache.path().join("models--org--tiny/blobs");
            fs::create_dir_all(&blobs).unwrap();
            fs::write(blobs.join("tag-model.part"), left).unwrap();
            let folder = hub.resolve().unwrap();
            assert_eq!(fs::read_to_string(folder.join("model.safetensors")).unwrap(), "weights!");
        }
    }

    #[test]
    fn a_hub_that_cannot_go_on_where_it_stopped_starts_again() {
        let hub = Hub::new(&MODEL);
        hub.set(|state| state.cut = Some("model.safetensors".to_owned()));
        hub.resolve().unwrap_err();
        hub.set(|state| state.whole = true);
        let message = hub.resolve().unwrap_err().to_string();
        assert!(message.contains("(12 bytes of 8)"), "{message}");
        let folder = hub.resolve().unwrap();
        assert_eq!(fs::read_to_string(folder.join("model.safetensors")).unwrap(), "weights!");
    }

    #[test]
    fn shards_come_with_their_index() {
        let index = r#"{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors", "c": "m-1.safetensors"}}"#;
        let mut files = vec![MODEL[0], MODEL[1], (INDEX, index)];
        files.extend([("m-1.safetensors", "one"), ("m-2.safetensors", "two")]);
        let hub = Hub::new(&files);
        let folder = hub.resolve().unwrap();
        assert_eq!(fs::read_to_string(folder.join("m-2.safetensors")).unwrap(), "two");
        hub.requests();
        hub.resolve().unwrap();
        assert!(hub.requests().is_empty());
        // A shard that is gone is fetched again, and one the hub lacks is named.
        fs::remove_file(folder.join("m-1.safetensors")).unwrap();
        hub.resolve().unwrap();
        fs::remove_file(folder.join("m-1.safetensors")).unwrap();
        hub.set(|state| drop(state.files.remove("m-1.safetensors")));
        let message = hub.resolve().unwrap_err().to_string();
        assert!(message.contains("no m-1.safetensors for `org/tiny`"), "{message}");
    }

    #[test]
    fn an_index_cannot_name_a_file_elsewhere() {
        let index = r#"{"weight_map": {"a": "../../../evil"}}"#;
        let hub = Hub::new(&[MODEL[0], MODEL[1], (INDEX, index)]);
        let message = hub.resolve().unwrap_err().to_string();
        assert!(message.contains("is no file name"), "{message}");
    }

    #[test]
    fn older_models_bring_a_vocabulary_and_a_pickle() {
        let hub = Hub::new(&[
            ("config.json", "{}"),
            ("vocab.txt", "[PAD]"),
            ("tokenizer_config.json", "{\"do_lower_case\": false}"),
            ("pytorch_model.bin", "pickled"),
        ]);
        let folder = hub.resolve().unwrap();
        for name in [VOCABULARY, TOKENIZER_CONFIG, PICKLE] {
            assert!(folder.join(name).exists(), "{name}");
        }
        hub.requests();
        hub.resolve().unwrap();
        assert!(hub.requests().is_empty());
    }

    #[test]
    fn the_hub_says_no() {
        let hub = Hub::new(&MODEL[..2]);
        let message = hub.resolve().unwrap_err().to_string();
        assert!(message.contains("model.safetensors.index.json or pytorch_model.bin"), "{message}");
        let message = resolve_in(&hub.env(), "org/other", Some("v2"), &ALL).unwrap_err().to_string();
        assert!(message.contains("no config.json for `org/other` at revision `v2`"), "{message}");
        for (status, text) in [(401, "HF_TOKEN"), (403, "HF_TOKEN"), (500, "HTTP 500")] {
            hub.set(|state| state.refuse = Some(status));
            let message = resolve_in(&hub.env(), ID, Some("v2"), &ALL).unwrap_err().to_string();
            assert!(message.contains(text) && message.contains("`org/tiny`"), "{message}");
            assert!(message.contains("http://127.0.0.1"), "{message}");
        }
    }

    #[test]
    fn the_revision_and_the_token_reach_the_hub() {
        let hub = Hub::new(&MODEL);
        let env = HubEnv { token: Some("hf_secret".to_owned()), ..hub.env() };
        resolve_in(&env, ID, Some("refs/pr/5"), &[]).unwrap();
        let requests = hub.requests();
        assert!(requests[0].contains("/org/tiny/resolve/refs%2Fpr%2F5/config.json"), "{requests:?}");
        assert!(requests[0].contains("Bearer hf_secret"), "{requests:?}");
    }

    #[test]
    fn a_hub_that_is_not_there() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let hub = Hub::new(&MODEL);
        let env = HubEnv { endpoint: format!("http://{free}"), ..hub.env() };
        let message = resolve_in(&env, ID, None, &ALL).unwrap_err().to_string();
        assert!(message.contains(&format!("cannot reach http://{free} for `org/tiny`")), "{message}");
    }

    #[test]
    fn a_hub_that_does_not_speak_tls() {
        let hub = Hub::new(&MODEL);
        let env = HubEnv { endpoint: format!("https://{}", hub.address), ..hub.env() };
        let message = resolve_in(&env, ID, None, &ALL).unwrap_err().to_string();
        assert!(message.contains("cannot reach https://127.0.0.1"), "{message}");
    }

    #[test]
    fn local_folders_and_names_that_are_nothing() {
        let hub = Hub::new(&[]);
        let folder = hub.cache.path().join("mine");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("config.json"), "{}").unwrap();
        let resolve = |model: &str| resolve_in(&hub.env(), model, None, &ALL);
        assert_eq!(resolve(folder.to_str().unwrap()).unwrap(), folder);
        let message = resolve(folder.join("config.json").to_str().unwrap()).unwrap_err().to_string();
        assert!(message.contains("is a file; give the folder"), "{message}");
        for name in ["", "./bert", "/no/such/folder", "a/b/c", "org/", "bert base", "a/../b", "bërt"] {
            let message = resolve(name).unwrap_err().to_string();
            assert!(message.contains("is neither a folder nor the id of a model"), "{message}");
        }
        for revision in ["", "../main", "/main", "a b"] {
            let message = resolve_in(&hub.env(), ID, Some(revision), &ALL).unwrap_err().to_string();
            assert!(message.contains("is no revision"), "{message}");
        }
        assert!(hub.requests().is_empty());
    }

    #[test]
    fn the_environment_is_read_as_python_reads_it() {
        let read = |vars: &[(&str, &str)]| {
            let vars: HashMap<String, String> = vars.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            HubEnv::from_vars(|name| vars.get(name).cloned(), Some("/home/me".into()))
        };
        let env = read(&[]);
        assert_eq!(env.endpoint, ENDPOINT);
        assert_eq!(env.cache.unwrap(), Path::new("/home/me/.cache/huggingface/hub"));
        assert_eq!((env.token, env.offline), (None, None));
        let env = read(&[("HF_HOME", "/hf"), ("HF_TOKEN", " hf_x\n"), ("HF_HUB_OFFLINE", "Yes")]);
        assert_eq!(env.cache.unwrap(), Path::new("/hf/hub"));
        assert_eq!((env.token.as_deref(), env.offline), (Some("hf_x"), Some("HF_HUB_OFFLINE")));
        let env = read(&[("HF_HUB_CACHE", "/c"), ("TRANSFORMERS_OFFLINE", "1"), ("HF_HUB_OFFLINE", "0")]);
        assert_eq!(env.cache.unwrap(), Path::new("/c"));
        assert_eq!(env.offline, Some("TRANSFORMERS_OFFLINE"));
    }
}
