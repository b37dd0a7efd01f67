//! `--task text`: a text for a text, from training to texts that are written.

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Place, WRITTEN, train_t5};

const OPTIONS: &str = "--task text --method full --learning-rate 0.005";

fn measured(place: &Place, args: &str) -> Value {
    serde_json::from_str(&place.succeeds(&format!("{args} --json")).out).unwrap()
}

#[test]
fn a_run_learns_to_write_and_eval_measures_the_same() {
    let place = Place::t5();
    let ended = place.succeeds(&train_t5("texts.csv", &format!("{OPTIONS} --num-beams 2 --epochs 8")));
    assert!(ended.out.contains("predict --adapter run \"a text\"\n"), "{}", ended.out);
    assert!(ended.out.ends_with("right:   very good film\n") && ended.out.starts_with("rougel "), "{}", ended.out);
    let rounds = place.run("run").evaluations();
    let score = |round: &Value, name: &str| round[format!("eval_{name}")].as_f64().unwrap();
    let rouge = |round: &Value| score(round, "rougel");
    let chosen = rounds.iter().reduce(|a, b| if rouge(b) > rouge(a) { b } else { a }).unwrap();
    assert!(score(chosen, "exact_match") > 0.8, "{rounds:?}");
    let now = measured(&place, "eval --adapter run --data valid-texts.csv --batch-size 3");
    for name in ["loss", "rougel", "rouge1", "rouge2", "bleu", "exact_match", "f1"] {
        let (run, now) = (score(chosen, name), now[name].as_f64().unwrap());
        assert!((run - now).abs() < 1e-5, "{name}: {run} in the run, {now} now");
    }
    assert_eq!(place.json("run/adapter_config.json")["task_type"], "SEQ_2_SEQ_LM");
    assert!(!place.exists("run/labels.json"));

    let out = place.succeeds("predict --adapter run --data valid-texts.csv").out;
    let right = out.lines().enumerate().filter(|(i, line)| *line == WRITTEN[i % WRITTEN.len()].1).count();
    assert_eq!(now["exact_match"].as_f64(), Some(right as f64 / 20.0));
    let given = place.peft_reading(&["predict", "--adapter", "run", "the film was good", "bad"], b"").out;
    assert_eq!(given, "very good film\nrather bad plot\n");
    let piped = place.peft_reading(&["predict", "--adapter", "run"], b"the film was good\n\nbad\n").out;
    assert_eq!(piped, given);
    let answer = place.peft_reading(&["predict", "--adapter", "run", "--json", "bad"], b"").out;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((&answer["text"], &answer["written"]), (&json!("bad"), &json!("rather bad plot")));
    assert!(answer.get("label").is_none() && answer["log_probability"].as_f64().unwrap() <= 0.0);
}

/// The columns that a text is made of are those of the run, in `eval` and `predict` too.
#[test]
fn a_template_makes_the_text() {
    let place = Place::t5();
    for name in ["texts.csv", "valid-texts.csv"] {
        let rows = place.text(name).lines().skip(1).map(|row| format!("film,{row}\n")).collect::<String>();
        place.write(name, format!("what,body,said\n{rows}"));
    }
    let mut args = train_t5("texts.csv", &format!("{OPTIONS} --epochs 1 --label-column said"));
    args.push_str(" --template");
    let words: Vec<&str> = args.split_whitespace().chain(["the {what} was {body}"]).collect();
    let ended = place.peft_reading(&words, b"");
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let first = place.text("valid-texts.csv").lines().nth(1).unwrap().split(',').nth(1).unwrap().to_string();
    assert!(ended.out.contains(&format!("example: the film was {first}\n")), "{}", ended.out);
    let rounds = place.run("run").evaluations();
    let now = measured(&place, "eval --adapter run --data valid-texts.csv");
    assert!((now["loss"].as_f64().unwrap() - rounds[0]["eval_loss"].as_f64().unwrap()).abs() < 1e-5);
    let answers = place.succeeds("predict --adapter run --data valid-texts.csv --json").out;
    assert!(answers.starts_with(&format!("{{\"text\":\"the film was {first}\"")), "{answers}");
}

#[rstest]
#[case::no_target("--train words.csv --valid words.csv --label-column target", &["target"])]
#[case::no_column("--template {what}", &["what"])]
#[case::label_as("--label-as text", &["label_as: not an option of the task text; leave it out, or choose --task single"])]
#[case::stride("--doc-stride 8", &["doc_stride: not an option of the task text"])]
#[case::no_room("--max-target-length 1", &["max_target_length: must be at least 2"])]
fn what_cannot_be_trained(#[case] options: &str, #[case] says: &[&str]) {
    Place::t5().refuses(&train_t5("texts.csv", &format!("--task text {options}")), says);
}
