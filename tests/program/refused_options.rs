//! Options that make no sense, as flags and in a file: each is named with what it may be.

use rstest::rstest;

use crate::support::{Place, train};

#[rstest]
#[case::rank("-r 0", &["r: "])]
#[case::of_another_method("--method ia3 -r 8", &["r: not an option of the method ia3"])]
#[case::of_ia3("--feedforward-modules output.dense", &["feedforward_modules: not an option of the method lora"])]
#[case::no_target("--method ia3 --target-modules key --feedforward-modules query", &["`bert.encoder.layer.0.attention.self.query` is not among"])]
#[case::dropout("--lora-dropout 1.5", &["lora_dropout: "])]
#[case::alpha("--lora-alpha NaN", &["lora_alpha: "])]
#[case::epochs("--epochs 0", &["epochs: must be at least 1"])]
#[case::steps("--max-steps 0", &["max_steps: must be at least 1"])]
#[case::batch("--batch-size 0", &["batch_size: must be at least 1"])]
#[case::learning_rate("--learning-rate 0", &["learning_rate: must be greater than 0"])]
#[case::infinite("--learning-rate inf", &["learning_rate: "])]
#[case::warmup("--warmup-ratio 2", &["warmup_ratio: must lie between 0 and 1"])]
#[case::clipping("--max-grad-norm=-1", &["max_grad_norm: must be 0 (no bound) or more"])]
#[case::long("--max-length 65", &["max_length: 65 is more than the model's 64 positions"])]
#[case::short("--max-length 3", &["max_length: must be at least 4"])]
#[case::all_held_out("--valid-split 1", &["valid_split: must lie between 0 and 1"])]
#[case::target("--target-modules qeury", &["target_modules: `qeury` matches no module of the model", "query"])]
#[case::some_targets("--target-modules query,valeu", &["target_modules: `valeu` matches no module", "value"])]
#[case::expression("--target-modules (query", &["target_modules: `(query` is no regular expression"])]
#[case::saved("--modules-to-save poler", &["modules_to_save: `poler` matches no module of the model"])]
#[case::layer("--layers-to-transform 7", &["layers_to_transform"])]
#[case::all_excluded("--exclude-modules query,value", &["exclude_modules"])]
#[case::budget("--max-tokens 0", &["max_tokens: must be at least 1"])]
#[case::device("--device gpu", &["--device gpu: no such backend; there are flex, ndarray, cuda and wgpu"])]
#[case::second_cpu("--device flex:1", &["--device flex:1: there is one CPU; write flex"])]
#[case::screen("--tui", &["--tui: standard output is no terminal; leave --tui out"])]
fn a_flag_that_makes_no_sense(#[case] options: &str, #[case] says: &[&str]) {
    let place = Place::new();
    place.refuses(&train(options), says);
}

#[rstest]
#[case::no_model("train --train train.csv", &["--model: name the base model"])]
#[case::no_data("train --model base", &["--train: name a file of training rows"])]
#[case::no_file("train --config nowhere.toml", &["nowhere.toml: no such file; check the path"])]
fn what_a_run_cannot_do_without(#[case] args: &str, #[case] says: &[&str]) {
    Place::new().refuses(args, says);
}

#[rstest]
#[case::unknown_key("epochs = 1\nlerning_rate = 0.1\n", &["small.toml: line 2", "`lerning_rate`", "nearest are learning_rate"])]
#[case::wrong_type("epochs = \"three\"\n", &["small.toml: line 1: epochs: invalid type", "expected a whole number"])]
#[case::negative("\n\nr = -1\n", &["small.toml: line 3: r: invalid value", "expected a whole number, 0 or more"])]
#[case::number("learning_rate = \"fast\"\n", &["small.toml: line 1: learning_rate: ", "expected a number"])]
#[case::unknown_word("schedule = \"exponential\"\n", &["small.toml: line 1: schedule: ", "exponential", "cosine"])]
#[case::no_toml("epochs = 1\nr =\n", &["small.toml: line 2: "])]
#[case::twice("r = 1\nr = 2\n", &["small.toml: line 2: ", "duplicate key"])]
#[case::zero("model = \"base\"\ntrain = \"train.csv\"\nepochs = 0\n", &["epochs: must be at least 1"])]
#[case::two_lengths(
    "model = \"base\"\ntrain = \"train.csv\"\nepochs = 1\nmax_steps = 9\n",
    &["max_steps: says how long the run is, and so does epochs"]
)]
#[case::optimizer("optimizer = \"sgd\"\n", &["small.toml: line 1: optimizer: ", "`sgd`", "`adamw` or `adafactor`"])]
#[case::method("model = \"base\"\ntrain = \"train.csv\"\nmethod = \"oft\"\n", &["method: `oft` is not a method of this version; choose lora"])]
fn a_file_that_makes_no_sense(#[case] content: &str, #[case] says: &[&str]) {
    let place = Place::new();
    place.write("small.toml", content);
    place.refuses("train --config small.toml --output run", says);
}

#[test]
fn a_file_that_is_no_text() {
    let place = Place::new();
    place.write("small.toml", b"model = \"b\xe4se\"\n");
    place.refuses("train --config small.toml", &["small.toml: not UTF-8 text"]);
}

/// Clap's errors have a usage below them; only the first line says what is wrong.
#[rstest]
#[case::flag("train --epoch 3", "unexpected argument '--epoch' found")]
#[case::number("train --epochs three", "invalid value 'three' for '--epochs <N>'")]
#[case::choice("train --schedule steep", "invalid value 'steep' for '--schedule <SCHEDULE>'")]
#[case::optimizer(
    "train --optimizer sgd",
    "invalid value 'sgd' for '--optimizer <OPTIMIZER>': choose adamw or adafactor"
)]
#[case::lengths("train --max-steps 9 --epochs 1", "'--max-steps <N>' cannot be used with '--epochs <N>'")]
#[case::label("eval --data valid.csv", "--adapter <DIR>")]
#[case::command("tune", "unrecognized subcommand 'tune'")]
fn a_command_line_that_cannot_be_read(#[case] args: &str, #[case] says: &str) {
    let ended = Place::new().peft(args);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.starts_with("error: ") && ended.err.contains(says), "{}", ended.err);
}
