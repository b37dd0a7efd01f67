//! Prefix tuning on the small backbone of peft-testing: what the method itself promises.

use burn::module::Module;
use burn::prelude::*;
use peft_core::tensors::{export, import, parameters};
use peft_core::{Attends, Backbone, BatchRows, Hooks, Method, Site};
use peft_testing::{Case, HIDDEN, LAYERS, Mini, close, ids};
use rstest::rstest;
use serde_json::{Map, Value, json};

use crate::{InitWeights, Prefix, PrefixConfig};

fn zero() -> PrefixConfig {
    PrefixConfig { init_weights: Some(InitWeights::Zero), ..PrefixConfig::new(3) }
}

fn standard() -> Case<Prefix> {
    Case {
        init: |mini| PrefixConfig::new(3).init(mini).unwrap(),
        init_for_loading: |mini| PrefixConfig::new(3).init_for_loading(mini).unwrap(),
        starts_as_base: false,
    }
}

fn from_zero() -> Case<Prefix> {
    Case { init: |mini| zero().init(mini).unwrap(), ..standard() }
}

fn projected() -> Case<Prefix> {
    Case {
        init: |mini| PrefixConfig::new(3).with_projection(6).init(mini).unwrap(),
        init_for_loading: |mini| PrefixConfig::new(3).with_projection(6).init_for_loading(mini).unwrap(),
        ..standard()
    }
}

fn projected_from_zero() -> Case<Prefix> {
    Case { init: |mini| zero().with_projection(6).init(mini).unwrap(), ..standard() }
}

peft_testing::laws!(Prefix {
    standard => standard(),
    from_zero => from_zero(),
    projected => projected(),
    projected_from_zero => projected_from_zero(),
});

fn attentions(mini: &Mini) -> Vec<Site> {
    mini.sites().attentions(Attends::Encoder).map(|(entry, _)| entry.site.clone()).collect()
}

/// A table whose number at `[token, column]` is `100·token + column`.
fn numbered(mini: &Mini) -> Prefix {
    let width = 2 * LAYERS * HIDDEN;
    let values: Vec<f32> = (0..3 * width).map(|i| (100 * (i / width) + i % width) as f32).collect();
    let file = [("prompt_embeddings".to_string(), TensorData::new(values, [3, width]))].into();
    import(PrefixConfig::new(3).init_for_loading(mini).unwrap(), file).unwrap()
}

#[test]
fn a_layer_takes_two_slots_of_the_table() {
    let mini = Mini::new(&Device::flex());
    let prefix = numbered(&mini);
    for (layer, site) in attentions(&mini).iter().enumerate() {
        let given = prefix.prefix(site, &BatchRows::new(2)).unwrap();
        for (slot, part) in [(2 * layer, given.key), (2 * layer + 1, given.value)] {
            assert_eq!(part.dims(), [2, 2, 3, HIDDEN / 2]);
            let got: Vec<f32> = part.into_data().iter().collect();
            let mut want = Vec::new();
            for _row in 0..2 {
                for head in 0..2 {
                    for token in 0..3 {
                        for d in 0..HIDDEN / 2 {
                            want.push((100 * token + slot * HIDDEN + head * HIDDEN / 2 + d) as f32);
                        }
                    }
                }
            }
            assert_eq!(got, want);
        }
    }
    assert!(prefix.prefix(&Site::new("elsewhere", "elsewhere"), &BatchRows::new(2)).is_none());
}

#[rstest]
#[case(PrefixConfig::new(3))]
#[case(PrefixConfig::new(3).with_projection(6))]
fn a_prefix_of_zeros_is_zero(#[case] config: PrefixConfig) {
    let mini = Mini::new(&Device::flex());
    let config = PrefixConfig { init_weights: Some(InitWeights::Zero), ..config };
    let table = config.init(&mini).unwrap().table().into_data();
    assert_eq!(table.shape().to_vec(), [3, 2 * LAYERS * HIDDEN]);
    assert!(table.iter::<f32>().all(|x| x == 0.0));
}

#[test]
fn the_projection_is_the_references_formula() {
    let mini = Mini::new(&Device::flex());
    let prefix = PrefixConfig::new(3).with_projection(6).init(&mini).unwrap();
    let held = parameters(&prefix);
    let width = 2 * LAYERS * HIDDEN;
    let shapes: Vec<_> = held.iter().map(|(name, data)| (name.as_str(), data.shape().to_vec())).collect();
    assert_eq!(
        shapes,
        [
            ("prompt_encoder.embedding.weight", vec![3, HIDDEN]),
            ("prompt_encoder.transform.0.bias", vec![6]),
            ("prompt_encoder.transform.0.weight", vec![6, HIDDEN]),
            ("prompt_encoder.transform.2.bias", vec![width]),
            ("prompt_encoder.transform.2.weight", vec![width, 6]),
        ]
    );
    let device = Device::flex();
    let matrix = |name: &str| Tensor::<2>::from_data(held[&format!("prompt_encoder.{name}")].clone(), &device);
    let vector = |name: &str| Tensor::<1>::from_data(held[&format!("prompt_encoder.{name}")].clone(), &device);
    let hidden = matrix("embedding.weight").matmul(matrix("transform.0.weight").transpose());
    let hidden = (hidden + vector("transform.0.bias").unsqueeze()).tanh();
    let want = hidden.matmul(matrix("transform.2.weight").transpose()) + vector("transform.2.bias").unsqueeze();
    close(prefix.table(), want.clone());
    // The file holds what comes out, and nothing of what made it.
    let file = export(&prefix);
    assert_eq!(file.keys().collect::<Vec<_>>(), ["prompt_embeddings"]);
    close(Tensor::<2>::from_data(file["prompt_embeddings"].clone(), &device), want);
}

