//! The ids of the tokens that mean something to a model. `tokenizer_config.json` names them; where it is missing
//! the names of the two model families are tried.

use serde_json::Value;
use tokenizers::Tokenizer;

pub(super) struct SpecialTokens {
    pub(super) pad: Option<u32>,
    pub(super) cls: Option<u32>,
    pub(super) sep: Option<u32>,
    pub(super) mask: Option<u32>,
    pub(super) eos: Option<u32>,
}

impl SpecialTokens {
    pub(super) fn find(tokenizer: &Tokenizer, config: &Value) -> Self {
        let id = |key: &str, usual: &[&str]| {
            let named = match config.get(key) {
                Some(Value::String(name)) => Some(name.as_str()),
                // An added token with its options.
                Some(object) => object.get("content").and_then(Value::as_str),
                None => None,
            };
            named.into_iter().chain(usual.iter().copied()).find_map(|t| tokenizer.token_to_id(t))
        };
        Self {
            // A tokenizer.json may be saved with its padding on, which then names the id outright.
            pad: id("pad_token", &["[PAD]", "<pad>"]).or_else(|| tokenizer.get_padding().map(|padding| padding.pad_id)),
            cls: id("cls_token", &["[CLS]"]),
            sep: id("sep_token", &["[SEP]"]),
            mask: id("mask_token", &["[MASK]", "<mask>"]),
            eos: id("eos_token", &["</s>"]),
        }
    }
}
