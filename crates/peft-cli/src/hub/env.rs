//! What the environment says about the hub.

use std::fs;
use std::path::PathBuf;

pub(super) const ENDPOINT: &str = "https://huggingface.co";

/// What the environment says about the hub, read in one place.
#[derive(Debug, Clone)]
pub(super) struct HubEnv {
    pub(super) endpoint: String,
    pub(super) cache: Option<PathBuf>,
    pub(super) token: Option<String>,
    /// The variable that turns offline mode on.
    pub(super) offline: Option<&'static str>,
}

impl HubEnv {
    /// The rules of Python's `huggingface_hub`, so that both use one cache and one login.
    pub(super) fn from_vars(var: impl Fn(&str) -> Option<String>, home: Option<PathBuf>) -> Self {
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
