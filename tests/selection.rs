//! LN tuning against the reference's numbers: its file is loaded, and computes, merges and is written as it does there.
//! And which part of a real checkpoint each choice trains.

use std::path::PathBuf;

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::Tolerance;
use burn::tensor::activation::log_softmax;
use peft::core::file::{AdapterFile, read_safetensors};
use peft::core::tensors::{Tensors, export, export_gradients, import, parameters};
use peft::prelude::*;
use peft_select::{FishConfig, Importance, SelectConfig, Selected};
use rstest::rstest;

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

/// How many numbers the checkpoint has in parameters whose names begin and end so.
fn numbers(begin: &str, end: &str) -> usize {
    let file = read_safetensors(&fixture("base").join("model.safetensors")).unwrap();
    let wanted = |name: &str| name.starts_with(begin) && name.ends_with(end);
    file.iter().filter(|(name, _)| wanted(name)).map(|(_, data)| data.num_elements()).sum()
}

#[rstest]
#[case(SelectConfig::bitfit(), "", ".bias")]
#[case(SelectConfig::last_layers(1), "bert.encoder.layer.1.", "")]
#[case(SelectConfig::last_layers(2), "bert.encoder.layer.", "")]
#[case(SelectConfig::full(), "", "")]
fn each_choice_is_its_part_of_the_checkpoint(#[case] config: SelectConfig, #[case] begin: &str, #[case] end: &str) {
    let device = Device::flex();
    let (bert, batch) = (bert(&device), batch(&device));
    let selected = config.init(&bert).unwrap();
    assert_eq!(selected.num_params(), numbers(begin, end));
    close(bert.forward(&batch, &selected), bert.forward(&batch, &Identity));
    let moved = shaken(selected);
    far(bert.forward(&batch, &moved), bert.forward(&batch, &Identity));
    let merged = merge(bert.clone(), &moved).unwrap();
    close(bert.forward(&batch, &moved), merged.forward(&batch, &Identity));
}

#[test]
fn a_mask_on_bert_is_a_part_of_it_and_loads_from_its_file() {
    let device = Device::flex().autodiff();
    let (bert, batch) = (bert(&device), batch(&device));
    let full = SelectConfig::full().init(&bert).unwrap();
    let mut importance = Importance::of(&full);
    let loss = log_softmax(bert.forward(&batch, &full), 1).narrow(1, 0, 1).mean().neg();
    importance.add(&full, &loss.backward());
    let config = FishConfig::default().with_modules_to_save(["classifier"]);
    let mask = config.init_with(&bert, &importance).unwrap();
    let rest = numbers("bert.", "");
    assert_eq!(mask.num_params(), rest * 5 / 1000);

    let saved = ["classifier".to_string()];
    let adapter = shaken(Adapter::new(mask, &bert, &saved, &[]).unwrap());
    let file = export(&adapter);
    let loaded = config.init_for_loading(&bert, &file).unwrap();
    let loaded = import(Adapter::new(loaded, &bert, &saved, &[]).unwrap(), file).unwrap();
    let got = bert.forward(&batch, &loaded);
    close(got.clone(), bert.forward(&batch, &adapter));
    close(got, merge(bert.clone(), &loaded).unwrap().forward(&batch, &Identity));
}
