//! `--devices`: several devices train together as one does alone.
//!
//! The CPU stands for two here. Another backend is a second device: `cargo test -p peft-cli --features ndarray --test
//! program devices`.

use rstest::rstest;

use crate::support::{Place, Run, train, train_task};

const TWO: &str = "--devices flex,flex";

/// Losses, norms and scores of every line.
fn numbers(run: &Run) -> Vec<(String, f64)> {
    let lines = run.metrics().into_iter().map(|line| line.as_object().unwrap().clone());
    lines.flatten().filter_map(|(name, value)| Some((name, value.as_f64()?))).collect()
}

fn learns_the_same(place: &Place, args: &str, devices: &str) {
    let with = |output: &str| args.replace("--output run", &format!("--logging-steps 1 --output {output}"));
    place.succeeds(&with("one"));
    let ended = place.succeeds(&with(&format!("two --devices {devices}")));
    let count = devices.split(',').count();
    assert!(ended.err.contains(&format!("{count} devices train together")), "{}", ended.err);
    near(place);
}

/// The runs `one` and `two` are the same but for rounding.
fn near(place: &Place) {
    let [one, two] = ["one", "two"].map(|name| numbers(&place.run(name)));
    assert!(one.len() > 20 && one.len() == two.len());
    for ((name, want), (other, got)) in one.iter().zip(&two) {
        let bound = if name == "grad_norm" { 1e-4 } else { 1e-5 };
        assert!(name == other && (want - got).abs() < bound * want.abs().max(1.0), "{name}: {want}, {got}");
    }
    let [want, got] = ["one", "two"].map(|run| weights(&place.run(run)));
    assert!(!want.is_empty() && want.len() == got.len());
    let largest = want.iter().fold(0f32, |max, x| max.max(x.abs()));
    let apart = want.iter().zip(&got).fold(0f32, |max, (a, b)| max.max((a - b).abs()));
    assert!(apart <= 1e-4 * largest, "{apart} apart at {largest}");
}

/// All values of the adapter's file, but for the bias of answers' scores: softmax does not see it, so its gradient is rounding, which
/// Adam makes as large as any other.
fn weights(run: &Run) -> Vec<f32> {
    let bytes = run.read("adapter_model.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names: Vec<_> = tensors.names().into_iter().filter(|name| !name.ends_with("qa_outputs.bias")).collect();
    names.sort();
    let values = names.into_iter().flat_map(|name| tensors.tensor(name).unwrap().data().to_vec());
    let bytes: Vec<u8> = values.collect();
    bytes.chunks_exact(4).map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]])).collect()
}

#[rstest]
#[case::lora("--lora-dropout 0", "flex,flex")]
#[case::modules_to_save("--lora-dropout 0 --modules-to-save pooler", "flex,flex")]
#[case::three_devices("--lora-dropout 0 --batch-size 7", "flex,flex,flex")]
#[case::fewer_rows_than_devices("--lora-dropout 0 --batch-size 1 --epochs 1", "flex,flex")]
#[case::accumulation("--lora-dropout 0 --gradient-accumulation 3", "flex,flex")]
#[case::adalora("--method adalora --lora-dropout 0", "flex,flex")]
#[case::cached("--layers-to-transform 1 --lora-dropout 0 --cache-frozen", "flex,flex")]
fn the_losses_are_those_of_one_device(#[case] options: &str, #[case] devices: &str) {
    let epochs = if options.contains("--epochs") { "" } else { "--epochs 2" };
    learns_the_same(&Place::new(), &train(&format!("{epochs} {options} --keep last")), devices);
}

#[cfg(feature = "ndarray")]
#[test]
fn so_are_those_of_two_backends() {
    learns_the_same(&Place::new(), &train("--epochs 2 --lora-dropout 0 --keep last"), "flex,ndarray");
}

#[cfg(feature = "ndarray")]
#[rstest]
#[case::lora("")]
#[case::prefix("--method prefix")]
#[case::in_parts("--method ia3 --gradient-checkpointing")]
#[case::eight_bits("--base-bits 8")]
#[case::four_bits("--base-bits 4")]
fn a_run_is_the_same_on_another_backend(#[case] options: &str) {
    let place = Place::new();
    for (run, backend) in [("one", "flex"), ("two", "ndarray")] {
        let dropout = if !options.contains("--method") { "--lora-dropout 0" } else { "" };
        let options = format!("{options} {dropout} --epochs 2 --keep last --logging-steps 1 --backend {backend}");
        place.succeeds(&train(&format!("{options} --output {run}")));
    }
    near(&place);
}

#[rstest]
#[case::tags("token")]
#[case::answers("qa")]
fn so_are_those_of_other_tasks(#[case] task: &str) {
    let args = train_task(task, "--epochs 2 --lora-dropout 0 --keep last");
    learns_the_same(&Place::new(), &args, "flex,flex");
}

#[test]
fn the_seed_fixes_what_each_share_drops() {
    let place = Place::new();
    for (run, seed) in [("first", 1), ("second", 1), ("third", 2)] {
        place.succeeds(&train(&format!("{TWO} --lora-dropout 0.4 --epochs 2 --seed {seed} --output {run}")));
    }
    let [first, second, third] = ["first", "second", "third"].map(|name| place.run(name));
    first.assert_same(&second);
    assert!(weights(&first) != weights(&third));
}

#[test]
fn a_killed_run_ends_in_the_bytes_of_a_whole_one() {
    let place = Place::new();
    place.write("devices.toml", "devices = \"flex,flex\"\n");
    let options = "--config devices.toml --save-steps 3 --lora-dropout 0.3 --epochs 8";
    place.succeeds(&train(&format!("{options} --output whole")));
    let run = place.interrupted("run", &train(options), Run::is_between_evaluations);
    run.assert_intact();
    let ended = place.succeeds("train --resume run");
    assert!(ended.err.contains("2 devices train together"), "{}", ended.err);
    run.assert_same(&place.run("whole"));
}

#[rstest]
#[case::unknown("--devices flex,gpu", &["devices: gpu: no such backend; there are flex"])]
#[case::one("--devices flex", &["devices: `flex` is one device; name two or more", "or write --device flex"])]
#[case::device("--devices flex,flex --device flex", &["--device: devices names the devices already; leave one"])]
#[case::memory("--devices flex,flex --max-memory flex=1GiB", &["max_memory: lays one model over its devices", "leave one"])]
fn devices_that_cannot_be_are_told(#[case] given: &str, #[case] says: &[&str]) {
    Place::new().refuses(&train(given), says);
}
