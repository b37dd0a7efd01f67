//! `eval`, `predict` and `inspect` on what `train` has left.

use rstest::rstest;
use serde_json::Value;

use crate::support::{Place, train};

/// A place with a run that has learnt the two words.
fn trained() -> Place {
    let place = Place::new();
    place.succeeds(&train("--epochs 10"));
    place
}

fn objects(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[rstest]
#[case::best("")]
#[case::last("--keep last")]
#[case::small_batches("--eval-batch-size 3")]
fn eval_measures_what_the_run_measured(#[case] options: &str) {
    let place = Place::new();
    place.succeeds(&train(&format!("{options} --eval-steps 10")));
    let rounds = place.run("run").evaluations();
    let accuracy = |round: &Value| round["eval_accuracy"].as_f64().unwrap();
    let chosen = match options.contains("last") {
        true => rounds.last().unwrap(),
        // The first of equals.
        false => rounds.iter().reduce(|a, b| if accuracy(b) > accuracy(a) { b } else { a }).unwrap(),
    };
    let measured: Value =
        serde_json::from_str(&place.succeeds("eval --adapter run --data valid.csv --json").out).unwrap();
    assert_eq!(measured["rows"], 20);
    for name in ["loss", "accuracy", "f1", "matthews"] {
        let (run, now) = (chosen[format!("eval_{name}")].as_f64().unwrap(), measured[name].as_f64().unwrap());
        assert!((run - now).abs() < 1e-6, "{name}: {run} in the run, {now} now");
    }
}

#[test]
fn eval_prints_a_table_for_people() {
    let place = trained();
    let out = place.succeeds("eval --adapter run --data valid.csv").out;
    let first_words: Vec<&str> = out.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(first_words, ["rows", "loss", "accuracy", "f1", "matthews"]);
}

#[test]
fn every_way_in_gives_the_same_answers_in_the_same_order() {
    let place = trained();
    let texts = ["good", "the plot was bad", "very good music", "bad", "an Ünknown wörd", "good"];
    let lines = texts.join("\n");
    place.write("texts.tsv", format!("label\ttext\n?\t{}\n", texts.join("\n?\t")));
    place.write("texts.jsonl", texts.map(|text| format!("{}\n", serde_json::json!({"text": text}))).concat());
    let predict = |args: &[&str], input: &str| {
        let args = [&["predict", "--adapter", "run", "--json"], args].concat();
        let ended = place.peft_reading(&args, input.as_bytes());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.out
    };
    let expected = predict(&texts, "");
    let answers = objects(&expected);
    assert_eq!(answers.iter().map(|answer| answer["text"].as_str().unwrap()).collect::<Vec<_>>(), texts);
    assert_eq!((&answers[0]["label"], &answers[3]["label"]), (&"good".into(), &"bad".into()), "{expected}");
    assert_eq!(answers[0], answers[5]);
    assert_eq!(predict(&[], &lines), expected);
    assert_eq!(predict(&[], &lines.replace('\n', "\r\n")), expected);
    assert_eq!(predict(&["--data", "texts.tsv"], ""), expected);
    assert_eq!(predict(&["--data", "texts.jsonl"], ""), expected);
    // A row's answer does not depend on its neighbours.
    let near = |a: &Value, b: &Value| (a["probability"].as_f64().unwrap() - b["probability"].as_f64().unwrap()).abs();
    let alone = objects(&predict(&["--batch-size", "1", "--data", "texts.jsonl"], ""));
    assert!(alone.iter().zip(&answers).all(|(a, b)| a["label"] == b["label"] && near(a, b) < 1e-5), "{alone:?}");
}

#[test]
fn probabilities_sum_to_one_and_the_label_has_the_highest() {
    let place = trained();
    for answer in objects(&place.succeeds("predict --adapter run --json --data valid.csv").out) {
        let all: Vec<f64> =
            answer["probabilities"].as_object().unwrap().values().map(|p| p.as_f64().unwrap()).collect();
        assert!((all.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{answer}");
        let highest = all.iter().copied().fold(0.0, f64::max);
        assert_eq!(answer["probability"].as_f64(), Some(highest));
        assert_eq!(answer["probabilities"][answer["label"].as_str().unwrap()], answer["probability"]);
    }
}

#[test]
fn without_json_a_line_is_label_probability_text() {
    let place = trained();
    let ended = place.peft_reading(&["predict", "--adapter", "run", "so\tgood", "bad"], b"");
    let rows: Vec<Vec<&str>> = ended.out.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!((rows[0][0], rows[0][2], rows[1][0], rows[1][2]), ("good", "so good", "bad", "bad"), "{}", ended.out);
    assert!(rows.iter().all(|row| row[1].parse::<f64>().unwrap() > 0.5), "{}", ended.out);
}

#[test]
fn an_adapter_without_its_run_is_enough() {
    let place = trained();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        place.write(&format!("bare/{name}"), place.read(&format!("run/{name}")));
    }
    let from_run = objects(&place.succeeds("predict --adapter run --json good bad").out);
    let from_bare = objects(&place.succeeds("predict --adapter bare --json good bad").out);
    for (run, bare) in from_run.iter().zip(&from_bare) {
        let name = ["LABEL_0", "LABEL_1"][usize::from(run["label"] == "good")];
        assert_eq!((&bare["label"], &bare["probability"]), (&name.into(), &run["probability"]));
    }
}

#[test]
fn a_checkpoint_of_a_run_can_be_used() {
    let place = trained();
    let step = *place.run("run").steps().last().unwrap();
    let folder = format!("run/checkpoints/step-{step:08}");
    let out = place.succeeds(&format!("predict --adapter {folder} good")).out;
    assert!(out.starts_with("good\t"), "{out}");
}

#[test]
fn an_adapter_goes_onto_a_base_that_has_moved() {
    let place = trained();
    let before = place.succeeds("predict --adapter run --json good bad").out;
    place.copy("base", "elsewhere");
    place.remove("base");
    place.peft("predict --adapter run good").refuses(&["base` is neither a folder nor the id of a model"]);
    assert_eq!(place.succeeds("predict --adapter run --model elsewhere --json good bad").out, before);
}

#[rstest]
#[case::model("inspect base", &["shape      2 layers, hidden 32", "weights    41 tensors, parameters: 26,339 F32", "sites "])]
#[case::every_tensor("inspect base --all", &["bert.encoder.layer.1.output.dense.weight [32, 80]"])]
#[case::rank("inspect base --rank 8", &["trainable  2,114 of 28,420 parameters (7.44 %)"])]
#[case::run("inspect run", &["run        run trained on", "labels     bad, good", "state      finished, step 150, 10 ev"])]
#[case::adapter("inspect run", &["method     LoRA r=8 lora_alpha=16", "targets    query, value", "saved      classifier"])]
#[case::share("inspect run", &["tensors    10, 2,114 parameters", "trainable  2,114 of 28,420 parameters (7.44 %)"])]
fn inspect_says_what_there_is(#[case] args: &str, #[case] says: &[&str]) {
    let place = trained();
    let out = place.succeeds(args).out;
    for part in says {
        assert!(out.contains(part), "`{part}` is not in\n{out}");
    }
}

#[test]
fn an_unfinished_run_says_how_to_go_on() {
    let place = Place::new();
    let run = place.interrupted("run", &train("--save-steps 2 --epochs 20"), |run| run.rounds() > 1);
    let step = run.steps().last().copied().unwrap();
    let out = place.succeeds("inspect run").out;
    assert!(out.contains(&format!("state      not finished, step {step}, {} evaluations", run.rounds())), "{out}");
    assert!(out.contains("none yet; continue with: peft train --resume run"), "{out}");
    for command in ["predict --adapter run good", "eval --adapter run --data valid.csv"] {
        place.peft(command).refuses(&["run: the run is not finished; continue it with: peft train --resume run"]);
    }
}
