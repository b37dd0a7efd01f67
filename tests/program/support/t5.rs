//! A tiny T5 with a tokenizer of its own, and rows whose label, text or right choice single words decide.

use burn::prelude::*;
use peft::core::Backbone;
use peft::models::t5::names::to_reference;
use peft::models::t5::{T5Config, T5ForConditionalGeneration};
use peft::models::{named_tensors, save};
use serde_json::{Map, Value, json};

use super::{Place, Random};

const WORDS: &str = "the a this that film movie story plot actor scene music ending we they i it was is felt seemed";
/// A word of the text, and what is to be written of it.
pub(crate) const WRITTEN: [(&str, &str); 4] =
    [("good", "very good film"), ("bad", "rather bad plot"), ("new", "quite new"), ("old", "long old story")];
/// The words of the labels `is_good` and `not_good`.
const OTHERS: &str = "is good not good happy sad";
const SPECIAL: [&str; 3] = ["<pad>", "</s>", "<unk>"];

impl Place {
    /// As [`Place::new`], with the base `t5` and rows for it: `words.csv`, labelled `is_good` or `not_good`, `texts.csv`,
    /// with texts to write, and `choices.jsonl`, with two to four texts to choose from; each also with `valid-` before.
    pub(crate) fn t5() -> Self {
        let place = Self::new();
        place.add_t5("t5", json!({}));
        for (before, n, seed) in [("", 60, 3), ("valid-", 20, 4)] {
            place.write(&format!("{before}words.csv"), words(n, seed));
            place.write(&format!("{before}texts.csv"), texts(n, seed));
            place.write(&format!("{before}choices.jsonl"), choices(n, seed));
        }
        place
    }

    /// A base of random weights like `t5`, with `more` in its configuration.
    pub(crate) fn add_t5(&self, name: &str, more: Value) {
        self.write(&format!("{name}/tokenizer.json"), tokenizer().to_string());
        let fields = fields(more);
        let config: T5Config = serde_json::from_value(fields.clone().into()).unwrap();
        let model = T5ForConditionalGeneration::new(&config, &Device::flex()).unwrap();
        let mut random = Random(5);
        let tensors = named_tensors(&model, model.sites(), to_reference).into_iter();
        let tensors = tensors.map(|(tensor, data)| (tensor.clone(), drawn(&tensor, &data, &mut random))).collect();
        save(&tensors, &fields, &self.path(name)).unwrap();
    }
}

fn fields(more: Value) -> Map<String, Value> {
    let fields = json!({
        "model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "vocab_size": 48,
        "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 4,
        "relative_attention_num_buckets": 8, "relative_attention_max_distance": 16, "dropout_rate": 0.0,
        "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0,
    });
    let Value::Object(mut fields) = fields else { unreachable!("an object") };
    fields.extend(more.as_object().unwrap().clone());
    fields
}

/// Numbers of about the size that T5 begins with.
fn drawn(name: &str, like: &TensorData, random: &mut Random) -> TensorData {
    let width = like.shape().iter().last().map_or(1.0, |&width| width as f64);
    let (mean, spread) = match name {
        name if name.contains("layer_norm") => (1.0, 0.0),
        name if name.contains("shared") => (0.0, 1.0),
        _ => (0.0, width.powf(-0.5)),
    };
    // A sum of twelve is near enough to a normal distribution.
    let mut normal = || (0..12).map(|_| random.share()).sum::<f64>() - 6.0;
    let values: Vec<f32> = (0..like.num_elements()).map(|_| (mean + spread * normal()) as f32).collect();
    TensorData::new(values, like.shape().clone())
}

/// T5's kind of tokenizer, with a piece for each word.
fn tokenizer() -> Value {
    let added = |(id, token): (usize, &&str)| {
        let (no, yes) = (false, true);
        json!({"id": id, "content": token, "single_word": no, "lstrip": no, "rstrip": no, "normalized": no, "special": yes})
    };
    let pieces = SPECIAL.iter().map(|token| json!([token, 0.0]));
    let pieces = pieces.chain(vocabulary().into_iter().map(|word| json!([format!("▁{word}"), -3.0])));
    let blanks = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    let [a, end] =
        [json!({"Sequence": {"id": "A", "type_id": 0}}), json!({"SpecialToken": {"id": "</s>", "type_id": 0}})];
    let b = json!({"Sequence": {"id": "B", "type_id": 0}});
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": SPECIAL.iter().enumerate().map(added).collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, blanks]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [a, end],
            "pair": [a, end, b, end],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}},
        },
        "decoder": blanks,
        "model": {"type": "Unigram", "unk_id": 2, "vocab": pieces.collect::<Vec<_>>(), "byte_fallback": false},
    })
}

/// Every word there is, once.
fn vocabulary() -> Vec<&'static str> {
    let words = WORDS.split_whitespace().chain(OTHERS.split_whitespace());
    let words = words.chain(WRITTEN.iter().flat_map(|(key, text)| text.split(' ').chain([*key])));
    let mut all: Vec<&str> = Vec::new();
    words.for_each(|word| {
        if !all.contains(&word) {
            all.push(word)
        }
    });
    all
}

/// A text of some words with `key` among them.
fn around(key: &str, random: &mut Random) -> String {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut text: Vec<&str> = (0..2 + random.below(5)).map(|_| words[random.below(words.len())]).collect();
    text.insert(random.below(text.len() + 1), key);
    text.join(" ")
}

fn words(n: usize, seed: u64) -> String {
    let mut random = Random(seed);
    let row = |row: usize| {
        let (key, label) = [("good", "is_good"), ("bad", "not_good")][row % 2];
        format!("{},{label}\n", around(key, &mut random))
    };
    format!("text,label\n{}", (0..n).map(row).collect::<String>())
}

fn texts(n: usize, seed: u64) -> String {
    let mut random = Random(seed);
    let row = |row: usize| {
        let (key, text) = WRITTEN[row % WRITTEN.len()];
        format!("{},{text}\n", around(key, &mut random))
    };
    format!("text,target\n{}", (0..n).map(row).collect::<String>())
}

/// The right one is what is to be written; the label says which, by its text on odd rows and by its index on even ones.
fn choices(n: usize, seed: u64) -> String {
    let mut random = Random(seed);
    let row = |row: usize| {
        let (key, right) = WRITTEN[row % WRITTEN.len()];
        let mut offered: Vec<&str> = WRITTEN.iter().map(|(_, text)| *text).filter(|text| *text != right).collect();
        offered.truncate(1 + random.below(3));
        let at = random.below(offered.len() + 1);
        offered.insert(at, right);
        let label = if row % 2 == 1 { json!(right) } else { json!(at) };
        format!("{}\n", json!({"text": around(key, &mut random), "choices": offered, "label": label}))
    };
    (0..n).map(row).collect()
}
