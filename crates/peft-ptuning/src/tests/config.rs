//! Configuration files.

use peft_core::Pooling;
use peft_testing::{HIDDEN, LAYERS};
use rstest::rstest;
use serde_json::{Map, Value, json};

use super::mini;
use crate::{PTuningConfig, Reparameterization};

fn fields(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// What Hugging Face PEFT 0.21.2 writes for a BERT of two layers.
fn written() -> Value {
    json!({
        "auto_mapping": null, "base_model_name_or_path": null, "encoder_dropout": 0.0, "encoder_hidden_size": 16,
        "encoder_num_layers": 2, "encoder_reparameterization_type": "LSTM", "inference_mode": true,
        "modules_to_save": ["classifier", "score", "classifier", "score"], "num_attention_heads": 4, "num_layers": 2,
        "num_transformer_submodules": 1, "num_virtual_tokens": 5, "peft_type": "P_TUNING", "peft_version": "0.21.2",
        "revision": null, "task_type": "SEQ_CLS", "token_dim": 32,
    })
}

#[test]
fn a_file_is_written_as_it_was_read() {
    let config = PTuningConfig::from_json(fields(written())).unwrap();
    assert_eq!(config.encoder_reparameterization_type, Reparameterization::Lstm);
    assert_eq!(Value::Object(config.to_json()), written());
    let mut newer = fields(written());
    newer.insert("a_field_of_next_year".into(), json!([1]));
    let config = PTuningConfig::from_json(newer.clone()).unwrap();
    assert_eq!(config.unknown_fields().collect::<Vec<_>>(), ["a_field_of_next_year"]);
    assert_eq!(config.to_json(), newer);
    // The same fields, whatever their values.
    assert_eq!(PTuningConfig::default().to_json().len(), fields(written()).len());
}

#[test]
fn our_own_fields_are_written_where_they_say_something() {
    let config = PTuningConfig::from_json(fields(written())).unwrap();
    assert_eq!((config.pooling, config.slot_token_id), (Pooling::First, None));
    let ours = PTuningConfig::new(5).with_slots(7).to_json();
    assert_eq!((&ours["pooling"], &ours["slot_token_id"]), (&json!("text"), &json!(7)));
    let again = PTuningConfig::from_json(ours).unwrap();
    assert_eq!((again.pooling, again.slot_token_id, again.unknown_fields().count()), (Pooling::Text, Some(7), 0));
}

#[test]
fn sizes_left_to_the_model_are_the_models() {
    let config = PTuningConfig::new(3).resolve(&mini().1).unwrap();
    assert_eq!((config.token_dim, config.num_transformer_submodules), (Some(HIDDEN), Some(1)));
    assert_eq!((config.num_layers, config.num_attention_heads), (Some(LAYERS), Some(2)));
    assert_eq!(config.encoder_hidden_size, Some(HIDDEN));
}

#[rstest]
#[case(json!({}), "num_virtual_tokens: say how many")]
#[case(json!({"num_virtual_tokens": "five"}), "num_virtual_tokens: \"five\" is not a value")]
#[case(json!({"num_virtual_tokens": 5, "pooling": "middle"}), "pooling: \"middle\" is not a value")]
#[case(json!({"num_virtual_tokens": 5, "slot_token_id": -1}), "slot_token_id: -1 is not a value")]
#[case(json!({"num_virtual_tokens": 5, "encoder_reparameterization_type": "GRU"}), "encoder_reparameterization_type:")]
#[case(json!({"num_virtual_tokens": 5, "encoder_hidden_size": 0}), "encoder_hidden_size: a width of 0")]
#[case(json!({"num_virtual_tokens": 5, "encoder_num_layers": 0}), "encoder_num_layers: an LSTM has at least one")]
#[case(json!({"num_virtual_tokens": 5, "encoder_dropout": 1.0}), "encoder_dropout: 1 is no probability")]
#[case(json!({"num_virtual_tokens": 5, "num_transformer_submodules": 3}), "num_transformer_submodules: 3")]
#[case(json!({"peft_type": "LORA"}), "`LORA` is not `P_TUNING`")]
fn what_makes_no_sense_is_named(#[case] given: Value, #[case] says: &str) {
    let error = PTuningConfig::from_json(fields(given)).unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}
