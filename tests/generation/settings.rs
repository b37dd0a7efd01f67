//! `generation_config.json`: what is read, kept and refused.

use std::fs;

use peft::models::generate::{EarlyStopping, GenerationConfig};
use rstest::rstest;
use serde_json::{Value, json};

fn read(config: &Value, generation: Option<&Value>) -> Result<GenerationConfig, String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    if let Some(generation) = generation {
        fs::write(folder.path().join("generation_config.json"), generation.to_string()).unwrap();
    }
    GenerationConfig::from_folder(folder.path()).map_err(|error| error.to_string())
}

#[test]
fn a_folders_own_settings_go_before_its_models() {
    let model = json!({"vocab_size": 9, "eos_token_id": 1, "pad_token_id": 0, "decoder_start_token_id": 0, "num_beams": 4,
        "d_model": 8, "max_length": null});
    let alone = read(&model, None).unwrap();
    assert_eq!((alone.num_beams, alone.eos_token_id.as_slice(), alone.most()), (4, &[1][..], 20));
    assert!(alone.other.is_empty());
    let own = json!({"eos_token_id": [2, 3], "num_beams": 2, "early_stopping": "never", "max_length": 9, "pad_token_id": null,
        "transformers_version": "5.23.0"});
    let both = read(&model, Some(&own)).unwrap();
    assert_eq!((both.num_beams, both.eos_token_id.as_slice(), both.pad_token_id), (2, &[2, 3][..], Some(0)));
    assert_eq!((both.early_stopping, both.most(), both.fewest()), (EarlyStopping::Never, 8, 0));
    assert_eq!(both.other.keys().collect::<Vec<_>>(), ["transformers_version"]);
    both.validate().unwrap();
    // Written and read again, nothing is lost.
    assert_eq!(serde_json::from_value::<GenerationConfig>(json!(both)).unwrap(), both);
    assert_eq!(json!(GenerationConfig { early_stopping: EarlyStopping::Full, ..alone })["early_stopping"], json!(true));
    assert!(read(&model, Some(&json!({"early_stopping": "soon"}))).unwrap_err().contains("`soon` is not known"));
    let error = read(&model, Some(&json!({"num_beams": "two"}))).unwrap_err();
    assert!(error.contains("generation_config.json: num_beams:"), "{error}");
    let error = read(&json!({"eos_token_id": -1}), Some(&json!({}))).unwrap_err();
    assert!(error.contains("/config.json: eos_token_id:"), "{error}");
}

#[rstest]
#[case(json!({"max_new_tokens": 0}), "max_new_tokens: leaves no token")]
#[case(json!({"max_length": 1}), "max_length: leaves no token")]
#[case(json!({"max_new_tokens": 3, "min_new_tokens": 4}), "min_new_tokens: asks for 4 new tokens of at most 3")]
#[case(json!({"min_length": 30}), "min_length: asks for 29")]
#[case(json!({"num_beams": 0}), "num_beams: 0")]
#[case(json!({"num_beams": 2, "num_return_sequences": 3}), "num_return_sequences: 3 of 2 beams")]
#[case(json!({"num_return_sequences": 2}), "num_return_sequences: there is one best text")]
#[case(json!({"temperature": 0.0}), "temperature: 0 is not above 0; for the best token")]
#[case(json!({"repetition_penalty": -1.0}), "repetition_penalty: -1 is not above 0")]
#[case(json!({"top_p": 1.5}), "top_p: 1.5 is no probability")]
#[case(json!({"bad_words_ids": [[3]]}), "bad_words_ids: [[3]] is not supported; remove it")]
#[case(json!({"num_beam_groups": 2}), "num_beam_groups: 2 is not supported")]
fn contradictions_are_refused(#[case] fields: Value, #[case] says: &str) {
    let config: GenerationConfig = serde_json::from_value(fields).unwrap();
    let error = config.validate().unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}

#[test]
fn what_stands_for_nothing_is_no_contradiction() {
    let fields = json!({"num_beam_groups": 1, "diversity_penalty": 0.0, "typical_p": 1, "bad_words_ids": null,
        "remove_invalid_values": false, "forced_eos_token_id": null});
    serde_json::from_value::<GenerationConfig>(fields).unwrap().validate().unwrap();
}

#[test]
fn special_tokens_are_the_models() {
    let (model, _) = super::world();
    let run = |config: GenerationConfig| {
        let hooks = peft::core::Identity;
        let made = peft::models::generate::generate(&model, super::encoded(&model, &hooks), &hooks, &config);
        made.unwrap_err().to_string()
    };
    assert!(run(GenerationConfig::default()).contains("decoder_start_token_id: is not set"));
    let start = GenerationConfig { decoder_start_token_id: Some(40), ..GenerationConfig::default() };
    assert!(run(start).contains("decoder_start_token_id: 40 is none of the model's 40 tokens"));
}
