//! `train`: what a finished run leaves behind and says.

use rstest::rstest;
use serde_json::Value;

use crate::support::{Place, train};

#[test]
fn a_run_leaves_what_is_needed_to_use_it_continue_it_and_repeat_it() {
    let place = Place::new();
    place.succeeds(&train(""));
    let run = place.run("run");
    assert_eq!(place.json("run/labels.json")["id2label"], serde_json::json!({"0": "bad", "1": "good"}));
    assert_eq!(place.read("run/tokenizer.json"), place.read("base/tokenizer.json"));
    let options: toml::Table = place.text("run/config.toml").parse().unwrap();
    assert_eq!((options["r"].as_integer(), options["epochs"].as_integer()), (Some(8), Some(4)));
    assert_eq!(options["model"].as_str(), place.path("base").to_str());
    let names: Vec<String> = run.checkpoints();
    assert!((1..=2).contains(&names.len()) && names.iter().all(|name| name.starts_with("step-")), "{names:?}");
    assert_eq!(run.state().unwrap()["finished"], true);
    run.assert_intact();
}

#[test]
fn metrics_are_lines_of_json_in_the_order_of_the_steps() {
    let place = Place::new();
    place.succeeds(&train("--logging-steps 4"));
    let metrics = place.run("run").metrics();
    let step = |line: &Value| line["step"].as_u64().unwrap();
    assert!(metrics.is_sorted_by_key(step), "{metrics:#?}");
    let (rounds, steps): (Vec<&Value>, Vec<&Value>) = metrics.iter().partition(|line| line.get("eval_loss").is_some());
    assert_eq!(rounds.into_iter().map(step).collect::<Vec<_>>(), [15, 30, 45, 60]);
    assert!(steps.is_sorted_by(|a, b| step(a) < step(b)));
    assert_eq!(steps.len(), 15);
    assert!(metrics.iter().flat_map(|line| line.as_object().unwrap().values()).all(Value::is_number));
}

/// The rows are passed over as often as it takes, and the schedule is of as many steps.
#[test]
fn a_run_of_so_many_steps_ends_there() {
    let place = Place::new();
    let ended = place.succeeds(&train("--max-steps 37 --logging-steps 12"));
    assert!(ended.out.contains("37"), "{}", ended.out);
    let run = place.run("run");
    let step = |line: &Value| line["step"].as_u64().unwrap();
    assert_eq!(run.evaluations().iter().map(step).collect::<Vec<_>>(), [15, 30, 37]);
    let steps: Vec<Value> = run.metrics().into_iter().filter(|line| line.get("learning_rate").is_some()).collect();
    assert_eq!(steps.iter().map(step).collect::<Vec<_>>(), [12, 24, 36, 37]);
    // The last of 37 steps, two of them warm-up, of a straight line down from 0.01.
    let rate = steps[3]["learning_rate"].as_f64().unwrap();
    assert!((rate - 0.01 / 35.0).abs() < 1e-12, "{rate}");
    let state = run.state().unwrap();
    assert_eq!((&state["step"], &state["finished"]), (&37.into(), &true.into()));
    let options: toml::Table = place.text("run/config.toml").parse().unwrap();
    assert_eq!((options["max_steps"].as_integer(), options.get("epochs")), (Some(37), None));
    // Fewer steps than a pass has.
    place.succeeds(&train("--max-steps 2 --output short"));
    assert_eq!(place.run("short").evaluations().iter().map(step).collect::<Vec<_>>(), [2]);
    run.assert_intact();
}

