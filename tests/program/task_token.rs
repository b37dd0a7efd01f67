//! `--task token`: a tag for each word, from training to tags for new sentences.

use rstest::rstest;
use serde_json::Value;

use crate::support::{Place, train_task};

/// A place with a run that has learnt the tags of single words.
fn trained() -> Place {
    let place = Place::new();
    place.succeeds(&train_task("token", "--epochs 16"));
    place
}

fn measured(place: &Place, args: &str) -> Value {
    serde_json::from_str(&place.succeeds(&format!("{args} --json")).out).unwrap()
}

#[test]
fn a_run_learns_and_says_what_for() {
    let place = trained();
    let config = place.json("run/adapter_config.json");
    assert_eq!(config["task_type"], "TOKEN_CLS");
    assert_eq!(config["modules_to_save"], serde_json::json!(["classifier"]));
    let labels = place.json("run/labels.json");
    assert_eq!(labels["label2id"]["O"], 3, "{labels}");
    assert!(place.text("run/config.toml").contains("task = \"token\""));
    let tensors = place.run("run").tensors();
    assert_eq!(tensors["base_model.model.classifier.weight"], [4, 32]);
    assert!(tensors.keys().all(|name| !name.contains("pooler")), "{tensors:?}");
    let rounds = place.run("run").evaluations();
    let best = rounds.iter().map(|round| round["eval_f1"].as_f64().unwrap()).fold(0.0, f64::max);
    assert!(best > 0.8, "{rounds:?}");
    for name in ["eval_precision", "eval_recall", "eval_accuracy"] {
        assert!(rounds[0][name].as_f64().is_some_and(|score| (0.0..=1.0).contains(&score)), "{name}");
    }
}

#[test]
fn eval_measures_what_the_run_measured() {
    let place = trained();
    let rounds = place.run("run").evaluations();
    let f1 = |round: &Value| round["eval_f1"].as_f64().unwrap();
    let chosen = rounds.iter().reduce(|a, b| if f1(b) > f1(a) { b } else { a }).unwrap();
    let now = measured(&place, "eval --adapter run --data valid.conll --batch-size 7");
    assert_eq!(now["rows"], 20);
    for name in ["loss", "f1", "precision", "recall", "accuracy"] {
        let (run, now) = (chosen[format!("eval_{name}")].as_f64().unwrap(), now[name].as_f64().unwrap());
        assert!((run - now).abs() < 1e-5, "{name}: {run} in the run, {now} now");
    }
    assert_eq!(now["types"]["person"]["entities"], 10);
    assert_eq!(now["types"].as_object().unwrap().len(), 2);
    let out = place.succeeds("eval --adapter run --data valid.conll").out;
    let first_words: Vec<&str> = out.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let wanted = ["sentences", "loss", "f1", "precision", "recall", "accuracy", "type", "person", "work"];
    assert_eq!(first_words, wanted, "{out}");
}

#[test]
fn tags_come_out_a_line_a_word_whichever_way_the_words_went_in() {
    let place = trained();
    let texts = ["the film was good", "bad  music", "xyzzy"];
    let given = place.peft_reading(&[&["predict", "--adapter", "run"], &texts[..]].concat(), b"");
    let lines: Vec<&str> = given.out.lines().collect();
    assert_eq!(lines[..4], ["the\tO", "film\tO", "was\tO", "good\tB-person"], "{}", given.out);
    assert_eq!((lines[4], lines[5]), ("", "bad\tB-work"), "{}", given.out);
    let piped = place.peft_reading(&["predict", "--adapter", "run"], texts.join("\n\n").as_bytes());
    assert_eq!(piped.out, given.out);
    place
        .write("new.conll", texts.map(|text| text.split_whitespace().collect::<Vec<_>>().join("\n") + "\n\n").concat());
    assert_eq!(place.succeeds("predict --adapter run --data new.conll").out, given.out);
    // What is printed is a file that can be read again.
    place.write("tagged.conll", &given.out);
    assert_eq!(place.succeeds("predict --adapter run --data tagged.conll").out, given.out);
}

