//! A model of one layer of each kind, filled from files as the hub has them.

use burn::module::Module;
use peft_core::Scope;
use peft_core::file::safetensors_bytes;
use peft_core::nn::{Embedding, LayerNorm, Linear};
use tempfile::TempDir;

use super::*;

#[derive(Module, Debug)]
struct Base {
    table: Embedding,
    dense: Linear,
    layer_norm: LayerNorm,
}

#[derive(Module, Debug)]
struct Model {
    base: Base,
    decoder: Option<Linear>,
    head: Linear,
}

/// `base` is the reference's `net`, `layer_norm` its `LayerNorm`.
fn naming(path: &str) -> String {
    path.replace("base", "net").replace("layer_norm", "LayerNorm")
}

const RULES: Rules = Rules {
    replaced: |_| false,
    prefix: "net.",
    ignored: |name| name == "ids",
    fresh: |name| name.starts_with("head."),
    tied: |name| (name == "decoder.weight").then(|| "net.table.weight".into()),
};

fn model(decoder: bool) -> (Model, Sites) {
    let scope = Scope::root(&Device::default(), naming);
    let base = scope.pp("base");
    let model = Model {
        base: Base {
            table: base.embedding("table", 4, 3),
            dense: base.linear("dense", 3, 2, true),
            layer_norm: base.layer_norm("layer_norm", 3, 1e-12),
        },
        decoder: decoder.then(|| scope.linear("decoder", 3, 4, false)),
        head: scope.head().linear("head", 3, 2, true),
    };
    (model, scope.sites())
}

fn tensors() -> Vec<(&'static str, TensorData)> {
    let table = (0..12).map(|i| i as f32).collect();
    vec![
        ("net.table.weight", TensorData::new::<f32, _>(table, [4, 3])),
        ("net.dense.weight", TensorData::from([[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]])),
        ("net.dense.bias", TensorData::from([0.5f32, -0.5])),
        ("net.LayerNorm.weight", TensorData::from([1.0f32, 2.0, 3.0])),
        ("net.LayerNorm.bias", TensorData::from([-1.0f32, 0.0, 1.0])),
        ("head.weight", TensorData::from([[7.0f32, 8.0, 9.0], [1.0, 1.0, 1.0]])),
        ("head.bias", TensorData::from([0.25f32, 0.75])),
    ]
}

fn checkpoint(tensors: &[(impl AsRef<str>, TensorData)]) -> (TempDir, Checkpoint) {
    let dir = tempfile::tempdir().unwrap();
    let bytes = safetensors_bytes(tensors.iter().map(|(name, data)| (name.as_ref(), data)));
    std::fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    (dir, checkpoint)
}

fn load_from(tensors: &[(impl AsRef<str>, TensorData)], decoder: bool, rules: &Rules) -> Result<Loaded<Model>> {
    let (_dir, checkpoint) = checkpoint(tensors);
    let (model, sites) = model(decoder);
    load(model, &sites, naming, &checkpoint, rules)
}

fn misfit(tensors: &[(impl AsRef<str>, TensorData)], rules: &Rules) -> (Misfit, String) {
    let error = load_from(tensors, false, rules).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("model.safetensors: does not fit") && !text.contains('\n'), "{text}");
    match error {
        Error::Misfit(misfit) => (*misfit, text),
        other => panic!("{other}"),
    }
}

fn values<const D: usize>(param: &Param<Tensor<D>>) -> TensorData {
    param.val().into_data()
}

fn assert_loaded(model: &Model) {
    assert_eq!(values(&model.base.dense.weight), TensorData::from([[1.0f32, 4.0], [2.0, 5.0], [3.0, 6.0]]));
    assert_eq!(values(&model.base.dense.bias.clone().unwrap()), TensorData::from([0.5f32, -0.5]));
    assert_eq!(values(&model.base.layer_norm.weight), TensorData::from([1.0f32, 2.0, 3.0]));
    assert_eq!(values(&model.base.layer_norm.bias.clone().unwrap()), TensorData::from([-1.0f32, 0.0, 1.0]));
    let table: Vec<f32> = values(&model.base.table.weight).try_to_vec().unwrap();
    assert_eq!(table, (0..12).map(|i| i as f32).collect::<Vec<_>>());
}

