//! Bottleneck adapters and their fusion against AdapterHub's numbers: logits, and the gradient of every parameter.

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::Gradients;
use burn::tensor::activation::log_softmax;
use peft::adapter::{Bottleneck, BottleneckConfig, FusionConfig};
use peft::core::file::{key, read_safetensors};
use peft::core::tensors::{Tensors, export_gradients, import};
use peft::core::{Overrides, Site, Stored};
use peft::prelude::*;
use rstest::rstest;
use serde_json::{Map, Value};

use crate::support::*;

const HEAD: [&str; 2] = ["pooler", "classifier"];

fn tensors(path: &str) -> Tensors {
    read_safetensors(&fixture("../adapterhub").join(path)).unwrap()
}

fn json(path: &str) -> Map<String, Value> {
    serde_json::from_slice(&std::fs::read(fixture("../adapterhub").join(path)).unwrap()).unwrap()
}

fn device() -> Device {
    Device::flex().autodiff()
}

fn base(device: &Device) -> BertForSequenceClassification {
    let folder = fixture("../adapterhub/base");
    BertForSequenceClassification::from_folder(&folder, Some(3), device).unwrap().module.no_grad()
}

/// The tensors of `io` that begin with `what`, under our names: without the adapter's, and with BERT's for its head.
fn ours(io: &Tensors, what: &str, name: &str) -> Tensors {
    let strip = |(key, data): (&String, &TensorData)| {
        let key = key.strip_prefix(what)?;
        let key = match key.strip_prefix("bert.shared_parameters.") {
            Some(shared) => format!("shared_parameters.{shared}"),
            None => key.replace("heads.a.1.", "bert.pooler.dense.").replace("heads.a.4.", "classifier."),
        };
        Some((format!("base_model.model.{}", key.replacen(&format!(".{name}."), ".", 1)), data.clone()))
    };
    io.iter().filter_map(strip).collect()
}

fn loss(logits: Tensor<2>, io: &Tensors) -> Tensor<1> {
    let labels: Vec<i64> = io["in.labels"].iter().collect();
    let labels = Tensor::<2, Int>::from_data(TensorData::new(labels, [logits.dims()[0], 1]), &logits.device());
    -log_softmax(logits, 1).gather(1, labels).mean()
}

fn agree(got: &Tensors, want: &Tensors) {
    assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
    let size = |data: &TensorData| data.iter::<f32>().fold(0.0f32, |max, x| max.max(x.abs()));
    let largest = want.values().map(size).fold(0.0, f32::max);
    for (key, want) in want {
        assert_eq!(got[key].shape(), want.shape(), "{key}");
        // What is small beside the largest of all is rounding: softmax does not see the bias of a key.
        let bound = 1e-4 * size(want).max(1e-2 * largest);
        let apart = got[key].iter::<f32>().zip(want.iter::<f32>()).fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
        assert!(apart <= bound, "{key} is {apart} off, of {}", size(want));
    }
}

#[rstest]
fn adapters_with_a_head_are_the_references(
    #[values("seq_bn", "double_seq_bn", "par_bn", "scaled_par_bn", "compacter", "houlsby_init")] case: &str,
) {
    let (device, io) = (device(), tensors(&format!("{case}/io.safetensors")));
    let bert = base(&device);
    let given = json(&format!("{case}/adapter_config.json"));
    let config = BottleneckConfig::from_json(given["config"].as_object().unwrap().clone()).unwrap();
    assert_eq!(Value::Object(config.to_json()), given["config"]);
    let head = HEAD.map(String::from);
    let adapter = Adapter::new(config.init_for_loading(&bert).unwrap(), &bert, &head, &[]).unwrap();
    let adapter = import(adapter, ours(&io, "param.", "a")).unwrap();
    let logits = bert.forward(&batch_of(&io, &device), &adapter);
    close(logits.clone().inner(), Tensor::from_data(io["out.logits"].clone(), &Device::flex()));
    agree(&export_gradients(&adapter, &loss(logits, &io).backward()), &ours(&io, "grad.", "a"));
}

