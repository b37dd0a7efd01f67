//! T5's classifiers: the reference's logits, sites, and heads from checkpoints of other tasks.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use peft::core::file::read_safetensors;
use peft::models::t5::names::{from_reference, to_reference};
use peft::models::t5::{
    T5Config, T5EncoderForSequenceClassification, T5ForConditionalGeneration, T5ForSequenceClassification,
    T5ForTokenClassification, T5Head,
};
use peft::models::{Scorer, named_tensors, read_json, save};
use peft::prelude::*;
use rstest::rstest;

use crate::seam::{Notes, check};
use crate::support::*;

pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/t5_heads").join(name)
}

/// The texts of a fixture, and the reference's logits of them.
fn io_of(name: &str, device: &Device) -> (Batch, Tensor<3>) {
    let io = read_safetensors(&folder(name).join("io.safetensors")).unwrap();
    let ints = |name: &str| io[name].iter::<i64>().collect::<Vec<_>>();
    let (ids, logits) = (ints("in.input_ids"), &io["out.logits"]);
    let (rows, shape) = (logits.shape()[0], logits.shape().to_vec());
    let batch = Batch::new(ids.clone(), vec![0; ids.len()], ints("in.attention_mask"), rows, device);
    let shape = if shape.len() == 2 { [rows, 1, shape[1]] } else { [rows, shape[1], shape[2]] };
    (batch, Tensor::from_data(TensorData::new(logits.iter::<f32>().collect::<Vec<_>>(), shape), device))
}

// Hugging Face Transformers 5.23.0, tests/fixtures/make_t5_heads.py.
#[test]
fn logits_are_the_references() {
    let device = Device::flex();
    let (batch, want) = io_of("token", &device);
    let loaded = T5ForTokenClassification::from_folder(&folder("token"), None, &device).unwrap();
    assert!(loaded.fresh.is_empty() && loaded.ignored.is_empty(), "{loaded:?}");
    close(loaded.module.scores(&batch, &Identity), want);
    for name in ["sequence", "gated"] {
        let (batch, want) = io_of(name, &device);
        let loaded = T5ForSequenceClassification::from_folder(&folder(name), None, &device).unwrap();
        assert!(loaded.fresh.is_empty() && loaded.ignored.is_empty(), "{loaded:?}");
        close(loaded.module.scores(&batch, &Identity), want);
    }
}

#[test]
fn a_run_meets_every_site_a_head_lists() {
    let device = Device::flex();
    let config = T5Config::from_folder(&folder("gated")).unwrap();
    let batch = io_of("gated", &device).0;
    let names = [to_reference as fn(&str) -> String, from_reference];
    let token = T5ForTokenClassification::new(&config, 5, &device).unwrap();
    check(&token, names, |_| false, |notes: &Notes| assert_eq!(token.scores(&batch, notes).dims(), [3, 6, 5]));
    let text = T5EncoderForSequenceClassification::new(&config, 4, &device).unwrap();
    check(&text, names, |_| false, |notes: &Notes| assert_eq!(text.scores(&batch, notes).dims(), [3, 1, 4]));
    let whole = T5ForSequenceClassification::new(&config, 2, &device).unwrap();
    check(&whole, names, |_| false, |notes: &Notes| assert_eq!(whole.scores(&batch, notes).dims(), [3, 1, 2]));
    // The encoder's models have no decoder, and each head is known as one.
    for (sites, head) in
        [(token.sites(), T5Head::Token), (text.sites(), T5Head::EncoderSequence), (whole.sites(), T5Head::Sequence)]
    {
        let decodes = sites.iter().any(|entry| entry.site.name().contains("decoder"));
        assert_eq!(decodes, head == T5Head::Sequence, "{head:?}");
        assert!(sites.iter().filter(|entry| entry.head).all(|entry| entry.site.name().starts_with(head.module())));
        assert!(sites.iter().any(|entry| entry.head), "{head:?}");
    }
}

