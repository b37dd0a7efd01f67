//! LoRA on a backbone of two linear layers: what the method itself promises, without a model.

use burn::module::Module;
use burn::prelude::*;
use peft_core::file::key;
use peft_core::nn::Linear;
use peft_core::targets::Targets;
use peft_core::{Backbone, Hooks, Identity, Method, Scope, Site, Sites, merge};
use peft_testing::{Case, Mini};
use rstest::rstest;

use crate::{Bias, Init, Lora, LoraConfig};

#[derive(Module, Debug)]
struct Pair {
    up: Linear,
    down: Linear,
    #[module(skip)]
    sites: Sites,
}

impl Pair {
    fn new(device: &Device) -> Self {
        let scope = Scope::root(device, |path| path.to_string());
        Self { up: scope.linear("up", 6, 8, true), down: scope.linear("down", 8, 6, false), sites: scope.sites() }
    }

    fn forward(&self, x: Tensor<3>, hooks: &dyn Hooks) -> Tensor<3> {
        self.down.forward(self.up.forward(x, hooks), hooks)
    }
}

impl Backbone for Pair {
    fn sites(&self) -> &Sites {
        &self.sites
    }
}

fn input(device: &Device) -> Tensor<3> {
    Tensor::<1, Int>::arange(0..36, device).float().reshape([2, 3, 6]) / 36.0
}

fn init(config: LoraConfig, device: &Device) -> (Pair, Lora) {
    device.seed(3);
    let pair = Pair::new(device);
    let lora = config.with_target_modules(["up", "down"]).init(&pair).unwrap();
    (pair, lora)
}

fn case(init: fn(&Mini) -> Lora) -> Case<Lora> {
    Case { init, init_for_loading: init, starts_as_base: true }
}

fn plain(mini: &Mini) -> Lora {
    LoraConfig::new(2).with_target_modules(["query", "value"]).init(mini).unwrap()
}

fn everywhere(mini: &Mini) -> Lora {
    LoraConfig { use_rslora: true, target_modules: Some(Targets::Pattern("all-linear".into())), ..LoraConfig::new(3) }
        .init(mini)
        .unwrap()
}

fn with_biases(mini: &Mini) -> Lora {
    LoraConfig::new(2).with_target_modules(["up"]).with_bias(Bias::All).init(mini).unwrap()
}

peft_testing::laws!(Lora {
    plain => case(plain),
    everywhere => case(everywhere),
    biases => case(with_biases),
});
peft_testing::merging_laws!(Lora {
    plain => case(plain),
    everywhere => case(everywhere),
    biases => case(with_biases),
});

#[rstest]
#[case::standard(Init::Standard(true), true)]
#[case::gaussian(Init::Named("gaussian".into()), true)]
#[case::both_random(Init::Standard(false), false)]
fn a_fresh_adapter_is_the_identity_where_b_is_zero(#[case] init_lora_weights: Init, #[case] identity: bool) {
    let device = Device::flex();
    let (pair, lora) = init(LoraConfig::new(2).with_init(init_lora_weights), &device);
    let apart = (pair.forward(input(&device), &lora) - pair.forward(input(&device), &Identity)).abs().max();
    assert_eq!(apart.into_scalar::<f32>() == 0.0, identity);
}

#[test]
fn factors_start_within_the_kaiming_bound() {
    let (_, lora) = init(LoraConfig::new(64), &Device::flex());
    let site = &lora.sites()[0];
    let a = lora.at(site).unwrap().a.val();
    let bound = 1.0 / (a.dims()[0] as f32).sqrt();
    let largest = a.abs().max().into_scalar::<f32>();
    assert!(largest <= bound && largest > 0.9 * bound, "{largest} of {bound}");
}

#[rstest]
#[case(false, 4.0)]
#[case(true, 8.0)]
fn the_scale_is_alpha_over_r_or_its_root(#[case] use_rslora: bool, #[case] scale: f64) {
    let (_, lora) = init(LoraConfig { use_rslora, ..LoraConfig::new(4).with_alpha(16.0) }, &Device::flex());
    assert!(lora.sites().iter().all(|site| lora.at(site).unwrap().scale == scale));
}

#[test]
fn dropout_acts_in_training_only() {
    let device = Device::flex().autodiff();
    let config = LoraConfig { init_lora_weights: Init::Standard(false), ..LoraConfig::new(2).with_dropout(0.5) };
    let (pair, lora) = init(config, &device);
    let run = |pair: &Pair, lora: &Lora, device: &Device| pair.forward(input(device), lora).into_data();
    assert_ne!(run(&pair, &lora, &device), run(&pair, &lora, &device));
    let (pair, lora, device) = (pair.valid(), lora.valid(), device.inner());
    assert_eq!(run(&pair, &lora, &device), run(&pair, &lora, &device));
    let merged = merge(pair.clone(), &lora).unwrap().forward(input(&device), &Identity).into_data();
    merged.assert_approx_eq::<f32>(&run(&pair, &lora, &device), burn::tensor::Tolerance::absolute(1e-5));
}

#[rstest]
#[case(Bias::None, 4)]
#[case(Bias::LoraOnly, 5)]
#[case(Bias::All, 5)]
fn biases_are_stored_where_they_are_trained(#[case] bias: Bias, #[case] tensors: usize) {
    let (_, lora) = init(LoraConfig::new(2).with_bias(bias), &Device::flex());
    let keys: Vec<String> = lora.stored().into_iter().map(|stored| stored.key).collect();
    assert_eq!(keys.len(), tensors, "{keys:?}");
    assert_eq!(keys.contains(&key(&Site::new("up", "up"), "base_layer.bias")), bias != Bias::None);
    assert!(keys.contains(&key(&Site::new("down", "down"), "lora_A.weight")));
}

#[test]
fn ranks_follow_their_patterns_and_a_pattern_for_nothing_is_refused() {
    let patterned = |key: &str| LoraConfig { rank_pattern: [(key.to_string(), 5)].into(), ..LoraConfig::new(2) };
    let (_, lora) = init(patterned("up"), &Device::flex());
    let ranks: Vec<usize> = lora.sites().iter().map(|site| lora.at(site).unwrap().a.dims()[1]).collect();
    assert_eq!(ranks, [2, 5]);
    let pair = Pair::new(&Device::flex());
    let error = patterned("upp").with_target_modules(["up"]).init(&pair).unwrap_err().to_string();
    assert!(error.contains("rank_pattern") && error.contains("up"), "{error}");
}