/// The head of the fixtures that have none of their own.
#[derive(Module, Debug)]
struct Head {
    saved: Overrides,
}

impl Head {
    fn of(bert: &BertForSequenceClassification) -> Self {
        let wanted = |site: &Site, _: &str| HEAD.iter().any(|name| site.name().contains(name));
        let head = Self { saved: Overrides::copy_of(bert, bert.sites(), wanted) };
        import(head, ours(&tensors("seq_bn/model_head.safetensors"), "", "a")).unwrap()
    }
}

impl Hooks for Head {}

impl Method for Head {
    fn kind(&self) -> &'static str {
        "HEAD"
    }
    fn sites(&self) -> Vec<Site> {
        self.saved.sites().cloned().collect()
    }
    fn stored(&self) -> Vec<Stored> {
        self.saved.stored(key)
    }
}

/// Runs `method` under that head on the batch of the fixtures.
fn run<P: Method>(bert: &BertForSequenceClassification, method: &P) -> (Tensor<2>, Gradients) {
    let io = tensors("seq_bn/io.safetensors");
    let logits = bert.forward(&batch_of(&io, &device()), &(&Head::of(bert).saved, method));
    (logits.clone().inner(), loss(logits, &io).backward())
}

fn variant(case: &str) -> (Map<String, Value>, Tensors) {
    let all = json("variants/configs.json");
    (all[case].as_object().unwrap().clone(), tensors(&format!("variants/{case}.safetensors")))
}

fn config(fields: &Map<String, Value>) -> BottleneckConfig {
    let config = BottleneckConfig::from_json(fields["config"].as_object().unwrap().clone()).unwrap();
    assert_eq!(Value::Object(config.to_json()), fields["config"]);
    config
}

#[rstest]
fn unusual_configurations_are_the_references(
    #[values(
        "norms",
        "residual_inside",
        "post_add",
        "adapter_plus",
        "parallel_gated",
        "phm_whole",
        "phm_factored",
        "phm_own_factored",
        "layers"
    )]
    case: &str,
) {
    let (fields, io) = variant(case);
    let bert = base(&device());
    let adapter = import(config(&fields).init(&bert).unwrap(), ours(&io, "param.", "a")).unwrap();
    let (logits, gradients) = run(&bert, &adapter);
    close(logits, Tensor::from_data(io["out.logits"].clone(), &Device::flex()));
    agree(&export_gradients(&adapter, &gradients), &ours(&io, "grad.", "a"));
}

#[rstest]
fn fusions_are_the_references(#[values("fusion_dynamic", "fusion_static_parallel", "fusion_before")] case: &str) {
    let (fields, io) = variant(case);
    let bert = base(&device());
    let names: Vec<String> = serde_json::from_value(fields["names"].clone()).unwrap();
    let of = |name: &str, what: &str| -> Tensors {
        let mine = io.iter().filter(|(key, _)| key.contains(&format!(".{name}.")));
        ours(&mine.map(|(key, data)| (key.clone(), data.clone())).collect(), what, name)
    };
    let adapter = |name: &String| import(config(&fields).init(&bert).unwrap(), of(name, "param.")).unwrap();
    let adapters: Vec<(String, Bottleneck)> = names.iter().map(|name| (name.clone(), adapter(name))).collect();
    let fusion = FusionConfig::from_json(fields["fusion"].as_object().unwrap().clone()).unwrap();
    assert_eq!(Value::Object(fusion.to_json()), fields["fusion"]);
    let fusion = import(fusion.init(&bert, adapters).unwrap(), of(&names.join(","), "param.")).unwrap();
    let (logits, gradients) = run(&bert, &fusion);
    close(logits, Tensor::from_data(io["out.logits"].clone(), &Device::flex()));
    agree(&export_gradients(&fusion, &gradients), &of(&names.join(","), "grad."));
    assert_eq!(fusion.penalty().is_some(), case != "fusion_static_parallel");
    assert_eq!(io.contains_key("out.penalty"), case == "fusion_dynamic");
    if let Some(want) = io.get("out.penalty") {
        close(fusion.penalty().unwrap().inner(), Tensor::from_data(want.clone(), &Device::flex()));
    }
}
