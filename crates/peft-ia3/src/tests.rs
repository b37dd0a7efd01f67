//! (IA)³ on a backbone of two linear layers: what the method itself promises, without a model.

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::Tolerance;
use peft_core::draw;
use peft_core::nn::Linear;
use peft_core::tensors::{Tensors, export, import};
use peft_core::{Backbone, Hooks, Identity, Scope, Site, Sites, merge};
use peft_testing::Case;
use rstest::rstest;
use serde_json::json;

use crate::{Ia3, Ia3Config};

#[derive(Module, Debug)]
struct Pair {
    key: Linear,
    down: Linear,
    #[module(skip)]
    sites: Sites,
}

impl Pair {
    fn new(device: &Device) -> Self {
        draw::seed(device, 3);
        let scope = Scope::root(device, |path| path.to_string());
        Self { key: scope.linear("key", 6, 8, true), down: scope.linear("down", 8, 6, true), sites: scope.sites() }
    }

    fn forward(&self, hooks: &dyn Hooks) -> Tensor<3> {
        let device = self.key.weight.device();
        let x = Tensor::<1, Int>::arange(0..36, &device).float().reshape([2, 3, 6]) / 36.0;
        self.down.forward(self.key.forward(x, hooks), hooks)
    }
}

impl Backbone for Pair {
    fn sites(&self) -> &Sites {
        &self.sites
    }
}

fn random(pair: &Pair) -> Ia3 {
    let config = Ia3Config { init_ia3_weights: false, ..Ia3Config::new(["key", "down"], ["down"]) };
    config.init(pair).unwrap()
}

fn config(init_ia3_weights: bool) -> Ia3Config {
    Ia3Config { init_ia3_weights, ..Ia3Config::new(["key", "value", "output.dense"], ["output.dense"]) }
}

fn standard() -> Case<Ia3> {
    Case {
        init: |mini| config(true).init(mini).unwrap(),
        init_for_loading: |mini| config(true).init_for_loading(mini).unwrap(),
        starts_as_base: true,
    }
}

fn drawn() -> Case<Ia3> {
    Case { init: |mini| config(false).init(mini).unwrap(), starts_as_base: false, ..standard() }
}

peft_testing::laws!(Ia3 { standard => standard(), drawn => drawn() });
peft_testing::merging_laws!(Ia3 { standard => standard() });

fn close(a: Tensor<3>, b: Tensor<3>) {
    a.into_data().assert_approx_eq::<f32>(&b.into_data(), Tolerance::absolute(1e-5));
}

#[test]
fn merged_is_unmerged_zeros_included() {
    let pair = Pair::new(&Device::flex());
    let ia3 = random(&pair);
    close(merge(pair.clone(), &ia3).unwrap().forward(&Identity), pair.forward(&ia3));
    let zeros: Tensors = export(&ia3).into_iter().map(|(key, data)| (key, zero_first(data))).collect();
    let ia3 = import(ia3, zeros).unwrap();
    let base = pair.forward(&Identity);
    close(merge(pair.clone(), &ia3).unwrap().forward(&Identity), pair.forward(&ia3));
    // Unmerged: the kept base, to the bit, where dividing by the vector would give NaN or lose the column.
    pair.forward(&Identity).into_data().assert_eq(&base.into_data(), true);
}

fn key_of(module: &str) -> String {
    peft_core::file::key(&Site::new(module, module), "ia3_l")
}

fn zero_first(data: TensorData) -> TensorData {
    let shape = data.shape().clone();
    let mut values: Vec<f32> = data.iter::<f32>().collect();
    values[0] = 0.0;
    TensorData::new(values, shape)
}

#[test]
fn vectors_are_stored_on_their_side() {
    let stored = export(&random(&Pair::new(&Device::flex())));
    assert_eq!(stored[&key_of("key")].shape().to_vec(), [8, 1]);
    assert_eq!(stored[&key_of("down")].shape().to_vec(), [1, 8]);
    assert_eq!(stored.len(), 2);
}

#[rstest]
#[case(Ia3Config::new(["key"], ["down"]), "feedforward_modules: `down` is not among")]
#[case(Ia3Config::new(["kee"], []), "the nearest names are key, down")]
#[case(Ia3Config::default(), "target_modules: name the modules")]
fn what_makes_no_sense_is_named(#[case] config: Ia3Config, #[case] says: &str) {
    let error = config.init(&Pair::new(&Device::flex())).unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}

#[test]
fn an_adapter_for_several_architectures_loads_where_some_of_its_names_mean_nothing() {
    assert!(Ia3Config::new(["key", "k"], ["wo"]).init_for_loading(&Pair::new(&Device::flex())).is_ok());
}

#[test]
fn a_file_is_written_as_it_was_read() {
    let given = json!({
        "peft_type": "IA3", "target_modules": ["value", "key", "output.dense"], "feedforward_modules": ["output.dense"],
        "modules_to_save": ["classifier", "score"], "init_ia3_weights": true, "fan_in_fan_out": false,
        "task_type": "SEQ_CLS", "a_field_of_next_year": 1,
    });
    let config = Ia3Config::from_json(given.as_object().unwrap().clone()).unwrap();
    assert_eq!(config.unknown_fields().collect::<Vec<_>>(), ["a_field_of_next_year"]);
    let written = config.to_json();
    for (field, value) in given.as_object().unwrap() {
        assert_eq!(&written[field], value, "{field}");
    }
    let transposed = json!({"fan_in_fan_out": true});
    assert!(Ia3Config::from_json(transposed.as_object().unwrap().clone()).is_err());
}