#[test]
fn what_is_predicted_is_right_by_its_own_measure() {
    let place = trained();
    let json = place.succeeds("predict --adapter run --data valid.conll --json").out;
    assert_eq!(json.lines().count(), 20);
    place.write("own.jsonl", &json);
    let own = measured(&place, "eval --adapter run --data own.jsonl");
    assert_eq!((own["f1"].as_f64(), own["accuracy"].as_f64()), (Some(1.0), Some(1.0)), "{own}");
}

#[test]
fn a_word_behind_the_cut_counts_as_outside() {
    let place = trained();
    let long = "the ".repeat(40) + "good";
    let ended = place.peft_reading(&["predict", "--adapter", "run", &long], b"");
    assert_eq!(ended.out.lines().count(), 42);
    assert!(ended.out.ends_with("good\tO\n\n"), "{}", ended.out);
}

#[test]
fn an_adapter_without_its_run_is_known_by_its_task_type() {
    let place = trained();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        place.write(&format!("bare/{name}"), place.read(&format!("run/{name}")));
    }
    let out = place.peft_reading(&["predict", "--adapter", "bare", "the good"], b"").out;
    assert_eq!(out, "the\tLABEL_3\ngood\tLABEL_0\n\n");
    let step = *place.run("run").steps().last().unwrap();
    let out =
        place.peft_reading(&["predict", "--adapter", &format!("run/checkpoints/step-{step:08}"), "good"], b"").out;
    assert_eq!(out, "good\tB-person\n\n");
}

#[test]
fn tags_that_are_no_entities_are_scored_by_words() {
    let place = Place::new();
    for name in ["train", "valid"] {
        let text = place.text(&format!("{name}.conll"));
        place.write(&format!("{name}.pos"), text.replace("B-", "N").replace("I-", "V"));
    }
    let ended = place.succeeds(&train_task("token", "--train train.pos --valid valid.pos"));
    assert!(ended.out.starts_with("accuracy 0."), "{}", ended.out);
    assert!(place.run("run").evaluations()[0].get("eval_f1").is_none());
}

#[test]
fn a_share_is_held_out() {
    let place = Place::new();
    place.succeeds(&train_task("token", "--valid-split 0.2 --epochs 1"));
    assert_eq!(measured(&place, "eval --adapter run --data train.conll")["rows"], 60);
}

#[rstest]
#[case::column("--text-column text", &["text_column: the files of the task token have no columns to choose; leave it out"])]
#[case::header("--no-header", &["no_header: the files of the task token"])]
#[case::stride("--doc-stride 8", &["doc_stride: not an option of the task token; leave it out, or choose --task qa"])]
#[case::length("--max-length 65", &["max_length: 65 is more than the model's 64 positions"])]
#[case::nothing_to_hold_out("--valid-split 0.001", &["cannot set aside a fraction of 0.001 of 60 rows"])]
#[case::no_list("--train train.jsonl", &["train.jsonl`, line 1: "])]
#[case::one_tag("--train same.conll", &["same.conll: all words have the same tag; there is nothing to learn"])]
#[case::no_tags("--train words.conll", &["words.conll`"])]
#[case::unknown_tag("--valid other.conll", &["other.conll`, line 2: label `B-works` is unknown", "did you mean `B-work`"])]
fn what_cannot_be_trained(#[case] options: &str, #[case] says: &[&str]) {
    let place = Place::new();
    place.write("train.jsonl", "{\"tokens\": \"a film\", \"ner_tags\": [\"O\", \"O\"]}\n");
    place.write("same.conll", "a O\nfilm O\n");
    place.write("words.conll", "a\nfilm\n");
    place.write("other.conll", "a O\nfilm B-works\n");
    place.refuses(&train_task("token", options), says);
}

#[rstest]
#[case::column("eval --adapter run --data valid.conll --label-column tag", &["label_column: the files of the task token"])]
#[case::column_to_predict("predict --adapter run --data valid.conll --text-column w", &["text_column: the files"])]
#[case::question("predict --adapter run --question what --context that", &["--question: ", "the task token, not for qa"])]
#[case::nothing("predict --adapter run", &["no sentences; give them as arguments, with --data"])]
fn what_cannot_be_used(#[case] args: &str, #[case] says: &[&str]) {
    let place = Place::new();
    place.succeeds(&train_task("token", "--epochs 1"));
    place.refuses(args, says);
}
