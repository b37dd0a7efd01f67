//! What a bottleneck adapter promises beyond the laws.

use burn::module::Module;
use burn::prelude::*;
use peft_core::file::key;
use peft_core::tensors::{export, export_gradients, parameters};
use peft_core::{Hooks, Identity, Method, Site};
use peft_testing::{HIDDEN, Mini, close, far, ids, shake};
use rstest::rstest;

use crate::activation::Activation;
use crate::draw::truncated;
use crate::{Bottleneck, BottleneckConfig, Init};

fn mini() -> (Device, Mini) {
    let device = Device::flex();
    let mini = Mini::new(&device);
    (device, mini)
}

fn adapter(config: BottleneckConfig, mini: &Mini) -> Bottleneck {
    shake(config.with_reduction_factor(2).init(mini).unwrap(), 0.3)
}

/// The key of a tensor of the adapter after the first layer's feed-forward part.
fn key_of(leaf: &str) -> String {
    key(&Site::new("layers.0.output", "layers.0.output"), &format!("adapters.{leaf}"))
}

/// Values of `adapters` 1.3.0 with `transformers` 4.57.6 at -3, -0.7, 0.2, 1.5 and 12, in double precision.
#[rstest]
#[case("gelu_python", [-0.0040497, -0.1693746, 0.1158519, 1.3997892, 12.0])]
#[case("gelu", [-0.0040497, -0.1693746, 0.1158519, 1.3997892, 12.0])]
#[case("gelu_10", [-0.0040497, -0.1693746, 0.1158519, 1.3997892, 10.0])]
#[case("gelu_new", [-0.0036374, -0.1694299, 0.1158514, 1.3995716, 12.0])]
#[case("gelu_fast", [-0.0036374, -0.1694299, 0.1158514, 1.3995716, 12.0])]
#[case("gelu_accurate", [-0.0036374, -0.1694299, 0.1158514, 1.3995716, 12.0])]
#[case("gelu_pytorch_tanh", [-0.0036374, -0.1694299, 0.1158514, 1.3995716, 12.0])]
#[case("gelu_python_tanh", [-0.0036374, -0.1694299, 0.1158514, 1.3995716, 12.0])]
#[case("quick_gelu", [-0.0180713, -0.163106, 0.1168575, 1.3916622, 12.0])]
#[case("leakyrelu", [-0.03, -0.007, 0.2, 1.5, 12.0])]
#[case("leaky_relu", [-0.03, -0.007, 0.2, 1.5, 12.0])]
#[case("linear", [-3.0, -0.7, 0.2, 1.5, 12.0])]
#[case("mish", [-0.1456475, -0.2678702, 0.132599, 1.4033783, 12.0])]
#[case("relu", [0.0, 0.0, 0.2, 1.5, 12.0])]
#[case("relu2", [0.0, 0.0, 0.04, 2.25, 144.0])]
#[case("relu6", [0.0, 0.0, 0.2, 1.5, 6.0])]
#[case("sigmoid", [0.0474259, 0.3318122, 0.549834, 0.8175745, 0.9999939])]
#[case("SiLU", [-0.1422776, -0.2322686, 0.1099668, 1.2263617, 11.9999263])]
#[case("swish", [-0.1422776, -0.2322686, 0.1099668, 1.2263617, 11.9999263])]
#[case("tanh", [-0.9950548, -0.6043678, 0.1973753, 0.9051483, 1.0])]
fn the_functions_are_the_references(#[case] name: &str, #[case] want: [f64; 5]) {
    let device = Device::flex();
    let of = |values: [f64; 5]| Tensor::<3>::from_floats([[values.map(|v| v as f32)]], &device);
    let got = Activation::named(name).unwrap().forward(of([-3.0, -0.7, 0.2, 1.5, 12.0]));
    let apart = (got - of(want)).abs().max().into_scalar::<f32>();
    assert!(apart < 2e-6, "{apart}");
}