#[test]
fn linear_weights_are_transposed_and_the_rest_is_not() {
    let Loaded { module, fresh, ignored } = load_from(&tensors(), false, &Rules::STRICT).unwrap();
    assert_loaded(&module);
    assert_eq!(values(&module.head.weight), TensorData::from([[7.0f32, 1.0], [8.0, 1.0], [9.0, 1.0]]));
    assert!(fresh.is_empty() && ignored.is_empty());
}

#[test]
fn parameters_keep_their_id_and_do_not_train() {
    let (model, sites) = model(false);
    let id = model.base.dense.weight.id;
    let (_dir, checkpoint) = checkpoint(&tensors());
    let loaded = load(model, &sites, naming, &checkpoint, &RULES).unwrap().module;
    assert_eq!(loaded.base.dense.weight.id, id);
    assert!(!loaded.base.dense.weight.val().is_require_grad());
}

#[test]
fn every_float_type_becomes_f32() {
    for dtype in [DType::F16, DType::BF16, DType::F64] {
        let tensors: Vec<_> = tensors().into_iter().map(|(name, data)| (name, data.convert_dtype(dtype))).collect();
        let module = load_from(&tensors, false, &RULES).unwrap().module;
        assert_loaded(&module);
        assert_eq!(module.base.dense.weight.val().dtype(), DType::F32);
    }
}

#[test]
fn the_prefix_may_be_there_or_not() {
    let bare: Vec<_> = tensors().into_iter().map(|(name, data)| (name.trim_start_matches("net."), data)).collect();
    assert_loaded(&load_from(&bare, false, &RULES).unwrap().module);
    let (misfit, text) = misfit(&bare, &Rules::STRICT);
    assert_eq!((misfit.missing.len(), misfit.unexpected.len(), misfit.stranger), (5, 5, false));
    assert!(text.contains("`net.dense.weight` (is it `dense.weight`?)"), "{text}");

    // A bare model from a checkpoint with the prefix.
    let (_dir, checkpoint) = checkpoint(&tensors()[1..3]);
    let scope = Scope::root(&Device::default(), naming);
    let dense = scope.linear("dense", 3, 2, true);
    let bare = Bare { dense };
    let loaded = load(bare, &scope.sites(), naming, &checkpoint, &RULES).unwrap().module;
    assert_eq!(values(&loaded.dense.bias.unwrap()), TensorData::from([0.5f32, -0.5]));
}

#[derive(Module, Debug)]
struct Bare {
    dense: Linear,
}

#[test]
fn normalisations_and_only_they_may_use_the_older_names() {
    let older = |from: &str| -> Vec<(String, TensorData)> {
        let rename = |name: &str| name.replace("weight", "gamma").replace("bias", "beta");
        let tensors = tensors().into_iter();
        tensors.map(|(name, data)| (if name.contains(from) { rename(name) } else { name.into() }, data)).collect()
    };
    assert_loaded(&load_from(&older("LayerNorm"), false, &RULES).unwrap().module);
    let bare: Vec<_> = older("LayerNorm").into_iter().map(|(name, data)| (name.replace("net.", ""), data)).collect();
    assert_loaded(&load_from(&bare, false, &RULES).unwrap().module);
    assert_eq!(misfit(&older("dense"), &RULES).0.missing.len(), 2);
}

#[test]
fn a_missing_head_stays_lazy_and_is_reported() {
    let Loaded { module, fresh, .. } = load_from(&tensors()[..5], false, &RULES).unwrap();
    assert_loaded(&module);
    assert_eq!(fresh, ["head.weight", "head.bias"]);
    assert!(!module.head.weight.is_initialized() && !module.head.bias.unwrap().is_initialized());
    let (misfit, text) = misfit(&tensors()[..5], &Rules::STRICT);
    assert_eq!(misfit.missing[0].shape, [2, 3]);
    assert!(text.contains("2 missing: `head.weight`, `head.bias`; check that config.json"), "{text}");
}

#[test]
fn what_the_model_has_no_use_for_is_ignored_or_an_error() {
    for name in ["ids", "net.ids"] {
        let mut tensors = tensors();
        tensors.push((name, TensorData::from([[0i64, 1]])));
        assert_eq!(load_from(&tensors, false, &RULES).unwrap().ignored, [name]);
        let (_, text) = misfit(&tensors, &Rules::STRICT);
        assert!(text.contains(&format!("1 unexpected: `{name}` [1, 2]")), "{text}");
    }
}