#[rstest]
#[case::lora_and_a_new_head("", &["bert.encoder.layer.0.attention.self.query.lora_A.weight", "classifier.bias"], 10)]
#[case::one_module_of_one_layer(
    "--target-modules key --layers-to-transform 1 --r 2",
    &["bert.encoder.layer.1.attention.self.key.lora_B.weight", "classifier.weight"],
    4
)]
#[case::biases("--bias lora_only", &["bert.encoder.layer.0.attention.self.query.base_layer.bias"], 14)]
#[case::a_module_of_the_base("--modules-to-save pooler", &["bert.pooler.dense.weight"], 12)]
fn the_adapter_holds_what_was_trained_and_nothing_else(
    #[case] options: &str,
    #[case] some: &[&str],
    #[case] tensors: usize,
) {
    let place = Place::new();
    place.succeeds(&train(&format!("{options} --epochs 1")));
    let names: Vec<String> = place.run("run").tensors().into_keys().collect();
    assert_eq!(names.len(), tensors, "{names:#?}");
    for name in &names {
        let name = name.strip_prefix("base_model.model.").unwrap_or_else(|| panic!("{name}"));
        let part = |part: &str| name.ends_with(&format!(".{part}.weight"));
        let asked = some.contains(&name) || options.contains("bias") && name.ends_with(".bias");
        assert!(
            part("lora_A") || part("lora_B") || name.starts_with("classifier.") || asked || name.contains("pooler")
        );
        assert!(options.contains("pooler") || !name.contains("pooler"), "{name}");
    }
    for name in some {
        assert!(names.contains(&format!("base_model.model.{name}")), "{name} is not in {names:#?}");
    }
}

#[test]
fn a_pooler_that_the_base_lacks_is_trained_and_saved() {
    let place = Place::new();
    let bytes = place.read("base/model.safetensors");
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.iter().filter(|(name, _)| !name.contains("pooler"));
    place.write("base/model.safetensors", safetensors::serialize(tensors, None).unwrap());
    let ended = place.succeeds(&train("--epochs 1"));
    assert!(ended.err.contains("new: pooler, classifier"), "{}", ended.err);
    let names: Vec<String> = place.run("run").tensors().into_keys().collect();
    assert!(names.contains(&"base_model.model.bert.pooler.dense.weight".into()), "{names:#?}");
    // What was new in training comes from the adapter, not from a new draw.
    let first = place.succeeds("eval --adapter run --data valid.csv --json").out;
    assert_eq!(first, place.succeeds("eval --adapter run --data valid.csv --json").out);
}

#[test]
fn the_last_lines_say_what_was_reached_and_how_to_use_it() {
    let place = Place::new();
    let ended = place.succeeds(&train(""));
    let lines: Vec<&str> = ended.out.lines().collect();
    let [scores, trained, adapter, usage] = lines[..] else { panic!("{}", ended.out) };
    let best = place.json("run/checkpoints/step-00000060/state.json")["rounds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|round| round["scores"][0][1].as_str().unwrap().parse::<f64>().unwrap())
        .fold(0.0, f64::max);
    assert!(scores.starts_with(&format!("accuracy {best:.3}, f1 ")), "{scores} is not {best}");
    assert!(trained.starts_with("trained 2,114 of 28,420 parameters (7.44 %) in "), "{trained}");
    let size = place.read("run/adapter_model.safetensors").len() as f64 / 1e3;
    assert_eq!(adapter, format!("adapter: run ({size:.1} kB)"));
    assert!(usage.contains("predict --adapter run"), "{usage}");
}

#[test]
fn progress_goes_to_standard_error_without_control_codes() {
    let place = Place::new();
    let ended = place.succeeds(&train("--epochs 2"));
    assert!(ended.err.contains("train.csv: 60 rows, text from `text`, label from `label`"), "{}", ended.err);
    assert!(ended.err.contains("epoch 2/2  step 30  train loss"), "{}", ended.err);
    assert!(!ended.err.contains('\x1b') && !ended.err.contains('\r'), "{}", ended.err);
}

#[test]
fn without_an_output_the_folder_is_named_after_model_and_data_and_numbered() {
    let place = Place::new();
    let args = "train --model base --train train.csv --valid valid.csv --max-length 32 --epochs 1";
    for folder in ["runs/base-train", "runs/base-train-2"] {
        let ended = place.succeeds(args);
        assert!(ended.out.contains(&format!("--adapter {folder} ")), "{}", ended.out);
        assert!(place.run(folder).has_adapter());
    }
}