#[test]
fn each_placement_is_another_function() {
    let (device, mini) = mini();
    let run = |hooks: &dyn Hooks| mini.forward(ids(2, &device), hooks);
    let after = BottleneckConfig { mh_adapter: false, ..BottleneckConfig::double_seq_bn() };
    let after = adapter(after, &mini);
    let values = export(&after);
    let elsewhere = |config: BottleneckConfig| {
        let config = BottleneckConfig { non_linearity: "swish".to_string(), ..config }.with_reduction_factor(2);
        peft_core::tensors::import(config.init(&mini).unwrap(), values.clone()).unwrap()
    };
    let (norm, beside) = (elsewhere(BottleneckConfig::seq_bn()), elsewhere(BottleneckConfig::par_bn()));
    far(run(&after), run(&norm));
    far(run(&after), run(&beside));
    far(run(&norm), run(&beside));
}

#[test]
fn dropped_layers_are_the_base() {
    let (device, mini) = mini();
    let run = |hooks: &dyn Hooks| mini.forward(ids(2, &device), hooks);
    for config in [BottleneckConfig::double_seq_bn(), BottleneckConfig::adapter_plus()] {
        let adapter = adapter(config.clone(), &mini);
        close(run(&adapter.dropping([])), run(&adapter));
        close(run(&adapter.dropping([0, 1])), run(&Identity));
        // The adapter of the other layer alone is one trained without this layer.
        let left: Vec<_> = export(&adapter).into_iter().filter(|(key, _)| key.contains("layers.1.")).collect();
        let alone = config.with_reduction_factor(2).with_leave_out([0]).init(&mini).unwrap();
        let alone = peft_core::tensors::import(alone, left.into_iter().collect()).unwrap();
        close(run(&adapter.dropping([0])), run(&alone));
        far(run(&adapter.dropping([0])), run(&adapter));
    }
}

#[test]
fn sizes_and_names_are_the_references() {
    let (_, mini) = mini();
    let names = |config: BottleneckConfig| -> Vec<(String, Vec<usize>)> {
        let made = config.with_reduction_factor(2).with_leave_out([1]).init(&mini).unwrap();
        export(&made).into_iter().map(|(key, data)| (key, data.shape().to_vec())).collect()
    };
    let at = |leaf: &str, shape: &[usize]| (key_of(leaf), shape.to_vec());
    let want = [
        at("adapter_down.1.bias", &[4]),
        at("adapter_down.1.weight", &[4, HIDDEN]),
        at("adapter_norm_after.bias", &[HIDDEN]),
        at("adapter_norm_after.weight", &[HIDDEN]),
        at("adapter_norm_before.bias", &[HIDDEN]),
        at("adapter_norm_before.weight", &[HIDDEN]),
        at("adapter_up.bias", &[HIDDEN]),
        at("adapter_up.weight", &[HIDDEN, 4]),
        at("gate.bias", &[1]),
        at("gate.weight", &[1, HIDDEN]),
        at("scaling", &[1]),
    ];
    let config = BottleneckConfig::scaled_par_bn();
    assert_eq!(names(BottleneckConfig { ln_before: true, ln_after: true, use_gating: true, ..config }), want);
    let want = [
        at("adapter_down.0.W_left", &[4, 2, 1]),
        at("adapter_down.0.W_right", &[4, 1, 1]),
        at("adapter_down.0.b", &[4]),
        at("adapter_up.W_left", &[4, 1, 1]),
        at("adapter_up.W_right", &[4, 1, 2]),
        at("adapter_up.b", &[HIDDEN]),
        (key(&Site::new("", "shared_parameters"), "phm_rule"), vec![4, 4, 4]),
    ];
    assert_eq!(names(BottleneckConfig::compacter_plus_plus()), want);
    // bert-base: two projections of width 48 in each of twelve layers would be 894,528 numbers; here 2 · (8·4) + 4 + 8.
    assert_eq!(adapter(BottleneckConfig::seq_bn(), &mini).num_params(), 2 * (2 * HIDDEN * 4 + 4 + HIDDEN));
}