#[test]
fn a_tied_parameter_reads_what_it_is_tied_to_unless_it_has_its_own() {
    let loaded = load_from(&tensors(), true, &RULES).unwrap().module;
    let decoder = loaded.decoder.unwrap().weight;
    assert_eq!(decoder.val().dims(), [3, 4]);
    assert_eq!(values(&decoder), loaded.base.table.weight.val().transpose().into_data());
    let mut tensors = tensors();
    tensors.push(("decoder.weight", TensorData::zeros::<f32, _>([4, 3])));
    let decoder = load_from(&tensors, true, &RULES).unwrap().module.decoder.unwrap().weight;
    assert_eq!(values(&decoder), TensorData::zeros::<f32, _>([3, 4]));
}

#[test]
fn all_differences_are_in_one_message() {
    let mut tensors = tensors();
    tensors[0].1 = TensorData::zeros::<f32, _>([5, 3]);
    tensors[2].1 = TensorData::from([1i64, 2]);
    tensors[1].0 = "net.dens.weight";
    let (misfit, text) = misfit(&tensors, &RULES);
    assert_eq!((misfit.missing.len(), misfit.unexpected.len(), misfit.reshaped.len()), (1, 1, 2));
    assert!(text.contains("1 missing: `net.dense.weight` (is it `net.dens.weight`?); "), "{text}");
    assert!(text.contains("1 unexpected: `net.dens.weight` [2, 3]; "), "{text}");
    assert!(text.contains("`net.table.weight` is [5, 3] in the file and [4, 3] in the model, "), "{text}");
    assert!(text.contains("`net.dense.bias` holds i64 where the model has floats; "), "{text}");
    // A linear weight's shapes are told in the file's layout.
    let mut tensors = self::tensors();
    tensors[1].1 = TensorData::zeros::<f32, _>([3, 2]);
    let (_, text) = self::misfit(&tensors, &RULES);
    assert!(text.contains("`net.dense.weight` is [3, 2] in the file and [2, 3] in the model"), "{text}");
}

#[test]
fn long_lists_are_cut_and_a_stranger_is_called_one() {
    let names: Vec<_> = (0..20).map(|i| (format!("wav2vec.{i}"), TensorData::from([1.0f32]))).collect();
    let (misfit, text) = misfit(&names, &RULES);
    assert!(misfit.stranger && misfit.unexpected.len() == 20);
    assert!(text.contains("`wav2vec.15` [1] and 12 more; no name is the model's: check model_type"), "{text}");
}

#[test]
fn a_file_that_shrinks_after_opening_is_an_error() {
    let (dir, checkpoint) = checkpoint(&tensors());
    std::fs::write(dir.path().join("model.safetensors"), b"short").unwrap();
    let (model, sites) = model(false);
    let error = load(model, &sites, naming, &checkpoint, &RULES).unwrap_err().to_string();
    assert!(error.contains("model.safetensors: tensor `net."), "{error}");
}

#[test]
fn transposing_moves_every_value_at_every_tile_edge() {
    for [rows, columns] in [[1, 1], [1, 70], [31, 33], [32, 32], [64, 5], [65, 97], [0, 3]] {
        let data = TensorData::new((0..rows * columns).map(|i| i as f32).collect::<Vec<_>>(), [rows, columns]);
        let turned: Vec<f32> = transpose(data).try_to_vec().unwrap();
        for (at, value) in turned.into_iter().enumerate() {
            let (c, r) = (at / rows, at % rows);
            assert_eq!(value, (r * columns + c) as f32);
        }
    }
}

#[test]
fn a_file_written_by_pytorch_fills_a_model() {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pytorch_model.bin");
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(data, dir.path().join("pytorch_model.bin")).unwrap();
    let same: Naming = |path| path.into();
    let scope = Scope::root(&Device::default(), same);
    let module = Torch { embeddings: scope.embedding("embeddings", 3, 2), norm: scope.layer_norm("norm", 2, 1e-12) };
    let rules = Rules { ignored: |name| !name.starts_with("norm"), ..Rules::STRICT };
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let loaded = load(module, &scope.sites(), same, &checkpoint, &rules).unwrap();
    assert_eq!(values(&loaded.module.norm.weight), TensorData::from([1.0f32, 2.0]));
    assert_eq!(values(&loaded.module.norm.bias.unwrap()), TensorData::from([-1.0f32, 0.25]));
    assert_eq!(loaded.ignored, ["decoder.weight", "heads.1.weight", "heads.4.bias", "position_ids"]);
}

#[derive(Module, Debug)]
struct Torch {
    embeddings: Embedding,
    norm: LayerNorm,
}
