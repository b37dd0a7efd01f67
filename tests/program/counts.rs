//! What each method would train, from a configuration alone: `inspect`.

use rstest::rstest;

use crate::support::Place;

const T5_BASE: &str = r#"{"model_type": "t5", "vocab_size": 32128, "d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12,
    "num_heads": 12, "architectures": ["T5ForConditionalGeneration"], "decoder_start_token_id": 0, "eos_token_id": 1,
    "pad_token_id": 0}"#;

// Hugging Face PEFT 0.21.2 and AdapterHub's adapters 1.3.0 on t5-base's shape.
#[rstest]
#[case::rank("--rank 4", "442,368")]
#[case::lora("--method lora", "884,736")]
#[case::all_linear("--method lora --target-modules all-linear", "3,244,032")]
#[case::dora("--use-dora", "940,032")]
#[case::ia3("--method ia3", "129,024")]
#[case::prefix("--method prefix", "368,640")]
#[case::projection("--method prefix --prefix-projection", "14,780,160")]
#[case::prompt("--method prompt --prompt-tuning-init RANDOM", "30,720")]
#[case::ptuning("--method ptuning", "244,736")]
#[case::lstm("--method ptuning --encoder-reparameterization-type LSTM", "1,608,704")]
#[case::seq_bn("--method adapter", "1,789,056")]
#[case::double_seq_bn("--method adapter --adapter-config double_seq_bn", "3,578,112")]
#[case::houlsby("--method adapter --adapter-config double_seq_bn --reduction-factor 12", "4,758,528")]
fn a_configuration_is_enough_to_count(#[case] method: &str, #[case] trained: &str) {
    let place = Place::new();
    place.write("t5-base/config.json", T5_BASE);
    let out = place.succeeds(&format!("inspect t5-base {method}")).out;
    assert!(out.contains("parameters 222,903,552"), "{out}");
    assert!(out.contains(&format!("trainable  {trained} of ")), "{out}");
}

#[test]
fn what_inspect_does_not_count_is_named() {
    let place = Place::new();
    place.write("t5-base/config.json", T5_BASE);
    place.refuses("inspect t5-base --epochs 3", &["epochs: not an option of inspect"]);
    place.refuses("inspect t5-base --method fish", &["FISH", "data"]);
    place.refuses("inspect t5-base --method prefix --r 8", &["r: not an option of the method prefix"]);
}
