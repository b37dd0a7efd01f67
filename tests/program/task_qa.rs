//! `--task qa`: where in a text the answer to a question stands, from training to answers to new questions.

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Place, train_task};

/// A place with a run that has learnt what an answer looks like.
fn trained() -> Place {
    let place = Place::new();
    place.succeeds(&train_task("qa", "--epochs 12"));
    place
}

fn measured(place: &Place, args: &str) -> Value {
    serde_json::from_str(&place.succeeds(&format!("{args} --json")).out).unwrap()
}

fn file(context: &str, qas: Value) -> String {
    json!({"data": [{"paragraphs": [{"context": context, "qas": qas}]}]}).to_string()
}

#[test]
fn a_run_learns_and_says_what_for() {
    let place = trained();
    let config = place.json("run/adapter_config.json");
    assert_eq!(config["task_type"], "QUESTION_ANS");
    assert_eq!(config["modules_to_save"], json!(["qa_outputs"]));
    assert!(!place.exists("run/labels.json"));
    let options = place.text("run/config.toml");
    assert!(options.contains("task = \"qa\"") && options.contains("no_answer = false"), "{options}");
    assert_eq!(place.run("run").tensors()["base_model.model.qa_outputs.weight"], [2, 32]);
    let rounds = place.run("run").evaluations();
    let best = rounds.iter().map(|round| round["eval_f1"].as_f64().unwrap()).fold(0.0, f64::max);
    assert!(best > 0.8, "{rounds:?}");
}

#[test]
fn eval_measures_what_the_run_measured() {
    let place = trained();
    let rounds = place.run("run").evaluations();
    let f1 = |round: &Value| round["eval_f1"].as_f64().unwrap();
    let chosen = rounds.iter().reduce(|a, b| if f1(b) > f1(a) { b } else { a }).unwrap();
    let now = measured(&place, "eval --adapter run --data valid.json");
    assert_eq!(now["rows"], 20);
    for name in ["loss", "f1", "exact_match"] {
        let (run, now) = (chosen[format!("eval_{name}")].as_f64().unwrap(), now[name].as_f64().unwrap());
        assert!((run - now).abs() < 1e-5, "{name}: {run} in the run, {now} now");
    }
    let out = place.succeeds("eval --adapter run --data valid.json").out;
    let first_words: Vec<&str> = out.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(first_words, ["questions", "loss", "f1", "exact_match"]);
}

#[test]
fn a_question_is_answered_with_words_of_its_context() {
    let place = trained();
    let ask = |question: &str, context: &str| {
        let args = ["predict", "--adapter", "run", "--question", question, "--context", context];
        let ended = place.peft_reading(&args, b"");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.out
    };
    let out = ask("the film was", "we felt the music was very Good and long");
    let (answer, probability) = out.trim_end().split_once('\t').unwrap();
    assert!(answer.contains("Good") && "we felt the music was very Good and long".contains(answer), "{out}");
    assert!((0.0..=1.0).contains(&probability.parse::<f64>().unwrap()), "{out}");
    // Three windows' worth of context, the answer in the last.
    let out = ask("the film was", &("the story is long and ".repeat(12) + "bad"));
    assert!(out.contains("bad\t"), "{out}");
}

#[test]
fn a_file_of_questions_gives_the_official_form_of_predictions() {
    let place = trained();
    let predictions: Value =
        serde_json::from_str(&place.succeeds("predict --adapter run --data valid.json").out).unwrap();
    let predictions = predictions.as_object().unwrap();
    assert_eq!(predictions.keys().next().map(String::as_str), Some("q0"));
    assert_eq!(predictions.len(), 20);
    // They are what is scored: how many are right is the exact match.
    let right = (0..20).filter(|row| predictions[&format!("q{row}")] == ["good", "bad"][row % 2]).count();
    let now = measured(&place, "eval --adapter run --data valid.json");
    assert!((now["exact_match"].as_f64().unwrap() - right as f64 / 20.0).abs() < 1e-9, "{right} in {now}");
    let lines = place.succeeds("predict --adapter run --data valid.json --json").out;
    for line in lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        assert_eq!(predictions[line["id"].as_str().unwrap()], line["answer"]);
        assert!(line["answer_start"].is_u64() && line["probability"].is_f64(), "{line}");
    }
}

