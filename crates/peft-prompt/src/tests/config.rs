//! Configuration files.

use burn::prelude::Device;
use peft_core::Pooling;
use peft_testing::{HIDDEN, LAYERS, Mini};
use rstest::rstest;
use serde_json::{Map, Value, json};

use crate::{MultitaskInit, MultitaskPromptConfig, PromptConfig, PromptInit};

fn fields(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// What Hugging Face PEFT 0.21.2 writes for a BERT of two layers.
fn prompt() -> Value {
    json!({
        "auto_mapping": null, "base_model_name_or_path": null, "inference_mode": true,
        "modules_to_save": ["classifier", "score", "classifier", "score"], "num_attention_heads": 4, "num_layers": 2,
        "num_transformer_submodules": 1, "num_virtual_tokens": 5, "peft_type": "PROMPT_TUNING",
        "peft_version": "0.21.2", "prompt_tuning_init": "SAMPLE_VOCAB", "prompt_tuning_init_text": null,
        "revision": null, "task_type": "SEQ_CLS", "token_dim": 32, "tokenizer_kwargs": null,
        "tokenizer_name_or_path": null,
    })
}

/// Likewise for two tasks.
fn multitask() -> Value {
    let mut fields = fields(prompt());
    let more = json!({
        "peft_type": "MULTITASK_PROMPT_TUNING", "num_ranks": 1, "num_tasks": 2, "prompt_tuning_init": "RANDOM",
        "prompt_tuning_init_state_dict_path": null, "prompt_tuning_init_task": 0,
    });
    fields.extend(more.as_object().unwrap().clone());
    Value::Object(fields)
}

#[test]
fn a_file_is_written_as_it_was_read() {
    assert_eq!(Value::Object(PromptConfig::from_json(fields(prompt())).unwrap().to_json()), prompt());
    assert_eq!(Value::Object(MultitaskPromptConfig::from_json(fields(multitask())).unwrap().to_json()), multitask());
    // The same fields, whatever their values.
    assert_eq!(PromptConfig::default().to_json().len(), fields(prompt()).len());
    assert_eq!(MultitaskPromptConfig::default().to_json().len(), fields(multitask()).len());
    let mut newer = fields(prompt());
    newer.insert("a_field_of_next_year".into(), json!([1]));
    let config = PromptConfig::from_json(newer.clone()).unwrap();
    assert_eq!(config.unknown_fields().collect::<Vec<_>>(), ["a_field_of_next_year"]);
    assert_eq!(config.to_json(), newer);
}

#[test]
fn our_own_field_is_written_where_it_says_something() {
    assert_eq!(PromptConfig::from_json(fields(prompt())).unwrap().pooling, Pooling::First);
    let ours = PromptConfig::new(5).to_json();
    assert_eq!(ours["pooling"], json!("text"));
    let again = PromptConfig::from_json(ours).unwrap();
    assert_eq!((again.pooling, again.unknown_fields().count()), (Pooling::Text, 0));
    assert!(!again.with_pooling(Pooling::First).to_json().contains_key("pooling"));
    let ours = MultitaskPromptConfig::new(5, 2).to_json();
    assert_eq!(ours["pooling"], json!("text"));
    assert_eq!(MultitaskPromptConfig::from_json(ours).unwrap().pooling, Pooling::Text);
}

#[test]
fn names_are_the_references() {
    for (name, init) in
        [("RANDOM", PromptInit::Random), ("SAMPLE_VOCAB", PromptInit::SampleVocab), ("TEXT", PromptInit::Text)]
    {
        assert_eq!(serde_json::to_value(init).unwrap(), json!(name));
    }
    for (name, init) in [
        ("AVERAGE_SOURCE_TASKS", MultitaskInit::AverageSourceTasks),
        ("EXACT_SOURCE_TASK", MultitaskInit::ExactSourceTask),
        ("ONLY_SOURCE_SHARED", MultitaskInit::OnlySourceShared),
    ] {
        assert_eq!(serde_json::to_value(init).unwrap(), json!(name));
    }
}

#[test]
fn sizes_left_to_the_model_are_the_models() {
    let mini = Mini::new(&Device::flex());
    let config = PromptConfig::new(3).resolve(&mini).unwrap();
    assert_eq!((config.token_dim, config.num_transformer_submodules), (Some(HIDDEN), Some(1)));
    assert_eq!((config.num_layers, config.num_attention_heads), (Some(LAYERS), Some(2)));
    assert_eq!(config.resolve(&mini).unwrap(), config);
    let several = MultitaskPromptConfig::new(3, 2).resolve(&mini).unwrap();
    assert_eq!((several.token_dim, several.num_layers), (Some(HIDDEN), Some(LAYERS)));
}

#[rstest]
#[case(json!({}), "num_virtual_tokens: say how many")]
#[case(json!({"num_virtual_tokens": -1}), "num_virtual_tokens: -1 is not a value")]
#[case(json!({"num_virtual_tokens": 5, "pooling": "middle"}), "pooling: \"middle\" is not a value")]
#[case(json!({"num_virtual_tokens": 5, "num_transformer_submodules": 3}), "num_transformer_submodules: 3")]
#[case(json!({"num_virtual_tokens": 5, "prompt_tuning_init": "MEAN"}), "prompt_tuning_init: \"MEAN\" is not")]
#[case(json!({"num_virtual_tokens": 5, "prompt_tuning_init": "TEXT"}), "prompt_tuning_init_text: a prompt that")]
#[case(json!({"num_virtual_tokens": 5, "prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "x"}), "tokenizer_name")]
#[case(json!({"peft_type": "LORA"}), "`LORA` is not `PROMPT_TUNING`")]
fn what_makes_no_sense_is_named(#[case] given: Value, #[case] says: &str) {
    let error = PromptConfig::from_json(fields(given)).unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}

#[rstest]
#[case(json!({"num_tasks": 0}), "num_tasks: 0 trains nothing")]
#[case(json!({"num_ranks": 0}), "num_ranks: 0 trains nothing")]
#[case(json!({"prompt_tuning_init": "EXACT_SOURCE_TASK", "num_tasks": 3}), "num_tasks: 3 where")]
#[case(json!({"prompt_tuning_init": "TEXT"}), "prompt_tuning_init_text")]
#[case(json!({"peft_type": "PROMPT_TUNING"}), "`PROMPT_TUNING` is not `MULTITASK_PROMPT_TUNING`")]
fn what_makes_no_sense_for_several_tasks_is_named(#[case] given: Value, #[case] says: &str) {
    let mut given = fields(given);
    given.insert("num_virtual_tokens".into(), json!(5));
    let error = MultitaskPromptConfig::from_json(given).unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}