#[test]
fn a_text_is_the_mean_of_its_tokens_and_of_nothing_else() {
    let device = Device::flex();
    let model = T5EncoderForSequenceClassification::from_folder(&folder("token"), Some(3), &device).unwrap();
    assert_eq!(model.fresh, ["classifier.weight", "classifier.bias"]);
    let model = model.module;
    let (batch, _) = io_of("token", &device);
    let all = model.forward(&batch, &Identity);
    let alone = Batch::new(vec![7, 1, 21, 1], vec![0; 4], vec![1; 4], 1, &device);
    close(model.forward(&alone, &Identity), all.clone().narrow(0, 1, 1));
    // The same head on each token: scores are linear in the states, so their mean is the mean's.
    let token = T5ForTokenClassification::from_folder(&folder("token"), None, &device).unwrap().module;
    let head = named_tensors(&token, token.sites(), to_reference);
    let dir = tempfile::tempdir().unwrap();
    let mut config: serde_json::Map<String, serde_json::Value> =
        read_json(&folder("token").join("config.json")).unwrap();
    config.insert("architectures".into(), serde_json::json!(["T5EncoderForSequenceClassification"]));
    save(&head, &config, dir.path()).unwrap();
    let text = T5EncoderForSequenceClassification::from_folder(dir.path(), None, &device).unwrap();
    assert!(text.fresh.is_empty(), "{:?}", text.fresh);
    close(text.module.scores(&alone, &Identity), token.scores(&alone, &Identity).mean_dim(1));
    // Nor are virtual tokens in it.
    let prompt = shaken(AnyConfig::Prompt(PromptConfig::new(3)).init(&text.module).unwrap());
    let of_tokens = |text: &Batch| token.scores(text, &prompt).mean_dim(1);
    close(text.module.scores(&alone, &prompt), of_tokens(&alone));
}

/// A checkpoint of another task, or of the encoder alone, under any head.
#[rstest]
#[case::whole("", true)]
#[case::encoder_alone("", false)]
#[case::adapterhub("transformer.", true)]
fn heads_are_made_on_any_t5(#[case] prefix: &str, #[case] decodes: bool) {
    let device = Device::flex();
    let config = T5Config::from_folder(&folder("sequence")).unwrap();
    let base = T5ForConditionalGeneration::new(&config, &device).unwrap();
    let mut tensors = named_tensors(&base, base.sites(), to_reference);
    let words = tensors["shared.weight"].clone();
    tensors.insert("encoder.embed_tokens.weight".into(), words);
    tensors.retain(|name, _| decodes || !name.starts_with("decoder."));
    let tensors = tensors.into_iter().map(|(name, data)| (format!("{prefix}{name}"), data)).collect();
    let fields = serde_json::to_value(&config).unwrap().as_object().unwrap().clone();
    let dir = tempfile::tempdir().unwrap();
    save(&tensors, &fields, dir.path()).unwrap();
    let classifier = ["classifier.weight", "classifier.bias"];
    assert_eq!(T5ForTokenClassification::from_folder(dir.path(), Some(4), &device).unwrap().fresh, classifier);
    assert_eq!(
        T5EncoderForSequenceClassification::from_folder(dir.path(), Some(4), &device).unwrap().fresh,
        classifier
    );
    let whole = T5ForSequenceClassification::from_folder(dir.path(), Some(4), &device);
    let words = T5ForConditionalGeneration::from_folder(dir.path(), &device);
    match decodes {
        true => {
            let fresh = whole.unwrap();
            assert_eq!(fresh.fresh_modules("transformer."), ["classification_head"]);
            assert!(words.unwrap().fresh.is_empty());
        }
        false => {
            for error in [whole.unwrap_err(), words.unwrap_err()] {
                assert!(error.to_string().contains("decoder.block.0.layer.0"), "{error}");
            }
        }
    }
}

#[test]
fn the_head_of_another_task_or_of_other_labels_makes_room() {
    let device = Device::flex();
    // Both call it `classifier`.
    let of_tokens = T5EncoderForSequenceClassification::from_folder(&folder("token"), Some(5), &device).unwrap();
    assert_eq!(of_tokens.fresh, ["classifier.weight", "classifier.bias"]);
    let other = T5ForTokenClassification::from_folder(&folder("token"), Some(2), &device).unwrap();
    assert_eq!(other.fresh, ["classifier.weight", "classifier.bias"]);
    let other = T5ForSequenceClassification::from_folder(&folder("sequence"), Some(7), &device).unwrap();
    assert_eq!(other.fresh_modules(""), ["classification_head"]);
    let error = T5ForTokenClassification::from_folder(&folder("sequence"), None, &device).unwrap_err().to_string();
    assert!(error.contains("no classification head"), "{error}");
}
