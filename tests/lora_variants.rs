//! LoRA's relatives on BERT, against the reference's numbers: what `peft conform` has no fixture of its own kind for.

use burn::prelude::*;
use burn::tensor::activation::log_softmax;
use peft::HEAD_NAMES;
use peft::core::file::{AdapterFile, read_safetensors};
use peft::core::tensors::{Tensors, export, export_gradients, import};
use peft::lora::{AdaLora, AdaLoraConfig, Combination, Combine, Part};
use peft::prelude::*;
use rstest::rstest;

use crate::support::*;

/// AdaLoRA's loss in the reference has the penalty in it, and so have the gradients.
#[test]
fn adalora_is_the_references() {
    let device = Device::flex().autodiff();
    let bert = bert(&device).no_grad();
    let file = AdapterFile::read(&fixture("adalora")).unwrap();
    let config = AdaLoraConfig::from_json(file.config.clone()).unwrap();
    let saved = config.modules_to_save.clone().unwrap();
    let adapter = Adapter::new(config.init_for_loading(&bert).unwrap(), &bert, &saved, &HEAD_NAMES).unwrap();
    let adapter: Adapter<AdaLora> = import(adapter, file.tensors.clone()).unwrap();
    let io = io("adalora");
    let want = |name: &str| Tensor::<2>::from_data(io[name].clone(), &device);
    let batch = batch_of(&io, &device);

    let logits = bert.forward(&batch, &adapter);
    close(logits.clone(), want("out.logits"));
    let labels = Tensor::<1, Int>::from_data(io["in.labels"].clone(), &device).unsqueeze_dim::<2>(1);
    let loss = -log_softmax(logits, 1).gather(1, labels).mean() + adapter.penalty().unwrap();
    close(loss.clone(), Tensor::from_data(io["out.loss"].clone(), &device));
    let got = export_gradients(&adapter, &loss.backward());
    let gradients: Vec<_> = io.iter().filter_map(|(key, data)| Some((key.strip_prefix("grad.")?, data))).collect();
    assert_eq!(got.len(), gradients.len());
    for (name, want) in gradients {
        let name = name.replace(".modules_to_save.default.", ".").replace(".default", "");
        got[&name].assert_approx_eq::<f32>(want, burn::tensor::Tolerance::absolute(1e-5));
    }

    close(merge(bert.clone(), &adapter).unwrap().forward(&batch, &Identity), want("out.logits_merged"));
    let ours = AdapterFile { config: config.to_json(), tensors: export(&adapter) };
    assert_eq!(ours.tensors, file.tensors);
    assert_eq!(ours.config_bytes(), std::fs::read(fixture("adalora").join("adapter_config.json")).unwrap());
}

/// `add_weighted_adapter` of three adapters: two of rank 4, one of rank 2, all of α = 8.
#[rstest]
#[case("v_linear", Combination::Linear, [("a", 0.7), ("c", -0.6)])]
#[case("v_ties", Combination::Ties, [("a", 0.7), ("c", -0.6)])]
#[case("v_magnitude_prune", Combination::MagnitudePrune, [("a", 0.7), ("c", -0.6)])]
#[case("w_cat", Combination::Cat, [("a", 0.7), ("b", 0.3)])]
#[case("w_svd", Combination::Svd, [("a", 0.7), ("b", 0.3)])]
#[case("w_ties_svd", Combination::TiesSvd, [("a", 0.7), ("b", 0.3)])]
#[case("w_magnitude_prune_svd", Combination::MagnitudePruneSvd, [("a", 0.7), ("b", 0.3)])]
fn combinations_are_the_references(#[case] name: &str, #[case] how: Combination, #[case] parts: [(&str, f64); 2]) {
    let device = Device::flex();
    let bert = bert(&device);
    let io = read_safetensors(&fixture("multi_lora.safetensors")).unwrap();
    let load = |name: &str| {
        let named = |key: &String| key.strip_prefix(&format!("adapter.{name}.")).map(str::to_string);
        let tensors: Tensors = io.iter().filter_map(|(key, data)| Some((named(key)?, data.clone()))).collect();
        let rank = if name == "b" { 2 } else { 4 };
        let config = LoraConfig::new(rank).with_alpha(8.0).with_target_modules(["query", "value"]);
        let lora = import(config.init_for_loading(&bert).unwrap(), tensors).unwrap();
        (config, lora)
    };
    let loaded = parts.map(|(name, weight)| (load(name), weight));
    let parts: Vec<_> = loaded.iter().map(|((config, lora), weight)| Part { config, lora, weight: *weight }).collect();
    let (_, combined) = Combine::new(how).with_density(0.5).run(&parts).unwrap();
    let got = bert.forward(&batch_of(&io, &device), &combined);
    close(got, Tensor::from_data(io[&format!("out.{name}")].clone(), &device));
}
