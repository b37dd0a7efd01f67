//! The hub's promises, against a server on loopback.

use std::collections::HashMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use super::env::{ENDPOINT, HubEnv};
use super::server::Server;
use super::*;

const ID: &str = "org/tiny";
const ALL: [Need; 2] = [Need::Tokenizer, Need::Weights];

/// A hub with one model, and a cache of its own.
struct Hub {
    server: Server,
    cache: tempfile::TempDir,
}

impl Hub {
    fn new(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(name, content)| (*name, content.as_bytes().to_vec()));
        Self { server: Server::new(files), cache: tempfile::tempdir().unwrap() }
    }

    fn env(&self) -> HubEnv {
        let cache = Some(self.cache.path().to_owned());
        HubEnv { endpoint: self.server.endpoint(), cache, token: None, offline: None }
    }

    fn resolve(&self) -> Result<PathBuf, HubError> {
        resolve_in(&self.env(), ID, None, &ALL)
    }
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
    assert!(!hub.server.requests().is_empty());
    assert_eq!(hub.resolve().unwrap(), folder);
    assert!(hub.server.requests().is_empty(), "the second call asked the hub");
    let env = HubEnv { offline: Some("HF_HUB_OFFLINE"), ..hub.env() };
    assert_eq!(resolve_in(&env, ID, None, &ALL).unwrap(), folder);
    assert_eq!(resolve_in(&env, ID, Some("c0ffee"), &ALL).unwrap(), folder);
    assert!(hub.server.requests().is_empty());
}

#[test]
fn offline_without_the_model_says_which_variable_to_unset() {
    let hub = Hub::new(&MODEL);
    let env = HubEnv { offline: Some("TRANSFORMERS_OFFLINE"), ..hub.env() };
    let message = resolve_in(&env, ID, None, &ALL).unwrap_err().to_string();
    assert!(message.contains("`org/tiny` is not in the cache"), "{message}");
    assert!(message.contains("unset TRANSFORMERS_OFFLINE, or give a local folder"), "{message}");
    assert!(hub.server.requests().is_empty());
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
    hub.server.set(|state| state.commit = "beef".to_owned());
    let second = hub.resolve().unwrap();
    assert_ne!(first, second);
    assert_eq!(missing(&second, &ALL), None);
}

#[test]
fn a_body_cut_short_is_an_error_and_is_gone_on_with() {
    let hub = Hub::new(&MODEL);
    hub.server.set(|state| state.cut = Some("model.safetensors".to_owned()));
    let message = hub.resolve().unwrap_err().to_string();
    assert!(message.contains("model.safetensors of `org/tiny` did not arrive whole"), "{message}");
    let env = HubEnv { offline: Some("HF_HUB_OFFLINE"), ..hub.env() };
    let message = resolve_in(&env, ID, None, &ALL).unwrap_err().to_string();
    assert!(message.contains("is not in the cache"), "{message}");
    hub.server.requests();
    let folder = hub.resolve().unwrap();
    assert_eq!(fs::read_to_string(folder.join("model.safetensors")).unwrap(), "weights!");
    let resumed = hub.server.requests().iter().any(|r| r.to_lowercase().contains("range: bytes=4-"));
    assert!(resumed, "the second half alone is asked for");
}

#[test]
fn a_body_cut_short_without_a_length_is_an_error_too() {
    let hub = Hub::new(&MODEL);
    hub.server.set(|state| {
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
    hub.server.set(|state| state.cut = Some("model.safetensors".to_owned()));
    hub.resolve().unwrap_err();
    hub.server.set(|state| state.whole = true);
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
    hub.server.requests();
    hub.resolve().unwrap();
    assert!(hub.server.requests().is_empty());
    // A shard that is gone is fetched again, and one the hub lacks is named.
    fs::remove_file(folder.join("m-1.safetensors")).unwrap();
    hub.resolve().unwrap();
    fs::remove_file(folder.join("m-1.safetensors")).unwrap();
    hub.server.set(|state| drop(state.files.remove("m-1.safetensors")));
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
    hub.server.requests();
    hub.resolve().unwrap();
    assert!(hub.server.requests().is_empty());
}

#[test]
fn the_hub_says_no() {
    let hub = Hub::new(&MODEL[..2]);
    let message = hub.resolve().unwrap_err().to_string();
    assert!(message.contains("model.safetensors.index.json or pytorch_model.bin"), "{message}");
    let message = resolve_in(&hub.env(), "org/other", Some("v2"), &ALL).unwrap_err().to_string();
    assert!(message.contains("no config.json for `org/other` at revision `v2`"), "{message}");
    for (status, text) in [(401, "HF_TOKEN"), (403, "HF_TOKEN"), (500, "HTTP 500")] {
        hub.server.set(|state| state.refuse = Some(status));
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
    let requests = hub.server.requests();
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
    let env = HubEnv { endpoint: format!("https://{}", hub.server.address), ..hub.env() };
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
    assert!(hub.server.requests().is_empty());
}

#[test]
fn the_environment_is_read_as_python_reads_it() {
    let read = |vars: &[(&str, &str)]| {
        let vars: HashMap<String, String> = vars.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        HubEnv::from_vars(|name| vars.get(name).cloned(), Some("/user".into()))
    };
    let env = read(&[]);
    assert_eq!(env.endpoint, ENDPOINT);
    assert_eq!(env.cache.unwrap(), Path::new("/user/.cache/huggingface/hub"));
    assert_eq!((env.token, env.offline), (None, None));
    let env = read(&[("HF_HOME", "/hf"), ("HF_TOKEN", " hf_x\n"), ("HF_HUB_OFFLINE", "Yes")]);
    assert_eq!(env.cache.unwrap(), Path::new("/hf/hub"));
    assert_eq!((env.token.as_deref(), env.offline), (Some("hf_x"), Some("HF_HUB_OFFLINE")));
    let env = read(&[("HF_HUB_CACHE", "/c"), ("TRANSFORMERS_OFFLINE", "1"), ("HF_HUB_OFFLINE", "0")]);
    assert_eq!(env.cache.unwrap(), Path::new("/c"));
    assert_eq!(env.offline, Some("TRANSFORMERS_OFFLINE"));
}
