//! `--cache-frozen`: what is below all that is trained is run once a text, and nothing else changes.

use std::fs;

use burn::prelude::*;
use peft::adapter::BottleneckConfig;
use peft::models::bert::{AnyBert, BertHead};
use peft::{AnyConfig, read_adapter, save_adapter};
use rstest::rstest;
use serde_json::Value;

use crate::support::{Place, Run, train, train_t5, train_task};

const LAST: &str = "--method last-layers --num-layers 1 --learning-rate 0.002";
const UPPER: &str = "--layers-to-transform 1 --lora-dropout 0";
const DECODER: &str = "--target-modules decoder.*Attention.(q|v) --lora-dropout 0";

/// Losses, norms and scores of every line.
fn numbers(run: &Run) -> Vec<(String, f64)> {
    let of = |line: Value| {
        let fields = line.as_object().unwrap().clone();
        fields.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?))).collect::<Vec<_>>()
    };
    run.metrics().into_iter().flat_map(of).collect()
}

/// The base has no dropout, so that all is the same but for rounding.
fn learns_the_same(place: &Place, args: &str) {
    let run =
        |flags: &str| place.succeeds(&args.replace("--output run", &format!("--logging-steps 1 --output {flags}")));
    run("without");
    let ended = run("with --cache-frozen");
    assert!(ended.err.contains("kept once a text is read: what "), "{}", ended.err);
    let [with, without] = ["with", "without"].map(|name| numbers(&place.run(name)));
    assert!(with.len() > 20 && with.len() == without.len());
    for ((name, with), (other, without)) in with.iter().zip(&without) {
        assert!(name == other && (with - without).abs() < 1e-5 * without.abs().max(1.0), "{name}: {with}, {without}");
    }
}

#[rstest]
#[case::last_layers(LAST)]
#[case::head("--method head")]
#[case::head_alone("--method head --modules-to-save classifier")]
#[case::lora(UPPER)]
#[case::adalora("--method adalora --target-modules .*layer.1.*(query|value) --lora-dropout 0 --init-r 4 --target-r 2")]
#[case::adapters("--method adapter --leave-out 0")]
#[case::accumulation("--method adapter --leave-out 0 --gradient-accumulation 3 --eval-steps 4")]
#[case::token_budget("--method adapter --leave-out 0 --batch-size 16 --max-tokens 40 --valid-split 0.2")]
#[case::four_bits("--method adapter --leave-out 0 --base-bits 4")]
fn the_losses_are_those_of_a_run_without(#[case] options: &str) {
    learns_the_same(&Place::new(), &train(&format!("--epochs 2 {options}")));
}

#[rstest]
#[case::words("token", LAST)]
#[case::words_by_the_head("token", "--method head")]
#[case::answers("qa", LAST)]
#[case::answers_by_the_head("qa", "--method head")]
fn so_are_those_of_other_tasks(#[case] task: &str, #[case] options: &str) {
    learns_the_same(&Place::new(), &train_task(task, &format!("--epochs 2 {options}")));
}

#[rstest]
#[case::words("words.csv", DECODER)]
#[case::choices_of_words("words.csv", "--label-as choice --target-modules decoder.*Attention.(q|v) --lora-dropout 0")]
#[case::texts("texts.csv", "--task text --target-modules decoder.*Attention.(q|v) --lora-dropout 0")]
#[case::choices("choices.jsonl", "--task choice --target-modules decoder.*Attention.(q|v) --lora-dropout 0")]
#[case::classes("words.csv", "--label-as head --method head")]
fn so_are_those_of_a_t5(#[case] rows: &str, #[case] options: &str) {
    learns_the_same(&Place::t5(), &train_t5(rows, &format!("--epochs 2 {options}")));
}

#[test]
fn a_file_changes_nothing_and_is_gone() {
    let place = Place::new();
    let options = format!("{LAST} --epochs 2 --cache-frozen");
    place.succeeds(&train(&format!("{options} --output memory")));
    for size in ["0", "20KiB"] {
        place.succeeds(&train(&format!("{options} --cache-memory {size}")));
        place.run("run").assert_same(&place.run("memory"));
        place.remove("run");
    }
    let config = place.text("memory/config.toml");
    assert!(config.contains("cache_frozen = true") && config.contains("cache_memory = \"2GiB\""), "{config}");
}

fn between_evaluations(run: &Run) -> bool {
    run.is_between_evaluations()
}

fn after_the_first_epoch(run: &Run) -> bool {
    run.rounds() >= 1 && run.is_between_evaluations()
}

#[rstest]
#[case::within_an_epoch(LAST, between_evaluations)]
#[case::in_a_later_epoch(LAST, after_the_first_epoch)]
#[case::from_a_file("--method head --cache-memory 0", after_the_first_epoch)]
#[case::dropout("--layers-to-transform 1 --lora-dropout 0.3 --cache-memory 10KiB", after_the_first_epoch)]
#[case::token_budget("--method adapter --leave-out 0 --batch-size 16 --max-tokens 40", after_the_first_epoch)]
fn a_resumed_run_ends_in_the_same_bytes(#[case] options: &str, #[case] when: fn(&Run) -> bool) {
    let place = Place::new();
    // Dropout in the layers that are kept is none, in the others it is drawn as it was.
    place.edit("base/config.json", "\"hidden_dropout_prob\": 0.0", "\"hidden_dropout_prob\": 0.1");
    let options = format!("{options} --cache-frozen --save-steps 3 --epochs 8");
    place.succeeds(&train(&format!("{options} --output whole")));
    let run = place.interrupted("run", &train(&options), when);
    run.assert_intact();
    place.succeeds("train --resume run");
    run.assert_same(&place.run("whole"));
}

