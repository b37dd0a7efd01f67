//! `--max-memory`: where the layers go is decided and said before a weight is read, and changes no number.

use rstest::rstest;

use crate::support::{Place, train};

const ALL: &str = "flex: bert.embeddings, bert.encoder.layer.0-1, bert.pooler, classifier (";

#[rstest]
#[case::embeddings("flex=1KiB", &["max_memory: `bert.embeddings` takes", "flex has 1.0 KiB of its 1.0 KiB left"])]
#[case::a_layer("cpu=70KiB", &["max_memory: `bert.encoder.layer.1` takes", "of its 70.0 KiB left", "too small; give it", "the whole model takes"])]
#[case::no_device("gpu=1GiB", &["max_memory: gpu: no such backend; there are flex, ndarray, cuda and wgpu"])]
#[case::no_size("flex=some", &["max_memory: flex: `some` is no size; write 6GiB"])]
#[case::no_pair("6GiB", &["max_memory: `6GiB` is no device with a size; write cuda:0=6GiB,cpu=30GiB"])]
#[case::twice("flex=1GiB,cpu=1GiB", &["max_memory: `cpu` is the device of `flex` before it; name it once"])]
#[case::two_answers("flex=1GiB --device flex", &["--device: max_memory names the devices; leave one of the two out"])]
fn what_has_no_room_is_told_before_a_weight_is_read(#[case] given: &str, #[case] says: &[&str]) {
    let place = Place::new();
    place.cut("base/model.safetensors", 500);
    place.refuses(&train(&format!("--max-memory {given}")), says);
    let trained = Place::new();
    trained.succeeds(&train("--max-steps 1"));
    trained.cut("base/model.safetensors", 500);
    trained.refuses(&format!("eval --adapter run --data valid.csv --max-memory {given}"), says);
    trained.refuses(&format!("predict --adapter run good --max-memory {given}"), says);
    trained.refuses(&format!("merge --adapter run --output merged --max-memory {given}"), says);
}

/// The least that an error asks for.
fn asked_for(error: &str) -> String {
    let (_, rest) = error.split_once("give it ").unwrap();
    rest.split(", or").next().unwrap().replace(' ', "")
}

#[test]
fn what_is_asked_for_is_enough() {
    let place = Place::new();
    let least = asked_for(place.peft(&train("--max-memory cpu=70KiB")).error());
    place.succeeds(&train(&format!("--max-steps 1 --max-memory cpu={least}")));
}

#[test]
fn with_room_for_all_nothing_changes() {
    let place = Place::new();
    place.succeeds(&train("--output without"));
    place.write("memory.toml", "max_memory = \"flex=1MiB\"\n");
    let ended = place.succeeds(&train("--config memory.toml"));
    assert!(ended.err.lines().any(|line| line.starts_with(ALL) && line.ends_with(" of 1.0 MiB)")), "{}", ended.err);
    assert!(place.text("run/config.toml").contains("max_memory = \"flex=1MiB\""));
    place.run("run").assert_same(&place.run("without"));
    for args in
        ["eval --adapter run --data valid.csv", "predict --adapter run good", "merge --adapter run --output merged"]
    {
        let (before, after) = (place.succeeds(args), {
            let _ = std::fs::remove_dir_all(place.path("merged"));
            place.succeeds(&format!("{args} --max-memory cpu=1MiB"))
        });
        assert_eq!(before.out, after.out);
        assert!(after.err.contains(&ALL.replace("flex", "cpu")) && !before.err.contains("MiB)"), "{}", after.err);
    }
}

/// Two backends are two devices: `cargo test -p peft-cli --features ndarray --test program max_memory`.
#[cfg(feature = "ndarray")]
mod two_devices {
    use super::*;

    const BOTH: &str = "--max-memory flex=70KiB,ndarray=1MiB";

    fn losses(place: &Place, run: &str) -> Vec<f64> {
        place.run(run).evaluations().iter().map(|line| line["eval_loss"].as_f64().unwrap()).collect()
    }

    #[rstest]
    #[case::lora("lora")]
    #[case::adalora("adalora")]
    #[case::adapter("adapter")]
    #[case::prefix("prefix")]
    fn a_run_over_two_devices_learns_as_one_on_one(#[case] method: &str) {
        let place = Place::new();
        let dropout = if method.ends_with("lora") { "--lora-dropout 0" } else { "" };
        place.succeeds(&train(&format!("--method {method} {dropout} --output one")));
        let ended = place.succeeds(&train(&format!("--method {method} {dropout} --output two {BOTH}")));
        let says = |line: &str| ended.err.lines().any(|said| said.starts_with(line));
        assert!(says("flex: bert.embeddings, bert.encoder.layer.0 ("), "{}", ended.err);
        assert!(says("ndarray: bert.encoder.layer.1, bert.pooler, classifier ("), "{}", ended.err);
        let (one, two) = (losses(&place, "one"), losses(&place, "two"));
        assert!(two.last() < two.first(), "{two:?}");
        // One generator draws for both devices, so it begins and learns as on one.
        let near = |(one, two): (&f64, &f64)| (one - two).abs() < 1e-4;
        assert!(one.len() == two.len() && one.iter().zip(&two).all(near), "{one:?} {two:?}");
        let on_one = place.succeeds("eval --adapter two --data valid.csv");
        let on_two = place.succeeds(&format!("eval --adapter two --data valid.csv {BOTH}"));
        assert_eq!(on_one.out, on_two.out);
    }

    #[test]
    fn a_run_over_two_devices_is_resumed_and_merged() {
        let place = Place::new();
        let options = format!("--save-steps 2 {BOTH}");
        place.succeeds(&train(&format!("{options} --output whole")));
        let run = place.interrupted("run", &train(&options), |run| run.rounds() > 0);
        assert!(run.has_begun());
        place.succeeds("train --resume run");
        run.assert_same(&place.run("whole"));
        place.succeeds(&format!("merge --adapter run --output merged {BOTH}"));
        place.succeeds("merge --adapter run --output merged-on-one");
        assert!(place.read("merged/model.safetensors") == place.read("merged-on-one/model.safetensors"));
    }
}
