//! `combine`: one LoRA adapter out of two runs.

use peft::core::file::read_safetensors;
use peft::core::tensors::Tensors;
use rstest::rstest;
use serde_json::Value;

use crate::support::{Place, train};

/// Two runs of LoRA, `one` and `two`.
fn two() -> Place {
    let place = Place::new();
    for (name, seed) in [("one", 1), ("two", 2)] {
        place.succeeds(&train(&format!("--epochs 2 --seed {seed} -r 4 --output {name}")));
    }
    place
}

fn tensors(place: &Place, folder: &str) -> Tensors {
    read_safetensors(&place.path(folder).join("adapter_model.safetensors")).unwrap()
}

/// What the adapter in `folder` adds to the first weight it adapts, `[out, in]`.
fn delta(place: &Place, folder: &str) -> Vec<f64> {
    let (file, config) = (tensors(place, folder), place.json(&format!("{folder}/adapter_config.json")));
    let of = |part: &str| {
        let (_, data) =
            file.iter().find(|(name, _)| name.ends_with(&format!("0.attention.self.query.{part}"))).unwrap();
        (data.iter::<f64>().collect::<Vec<_>>(), data.shape().to_vec())
    };
    let ((a, a_shape), (b, b_shape)) = (of("lora_A.weight"), of("lora_B.weight"));
    let (rank, inputs) = (a_shape[0], a_shape[1]);
    assert_eq!(Value::from(rank), config["r"]);
    let scale = config["lora_alpha"].as_f64().unwrap() / rank as f64;
    let entry = |i: usize| {
        let (row, column) = (i / inputs, i % inputs);
        (0..rank).map(|k| b[row * rank + k] * a[k * inputs + column]).sum::<f64>() * scale
    };
    (0..b_shape[0] * inputs).map(entry).collect()
}

fn apart(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// A combination keeps the sum of what the parts add where it can: by concatenation exactly, by a decomposition of
/// full rank nearly.
#[rstest]
#[case::equal_shares("--method cat", [0.5, 0.5], 8)]
#[case::by_default("", [0.5, 0.5], 8)]
#[case::weighted("--method cat --weights 0.9,-0.25", [0.9, -0.25], 8)]
#[case::decomposed("--method svd --svd-rank 8 --weights 0.9,0.25", [0.9, 0.25], 8)]
fn the_sum_of_two(#[case] options: &str, #[case] weights: [f64; 2], #[case] rank: usize) {
    let place = two();
    let ended = place.succeeds(&format!("combine --adapter one --adapter two --output both {options}"));
    assert!(ended.out.contains(&format!("rank {rank}")) && ended.out.contains("with the head of one"), "{}", ended.out);
    let (one, two) = (delta(&place, "one"), delta(&place, "two"));
    let want: Vec<f64> = one.iter().zip(&two).map(|(a, b)| weights[0] * a + weights[1] * b).collect();
    assert!(want.iter().any(|value| value.abs() > 1e-3));
    let got = delta(&place, "both");
    assert!(apart(&got, &want) < 1e-5, "{} apart", apart(&got, &want));
    let head = "base_model.model.classifier.weight";
    assert_eq!(tensors(&place, "both")[head], tensors(&place, "one")[head]);
}

#[rstest]
#[case("linear", "", 4)]
#[case("ties", "--density 0.5", 4)]
#[case("ties", "--density 0.5 --frequency", 4)]
#[case("ties_svd", "--density 0.5 --svd-rank 3", 3)]
#[case("dare_linear", "--density 0.5 --seed 3", 4)]
#[case("magnitude_prune", "--density 0.5", 4)]
fn a_combination_is_an_adapter_that_can_be_used(#[case] method: &str, #[case] options: &str, #[case] rank: usize) {
    let place = two();
    let combine = |output: &str| {
        let args = format!("combine --adapter one --adapter two --method {method} --output {output} {options}");
        place.succeeds(&args)
    };
    assert!(combine("both").out.contains(&format!("combined 2 adapters by {method}, rank {rank}")));
    let (both, one) = (delta(&place, "both"), delta(&place, "one"));
    assert!(apart(&both, &one) > 1e-4, "it is one of the parts");
    // The names of the labels travel with it.
    let answer: Value = serde_json::from_str(&place.succeeds("predict --adapter both good --json").out).unwrap();
    assert!(["good", "bad"].contains(&answer["label"].as_str().unwrap()), "{answer}");
    // And what it draws is fixed by the seed.
    combine("again");
    assert!(tensors(&place, "again") == tensors(&place, "both"));
}

#[test]
fn an_adapter_combined_with_itself() {
    let place = two();
    for (method, times) in [("cat", 1.0), ("linear", 2.0)] {
        place.succeeds(&format!("combine --adapter one --adapter one --method {method} --output {method}"));
        // The reference's linear sums the factors and not what they multiply to: √½·A + √½·A, and B alike.
        let want: Vec<f64> = delta(&place, "one").iter().map(|value| times * value).collect();
        let got = delta(&place, method);
        assert!(apart(&got, &want) < 1e-5, "{method}: {} apart", apart(&got, &want));
    }
    let answer = |folder: &str| -> Value {
        serde_json::from_str(&place.succeeds(&format!("predict --adapter {folder} good --json")).out).unwrap()
    };
    let (cat, one) = (answer("cat"), answer("one"));
    assert_eq!(cat["label"], one["label"]);
    assert!((cat["probability"].as_f64().unwrap() - one["probability"].as_f64().unwrap()).abs() < 1e-5);
}

#[rstest]
#[case::one("--adapter one", "--adapter: name at least two")]
#[case::weights("--adapter one --adapter two --weights 1", "--weights: 1 for 2 adapters; give one for each")]
#[case::more_weights("--adapter one --adapter two --weights 1,2,3", "--weights: 3 for 2 adapters")]
#[case::another_method("--adapter one --adapter other", "IA3 has no weighted sum; only LoRA adapters combine")]
#[case::another_method_first("--adapter other --adapter one", "IA3 has no weighted sum; only LoRA adapters combine")]
#[case::nowhere("--adapter one --adapter nowhere", "nowhere")]
#[case::density("--adapter one --adapter two --method ties", "density")]
#[case::share("--adapter one --adapter two --method ties --density 1.5", "density")]
#[case::ranks("--adapter one --adapter wide --method linear", "rank")]
fn what_does_not_combine(#[case] adapters: &str, #[case] says: &str) {
    let place = two();
    place.succeeds(&train("--epochs 1 --method ia3 --output other"));
    place.succeeds(&train("--epochs 1 -r 6 --output wide"));
    place.refuses(&format!("combine {adapters} --output both"), &[says]);
}
