//! T5 with a classifier: what is trained is saved, measured again and merged.

use burn::prelude::*;
use burn::tensor::Tolerance;
use peft::core::{Hooks, Identity};
use peft::load_adapter;
use peft::models::{AnyModel, Batch, Head, Scorer};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Place, train_t5};

/// A base that says its decoder classifies, and numbers in the place of labels.
fn place() -> Place {
    let place = Place::t5();
    place.add_t5("named", json!({"architectures": ["T5ForSequenceClassification"]}));
    for before in ["", "valid-"] {
        let rows = place.text(&format!("{before}words.csv"));
        place.write(&format!("{before}numbers.csv"), rows.replace(",is_good", ",1.5").replace(",not_good", ",-0.5"));
        let rows = place.text(if before.is_empty() { "train.conll" } else { "valid.conll" });
        place.write(&format!("{before}tags.conll"), rows);
    }
    place
}

fn measured(place: &Place, args: &str) -> Value {
    serde_json::from_str(&place.succeeds(&format!("{args} --json")).out).unwrap()
}

/// The run's last measurement is `eval`'s, of the whole run and of its adapter alone.
fn assert_measured(place: &Place, rows: &str) {
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        place.write(&format!("bare/{name}"), place.read(&format!("run/{name}")));
    }
    let rounds = place.run("run").evaluations();
    assert_eq!(rounds.len(), 1, "{rounds:?}");
    let now = measured(place, &format!("eval --adapter run --data valid-{rows} --batch-size 7"));
    for (name, was) in rounds[0].as_object().unwrap() {
        let Some(now) = name.strip_prefix("eval_").and_then(|name| now[name].as_f64()) else { continue };
        assert!((was.as_f64().unwrap() - now).abs() < 1e-5, "{name}: {was} in the run, {now} now");
    }
    assert!((rounds[0]["eval_loss"].as_f64().unwrap() - now["loss"].as_f64().unwrap()).abs() < 1e-5);
    place.succeeds("predict --adapter bare good");
}

/// Scores of two rows of some words, the second padded.
fn scores(model: &AnyModel, hooks: &dyn Hooks) -> TensorData {
    let (ids, mask) = (vec![5, 9, 34, 1, 35, 1, 0, 0], vec![1, 1, 1, 1, 1, 1, 0, 0]);
    model.scores(&Batch::texts(ids, mask, 2, &Device::flex()), hooks).into_data()
}

#[rstest]
#[case::single(
    "t5",
    "words.csv",
    "--label-as head",
    Head::Sequence,
    2,
    "SEQ_CLS",
    "T5EncoderForSequenceClassification"
)]
#[case::several(
    "t5",
    "words.csv",
    "--task multi --method full",
    Head::Sequence,
    2,
    "SEQ_CLS",
    "T5EncoderForSequenceClassification"
)]
#[case::number(
    "t5",
    "numbers.csv",
    "--task regression --method ia3",
    Head::Sequence,
    1,
    "SEQ_CLS",
    "T5EncoderForSequenceClassification"
)]
#[case::words(
    "t5",
    "tags.conll",
    "--task token --method head",
    Head::Token,
    4,
    "TOKEN_CLS",
    "T5ForTokenClassification"
)]
#[case::decoded("named", "words.csv", "--label-as head", Head::Sequence, 2, "SEQ_CLS", "T5ForSequenceClassification")]
fn a_classifier_is_trained_measured_and_merged(
    #[case] base: &str,
    #[case] rows: &str,
    #[case] options: &str,
    #[case] head: Head,
    #[case] outputs: usize,
    #[case] task_type: &str,
    #[case] class: &str,
) {
    let place = place();
    place.succeeds(&train_t5(rows, &format!("--model {base} {options} --epochs 1")));
    let config = place.json("run/adapter_config.json");
    assert_eq!(config["task_type"], task_type);
    let module = if base == "named" { "classification_head" } else { "classifier" };
    if !options.contains("--method full") && !options.contains("--method head") {
        assert_eq!(config["modules_to_save"], json!([module]));
    }
    let last = if base == "named" { "classification_head.out_proj" } else { "classifier" };
    let tensors = place.run("run").tensors();
    assert!(tensors.iter().any(|(name, shape)| name.contains(last) && *shape == [outputs, 32]), "{tensors:?}");
    assert_measured(&place, rows);

    place.succeeds("merge --adapter run --output merged");
    let config = place.json("merged/config.json");
    assert_eq!(config["architectures"], json!([class]));
    assert_eq!(config["id2label"].as_object().unwrap().len(), outputs);
    let open = |folder: &str, outputs: Option<usize>| {
        AnyModel::from_folder(&place.path(folder), head, outputs, &Device::flex()).unwrap()
    };
    let base = open(base, Some(outputs)).module;
    let adapter = load_adapter(&base, &place.path("run")).unwrap().1;
    let merged = open("merged", None);
    assert!(merged.fresh.is_empty(), "{:?}", merged.fresh);
    let want = scores(&base, &adapter);
    scores(&merged.module, &Identity).assert_approx_eq::<f32>(&want, Tolerance::absolute(1e-4));
}

#[test]
fn a_classifier_learns_and_a_prompt_before_its_text_too() {
    let place = place();
    for method in ["lora", "prompt --num-virtual-tokens 4 --prompt-tuning-init RANDOM"] {
        let output = method.split(' ').next().unwrap();
        let options = format!("--label-as head --method {method} --epochs 8 --output {output}");
        place.succeeds(&train_t5("words.csv", &options));
        let rounds = place.run(output).evaluations();
        let loss = |round: &Value| round["eval_loss"].as_f64().unwrap();
        let least = rounds.iter().map(loss).fold(f64::INFINITY, f64::min);
        assert!(least < 0.6, "{output}: {rounds:?}");
    }
    place.refuses("merge --adapter prompt --output merged", &["PROMPT_TUNING cannot be merged"]);
}

#[test]
fn a_base_without_a_tokenizer_is_merged_without_one() {
    let place = Place::t5();
    place.succeeds(&train_t5("words.csv", "--epochs 1"));
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        place.write(&format!("bare/{name}"), place.read(&format!("run/{name}")));
    }
    place.remove("t5/tokenizer.json");
    place.succeeds("merge --adapter bare --output merged");
    assert!(place.exists("merged/model.safetensors") && !place.exists("merged/tokenizer.json"));
    // The run has one of its own.
    place.succeeds("merge --adapter run --output with");
    assert!(place.exists("with/tokenizer.json"));
    assert_eq!(place.read("with/model.safetensors"), place.read("merged/model.safetensors"));
}

#[test]
fn questions_are_answered_in_words() {
    let place = Place::t5();
    let args = train_t5("train.json", "--task qa --valid valid.json");
    place.refuses(&args, &["task: `t5` with a head for the task qa is not built", "--task text"]);
}