#[rstest]
#[case::words("token", LAST)]
#[case::answers("qa", "--method head --cache-memory 100KiB")]
fn so_does_one_of_another_task(#[case] task: &str, #[case] options: &str) {
    let place = Place::new();
    let options = train_task(task, &format!("{options} --cache-frozen --save-steps 3 --epochs 6"));
    place.succeeds(&options.replace("--output run", "--output whole"));
    let run = place.interrupted("run", &options, after_the_first_epoch);
    place.succeeds("train --resume run");
    run.assert_same(&place.run("whole"));
}

/// The same texts come twice, in training and in validation: whichever asks first, they are run where they came first.
#[test]
fn nor_does_it_matter_which_rows_share_a_text() {
    let place = Place::new();
    let rows = place.text("train.csv");
    let body = rows.split_once('\n').unwrap().1.to_string();
    place.write("train.csv", format!("{rows}{body}"));
    place.write(
        "valid.csv",
        format!("text,label\n{}", body.lines().rev().map(|line| format!("{line}\n")).collect::<String>()),
    );
    let options = format!("{LAST} --cache-frozen --save-steps 3 --epochs 5");
    place.succeeds(&train(&format!("{options} --output whole")));
    let run = place.interrupted("run", &train(&options), after_the_first_epoch);
    place.succeeds("train --resume run");
    run.assert_same(&place.run("whole"));
}

#[test]
fn a_run_that_is_killed_leaves_no_states() {
    let place = Place::new();
    let options = format!("{LAST} --cache-frozen --cache-memory 0 --save-steps 2 --epochs 20");
    let run = place.interrupted("run", &train(&options), after_the_first_epoch);
    let names: Vec<String> =
        fs::read_dir(run.path("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let known = ["config.toml", "labels.json", "tokenizer.json", "metrics.jsonl", "checkpoints", ".lock"];
    assert!(names.iter().all(|name| known.contains(&name.as_str())), "{names:?}");
}

#[rstest]
#[case::lora("", "`bert.encoder.layer.0.attention.self.query` already")]
#[case::prefix("--method prefix --num-virtual-tokens 4", "`bert.encoder.layer.0.attention.self` already")]
#[case::prompt("--method prompt --num-virtual-tokens 4", "`bert.embeddings` already")]
#[case::biases("--method bitfit", "`bert.embeddings.LayerNorm` already")]
#[case::every_bias("--layers-to-transform 1 --bias all", "`bert.embeddings.LayerNorm` already")]
#[case::saved("--method head --modules-to-save embeddings", "`bert.embeddings.word_embeddings` already")]
#[case::all_adapters(
    "--method adapter",
    "lora: layers_to_transform; adapter: leave_out; target_modules that name upper layers; or the method"
)]
#[case::all_layers("--method last-layers --num-layers 2", "no layer is below that")]
fn where_nothing_can_be_kept_that_is_said(#[case] options: &str, #[case] says: &str) {
    let place = Place::new();
    place.refuses(&train(&format!("--cache-frozen {options}")), &["cache_frozen: the adapter acts at ", says]);
}

#[rstest]
#[case::alone("--cache-memory 1GiB", "cache_memory: nothing is kept without cache_frozen; give both")]
#[case::no_size("--method head --cache-frozen --cache-memory much", "cache_memory: `much` is no size; write 6GiB")]
#[case::switched_off("--cache-frozen false --cache-memory 1GiB", "cache_memory: nothing is kept without cache_frozen")]
fn a_size_that_makes_no_sense_is_refused(#[case] options: &str, #[case] says: &str) {
    Place::new().refuses(&train(options), &[says]);
}

#[test]
fn a_gated_adapter_is_refused() {
    let place = Place::new();
    place.succeeds(&train("--method adapter --leave-out 0 --max-steps 1"));
    // The program begins none.
    let device = Device::flex();
    let base = AnyBert::from_folder(&place.path("base"), BertHead::Sequence, Some(2), &device).unwrap().module;
    let (AnyConfig::Bottleneck(config), _) = read_adapter(&place.path("run")).unwrap() else {
        panic!("another method")
    };
    let config = AnyConfig::Bottleneck(BottleneckConfig { use_gating: true, ..config });
    save_adapter(&config.init(&base).unwrap(), &config, &place.path("run")).unwrap();
    let says = ["cache_frozen: an adapter with use_gating reads padding"];
    place.refuses(&train("--init-adapter run --output other --cache-frozen"), &says);
}

#[test]
fn a_t5_whose_encoder_is_touched_from_below_is_refused() {
    let place = Place::t5();
    let says = ["cache_frozen: the adapter acts at `encoder.block.0.layer.0.SelfAttention.q` already"];
    place.refuses(&train_t5("words.csv", "--cache-frozen"), &says);
}
