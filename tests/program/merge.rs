//! `merge`: the model that is written computes what the adapter computes on its base.

use std::path::Path;

use burn::prelude::*;
use burn::tensor::Tolerance;
use peft::core::{Hooks, Identity};
use peft::load_adapter;
use peft::models::bert::{AnyBert, BertHead};
use peft::models::{Batch, Scorer};
use rstest::rstest;

use crate::support::{Place, train, train_task};

/// Scores of two rows of some words, the second padded.
pub(crate) fn scores(bert: &AnyBert, hooks: &dyn Hooks) -> TensorData {
    let ids = vec![2, 5, 9, 34, 20, 3, 2, 35, 11, 3, 0, 0];
    let mask = ids.iter().map(|&id| i64::from(id != 0)).collect();
    bert.scores(&Batch::new(ids, vec![0; 12], mask, 2, &Device::flex()), hooks).into_data()
}

pub(crate) fn on_base(base: &Path, adapter: &Path, head: BertHead, outputs: usize) -> TensorData {
    let bert = AnyBert::from_folder(base, head, Some(outputs), &Device::flex()).unwrap().module;
    let adapter = load_adapter(&bert, adapter).unwrap().1;
    scores(&bert, &adapter)
}

/// Like the adapter on its base, and as many outputs as that without being told.
fn assert_merged(place: &Place, head: BertHead, outputs: usize) {
    let ended = place.succeeds("merge --adapter run --output merged");
    assert!(ended.out.contains("merged run into") && ended.out.ends_with("model: merged\n"), "{}", ended.out);
    let merged = AnyBert::from_folder(&place.path("merged"), head, None, &Device::flex()).unwrap();
    assert!(merged.fresh.is_empty(), "{:?}", merged.fresh);
    let want = on_base(&place.path("base"), &place.path("run"), head, outputs);
    scores(&merged.module, &Identity).assert_approx_eq::<f32>(&want, Tolerance::absolute(1e-5));
    let base = AnyBert::from_folder(&place.path("base"), head, Some(outputs), &Device::flex()).unwrap().module;
    assert!(scores(&base, &Identity) != want, "the adapter does nothing");
}

#[rstest]
#[case("lora --target-modules all-linear --bias all")]
#[case("lora --use-dora")]
#[case("lora --init-lora-weights pissa")]
#[case("adalora --init-r 6 --target-r 2")]
#[case("ia3")]
#[case("layernorm")]
#[case("bitfit")]
#[case("last-layers")]
#[case("fish")]
#[case("head")]
#[case("full")]
fn a_merged_model_computes_what_the_adapter_computes(#[case] method: &str) {
    let place = Place::new();
    place.succeeds(&train(&format!("--method {method} --epochs 2")));
    assert_merged(&place, BertHead::Sequence, 2);
    let config = place.json("merged/config.json");
    assert_eq!(config["id2label"], serde_json::json!({"0": "bad", "1": "good"}));
    assert_eq!(config["architectures"], serde_json::json!(["BertForSequenceClassification"]));
    // It is a model to go on from.
    place.succeeds(&train("--model merged --epochs 1 --output again"));
}

#[rstest]
#[case::words("token", BertHead::Token, 4, None)]
#[case::answers("qa", BertHead::QuestionAnswering, 2, None)]
#[case::a_number("regression", BertHead::Sequence, 1, Some("regression"))]
#[case::several_labels("multi", BertHead::Sequence, 2, Some("multi_label_classification"))]
fn so_does_a_model_of_another_task(
    #[case] task: &str,
    #[case] head: BertHead,
    #[case] outputs: usize,
    #[case] problem: Option<&str>,
) {
    let place = Place::new();
    let args = match task {
        "regression" => {
            for name in ["train.csv", "valid.csv"] {
                place.write(name, place.text(name).replace(",good", ",1.5").replace(",bad", ",-0.5"));
            }
            train("--task regression --epochs 2")
        }
        "multi" => train("--task multi --epochs 2"),
        task => train_task(task, "--epochs 2"),
    };
    place.succeeds(&args);
    assert_merged(&place, head, outputs);
    let config = place.json("merged/config.json");
    assert_eq!(config["id2label"].as_object().unwrap().len(), outputs);
    assert_eq!(config["problem_type"].as_str(), problem);
}

#[rstest]
#[case("prefix", "PREFIX_TUNING cannot be merged: it adds positions")]
#[case("prompt", "PROMPT_TUNING cannot be merged: it adds positions")]
#[case("ptuning", "P_TUNING cannot be merged: it adds positions")]
#[case("adapter", "BOTTLENECK cannot be merged: it computes with its input")]
fn what_cannot_be_merged_says_why(#[case] method: &str, #[case] says: &str) {
    let place = Place::new();
    place.succeeds(&train(&format!("--method {method} --epochs 1")));
    place.refuses("merge --adapter run --output merged", &[says]);
}

#[test]
fn nothing_is_written_where_something_is() {
    let place = Place::new();
    place.succeeds(&train("--epochs 1"));
    for output in ["run", "train.csv"] {
        let says = format!("--output: {output} is not empty; choose another folder");
        place.refuses(&format!("merge --adapter run --output {output}"), &[&says]);
        place.refuses(&format!("convert --adapter run --to adapterhub --output {output}"), &[&says]);
        place.refuses(&format!("combine --adapter run --adapter run --output {output}"), &[&says]);
    }
}

#[rstest]
#[case::of_the_method(
    "base_model.model.bert.encoder.layer.1.attention.self.value.lora_B.weight",
    "layer.1.attention.self.value.weight"
)]
#[case::of_the_head("base_model.model.classifier.bias", "classifier.bias")]
fn an_adapter_that_is_not_finite_is_refused(#[case] tensor: &str, #[case] says: &str) {
    let place = Place::new();
    place.succeeds(&train("--epochs 1"));
    let mut weights = place.read("run/adapter_model.safetensors");
    let header = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let fields: serde_json::Value = serde_json::from_slice(&weights[8..8 + header]).unwrap();
    let at = 8 + header + fields[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
    weights[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    place.write("run/adapter_model.safetensors", weights);
    place.refuses("merge --adapter run --output merged", &[says, "NaN or infinite"]);
}
