//! T5 in whatever form a hub's checkpoint has: types, shards, PyTorch's older format, configurations with fields left out.

use burn::prelude::*;
use burn::tensor::DType;
use peft::core::file::read_safetensors;
use peft::core::tensors::Tensors;
use peft::models::t5::names::to_reference;
use peft::models::t5::{T5Config, T5ForConditionalGeneration, T5ForTokenClassification};
use peft::models::{Activation, Batch, Planned, Scorer, TensorWriter, named_tensors, save};
use peft::prelude::*;
use rstest::rstest;
use serde_json::{Map, Value, json};

use crate::support::*;
use crate::t5_heads::folder;

/// What an old file says, and no more.
fn fields(more: Value) -> Map<String, Value> {
    let mut fields = json!({"vocab_size": 40, "d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": 2, "num_heads": 2});
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields.as_object().unwrap().clone()
}

fn t5(more: Value, device: &Device) -> T5ForConditionalGeneration {
    let config: T5Config = serde_json::from_value(fields(more).into()).unwrap();
    device.seed(5);
    shaken(T5ForConditionalGeneration::new(&config, device).unwrap()).no_grad()
}

fn scores(model: &T5ForConditionalGeneration) -> Tensor<3> {
    let batch = Batch::texts(vec![4, 9, 12, 1], vec![1; 4], 1, &Device::flex()).with_labels(vec![8, 3, 1]);
    model.scores(&batch, &Identity)
}

fn tensors_of(model: &T5ForConditionalGeneration) -> Tensors {
    named_tensors(model, model.sites(), to_reference)
}

#[rstest]
#[case::half(DType::F16, 0.02)]
#[case::brain(DType::BF16, 0.2)]
fn other_types_are_converted(#[case] dtype: DType, #[case] bound: f32) {
    let device = Device::flex();
    let model = t5(json!({"feed_forward_proj": "gated-gelu", "tie_word_embeddings": false}), &device);
    let dir = tempfile::tempdir().unwrap();
    let tensors = tensors_of(&model).into_iter().map(|(name, data)| (name, data.convert_dtype(dtype))).collect();
    save(&tensors, &fields(json!({"feed_forward_proj": "gated-gelu", "tie_word_embeddings": false})), dir.path())
        .unwrap();
    let loaded = T5ForConditionalGeneration::from_folder(dir.path(), &device).unwrap().module;
    let (got, want) = (scores(&loaded), scores(&model));
    assert_eq!(got.dtype(), DType::F32);
    let apart = (got - want.clone()).abs().max().into_scalar::<f32>() / want.abs().max().into_scalar::<f32>();
    assert!(apart < bound, "{apart}");
}

#[test]
fn shards_are_put_together() {
    let device = Device::flex();
    let model = t5(json!({}), &device);
    let tensors = tensors_of(&model);
    let dir = tempfile::tempdir().unwrap();
    save(&Tensors::from([("one".into(), TensorData::from([1.0f32]))]), &fields(json!({})), dir.path()).unwrap();
    let planned = tensors.iter().map(|(name, data)| Planned::new(name, data.dtype(), data.shape().to_vec())).collect();
    let mut writer = TensorWriter::new(dir.path(), planned, 4000).unwrap();
    tensors.iter().for_each(|(name, data)| writer.write(name, data).unwrap());
    assert!(writer.finish().unwrap().len() > 3);
    close(scores(&T5ForConditionalGeneration::from_folder(dir.path(), &device).unwrap().module), scores(&model));
}

// torch 2.9.0's own file, tests/fixtures/make_t5_heads.py.
#[test]
fn the_older_format_is_read() {
    let device = Device::flex();
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", "pytorch_model.bin"] {
        std::fs::copy(folder("token").join(name), dir.path().join(name)).unwrap();
    }
    let loaded = T5ForTokenClassification::from_folder(dir.path(), None, &device).unwrap();
    assert!(loaded.fresh.is_empty());
    let want = read_safetensors(&folder("token").join("model.safetensors")).unwrap();
    let got = named_tensors(&loaded.module, loaded.module.sites(), to_reference);
    assert_eq!(got, want);
}

/// Hugging Face Transformers 5.23.0, T5Config and MT5Config of the same fields.
#[rstest]
#[case::first(json!({}), (Activation::Relu, false), true, 2)]
#[case::first_as_of_old(json!({"model_type": "t5"}), (Activation::Relu, false), true, 2)]
#[case::second(
    json!({"feed_forward_proj": "gated-gelu", "tie_word_embeddings": false, "num_decoder_layers": 3}),
    (Activation::GeluNew, true), false, 3
)]
#[case::saved_by_five(json!({"scale_decoder_outputs": false, "num_decoder_layers": null}), (Activation::Relu, false), false, 2)]
#[case::multilingual(
    json!({"model_type": "mt5", "vocab_size": 250112, "tie_word_embeddings": false}), (Activation::GeluNew, true), false, 2
)]
#[case::multilingual_saved_by_five(json!({"model_type": "mt5"}), (Activation::GeluNew, true), false, 2)]
#[case::gated_silu(json!({"feed_forward_proj": "gated-silu"}), (Activation::Silu, true), true, 2)]
fn what_a_configuration_leaves_out_is_the_references(
    #[case] more: Value,
    #[case] part: (Activation, bool),
    #[case] scaled: bool,
    #[case] decoder: usize,
) {
    let config: T5Config = serde_json::from_value(fields(more).into()).unwrap();
    config.validate().unwrap();
    assert_eq!(config.feed_forward().unwrap(), part);
    assert_eq!(config.output_scale(), scaled.then_some(0.25));
    assert_eq!((config.decoder_layers(), config.pad(), config.decoder_start(), config.eos()), (decoder, 0, 0, 1));
    assert_eq!((config.dropout_rate, config.classifier_dropout, config.layer_norm_epsilon), (0.1, 0.0, 1e-6));
    assert_eq!((config.relative_attention_num_buckets, config.relative_attention_max_distance), (32, 128));
    // A skeleton of any size costs nothing.
    let model = T5ForConditionalGeneration::new(&config, &Device::flex()).unwrap();
    assert_eq!(model.sites().vocabulary().unwrap().site.name(), "shared");
}

/// Transformers 5 writes `tie_word_embeddings: true` for every T5, and puts a head that differs from the words beside them:
/// read back there, it is the head.
#[rstest]
#[case::first(json!({"scale_decoder_outputs": false}))]
#[case::multilingual(json!({"model_type": "mt5"}))]
fn a_head_of_its_own_is_one_whatever_the_configuration_says(#[case] more: Value) {
    let device = Device::flex();
    let untied = |mut fields: Value| {
        fields["tie_word_embeddings"] = json!(false);
        fields
    };
    let model = t5(untied(more.clone()), &device);
    let dir = tempfile::tempdir().unwrap();
    save(&tensors_of(&model), &fields(more.clone()), dir.path()).unwrap();
    let loaded = T5ForConditionalGeneration::from_folder(dir.path(), &device).unwrap();
    assert!(loaded.fresh.is_empty() && loaded.ignored.is_empty(), "{:?}", loaded.ignored);
    close(scores(&loaded.module), scores(&model));
    // One that is the words' is tied to them.
    let mut tensors = tensors_of(&model);
    tensors.insert("lm_head.weight".into(), tensors["shared.weight"].clone());
    save(&tensors, &fields(more), dir.path()).unwrap();
    let loaded = T5ForConditionalGeneration::from_folder(dir.path(), &device).unwrap();
    assert_eq!(loaded.ignored, ["lm_head.weight"]);
}
