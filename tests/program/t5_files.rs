//! What the other commands make of a T5 and its adapters: merged, inspected, converted, combined, quantised.

use std::path::Path;

use burn::prelude::*;
use burn::tensor::Tolerance;
use peft::core::{Hooks, Identity};
use peft::load_adapter;
use peft::models::{AnyModel, Batch, Head, Scorer};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Place, train_t5};

fn model(folder: &Path) -> AnyModel {
    let loaded = AnyModel::from_folder(folder, Head::Text, None, &Device::flex()).unwrap();
    assert!(loaded.fresh.is_empty(), "{:?}", loaded.fresh);
    loaded.module
}

/// Scores of what two rows of some words might become, the second padded.
fn scores(model: &AnyModel, hooks: &dyn Hooks) -> TensorData {
    let (ids, mask) = (vec![5, 9, 34, 1, 35, 1, 0, 0], vec![1, 1, 1, 1, 1, 1, 0, 0]);
    let batch = Batch::texts(ids, mask, 2, &Device::flex()).with_labels(vec![12, 30, 1, 8, 1, -100]);
    model.scores(&batch, hooks).into_data()
}

fn untied() -> Value {
    json!({"feed_forward_proj": "gated-gelu", "tie_word_embeddings": false})
}

#[rstest]
#[case::lora("lora --target-modules all-linear", json!({}))]
#[case::lora_of_an_own_head("lora --target-modules q,v,lm_head", untied())]
#[case::ia3("ia3", json!({}))]
#[case::ia3_of_an_own_head("ia3", untied())]
#[case::layernorm("layernorm", json!({}))]
#[case::full("full", json!({}))]
#[case::full_with_an_own_head("full", untied())]
#[case::fish("fish --keep-ratio 0.3 --num-samples 40", json!({}))]
fn a_merged_model_computes_what_the_adapter_computes(#[case] method: &str, #[case] more: Value) {
    let place = Place::t5();
    place.add_t5("other", more);
    place.write(
        "other/generation_config.json",
        "{\"decoder_start_token_id\": 0, \"eos_token_id\": 1, \"pad_token_id\": 0}",
    );
    place.succeeds(&train_t5("words.csv", &format!("--model other --method {method} --epochs 1")));
    let ended = place.succeeds("merge --adapter run --output merged");
    assert!(ended.out.contains("merged run into") && ended.out.ends_with("model: merged\n"), "{}", ended.out);
    let base = model(&place.path("other"));
    let adapter = load_adapter(&base, &place.path("run")).unwrap().1;
    let want = scores(&base, &adapter);
    let merged = model(&place.path("merged"));
    scores(&merged, &Identity).assert_approx_eq::<f32>(&want, Tolerance::absolute(1e-4));
    assert!(scores(&base, &Identity) != want, "the adapter does nothing");
    let config = place.json("merged/config.json");
    assert_eq!(config["architectures"], json!(["T5ForConditionalGeneration"]));
    assert!(config.get("id2label").is_none());
    assert_eq!(place.read("merged/generation_config.json"), place.read("other/generation_config.json"));
    // It is a model to go on from.
    place.succeeds(&train_t5("words.csv", "--model merged --epochs 1 --output again"));
}

/// It has no weights of its own to fold into.
#[test]
fn a_change_of_a_tied_head_alone_stays_beside_it() {
    let place = Place::t5();
    place.succeeds(&train_t5("words.csv", "--target-modules q,lm_head --epochs 1"));
    place.succeeds("predict --adapter run good");
    place.refuses(
        "merge --adapter run --output merged",
        &["it acts on `lm_head`, and", "runs on the weights of `shared`"],
    );
}

#[test]
fn what_a_model_and_a_run_hold_is_listed() {
    let place = Place::t5();
    let out = place.succeeds("inspect t5").out;
    for part in ["t5", "32"] {
        assert!(out.contains(part), "{out}");
    }
    let out = place.succeeds("inspect t5 --rank 4 --target-modules q,v --all").out;
    assert!(out.contains("decoder.block.0.layer.1.EncDecAttention.q"), "{out}");
    place.succeeds(&train_t5("words.csv", "--epochs 1"));
    let out = place.succeeds("inspect run").out;
    assert!(out.contains("(LORA)") && out.contains("is_good, not_good"), "{out}");
}

#[test]
fn lora_crosses_to_adapterhub_and_back() {
    let place = Place::t5();
    place.succeeds(&train_t5("words.csv", "--epochs 2 --target-modules q,v"));
    place.succeeds("convert --adapter run --to adapterhub --name words --output hub");
    assert_eq!(place.json("hub/adapter_config.json")["model_type"], "t5");
    place.succeeds("convert --adapter hub --to peft --output back");
    assert_eq!(place.run("back").tensors(), place.run("run").tensors());
    let answer =
        |folder: &str| place.peft_reading(&["predict", "--adapter", folder, "--json", "the film was good"], b"").out;
    let (run, hub, back): (Value, Value, Value) = (
        serde_json::from_str(&answer("run")).unwrap(),
        serde_json::from_str(&answer("hub")).unwrap(),
        serde_json::from_str(&answer("back")).unwrap(),
    );
    for other in [hub, back] {
        assert_eq!(other["written"], run["written"]);
        let apart = other["log_probability"].as_f64().unwrap() - run["log_probability"].as_f64().unwrap();
        assert!(apart.abs() < 1e-5, "{other} and {run}");
    }
}

#[test]
fn adapters_combine() {
    let place = Place::t5();
    place.succeeds(&train_t5("words.csv", "--epochs 1 --output one"));
    place.succeeds(&train_t5("words.csv", "--epochs 1 --output two --seed 2"));
    let ended = place.succeeds("combine --adapter one --adapter two --weights 0.6,0.4 --output both");
    assert!(ended.out.contains("combined 2 adapters by cat, rank 16"), "{}", ended.out);
    let base = model(&place.path("t5"));
    let adapter = load_adapter(&base, &place.path("both")).unwrap().1;
    assert!(scores(&base, &adapter) != scores(&base, &Identity));
    assert!(place.succeeds("predict --adapter both good").out.contains("good"));
}

/// Its words, its normalisations and a head of its own stay as they are.
#[test]
fn an_adapter_is_trained_on_a_base_in_eight_bits() {
    let place = Place::t5();
    place.succeeds(&train_t5("words.csv", "--base-bits 8 --target-modules all-linear --epochs 6"));
    let rounds = place.run("run").evaluations();
    let accuracy = |round: &Value| round["eval_accuracy"].as_f64().unwrap();
    let chosen = rounds.iter().reduce(|a, b| if accuracy(b) > accuracy(a) { b } else { a }).unwrap();
    assert!(accuracy(chosen) > 0.9, "{rounds:?}");
    let now = place.succeeds("eval --adapter run --data valid-words.csv --json").out;
    let now: Value = serde_json::from_str(&now).unwrap();
    assert!((now["loss"].as_f64().unwrap() - chosen["eval_loss"].as_f64().unwrap()).abs() < 1e-5);
}