#[test]
fn a_rule_that_is_not_trained_gets_no_gradient() {
    let device = Device::flex().autodiff();
    let mini = Mini::new(&device);
    let fixed = adapter(BottleneckConfig { learn_phm: false, ..BottleneckConfig::compacter() }, &mini);
    let gradients = mini.forward(ids(2, &device), &fixed).powf_scalar(2.0).sum().backward();
    let got = export_gradients(&fixed, &gradients);
    let rest: Vec<String> = parameters(&fixed).into_keys().filter(|key| !key.contains("phm_rule")).collect();
    assert_eq!(got.into_keys().collect::<Vec<_>>(), rest);
}

#[test]
fn weights_start_as_they_should() {
    let device = Device::flex();
    let values: Vec<f32> = truncated([400, 100], 0.01, &device).into_data().iter().collect();
    assert!(values.iter().all(|x| x.abs() <= 0.02));
    // Standard deviation of a normal cut at two of its own: 0.8796 of it.
    let std = (values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32).sqrt();
    assert!((std - 0.008796).abs() < 2e-4, "{std}");
    let (_, mini) = mini();
    let start = |init_weights, key: &str| {
        let config = BottleneckConfig { init_weights, ..BottleneckConfig::seq_bn() }.with_reduction_factor(0.01);
        export(&config.init(&mini).unwrap())[&key_of(key)].iter::<f32>().collect::<Vec<_>>()
    };
    let largest = |values: Vec<f32>| values.into_iter().fold(0.0f32, |max, x| max.max(x.abs()));
    for init in [Init::Bert, Init::MamAdapter, Init::Houlsby] {
        assert_eq!(largest(start(init, "adapter_down.0.bias")), 0.0);
        assert_eq!(largest(start(init, "adapter_up.bias")), 0.0);
    }
    assert_eq!(largest(start(Init::MamAdapter, "adapter_up.weight")), 0.0);
    let bound = 1.0 / (HIDDEN as f32).sqrt();
    let down = largest(start(Init::MamAdapter, "adapter_down.0.weight"));
    assert!(down <= bound && down > 0.95 * bound, "{down}");
    let down = largest(start(Init::Bert, "adapter_down.0.weight"));
    assert!(down > 0.05 && down < 0.15, "{down}");
}

#[test]
fn rows_skip_the_adapter_in_training_alone() {
    let device = Device::flex().autodiff();
    let mini = Mini::new(&device);
    let config = BottleneckConfig { stochastic_depth: 0.5, ..BottleneckConfig::seq_bn() };
    let adapter = adapter(config, &mini);
    let same = ids(1, &device).repeat_dim(0, 32);
    let spread = |adapter: &Bottleneck| {
        let out = mini.forward(same.clone(), adapter);
        (out.clone() - out.narrow(0, 0, 1)).abs().max().into_scalar::<f32>()
    };
    assert!(spread(&adapter) > 1e-3, "every row went the same way");
    let (plain, device) = (adapter.valid(), Device::flex());
    let out = Mini::new(&device).forward(ids(1, &device).repeat_dim(0, 32), &plain);
    close(out.clone(), out.narrow(0, 0, 1).repeat_dim(0, 32));
    assert_eq!(plain.kind(), "BOTTLENECK");
}

#[test]
fn what_makes_no_sense_is_named() {
    let (_, mini) = mini();
    let error = |config: BottleneckConfig| config.init(&mini).unwrap_err().to_string();
    let seq_bn = BottleneckConfig::seq_bn;
    assert!(error(seq_bn().with_leave_out([7])).contains("layer 7 is not in the model, which has layers 0 to 1"));
    assert!(error(seq_bn().with_leave_out([0, 1])).contains("no adapter is left"));
    assert!(error(BottleneckConfig { output_adapter: false, ..seq_bn() }).contains("no adapter is left"));
    let cross = BottleneckConfig { output_adapter: false, cross_adapter: true, ..seq_bn() };
    assert!(error(cross).contains("no adapter is left"));
    assert!(error(BottleneckConfig::compacter()).contains("phm_dim: 1 is no multiple of 4"));
    // Trained in a deeper model, it loads where some of what it leaves out is missing.
    assert!(seq_bn().with_leave_out([0, 7]).init_for_loading(&mini).is_ok());
}
