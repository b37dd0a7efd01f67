//! `--task single` on T5: labels in words, written or chosen, from training to labels for new texts.

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Place, train, train_t5};

const OPTIONS: &str = "--method full --learning-rate 0.005 --epochs 8";

/// A place with a run that has learnt the labels of single words.
fn trained(more: &str) -> Place {
    let place = Place::t5();
    place.succeeds(&train_t5("words.csv", &format!("{OPTIONS} {more}")));
    place
}

fn measured(place: &Place, args: &str) -> Value {
    serde_json::from_str(&place.succeeds(&format!("{args} --json")).out).unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_run_learns_and_says_what_for() {
    let place = Place::t5();
    let ended = place.succeeds(&train_t5("words.csv", OPTIONS));
    let config = place.json("run/adapter_config.json");
    assert_eq!((&config["task_type"], &config["modules_to_save"]), (&json!("SEQ_2_SEQ_LM"), &json!([])));
    let options = place.text("run/config.toml");
    assert!(options.contains("task = \"single\"") && options.contains("label_as = \"text\""), "{options}");
    assert_eq!(place.json("run/labels.json")["label2id"], json!({"is_good": 0, "not_good": 1}));
    let rounds = place.run("run").evaluations();
    let best = rounds.iter().map(|round| round["eval_accuracy"].as_f64().unwrap()).fold(0.0, f64::max);
    assert!(best > 0.9, "{rounds:?}");
    for name in ["eval_exact_match", "eval_f1"] {
        assert!(rounds[0][name].as_f64().is_some_and(|score| (0.0..=1.0).contains(&score)), "{name}");
    }
    // One row is shown: the first of those it was measured on.
    let shown: Vec<&str> = ended.out.lines().rev().take(3).collect();
    let first = place.text("valid-words.csv").lines().nth(1).unwrap().replace(",is_good", "");
    assert_eq!(shown[2], format!("example: {first}"));
    assert_eq!((shown[1], shown[0]), ("written: is good", "right:   is good"));
}

#[rstest]
#[case::written("", &["loss", "accuracy", "f1", "exact_match"])]
#[case::in_other_words("--label-words is_good=happy,not_good=sad", &["loss", "accuracy", "f1", "exact_match"])]
#[case::searched_for("--num-beams 3 --max-target-length 2", &["loss", "accuracy", "f1", "exact_match"])]
#[case::chosen("--label-as choice", &["loss", "accuracy", "f1", "matthews"])]
fn eval_measures_what_the_run_measured(#[case] options: &str, #[case] names: &[&str]) {
    let place = trained(options);
    let rounds = place.run("run").evaluations();
    let accuracy = |round: &Value| round["eval_accuracy"].as_f64().unwrap();
    let chosen = rounds.iter().reduce(|a, b| if accuracy(b) > accuracy(a) { b } else { a }).unwrap();
    assert!(accuracy(chosen) > 0.9, "{rounds:?}");
    let now = measured(&place, "eval --adapter run --data valid-words.csv --batch-size 64");
    assert_eq!(now["rows"], 20);
    for name in names {
        let (run, now) = (chosen[format!("eval_{name}")].as_f64().unwrap(), now[name].as_f64().unwrap());
        assert!((run - now).abs() < 1e-5, "{name}: {run} in the run, {now} now");
    }
    let table = place.succeeds("eval --adapter run --data valid-words.csv").out;
    let column = |line: &str| line.rfind(' ').unwrap();
    assert!(table.lines().all(|line| column(line) == column(table.lines().next().unwrap())), "{table}");
    let answers = lines(&place.succeeds("predict --adapter run --data valid-words.csv --json").out);
    let right = answers.iter().enumerate().filter(|(i, answer)| answer["label"] == ["is_good", "not_good"][i % 2]);
    assert_eq!(now["accuracy"].as_f64(), Some(right.count() as f64 / 20.0));
}

#[test]
fn labels_come_out_whichever_way_the_texts_went_in() {
    let place = trained("--keep last");
    let texts = ["the film was good", "bad\tplot"];
    let given = place.peft_reading(&[&["predict", "--adapter", "run"], &texts[..]].concat(), b"");
    assert_eq!(given.out, "is_good\tis good\tthe film was good\nnot_good\tnot good\tbad plot\n", "{}", given.err);
    let piped = place.peft_reading(&["predict", "--adapter", "run"], texts.join("\n\n").as_bytes());
    assert_eq!(piped.out, given.out);
    place.write("new.csv", format!("text\n{}\n", texts.join("\n")));
    assert_eq!(place.succeeds("predict --adapter run --data new.csv --batch-size 1").out, given.out);
    let answers = lines(&place.succeeds("predict --adapter run --data new.csv --json").out);
    assert_eq!(
        (&answers[1]["label"], &answers[1]["written"], &answers[1]["exact"]),
        (&json!("not_good"), &json!("not good"), &json!(true))
    );
    assert!(answers[0]["log_probability"].as_f64().unwrap() <= 0.0);
    let step = *place.run("run").steps().last().unwrap();
    let checkpoint = format!("run/checkpoints/step-{step:08}");
    let now = place.peft_reading(&["predict", "--adapter", &checkpoint, texts[0]], b"");
    assert!(now.out.starts_with("is_good\t"), "{}", now.out);
}

#[test]
fn choices_have_probabilities() {
    let place = trained("--label-as choice");
    let out = place.peft_reading(&["predict", "--adapter", "run", "the film was good"], b"").out;
    let fields: Vec<&str> = out.trim_end().split('\t').collect();
    assert!(fields[0] == "is_good" && fields[2] == "the film was good", "{out}");
    let probability: f64 = fields[1].parse().unwrap();
    let answer =
        &lines(&place.peft_reading(&["predict", "--adapter", "run", "--json", "the film was good"], b"").out)[0];
    let all = answer["probabilities"].as_object().unwrap();
    assert_eq!(all.keys().collect::<Vec<_>>(), ["is_good", "not_good"]);
    assert!((all.values().map(|share| share.as_f64().unwrap()).sum::<f64>() - 1.0).abs() < 1e-5);
    assert!((all["is_good"].as_f64().unwrap() - probability).abs() < 1e-4 && probability > 0.5);
}

/// Without its run's folder an adapter writes what it learnt to, and no label is known.
#[test]
fn an_adapter_without_its_run_writes() {
    let place = trained("--keep last");
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        place.write(&format!("bare/{name}"), place.read(&format!("run/{name}")));
    }
    let out = place.peft_reading(&["predict", "--adapter", "bare", "the film was good", "bad"], b"").out;
    assert_eq!(out, "is good\nnot good\n");
}

