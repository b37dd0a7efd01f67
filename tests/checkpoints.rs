//! BERT from whatever form a hub's checkpoint has: every variant loads to the same logits, and what is wrong is named.

use std::collections::BTreeMap;
use std::path::Path;

use burn::prelude::*;
use burn::tensor::DType;
use peft::core::file::{read_safetensors, safetensors_bytes};
use peft::core::tensors::Tensors;
use peft::models::Loaded;
use peft::models::bert::{AnyBert, BertHead};
use peft::prelude::*;
use rstest::rstest;

use crate::support::*;

/// A copy of the fixture's base whose tensors went through `edit`.
fn folder(edit: impl FnOnce(&mut Tensors)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(fixture("base/config.json"), dir.path().join("config.json")).unwrap();
    let mut tensors = read_safetensors(&fixture("base/model.safetensors")).unwrap();
    edit(&mut tensors);
    write(&dir.path().join("model.safetensors"), &tensors);
    dir
}

fn write(path: &Path, tensors: &Tensors) {
    std::fs::write(path, safetensors_bytes(tensors.iter().map(|(key, data)| (key.as_str(), data)))).unwrap();
}

fn rename(tensors: &mut Tensors, name: impl Fn(&str) -> String) {
    *tensors = std::mem::take(tensors).into_iter().map(|(key, data)| (name(&key), data)).collect();
}

fn load(dir: &Path, outputs: Option<usize>) -> Result<Loaded<BertForSequenceClassification>, String> {
    BertForSequenceClassification::from_folder(dir, outputs, &Device::flex()).map_err(|error| error.to_string())
}

fn logits(model: &BertForSequenceClassification) -> Tensor<2> {
    model.forward(&batch(&Device::flex()), &Identity)
}

#[rstest]
#[case::without_the_prefix(|t: &mut Tensors| rename(t, |key| key.trim_start_matches("bert.").to_string()))]
#[case::with_gamma_and_beta(|t: &mut Tensors| rename(t, |key| {
    key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
}))]
#[case::with_position_ids_and_a_pretraining_head(|t: &mut Tensors| {
    t.insert("bert.embeddings.position_ids".into(), TensorData::from([[0i64, 1, 2]]));
    t.insert("cls.predictions.bias".into(), TensorData::from([0.5f32; 120]));
    t.insert("cls.seq_relationship.weight".into(), TensorData::from([[0.5f32; 32]; 2]));
})]
fn other_names_are_recognised(#[case] edit: fn(&mut Tensors)) {
    let loaded = load(folder(edit).path(), None).unwrap();
    assert!(loaded.fresh.is_empty(), "{:?}", loaded.fresh);
    close(logits(&loaded.module), logits(&bert(&Device::flex())));
}

#[rstest]
#[case(DType::F16, 2e-2)]
#[case(DType::BF16, 2e-1)]
#[case(DType::F64, 1e-6)]
fn other_types_are_converted(#[case] dtype: DType, #[case] bound: f32) {
    let dir = folder(|tensors| {
        *tensors = std::mem::take(tensors).into_iter().map(|(key, data)| (key, data.convert_dtype(dtype))).collect();
    });
    let loaded = load(dir.path(), None).unwrap().module;
    let apart = (logits(&loaded) - logits(&bert(&Device::flex()))).abs().max().into_scalar::<f32>();
    assert!(apart < bound, "{apart}");
    assert_eq!(logits(&loaded).dtype(), DType::F32);
}

