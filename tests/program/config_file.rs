//! Options from a file: flags go first, paths count from the file, and what a run records reproduces it.

use rstest::rstest;

use crate::support::{Place, train};

const FILE: &str = r#"
model = "../base"
train = "../train.csv"
valid = "../valid.csv"
max_length = 32
batch_size = 4
epochs = 1
learning_rate = 0.01
r = 4
target_modules = ["query", "key"]
rank_pattern = { key = 2 }
"#;

#[test]
fn flags_go_over_the_file_and_paths_count_from_it() {
    let place = Place::new();
    place.write("settings/small.toml", FILE);
    place.succeeds("train --config settings/small.toml --output run -r 3 --epochs 2");
    let config = place.json("run/adapter_config.json");
    assert_eq!((&config["r"], &config["rank_pattern"]["key"]), (&3.into(), &2.into()));
    assert_eq!(config["target_modules"], serde_json::json!(["query", "key"]));
    let saved: toml::Table = place.text("run/config.toml").parse().unwrap();
    assert_eq!((saved["r"].as_integer(), saved["epochs"].as_integer()), (Some(3), Some(2)));
    assert_eq!(saved["learning_rate"].as_float(), Some(0.01));
    assert_eq!(place.run("run").evaluations().len(), 2);
}

#[test]
fn a_length_over_the_files_replaces_it() {
    let place = Place::new();
    place.write("settings/small.toml", FILE);
    place.succeeds("train --config settings/small.toml --output run --max-steps 3");
    let saved: toml::Table = place.text("run/config.toml").parse().unwrap();
    assert_eq!((saved["max_steps"].as_integer(), saved.get("epochs")), (Some(3), None));
    place.succeeds("train --config run/config.toml --output again --epochs 1");
    let saved: toml::Table = place.text("again/config.toml").parse().unwrap();
    assert_eq!((saved["epochs"].as_integer(), saved.get("max_steps")), (Some(1), None));
}

#[test]
fn a_method_over_the_files_leaves_the_files_options_of_its_method_out() {
    let place = Place::new();
    place.write("settings/small.toml", FILE);
    place.succeeds("train --config settings/small.toml --output run --method ia3");
    let config = place.json("run/adapter_config.json");
    assert_eq!(config["peft_type"], "IA3");
    assert_eq!(config["target_modules"], serde_json::json!(["key", "value", "output.dense"]));
    assert_eq!(config["feedforward_modules"], serde_json::json!(["output.dense"]));
    let saved: toml::Table = place.text("run/config.toml").parse().unwrap();
    assert_eq!(saved["learning_rate"].as_float(), Some(0.005));
    assert!(!saved.contains_key("r"));
    let ended = place.succeeds("predict --adapter run --data valid.csv");
    assert_eq!(ended.out.lines().count(), 20);
}

#[rstest]
#[case::defaults("--epochs 2")]
#[case::held_out("--valid-split 0.2 --seed 3")]
#[case::pattern("--target-modules .*(query|dense) --exclude-modules pooler.dense --layers-to-transform 0,1")]
#[case::lists("--target-modules query,value --rank-pattern query=2,value=3 --alpha-pattern query=5 --bias lora_only")]
#[case::optimizer_and_length("--optimizer adafactor --max-steps 20")]
#[case::words("--schedule cosine --keep last --init-lora-weights gaussian --use-rslora --task single")]
#[case::switched_off("--use-rslora false --no-header false --quotes true --modules-to-save pooler")]
fn what_a_run_records_reproduces_it(#[case] options: &str) {
    let place = Place::new();
    place.succeeds(&train(options));
    place.succeeds("train --config run/config.toml --output again");
    place.run("run").assert_same(&place.run("again"));
}

#[test]
fn a_file_and_the_same_flags_are_the_same_run() {
    let place = Place::new();
    place.write("small.toml", FILE.replace("../", ""));
    place.succeeds("train --config small.toml --output run");
    place.succeeds(&train(
        "--output again --epochs 1 --r 4 --target-modules query,key --rank-pattern key=2 --batch-size 4",
    ));
    place.run("run").assert_same(&place.run("again"));
}