#[rstest]
#[case::way_of_bert("--model base --label-as text", &["label_as: `bert` has no decoder", "leave it out, or use a T5"])]
#[case::choice_of_bert("--model base --label-as choice", &["label_as: `bert` has no decoder", "use a T5"])]
#[case::words_of_bert("--model base --label-words is_good=happy,not_good=sad", &["label_words: `bert` has no decoder", "use a T5"])]
#[case::beams_of_bert("--model base --num-beams 2", &["num_beams: `bert` has no decoder", "use a T5"])]
#[case::words_of_a_head("--label-as head --label-words is_good=happy", &[
    "label_words: not an option of labels as head; leave it out, or choose --label-as text or choice",
])]
#[case::beams_of_a_choice("--label-as choice --num-beams 2", &[
    "num_beams: not an option of labels as choice; leave it out, or choose --label-as text",
])]
#[case::no_beams("--num-beams 0", &["num_beams: must be at least 1"])]
#[case::no_room("--max-target-length 1", &["max_target_length: must be at least 2"])]
#[case::same_words("--label-words is_good=happy,not_good=happy", &["label_words: `is_good` and `not_good` have the same words, `happy`; give them others"])]
#[case::no_words("--label-words is_good=happy", &["label_words: give label `not_good` its words"])]
#[case::unknown_label("--label-words is_good=happy,not_god=sad", &["label_words: there are words for `not_god`, which is no label", "`not_good`"])]
#[case::qa("--task qa", &["task: `t5` with a head for the task qa is not built; choose --task text"])]
#[case::no_head("--method head", &["method: `t5` has no head to train; choose another --method"])]
#[case::no_biases("--method bitfit", &["method: `t5` has no biases to train; choose another --method"])]
#[case::label_words_of_a_text("--task text --label-words a=b", &["label_words: not an option of the task text", "--task single"])]
#[case::choices("--choice-columns a,b", &["choice_columns: not an option of the task single; leave it out, or choose --task choice"])]
fn what_cannot_be_trained(#[case] options: &str, #[case] says: &[&str]) {
    Place::t5().refuses(&train_t5("words.csv", options), says);
}

#[test]
fn labels_that_are_the_same_in_words() {
    let place = Place::t5();
    place.write("same.csv", "text,label\ngood,is_good\nbad,is good\n");
    let says = ["label_words: `is good` and `is_good` have the same words, `is good`; give them others"];
    place.refuses(&train_t5("same.csv", "--valid same.csv"), &says);
}

#[rstest]
#[case::text("text")]
#[case::choice("choice")]
fn bert_makes_no_text(#[case] task: &str) {
    let says = ["task: `bert` has no decoder and makes no text; choose another --task, or use a T5"];
    Place::new().refuses(&train(&format!("--task {task}")), &says);
}