#[test]
fn questions_without_an_answer_may_be_left_unanswered() {
    let place = Place::new();
    let mut questions = place.json("train.json");
    for paragraph in questions["data"][0]["paragraphs"].as_array_mut().unwrap().iter_mut().step_by(2) {
        let context = paragraph["context"].as_str().unwrap().replace("good", "the");
        paragraph["context"] = context.into();
        paragraph["qas"][0]["answers"] = json!([]);
        paragraph["qas"][0]["is_impossible"] = true.into();
    }
    place.write("two.json", questions.to_string());
    place.succeeds(&train_task("qa", "--train two.json --valid two.json --epochs 12"));
    assert!(place.text("run/config.toml").contains("no_answer = true"));
    let now = measured(&place, "eval --adapter run --data two.json");
    assert_eq!((&now["impossible"]["questions"], &now["answerable"]["questions"]), (&30.into(), &30.into()));
    let exact = |part: &str| now[part]["exact_match"].as_f64().unwrap();
    assert!(exact("impossible") > 0.7 && exact("answerable") > 0.5, "{now}");
    let out = place.succeeds("eval --adapter run --data two.json").out;
    assert!(out.contains("\nwith an answer") && out.contains("\nwithout"), "{out}");
}

#[test]
fn an_adapter_without_its_run_is_known_by_its_task_type() {
    let place = trained();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        place.write(&format!("bare/{name}"), place.read(&format!("run/{name}")));
    }
    let ask = |adapter: &str| {
        let args = ["predict", "--adapter", adapter, "--question", "the film was", "--context", "it was very good"];
        place.peft_reading(&args, b"").out
    };
    assert!(ask("bare").contains('\t'));
    assert_eq!(ask("bare"), ask("run"));
}

#[rstest]
#[case::column("--label-column label", &["label_column: the files of the task qa have no columns to choose"])]
#[case::stride("--doc-stride 32", &["doc_stride: 32 is not less than max_length 32"])]
#[case::no_squad("--train train.csv", &["train.csv`"])]
#[case::no_answers("--train none.json", &["none.json: no question has an answer; give `answers` with `text`"])]
#[case::misplaced("--train wrong.json --valid valid.json", &["wrong.json: no answer stands where the file says; correct answer_start"])]
#[case::long_question("--train long.json --valid valid.json", &["question `a` is ", "raise the maximum length"])]
fn what_cannot_be_trained(#[case] options: &str, #[case] says: &[&str]) {
    let place = Place::new();
    let answers = |text: &str, start: i64| json!([{"text": text, "answer_start": start}]);
    let asked = |question: &str, answers: Value| json!([{"id": "a", "question": question, "answers": answers}]);
    place.write("none.json", file("a film", asked("what", json!([]))));
    place.write("wrong.json", file("a film", asked("what", answers("story", 0))));
    let context = "the ".repeat(40);
    place.write("long.json", file(&context, asked(&"what ".repeat(28), answers("the", 0))));
    place.refuses(&train_task("qa", options), says);
}

#[rstest]
#[case::text("predict --adapter run good", &["no question; give --question with --context, or --data"])]
#[case::column("predict --adapter run --data valid.json --text-column w", &["text_column: the files of the task qa"])]
#[case::no_answers("eval --adapter run --data none.json", &["none.json: no question has an answer"])]
fn what_cannot_be_used(#[case] args: &str, #[case] says: &[&str]) {
    let place = Place::new();
    place.write("none.json", file("a film", json!([{"id": "a", "question": "what"}])));
    place.succeeds(&train_task("qa", "--epochs 1"));
    place.refuses(args, says);
}
