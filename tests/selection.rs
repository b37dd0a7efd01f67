//! LN tuning against the reference's numbers: its file is loaded, and computes, merges and is written as it does there.

use std::path::PathBuf;

use burn::prelude::*;
use burn::tensor::Tolerance;
use burn::tensor::activation::log_softmax;
use peft::core::file::AdapterFile;
use peft::core::tensors::{Tensors, export, export_gradients, import, parameters};
use peft::prelude::*;
use peft_select::{SelectConfig, Selected};

use crate::support::*;

fn folder() -> PathBuf {
    fixture("ln")
}

fn loaded(bert: &BertForSequenceClassification) -> (SelectConfig, Adapter<Selected>, AdapterFile) {
    let file = AdapterFile::read(&folder()).unwrap();
    let config = SelectConfig::from_json(file.config.clone()).unwrap();
    let saved = config.modules_to_save.clone().unwrap();
    // The reference adds the usual names of heads unasked.
    let adapter = Adapter::new(config.init_for_loading(bert).unwrap(), bert, &saved, &peft::HEAD_NAMES).unwrap();
    let adapter = import(adapter, file.tensors.clone()).unwrap();
    (config, adapter, file)
}

#[test]
fn tuned_normalisations_compute_what_the_reference_does() {
    let device = Device::flex();
    let (bert, io) = (bert(&device), io("ln"));
    let (_, adapter, _) = loaded(&bert);
    let batch = batch_of(&io, &device);
    let want = |name: &str| Tensor::<2>::from_data(io[name].clone(), &device);
    close(bert.forward(&batch, &adapter), want("out.logits"));
    close(bert.forward(&batch, &Identity), want("out.logits_disabled"));
    close(merge(bert.clone(), &adapter).unwrap().forward(&batch, &Identity), want("out.logits_merged"));
}

#[test]
fn gradients_have_the_references_names_and_values() {
    let device = Device::flex().autodiff();
    let (bert, io) = (bert(&device), io("ln"));
    let (_, adapter, _) = loaded(&bert);
    let logits = bert.forward(&batch_of(&io, &device), &adapter);
    let labels = Tensor::<1, Int>::from_data(io["in.labels"].clone(), &device);
    let loss = log_softmax(logits, 1).gather(1, labels.unsqueeze_dim(1)).mean().neg();
    let got = export_gradients(&adapter, &loss.backward());
    let want: Tensors =
        io.iter().filter_map(|(name, data)| Some((plain(name.strip_prefix("grad.")?), data.clone()))).collect();
    assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
    assert_eq!(parameters(&adapter).len(), want.len());
    for (name, data) in want {
        got[&name].assert_approx_eq::<f32>(&data, Tolerance::absolute(1e-5));
    }
}

/// A name of the reference's memory as its files have it.
fn plain(name: &str) -> String {
    name.replace(".default", "").replace(".modules_to_save", "")
}

#[test]
fn saving_what_was_loaded_gives_the_same_files() {
    let (config, adapter, _) = loaded(&bert(&Device::flex()));
    let written = AdapterFile { config: config.to_json(), tensors: export(&adapter) };
    assert!(written.weight_bytes() == std::fs::read(folder().join("adapter_model.safetensors")).unwrap());
    assert_eq!(written.config, AdapterFile::read(&folder()).unwrap().config);
}
