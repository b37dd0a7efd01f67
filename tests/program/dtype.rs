//! `--dtype`: the frozen base in half precision, and `--backend`, what it is computed with.

use rstest::rstest;
use serde_json::Value;

use crate::support::{Place, train};

fn accuracy(place: &Place, args: &str) -> f64 {
    let now = place.succeeds(&format!("eval --adapter run --data valid.csv --json {args}")).out;
    serde_json::from_str::<Value>(&now).unwrap()["accuracy"].as_f64().unwrap()
}

#[rstest]
#[case::half("f16", 0.02)]
#[case::brain("bf16", 0.1)]
fn a_run_on_a_base_in_half_precision_learns_and_is_measured_as_it_was(#[case] dtype: &str, #[case] near: f64) {
    let place = Place::new();
    place.succeeds(&train(&format!("--epochs 6 --dtype {dtype}")));
    assert!(place.text("run/config.toml").contains(&format!("dtype = \"{dtype}\"")));
    let rounds = place.run("run").evaluations();
    assert!(rounds.iter().all(|round| round["eval_loss"].as_f64().is_some_and(f64::is_finite)), "{rounds:?}");
    let chosen = rounds.iter().filter_map(|round| round["eval_accuracy"].as_f64()).fold(0.0, f64::max);
    assert!(chosen > 0.9, "{rounds:?}");
    // The run's own type where none is named.
    assert_eq!(accuracy(&place, ""), chosen);
    assert_eq!(accuracy(&place, &format!("--dtype {dtype}")), chosen);
    assert!((accuracy(&place, "--dtype f32") - chosen).abs() < near);
}

#[test]
fn a_merged_model_is_written_in_the_type_that_is_named() {
    let place = Place::new();
    place.succeeds(&train("--epochs 1"));
    place.succeeds("merge --adapter run --output full");
    place.succeeds("merge --adapter run --output half --dtype f16");
    let size = |folder: &str| std::fs::metadata(place.path(folder).join("model.safetensors")).unwrap().len();
    assert!(size("half") * 10 < size("full") * 7, "{} {}", size("half"), size("full"));
    assert!(place.text("half/config.json").contains("\"float16\""));
    assert!(!place.text("full/config.json").contains("float16"));
    assert!(place.succeeds("inspect half --all").out.contains("F16"));
}

#[rstest]
#[case::no_such_type("--dtype f8", &["f32, f16, bf16"])]
#[case::both("--dtype bf16 --base-bits 8", &["--dtype bf16: base_bits has the base in fewer bits already"])]
#[case::not_built_in("--backend cuda", &["--backend cuda: this program was built with", "--backend cuda`"])]
#[case::no_backend("--backend tpu", &["--backend tpu: no such backend; there are flex, ndarray, cuda and wgpu"])]
#[case::two_backends("--backend flex --device cuda:1", &["--device cuda:1: cuda is not the backend that --backend flex names"])]
fn what_is_not_there_is_said(#[case] given: &str, #[case] says: &[&str]) {
    Place::new().refuses(&train(given), says);
}

#[test]
fn a_backend_is_chosen_by_its_name_alone() {
    let place = Place::new();
    place.succeeds(&train("--max-steps 1 --backend flex"));
    place.succeeds("eval --adapter run --data valid.csv --backend flex --device 0");
}
