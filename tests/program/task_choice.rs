//! `--task choice`: the right one of the texts that each row brings along.

use rstest::rstest;
use serde_json::Value;

use crate::support::{Place, train_t5};

const OPTIONS: &str = "--task choice --method full --learning-rate 0.005";

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_run_learns_to_choose_among_as_many_as_there_are() {
    let place = Place::t5();
    let ended = place.succeeds(&train_t5("choices.jsonl", &format!("{OPTIONS} --epochs 6")));
    assert!(ended.out.starts_with("accuracy ") && ended.out.contains("--data a-file-of-rows"), "{}", ended.out);
    let rounds = place.run("run").evaluations();
    let accuracy = |round: &Value| round["eval_accuracy"].as_f64().unwrap();
    let chosen = rounds.iter().reduce(|a, b| if accuracy(b) > accuracy(a) { b } else { a }).unwrap();
    assert!(accuracy(chosen) > 0.8, "{rounds:?}");
    let now = place.succeeds("eval --adapter run --data valid-choices.jsonl --json").out;
    let now: Value = serde_json::from_str(&now).unwrap();
    for name in ["loss", "accuracy"] {
        let (run, now) = (chosen[format!("eval_{name}")].as_f64().unwrap(), now[name].as_f64().unwrap());
        assert!((run - now).abs() < 1e-5, "{name}: {run} in the run, {now} now");
    }

    let rows = lines(&place.text("valid-choices.jsonl"));
    let answers = lines(&place.succeeds("predict --adapter run --data valid-choices.jsonl --json --batch-size 6").out);
    let mut right = 0;
    for (row, answer) in rows.iter().zip(&answers) {
        assert_eq!((&row["choices"], &row["text"]), (&answer["choices"], &answer["text"]));
        let shares: Vec<f64> =
            answer["probabilities"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).collect();
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-5);
        let best = (0..shares.len()).reduce(|a, b| if shares[b] > shares[a] { b } else { a }).unwrap();
        assert_eq!(answer["label"], row["choices"][best]);
        right += usize::from(row["label"] == best || row["label"] == row["choices"][best]);
    }
    assert_eq!(now["accuracy"].as_f64(), Some(right as f64 / 20.0));
    let plain = place.succeeds("predict --adapter run --data valid-choices.jsonl").out;
    assert_eq!(plain.lines().next().unwrap().split('\t').next(), answers[0]["label"].as_str());
    place.refuses("predict --adapter run good", &["a text alone offers nothing to choose from; give --data"]);
}

/// A column each, numbered, and a label that counts from 0.
#[test]
fn choices_may_stand_in_columns() {
    let place = Place::t5();
    place
        .write("copa.csv", "premise,choice1,choice2,label\nthe good film,is good,not good,0\nbad,is good,not good,1\n");
    let ended = place.succeeds(&train_t5("copa.csv", &format!("{OPTIONS} --epochs 1 --valid copa.csv")));
    assert!(ended.err.contains("choice1"), "{}", ended.err);
    let named = "--choice-columns choice2,choice1 --output named --epochs 1 --valid copa.csv";
    place.succeeds(&train_t5("copa.csv", &format!("{OPTIONS} {named}")));
    let out = place.succeeds("predict --adapter named --data copa.csv --json").out;
    assert_eq!(lines(&out)[0]["choices"], serde_json::json!(["not good", "is good"]));
}

#[rstest]
#[case::nothing_to_choose("words.csv", "", &["choices", "--choice-columns"])]
#[case::no_such_choice("odd.jsonl", "", &["odd.jsonl", "line 2", "`film`"])]
#[case::none("none.jsonl", "", &["none.jsonl", "line 1", "choices"])]
#[case::beams("choices.jsonl", "--num-beams 2", &["num_beams: not an option of the task choice; leave it out"])]
fn what_cannot_be_trained(#[case] rows: &str, #[case] options: &str, #[case] says: &[&str]) {
    let place = Place::t5();
    place.write("odd.jsonl", "{\"text\": \"a\", \"choices\": [\"good\", \"bad\"], \"label\": 1}\n{\"text\": \"a\", \"choices\": [\"good\", \"bad\"], \"label\": \"film\"}\n");
    place.write("none.jsonl", "{\"text\": \"a\", \"choices\": [], \"label\": 1}\n");
    place.refuses(&train_t5(rows, &format!("--task choice --valid {rows} {options}")), says);
}
