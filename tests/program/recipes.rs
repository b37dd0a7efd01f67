//! `--recipe`: published ways to train, and what is recorded of them.

use rstest::rstest;
use serde_json::json;

use crate::support::{Place, train_t5};

/// What the flags of [`train_t5`] do not say is the recipe's.
#[rstest]
#[case::gated(json!({"feed_forward_proj": "gated-gelu", "tie_word_embeddings": false}), "wi_1")]
#[case::ungated(json!({}), "wi")]
fn t_few_rescales_keys_values_and_what_the_feed_forward_lets_through(
    #[case] more: serde_json::Value,
    #[case] inner: &str,
) {
    let place = Place::t5();
    place.add_t5("few", more);
    place.succeeds(&train_t5("words.csv", "--model few --recipe t-few --max-steps 4 --batch-size 2"));
    let options = place.text("run/config.toml");
    for line in [
        "recipe = \"t-few\"",
        "method = \"ia3\"",
        "label_as = \"choice\"",
        "optimizer = \"adafactor\"",
        "weight_decay = 0.0",
        "keep = \"last\"",
        // Those are the flags'.
        "max_steps = 4",
        "batch_size = 2",
        "learning_rate = 0.01",
    ] {
        assert!(options.lines().any(|other| other == line), "`{line}` is not in {options}");
    }
    assert!(!options.contains("epochs"), "{options}");
    let config = place.json("run/adapter_config.json");
    let mut targets: Vec<&str> =
        config["target_modules"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    targets.sort_unstable();
    assert_eq!(targets, ["k", "v", inner]);
    // The output of the inner layer is rescaled, which is where the input of the outer one would be.
    assert!(config["feedforward_modules"].as_array().is_none_or(Vec::is_empty), "{config}");
    let tensors = place.run("run").tensors();
    assert_eq!(tensors.len(), 3 * 2 + 2, "{tensors:?}");
    let name = format!("base_model.model.encoder.block.0.layer.1.DenseReluDense.{inner}.ia3_l");
    assert_eq!(tensors[&name].iter().product::<usize>(), 48, "{tensors:?}");
    // What a run records is a configuration that gives the same run.
    place.write("again.toml", options.replace(&place.path("run").display().to_string(), "again"));
    place.succeeds("train --config again.toml --output again");
    assert_eq!(place.read("again/adapter_model.safetensors"), place.read("run/adapter_model.safetensors"));
}

#[test]
fn the_walkthrough_of_twitter_complaints() {
    let place = Place::t5();
    let args = "train --model t5 --train words.csv --output run --recipe twitter-complaints --epochs 2 -r 4";
    place.succeeds(args);
    let options = place.text("run/config.toml");
    for line in [
        "recipe = \"twitter-complaints\"",
        "label_as = \"text\"",
        "r = 4",
        "epochs = 2",
        "valid_split = 0.2",
        "lora_alpha = 32.0",
    ] {
        assert!(options.lines().any(|other| other == line), "`{line}` is not in {options}");
    }
    let config = place.json("run/adapter_config.json");
    assert_eq!((&config["r"], &config["task_type"]), (&json!(4), &json!("SEQ_2_SEQ_LM")));
}

/// Another method than the recipe's leaves out what is meant for that.
#[test]
fn a_flag_goes_before_a_recipe() {
    let place = Place::t5();
    let args = "train --model t5 --train words.csv --output run --recipe t-few --method lora --epochs 1 --valid valid-words.csv";
    place.succeeds(args);
    let options = place.text("run/config.toml");
    for line in ["method = \"lora\"", "optimizer = \"adafactor\"", "epochs = 1", "learning_rate = 0.001"] {
        assert!(options.lines().any(|other| other == line), "`{line}` is not in {options}");
    }
    assert!(!options.contains("max_steps"), "{options}");
}

#[test]
fn a_recipe_needs_its_kind_of_model() {
    let place = Place::t5();
    let says = ["label_as: `bert` has no decoder and makes no text; leave it out, or use a T5"];
    place.refuses(&train_t5("words.csv", "--model base --recipe t-few"), &says);
    let ended = place.peft(&train_t5("words.csv", "--recipe few"));
    assert!(ended.code == Some(2) && ended.err.contains("t-few"), "{}", ended.err);
}
