//! The fixtures in `tests/fixtures` and small models to try things on.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::Tolerance;
use peft::core::file::read_safetensors;
use peft::core::tensors::Tensors;
use peft::prelude::*;

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/bert").join(name)
}

pub(crate) fn io(case: &str) -> Tensors {
    read_safetensors(&fixture(case).join("io.safetensors")).unwrap()
}

/// The tiny BERT of the fixtures, with its three-label head.
pub(crate) fn bert(device: &Device) -> BertForSequenceClassification {
    BertForSequenceClassification::from_folder(&fixture("base"), None, device).unwrap().module
}

pub(crate) fn batch_of(io: &Tensors, device: &Device) -> Batch {
    let ints = |name: &str| io[name].iter::<i64>().collect::<Vec<_>>();
    let rows = io["in.input_ids"].shape()[0];
    Batch::new(ints("in.input_ids"), ints("in.token_type_ids"), ints("in.attention_mask"), rows, device)
}

pub(crate) fn batch(device: &Device) -> Batch {
    batch_of(&io("base"), device)
}

/// Three rows, the second padded.
pub(crate) fn three_rows(device: &Device) -> Batch {
    let tensors = read_safetensors(&fixture("multi_lora.safetensors")).unwrap();
    batch_of(&tensors, device)
}

pub(crate) fn lora(model: &BertForSequenceClassification, rank: usize) -> Adapter<Lora> {
    let config = LoraConfig::new(rank).with_alpha(16.0).with_target_modules(["query", "value", "output.dense"]);
    let head = ["classifier".to_string()];
    Adapter::new(LoraConfig { modules_to_save: Some(head.to_vec()), ..config }.init(model).unwrap(), model, &head, &[])
        .unwrap()
}

/// `module` with every parameter moved away from where it starts, by the same numbers in every run: how far rounding goes
/// depends on them.
pub(crate) fn shaken<M: Module>(module: M) -> M {
    peft_testing::shake(module, 0.2)
}

pub(crate) fn close<const D: usize>(got: Tensor<D>, want: Tensor<D>) {
    let want = want.into_data();
    let bound = 1e-5 * (1.0 + want.iter::<f32>().fold(0.0f32, |max, x| max.max(x.abs())));
    got.into_data().assert_approx_eq::<f32>(&want, Tolerance::absolute(bound));
}

pub(crate) fn far<const D: usize>(got: Tensor<D>, from: Tensor<D>) {
    let apart = (got - from).abs().max().into_scalar::<f32>();
    assert!(apart > 1e-3, "only {apart} apart");
}