#[test]
fn shards_are_put_together() {
    let dir = folder(|_| ());
    let whole = read_safetensors(&dir.path().join("model.safetensors")).unwrap();
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    let half = whole.len() / 2;
    let (mut shards, mut map) = ([Tensors::new(), Tensors::new()], BTreeMap::new());
    for (i, (key, data)) in whole.into_iter().enumerate() {
        let shard = usize::from(i >= half);
        map.insert(key.clone(), format!("model-0000{}-of-00002.safetensors", shard + 1));
        shards[shard].insert(key, data);
    }
    for (i, shard) in shards.iter().enumerate() {
        write(&dir.path().join(format!("model-0000{}-of-00002.safetensors", i + 1)), shard);
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": map }).to_string();
    std::fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
    close(logits(&load(dir.path(), None).unwrap().module), logits(&bert(&Device::flex())));
    std::fs::remove_file(dir.path().join("model-00002-of-00002.safetensors")).unwrap();
    let error = load(dir.path(), None).unwrap_err();
    assert!(error.contains("model-00002-of-00002.safetensors"), "{error}");
}

#[test]
fn what_an_encoder_lacks_is_new_and_said_so() {
    let dir = folder(|tensors| tensors.retain(|key, _| !key.contains("pooler") && !key.contains("classifier")));
    let loaded = load(dir.path(), Some(2)).unwrap();
    assert_eq!(loaded.fresh_modules("bert."), ["pooler", "classifier"]);
    assert_eq!(logits(&loaded.module).dims(), [2, 2]);
    let error = load(dir.path(), None).unwrap_err();
    assert!(error.contains("no classification head"), "{error}");
}

#[test]
fn a_head_of_another_size_makes_room() {
    let dir = folder(|_| ());
    let loaded = load(dir.path(), Some(5)).unwrap();
    assert_eq!(loaded.fresh_modules("bert."), ["classifier"]);
    assert_eq!(logits(&loaded.module).dims(), [2, 5]);
    assert!(load(dir.path(), Some(3)).unwrap().fresh.is_empty());
}

/// The fixture's head is a classifier of texts, of three labels.
#[test]
fn the_head_of_another_task_makes_room() {
    let (dir, device) = (folder(|_| ()), Device::flex());
    let fresh = |loaded: Loaded<AnyBert>| loaded.fresh_modules("bert.").join(",");
    let load = |head, outputs| AnyBert::from_folder(dir.path(), head, outputs, &device);
    assert_eq!(fresh(load(BertHead::Sequence, None).unwrap()), "");
    assert_eq!(fresh(load(BertHead::Token, Some(3)).unwrap()), "classifier");
    assert_eq!(fresh(load(BertHead::QuestionAnswering, None).unwrap()), "qa_outputs");
    let error = load(BertHead::Token, None).unwrap_err().to_string();
    assert!(error.contains("no classification head"), "{error}");
    // A checkpoint that does not say what it is: whichever head fits is taken for the task's own.
    let path = dir.path().join("config.json");
    let config = std::fs::read_to_string(&path).unwrap().replace("ForSequenceClassification", "Model");
    std::fs::write(&path, config).unwrap();
    assert_eq!(fresh(load(BertHead::Token, Some(3)).unwrap()), "");
    assert_eq!(fresh(load(BertHead::Token, Some(4)).unwrap()), "classifier");
}

#[test]
fn an_answerer_of_another_size_makes_room() {
    let head = |outputs: usize| {
        folder(move |tensors| {
            let weight = TensorData::new(vec![0.5f32; outputs * 32], [outputs, 32]);
            tensors.insert("qa_outputs.weight".into(), weight);
            tensors.insert("qa_outputs.bias".into(), TensorData::new(vec![0.5f32; outputs], [outputs]));
        })
    };
    for (outputs, fresh) in [(2, ""), (3, "qa_outputs")] {
        let dir = head(outputs);
        let loaded = AnyBert::from_folder(dir.path(), BertHead::QuestionAnswering, None, &Device::flex()).unwrap();
        assert_eq!(loaded.fresh_modules("bert.").join(","), fresh);
    }
}

#[test]
fn every_misfit_is_named() {
    let dir = folder(|tensors| {
        tensors.remove("bert.encoder.layer.1.output.dense.bias");
        tensors.insert("bert.encoder.layer.1.output.dense.bais".into(), TensorData::from([0.0f32; 32]));
        tensors.insert("bert.embeddings.LayerNorm.weight".into(), TensorData::from([1.0f32; 31]));
    });
    let error = load(dir.path(), None).unwrap_err();
    for name in ["layer.1.output.dense.bias", "layer.1.output.dense.bais", "embeddings.LayerNorm.weight", "31", "32"] {
        assert!(error.contains(name), "{name} in {error}");
    }
    assert!(!error.contains('\n'));
}

#[rstest]
#[case("model_type", "roberta", "`roberta` is not supported")]
#[case("position_embedding_type", "relative_key", "only `absolute` is")]
#[case("hidden_act", "gelu_10", "hidden_act")]
fn a_config_of_something_else_is_refused(#[case] field: &str, #[case] value: &str, #[case] says: &str) {
    let dir = folder(|_| ());
    let path = dir.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config[field] = value.into();
    std::fs::write(&path, config.to_string()).unwrap();
    let error = load(dir.path(), None).unwrap_err();
    assert!(error.contains(says) || error.contains(value), "{error}");
    assert!(error.contains("config.json"), "{error}");
}