#[test]
fn the_layers_together_are_the_whole_projection() {
    let mini = Mini::new(&Device::flex());
    let projected = PrefixConfig::new(3).with_projection(6).init(&mini).unwrap();
    let flat = import(PrefixConfig::new(3).init_for_loading(&mini).unwrap(), export(&projected)).unwrap();
    for site in attentions(&mini) {
        let of = |prefix: &Prefix| prefix.prefix(&site, &BatchRows::new(1)).unwrap();
        close(of(&projected).key, of(&flat).key);
        close(of(&projected).value, of(&flat).value);
    }
    close(mini.forward(ids(2, &Device::flex()), &projected), mini.forward(ids(2, &Device::flex()), &flat));
}

#[test]
fn the_counts_are_the_formulas() {
    let mini = Mini::new(&Device::flex());
    let width = 2 * LAYERS * HIDDEN;
    assert_eq!(PrefixConfig::new(3).init(&mini).unwrap().num_params(), 3 * width);
    let projected = PrefixConfig::new(3).with_projection(6).init(&mini).unwrap();
    assert_eq!(projected.num_params(), 3 * HIDDEN + (HIDDEN + 1) * 6 + (6 + 1) * width);
}

fn fields(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// What Hugging Face PEFT 0.21.2 writes for a BERT of two layers.
fn written() -> Value {
    json!({
        "auto_mapping": null, "base_model_name_or_path": null, "encoder_hidden_size": 16, "inference_mode": true,
        "init_weights": null, "modules_to_save": ["classifier", "score", "classifier", "score"],
        "num_attention_heads": 4, "num_layers": 2, "num_transformer_submodules": 1, "num_virtual_tokens": 5,
        "peft_type": "PREFIX_TUNING", "peft_version": "0.21.2", "prefix_projection": true, "revision": null,
        "task_type": "SEQ_CLS", "token_dim": 32,
    })
}

#[test]
fn a_file_is_written_as_it_was_read() {
    assert_eq!(Value::Object(PrefixConfig::from_json(fields(written())).unwrap().to_json()), written());
    let mut newer = fields(written());
    newer.insert("a_field_of_next_year".into(), json!([1]));
    let config = PrefixConfig::from_json(newer.clone()).unwrap();
    assert_eq!(config.unknown_fields().collect::<Vec<_>>(), ["a_field_of_next_year"]);
    assert_eq!(config.to_json(), newer);
    // The same fields, whatever their values.
    assert_eq!(PrefixConfig::default().to_json().len(), fields(written()).len());
}

#[test]
fn sizes_left_to_the_model_are_the_models() {
    let mini = Mini::new(&Device::flex());
    let config = PrefixConfig::new(3).resolve(&mini).unwrap();
    assert_eq!((config.token_dim, config.num_layers), (Some(HIDDEN), Some(LAYERS)));
    assert_eq!((config.num_attention_heads, config.num_transformer_submodules), (Some(2), Some(1)));
    assert_eq!(config.encoder_hidden_size, Some(HIDDEN));
    assert_eq!(config.resolve(&mini).unwrap(), config);
}

#[rstest]
#[case(json!({}), "num_virtual_tokens: say how many")]
#[case(json!({"num_virtual_tokens": 0}), "num_virtual_tokens: say how many")]
#[case(json!({"num_virtual_tokens": "five"}), "num_virtual_tokens: \"five\" is not a value")]
#[case(json!({"num_virtual_tokens": 5, "init_weights": "one"}), "init_weights: \"one\" is not a value")]
#[case(json!({"num_virtual_tokens": 5, "encoder_hidden_size": 0}), "encoder_hidden_size: a width of 0")]
#[case(json!({"num_virtual_tokens": 5, "num_transformer_submodules": 3}), "num_transformer_submodules: 3 is neither")]
#[case(json!({"peft_type": "LORA"}), "`LORA` is not `PREFIX_TUNING`")]
fn what_makes_no_sense_is_named(#[case] given: Value, #[case] says: &str) {
    let error = PrefixConfig::from_json(fields(given)).unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}

#[rstest]
#[case(PrefixConfig { token_dim: Some(4), ..PrefixConfig::new(3) }, "token_dim: 4 where the model has 8")]
#[case(PrefixConfig { num_layers: Some(3), ..PrefixConfig::new(3) }, "num_layers: 3 where the model has 2")]
#[case(PrefixConfig { num_transformer_submodules: Some(2), ..PrefixConfig::new(3) }, "2 is for an encoder with")]
#[case(PrefixConfig { num_attention_heads: Some(4), ..PrefixConfig::new(3) }, "num_attention_heads: 4 where")]
fn sizes_that_are_not_the_models_are_named(#[case] config: PrefixConfig, #[case] says: &str) {
    let error = config.init(&Mini::new(&Device::flex())).unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}

#[test]
fn a_trained_head_is_stored_behind_one_wrapper() {
    let prefix = PrefixConfig::new(3).init(&Mini::new(&Device::flex())).unwrap();
    assert_eq!(prefix.saved_key(&Site::new("head", "classifier"), "weight"), "base_model.classifier.weight");
}
